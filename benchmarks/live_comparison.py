"""`python -m benchmarks.live_comparison`: asks an API about 300 texts, one by one and as the job does."""

import argparse
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from configs import urgency2id
from retrain.evaluation.live_model import LiveModel

LATENCY_SECONDS = 0.1
ANSWER = {
    "label": "NORMAL",
    "confidence": 0.9,
    "scores": {"NORMAL": 0.9, "URGENT": 0.1, "HIGHLY URGENT": 0.0},
}


class SlowAPI(BaseHTTPRequestHandler):
    """Answers after the latency; accepts lists only if `takes_lists`."""

    takes_lists = True
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        time.sleep(LATENCY_SECONDS)
        refused = isinstance(text, list) and not self.takes_lists
        answer: Any = [ANSWER] * len(text) if isinstance(text, list) else ANSWER
        body = json.dumps({} if refused else answer).encode()
        self.send_response(422 if refused else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_comparison")
    parser.add_argument("--texts", type=int, default=300)
    count = parser.parse_args().texts
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowAPI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, texts = f"http://127.0.0.1:{server.server_port}/predict", [f"text {i}" for i in range(count)]
    began = time.perf_counter()
    with requests.Session() as session:
        for text in texts:
            session.post(url, json={"text": text}, timeout=10).raise_for_status()
    one_by_one = time.perf_counter() - began
    print(f"one by one: {one_by_one:.2f} s")
    for takes_lists in (True, False):
        SlowAPI.takes_lists = takes_lists
        began = time.perf_counter()
        answers = LiveModel(url, urgency2id).ask(texts, failures_allowed=0)
        taken = time.perf_counter() - began
        assert all(answer.error is None for answer in answers)
        what = "lists are taken" if takes_lists else "lists are refused"
        print(f"here, {what}: {taken:.2f} s, 1/{one_by_one / taken:.1f} of the time")


if __name__ == "__main__":
    main()
