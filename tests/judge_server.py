"""A small server that speaks the protocol of chat completions, well and badly, as its model's name says."""

import json
import math
import re
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LETTERS = {"a": 0, "b": 1}


class JudgeServer:
    """Starts on a free port; ``url`` is what a client needs, ``seen`` are the requests so far.

    Models: ``judge`` (a verdict that depends on the material alone: the share of x in the answer), ``first`` (prefers
    what stands first), ``flaky`` (429 with Retry-After twice, then a verdict), ``down`` (500), ``garbage`` (not JSON),
    ``silent`` (no choices), ``slow`` (answers after 5 s), ``cut`` (closes in the middle), ``vague`` (no verdict),
    ``torn`` (two verdicts), ``wavering`` (calls every step right each third time), ``fooled`` (repeats what stands in the answer), ``sure`` (log-probabilities).
    """

    def __init__(self):
        self.seen: list[dict] = []
        self.keys: list[str] = []
        self.counts: dict[str, int] = {}
        self.open = self.most = 0
        self.lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                """No access log."""

            def handle(self):
                with suppress(ConnectionError):  # a client that stopped waiting
                    super().handle()

            def do_POST(self):
                owner.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        model = body["model"]
        with self.lock:
            self.seen.append(body)
            self.keys.append(http.headers.get("Authorization", ""))
            self.counts[model] = self.counts.get(model, 0) + 1
            count = self.counts[model]
            self.open += 1
            self.most = max(self.most, self.open)
        try:
            if model == "flaky" and count <= 2:
                return self.send(http, 429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0.01"})
            if model == "down":
                return self.send(http, 500, b'{"error": {"message": "broken"}}')
            if model == "garbage":
                return self.send(http, 200, b"<html>not what you asked for")
            if model == "silent":
                return self.send(
                    http,
                    200,
                    json.dumps(
                        {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": []}
                    ).encode(),
                )
            if model == "slow":
                time.sleep(5)
            if model == "cut" and not body.get("stream"):
                http.send_response(200)
                http.send_header("Content-Length", "1000")
                http.end_headers()
                http.wfile.write(b'{"choices"')
                http.wfile.flush()
                http.connection.shutdown(socket.SHUT_RDWR)
                http.close_connection = True
                return None
            text, logprobs = self.says(model, body["messages"][-1]["content"])
            if body.get("stream"):
                return self.stream(http, model, text)
            return self.send(http, 200, json.dumps(self.reply(model, text, logprobs)).encode())
        finally:
            with self.lock:
                self.open -= 1

    def says(self, model: str, asked: str):
        if model == "sure":
            share = _share(_texts(asked)["Answer"])
            top = [("Yes", share), (" yes", 0.0), ("No", 1 - share), ("Maybe", 0.0)]
            return "Yes", [(token, _log(p)) for token, p in top]
        texts = _texts(asked)
        if model == "fooled":
            return texts["Answer"], None
        tag = re.search(r"<(verdict-[0-9a-f]+|final_score)>", asked)[1]
        if model == "vague":
            return "It is a fine answer.", None
        if model == "torn":
            return f"<{tag}>1</{tag}> or rather <{tag}>9</{tag}>", None
        if "SCORE,MAX" in asked:
            step = texts["Step"]
            verdict = f"{step.count('x')},{len(step)}" if step.strip(" ;") else "of no use"
        elif "one 1 (right) or 0 (wrong)" in asked:
            steps = [text for name, text in texts.items() if name.startswith("Step ")]
            with self.lock:
                turn = self.counts[model] % 3
            verdict = " ".join(str(int("x" in text or (model == "wavering" and turn == 0))) for text in steps)
        elif '{"good": ' in asked:
            held = {"good": [c for c in "x" if c in texts["Answer"]], "poor": [c for c in "_" if c in texts["Answer"]]}
            verdict = json.dumps(held)
        elif "yes or no" in asked:
            verdict = "yes" if _share(texts["Answer"]) else "no"
        elif "A, B or even" in asked:
            a, b = _share(texts["Answer A"]), _share(texts["Answer B"])
            verdict = "A" if model == "first" or a > b else "B" if b > a else "even"
        elif "1 to 5" in asked:
            a, b = _share(texts["A"]), _share(texts["B"])
            verdict = (
                4
                if model == "first"
                else 5
                if a > b + 0.5
                else 4
                if a > b
                else 3
                if a == b
                else 2
                if b <= a + 0.5
                else 1
            )
        else:
            low, high = re.search(r"from (\S+) \(worst\) to (\S+) \(best\)", asked).groups()
            verdict = f"{float(low) + (float(high) - float(low)) * _share(texts['Answer']):g}"
        return f"Let me think.\n<{tag}>{verdict}</{tag}>", None

    @staticmethod
    def reply(model, text, logprobs):
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": None,
        }
        if logprobs is not None:
            top = [{"token": t, "logprob": p, "bytes": None} for t, p in logprobs]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }

    def stream(self, http, model, text):
        http.send_response(200)
        http.send_header("Content-Type", "text/event-stream")
        http.send_header("Connection", "close")
        http.end_headers()
        head = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": model}
        pieces = [text[i : i + 7] for i in range(0, len(text), 7)]
        if model == "cut":
            pieces = pieces[:2]
        for piece in pieces:
            event = {**head, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            http.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        if model != "cut":
            end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            usage = {
                **head,
                "choices": [],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            }
            http.wfile.write(f"data: {json.dumps(end)}\n\ndata: {json.dumps(usage)}\n\ndata: [DONE]\n\n".encode())
        http.close_connection = True

    @staticmethod
    def send(http, status, body, headers=None):
        http.send_response(status)
        http.send_header("Content-Type", "application/json")
        http.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(body)


def _texts(asked: str) -> dict[str, str]:
    return {name: text for name, _, text in re.findall(r"(?m)^(.+):\n<(text-[0-9a-f]+)>\n([\s\S]*?)\n</\2>", asked)}


def _share(text: str) -> float:
    return text.count("x") / len(text) if text else 0.0


def _log(p: float) -> float:
    return math.log(p) if p > 0 else -9999.0
