"""A Ray cluster's Jobs API, asked from a thread of its own, so that a head that hangs holds up nobody else."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

from rmviz.errors import ConfigError

T = TypeVar("T")
WITHIN = 2.5
"""Seconds in which a head has to answer."""

NOT_TAKEN = "NOT_TAKEN"
"""Our own type of error, beside Ray's."""

_EVERY, _STOP_EVERY, _NOT_READY = 0.5, 10.0, 60.0
_HOW = "rmviz jobs settings --ray-address http://host:8265"
_ENVIRONMENT = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What Ray says of one job."""

    status: str
    """PENDING, RUNNING, SUCCEEDED, STOPPED, FAILED, or UNKNOWN: it has never heard of it, or forgot it in a restart."""

    message: str = ""
    error_type: str = ""
    exit_code: int | None = None

    @property
    def over(self) -> bool:
        """Whether the job does not run any more."""
        return self.status not in ("PENDING", "RUNNING")


class RayHead:
    """One cluster: jobs are submitted at once, and watched and stopped in the background, twice a second."""

    def __init__(self, address: str) -> None:
        """Remember where it is: `http://host:8265`, the address of its dashboard."""
        self.address = address if "://" in address or not address else f"http://{address}"
        self._client: Any = None
        self._known: dict[str, Known] = {}
        self._heard: dict[str, float] = {}
        self._stops: dict[str, float] = {}
        self._submitting: set[str] = set()
        self._connecting = threading.Lock()
        self._work = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """See whether jobs can be submitted.

        Raises:
            ConfigError: Ray is not installed here, its address is not known, or nobody answers there within 2.5 seconds.
        """
        if find_spec("ray") is None:
            raise ConfigError("the ray runner needs Ray on this machine: pip install 'rmviz[ray]'")
        if not self.address:
            raise ConfigError(
                f"it is not known where Ray is; set its dashboard's address: {_HOW}, or RMVIZ_RAY_ADDRESS"
            )
        if not self.address.startswith(("http://", "https://")):
            raise ConfigError(
                f"the address of Ray's dashboard looks like http://host:8265, got {self.address!r}: {_HOW}"
            )
        try:
            _within(WITHIN, self._probe)
        except (OSError, ValueError, HTTPException) as error:
            raise self._silent() from error

    def submit(self, submission_id: str, entrypoint: str, **options: Any) -> None:
        """Hand a command to the cluster, in the background; one that has this id already is left as it is."""
        self._submitting.add(submission_id)
        threading.Thread(target=self._submit, args=(submission_id, entrypoint, options), daemon=True).start()
        self.watch(submission_id)

    def gpus(self) -> float:
        """GPUs of the cluster, all machines together; 0 where it does not say."""
        if given := os.environ.get("RMVIZ_RAY_GPUS"):
            return float(given)
        try:
            state: Any = import_module("ray.util.state")
            nodes = _within(
                WITHIN, lambda: state.list_nodes(address=self.address, timeout=2, raise_on_missing_output=False)
            )
            return sum(float((node.resources_total or {}).get("GPU", 0)) for node in nodes)
        except Exception as error:  # whatever Ray's state API raises: without an answer, jobs run on CPUs
            _log.warning("the Ray cluster does not tell its GPUs: %s", error)
            return 0.0

    def watch(self, submission_id: str) -> None:
        """Follow a job from now on."""
        self._heard.setdefault(submission_id, time.monotonic())
        self._work.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()

    def known(self, submission_id: str) -> tuple[Known | None, float]:
        """What was last heard of a job that is watched, and how many seconds ago."""
        return self._known.get(submission_id), time.monotonic() - self._heard[submission_id]

    def watches(self, submission_id: str) -> bool:
        """Whether the job is followed."""
        return submission_id in self._heard

    def forget(self, submission_id: str) -> None:
        """Follow a job no longer."""
        for table in (self._known, self._heard, self._stops):
            table.pop(submission_id, None)

    def stop(self, submission_id: str) -> None:
        """Have a job stopped: SIGTERM, and SIGKILL from Ray after the time that its environment gives."""
        self.watch(submission_id)
        self._stops.setdefault(submission_id, float("-inf"))

    def _silent(self) -> ConfigError:
        return ConfigError(
            f"no Ray cluster answers at {self.address}; start one (`ray start --head`), or correct it: {_HOW}"
        )

    def _probe(self) -> None:
        try:
            urlopen(f"{self.address}/api/version", timeout=WITHIN).close()
        except HTTPError as error:
            if error.code not in (401, 403):  # it is there; whether we may is for Ray's client to say
                raise

    def _submit(self, submission_id: str, entrypoint: str, options: dict[str, Any]) -> None:
        deadline = time.monotonic() + _NOT_READY
        reason = "?"
        while reason:
            try:
                self._connected().submit_job(entrypoint=entrypoint, submission_id=submission_id, **options)
                reason = ""
            except Exception as error:  # Ray's client raises RuntimeError, its own errors and those of requests
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if "already exists" in reason:
                reason = ""
            elif reason and not ("try again later" in reason and time.monotonic() < deadline):
                self._known[submission_id] = Known("FAILED", f"the job was not taken: {reason}", NOT_TAKEN)
                break
            elif reason:
                time.sleep(_EVERY)
        self._submitting.discard(submission_id)

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                submission: Any = import_module("ray.job_submission")
                kept = {name: os.environ.pop(name) for name in _ENVIRONMENT if name in os.environ}  # they would win
                try:
                    self._client = submission.JobSubmissionClient(self.address)
                finally:
                    os.environ.update(kept)
            return self._client

    def _follow(self) -> None:
        while True:
            self._work.wait()
            for one in list(self._heard):
                try:
                    self._ask(one)
                except Exception as error:  # no answer is an answer too: `known` says how old the last one is
                    _log.info("Ray at %s says nothing of %s: %s", self.address, one, error)
            if not self._heard:
                self._work.clear()
            time.sleep(_EVERY)

    def _ask(self, one: str) -> None:
        last = self._known.get(one)
        if one in self._submitting or (last and last.over):
            return
        client = self._connected()
        if one in self._stops and time.monotonic() - self._stops[one] > _STOP_EVERY:
            client.stop_job(one)
            self._stops[one] = time.monotonic()
        try:
            info = client.get_job_info(one)
        except RuntimeError as error:
            if "404" not in str(error):
                raise
            known = Known("UNKNOWN")
        else:
            status = getattr(info.status, "value", str(info.status))
            known = Known(status, info.message or "", info.error_type or "", info.driver_exit_code)
        if one in self._heard:
            self._known[one], self._heard[one] = known, time.monotonic()


def _within(seconds: float, act: Callable[[], T]) -> T:
    """What a call gives, in at most so many seconds; a call that hangs is left behind.

    Raises:
        TimeoutError: It took longer.
    """
    box: list[Any] = []

    def run() -> None:
        try:
            box.append((True, act()))
        except BaseException as error:
            box.append((False, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not box:
        raise TimeoutError
    good, value = box[0]
    if not good:
        raise value
    return value
