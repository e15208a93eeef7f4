"""An OpenAI-compatible server in this process that writes elephants by their grammar, and fails as it is told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rmviz.elephants.grammar import GrammarWriter

FAULTS = {
    "refusal": "I'm sorry, but I can't help with that.",
    "empty": "",
    "chatty": "Sure! Here is what I think.",
    "html": "<img src=x onerror=alert(1)>",
}


class Server:
    """What was asked, and which stage (by the first word of its question) answers with a fault."""

    def __init__(self, faults: dict[str, str]) -> None:
        self.faults, self.questions, self.lock = faults, [], threading.Lock()
        self.address = ""

    def answer(self, question: str) -> tuple[int, str]:
        with self.lock:
            self.questions.append(question)
        fault = next((fault for start, fault in self.faults.items() if question.startswith(start)), "")
        if fault.isdigit():
            return int(fault), "a fault"
        text = FAULTS[fault] if fault else GrammarWriter().answers([question], seed=0)[0]
        return 200, json.dumps({"choices": [{"message": {"content": text}}]})


@contextmanager
def elephant_server(**faults: str) -> Iterator[Server]:
    """A server on loopback for as long as the block lasts; faults by stage, as in `Does="refusal"`."""
    told = Server(faults)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1]["content"]
            code, text = told.answer(question)
            data = text.encode()
            self.send_response(code)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
