"""A server of completions for tests: real HTTP, a real small model, and the ways in which such a server fails.

It speaks OpenAI's ``/v1/completions`` with vLLM's additions, ``/collective_rpc`` and ``/reset_prefix_cache``.
"""

import json
import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch

from guerdon.policies.prefixes import left_padded
from guerdon.policies.protocol import Sampling


class Server:
    """Serves a policy's own draws.

    ``faults`` holds what happens to the next requests for completions: an HTTP status, "garbage", "cut" or "slow".
    ``says`` is how tokens are told: "ids", "marked" (token_id:5), or "texts". ``trims`` leaves out what ended a completion.
    """

    def __init__(self, policy, load=None, *, says="ids", trims=False, dev=True, name="small", patience=0.0):
        self.policy, self.load = policy, load or load_weights
        self.says, self.trims, self.dev, self.name = says, trims, dev, name
        self.faults, self.patience = deque(), patience
        self.requests, self.reloads, self.resets = [], [], 0
        self.failing_from, self.slowness = None, 1.0
        self.now = self.most = 0
        self.lock, self.counting = threading.Lock(), threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def complete(self, body):
        """The answer to a request for completions."""
        assert body["model"] == self.name
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        sampling = Sampling(
            temperature=body["temperature"], top_p=body["top_p"], top_k=body.get("top_k", 0),
            max_tokens=body["max_tokens"], stop=tuple(body.get("stop", ())),
        )  # fmt: skip
        choices = []
        for prompt in prompts:
            for k in range(body["n"]):
                generator = torch.Generator().manual_seed(body.get("seed", int(time.time_ns())) + k)
                drawn = self.policy.extend(*left_padded([prompt]), sampling, generator=generator)
                choices.append({"index": len(choices), **self._choice(drawn, sampling, body)})
        return {"object": "text_completion", "model": self.name, "choices": choices[::-1]}

    def _choice(self, drawn, sampling, body):
        here = drawn["mask"][0]
        ids, logp = drawn["tokens"][0][here].tolist(), drawn["sampled_logp"][0][here].tolist()
        text, ended = drawn["completions"][0], bool(drawn["terminated"][0])
        if ended and self.trims:
            ids, logp = ids[:-1], logp[:-1]
        tokens = [self._token(i) for i in ids]
        choice = {"text": text, "finish_reason": "stop" if ended else "length"}
        choice["logprobs"] = {"tokens": tokens, "token_logprobs": logp, "top_logprobs": None}
        if self.says == "ids" and body.get("return_token_ids"):
            choice["token_ids"] = ids
        return choice

    def _token(self, i):
        if self.says != "texts":
            return f"token_id:{i}"
        tokenizer = self.policy.tokenizer
        return tokenizer.decode([i])

    def reload(self, path):
        """Take the weights of a folder."""
        self.reloads.append(Path(path).name)
        with self.lock:
            self.load(self.policy, path)


def load_weights(policy, path):
    """Take the weights of a folder, and nothing else of it, into a Hugging Face policy."""
    import transformers

    read = transformers.AutoModelForCausalLM.from_pretrained(path, use_safetensors=True)
    policy.module["model"].load_state_dict(read.state_dict())


@contextmanager
def serving(policy, load=None, **options):
    """A server as long as the block lasts."""
    server = Server(policy, load, **options)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_GET(self):
            self.answer(200, {"object": "list", "data": [{"id": server.name, "object": "model"}]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/v1/completions":
                return self.completions(body)
            if self.path == "/collective_rpc" and server.dev:
                assert body["method"] == "reload_weights"
                server.reload(body["kwargs"]["weights_path"])
                return self.answer(200, {"results": [None]})
            if self.path == "/reset_prefix_cache" and server.dev:
                server.resets += 1
                return self.answer(200, None)
            if self.path == "/hook":
                server.reload(body["path"])
                return self.answer(200, {"version": body["version"]})
            return self.answer(404, {"detail": "Not Found"})

        def completions(self, body):
            server.requests.append(body)
            with server.counting:
                server.now += 1
                server.most = max(server.most, server.now)
                fault = server.faults.popleft() if server.faults else None
                if server.failing_from is not None and len(server.requests) > server.failing_from:
                    fault = 500
            try:
                time.sleep(server.patience)
                if isinstance(fault, int):
                    return self.answer(fault, {"error": {"message": "try later"}})
                if fault == "slow":
                    time.sleep(server.slowness)
                with server.lock:
                    answer = server.complete(body)
                self.answer(200, answer, fault)
            finally:
                with server.counting:
                    server.now -= 1

        def answer(self, status, data, fault=None):
            raw = b"" if data is None else json.dumps(data).encode()
            if fault == "garbage":
                raw = b"<html>busy</html>"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.send_header("Retry-After-Ms", "1")
            self.end_headers()
            if fault == "cut":
                self.wfile.write(raw[: len(raw) // 2])
                self.wfile.flush()
                self.connection.shutdown(2)
                self.close_connection = True
                return
            try:
                self.wfile.write(raw)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client gave up waiting

    return Handler
