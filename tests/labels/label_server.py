"""An OpenAI-compatible server that labels features; what each proposal is told on the command line, in turn, the last for ever.

`python label_server.py good refusal empty long html 500` prints its port. A request of `/asked` gives the questions so far.
A question that ends in yes or no is answered yes where the text holds the last word of the label.
"""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TURNS, SEEN, LOCK = sys.argv[1:], [], threading.Lock()
PROPOSALS = {
    "good": "**LABEL:** about gambling\nEFFECT: LOWERS",
    "refusal": "I'm sorry, but I can't help with that.",
    "empty": "",
    "long": "LABEL: " + "x" * 50_000,
    "html": 'LABEL: <img src=x onerror="alert(1)"> gambling\nEFFECT: RAISES',
    "chatty": "Sure! Here is what I think.",
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(200, json.dumps(SEEN))

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1]["content"]
        judging = question.endswith("yes or no.")
        with LOCK:
            place = sum(not one.endswith("yes or no.") for one in SEEN)
            SEEN.append(question)
        turn = TURNS[min(place, len(TURNS) - 1)]
        if not judging and turn.isdigit():
            self.answer(int(turn), "a fault")
            return
        content = self.judged(question) if judging else PROPOSALS[turn]
        self.answer(200, json.dumps({"choices": [{"message": {"content": content}}]}))

    def judged(self, question: str) -> str:
        text, wish = question.rsplit("\n\n", 1)
        word = re.findall(r"\w+", wish.split("described so:")[1].split(". Does it")[0])[-1]
        return "Yes." if word in text else "no"

    def answer(self, code: int, text: str) -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
