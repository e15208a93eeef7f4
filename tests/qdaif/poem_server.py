"""An OpenAI-compatible server of poems, a process of its own; the fault of each request is told on the command line.

`python poem_server.py ok 429 500 slow cut malformed empty gone` prints its port; after the last fault all is well. A
request of `/asked` says how many completions were asked for, with what key. Asked to say a text again without some words,
it says `thing` for each; `refusal`, `kept` and `long` are its faults there, `foreign` other words altogether.
"""

import json
import random
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rmviz.world import grammar

FAULTS, SLOW = sys.argv[1:], 1.5
LOCK, SEEN = threading.Lock(), []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(200, json.dumps(SEEN))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with LOCK:
            SEEN.append(
                {
                    "key": self.headers.get("authorization", ""), "path": self.path, "model": body["model"],
                    "wish": body["messages"][-1]["content"],
                }
            )  # fmt: skip
            fault = (
                FAULTS[min(len(SEEN), len(FAULTS)) - 1] if len(SEEN) <= len(FAULTS) or FAULTS[-1] == "gone" else "ok"
            )
        text = json.dumps({"choices": [{"message": {"role": "assistant", "content": self.content(body, fault)}}]})
        match fault:
            case "429":
                self.answer(429, "slow down", retry_after="0.05")
            case "slow":
                time.sleep(SLOW)
                self.answer(200, text)
            case "cut":
                self.answer(200, text, length=len(text) + 50)
            case "malformed":
                self.answer(200, text[:-9])
            case "list":
                self.answer(200, json.dumps([1, 2]))
            case "empty":
                self.answer(200, json.dumps({"choices": [{"message": {"content": None}}]}))
            case "gone":
                self.connection.close()
            case "ok" | "refusal" | "kept" | "long" | "foreign":
                self.answer(200, text)
            case code:
                self.answer(int(code), "a fault")

    def content(self, body: dict, fault: str) -> str:
        text, asked, words = body["messages"][-1]["content"].partition(
            "\n\nSay the text above again without any of these words: "
        )
        if not asked:
            return self.poem(body)
        names = "|".join(map(re.escape, words.split(". Keep what")[0].split(", ")))
        new = re.sub(rf"(?<!\w)({names})(?!\w)", "thing", text, flags=re.IGNORECASE)
        return {
            "refusal": "I'm sorry, but I can't help with that.", "kept": text, "long": new + " and on" * 500,
            "foreign": "Quite other matters altogether.",
        }.get(fault, new)  # fmt: skip

    def poem(self, body: dict) -> str:
        wish = body["messages"][-1]["content"]
        rng = random.Random(f"{wish} {body['seed']}")
        words = set(wish.replace(",", " ").replace(")", " ").split())
        tone = next((tone for tone in grammar.TONES if tone in words), "")
        genre = next((genre for genre in grammar.lexicon.GENRES if genre in words), "")
        return grammar.poem(rng, tone=tone, genre=genre).reply

    def answer(self, code: int, text: str, *, length: int = 0, retry_after: str = "") -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("content-length", str(length or len(data)))
        if retry_after:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
