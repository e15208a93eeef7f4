"""A server that speaks the OpenAI chat protocol: asked many things at once, patient with its faults, never past a ceiling."""

import fcntl
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from rmviz.asking.local import question_seeds
from rmviz.errors import BackendError, ConfigError

KEY = "OPENAI_API_KEY"
"""The environment variable that the key is read from; it is sent to the server and kept nowhere."""

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_LONGEST_WAIT = 30.0
_log = logging.getLogger(__name__)


class RemoteModel:
    """Asks a server each question. What fails for a reason that may pass is asked again, later and later."""

    def __init__(
        self, server: str, model: str, *, temperature: float = 1.0, max_tokens: int = 256,
        max_requests: int = 0, concurrency: int = 8, timeout: float = 120.0, patience: float = 300.0,
        first_wait: float = 1.0, counted: Path | None = None,
    ) -> None:  # fmt: skip
        """Nothing is sent yet.

        Args:
            server: Address of the API, `/v1` included.
            model: Name of the model on it.
            temperature: Of its sampling.
            max_tokens: Longest answer, in tokens.
            max_requests: Requests sent in all, retries included; 0 sets no bound.
            concurrency: Requests under way at once.
            timeout: Seconds for one answer.
            patience: Seconds without any good answer after which the server counts as gone.
            first_wait: Seconds before the first retry; each further one waits twice as long.
            counted: A file that grows by a byte with each request, so that `max_requests` holds for all processes that name
                it and for later tries; without one it holds for this object.
        """
        self.name = f"openai {model}"
        self._model, self._options = model, {"temperature": temperature, "max_tokens": max_tokens}
        self._max_requests, self._patience, self._first_wait = max_requests, patience, first_wait
        self._concurrency, self._counted = concurrency, counted
        headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(KEY, "")) else {}
        self._client = httpx.Client(
            base_url=server.rstrip("/") + "/", headers=headers, timeout=httpx.Timeout(timeout, connect=10.0)
        )
        self._lock = threading.Lock()
        self.num_requests = 0
        """Sent so far."""
        self._last_answer = time.monotonic()

    def answers(
        self,
        questions: Sequence[str],
        *,
        seed: int | Sequence[int],
        told: Callable[[int, str], None] = lambda place, answer: None,
    ) -> list[str]:
        """Answers in the order of the questions; empty where the server answered with none.

        `told` gets the place and the text of each answer as it comes, from several threads.

        Raises:
            BackendError: The server is gone for longer than `patience`, refuses the key, or the ceiling is reached; what
                was found so far is kept, and the same command goes on.
            ConfigError: The server does not take such requests, or has no such model.
        """
        self._last_answer = time.monotonic()
        seeds = question_seeds(seed, len(questions))
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = [pool.submit(self._answer, text, seeds[i], i, told) for i, text in enumerate(questions)]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _answer(self, question: str, seed: int, place: int, told: Callable[[int, str], None]) -> str:
        body = {
            "model": self._model, "seed": seed % 2**31, **self._options,
            "messages": [{"role": "user", "content": question}],
        }  # fmt: skip
        wait, rng = self._first_wait, random.Random(seed)
        while True:
            self._count()
            try:
                response = self._client.post("chat/completions", json=body)
                if response.status_code == 200:
                    text = answer_in(response)
                    self._last_answer = time.monotonic()
                    told(place, text)
                    return text
                reason = f"{response.status_code} {_message(response)}"
                if response.status_code not in _RETRIED:
                    raise _refused(response.status_code, reason)
                asked = _seconds(response.headers.get("retry-after", ""))
            except (httpx.TransportError, httpx.DecodingError, ValueError) as error:
                if isinstance(error, ConfigError):
                    raise
                reason, asked = f"{type(error).__name__}: {error}", 0.0
            if time.monotonic() - self._last_answer > self._patience:
                raise BackendError(
                    f"the server has given no good answer for {self._patience:.0f} s (last: {reason}); nothing is lost: "
                    "run the same command again to go on"
                )
            _log.warning("asked again in %.1f s: %s", max(wait, asked), reason)
            time.sleep(min(_LONGEST_WAIT, max(wait * rng.uniform(0.7, 1.3), asked)))
            wait *= 2

    def _count(self) -> None:
        with self._lock:
            if self._counted:
                with self._counted.open("ab") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)  # other processes count here too
                    self._check(os.fstat(file.fileno()).st_size, "the same command with a higher max_requests goes on")
                    file.write(b".")
            else:
                self._check(self.num_requests, "the same command asks as often again")
            self.num_requests += 1

    def _check(self, sent: int, further: str) -> None:
        if self._max_requests and sent >= self._max_requests:
            raise BackendError(f"max_requests ({self._max_requests}) is reached; nothing is lost: {further}")


def answer_in(response: httpx.Response) -> str:
    """The text of a good answer; empty where the model said nothing.

    Raises:
        ValueError: It is not the JSON of a chat completion.
    """
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"an answer without a message: {response.text[:100]!r}") from error
    if not isinstance(content, str | None):
        raise ValueError(f"a message that is no text: {str(content)[:100]!r}")
    return content or ""


def _refused(status: int, reason: str) -> Exception:
    if status in (401, 403):
        return BackendError(f"the server refuses the key ({reason}); set {KEY} and run the same command again")
    return ConfigError(
        f"the server does not take the request ({reason}); check server, policy (the model) and its limits"
    )


def _message(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:200]


def _seconds(retry_after: str) -> float:
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return 0.0
