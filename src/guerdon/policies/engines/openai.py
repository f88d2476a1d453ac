"""Any server with an OpenAI-compatible ``/v1/completions``: prompts as token ids, completions with log-probabilities.

With ``dialect = "vllm"`` the request asks for token ids, sends every sampling setting (vLLM fills what is left out from the
model's ``generation_config.json``), the policy's end tokens, and keeps stop strings. With ``dialect = "openai"`` only the
fields of OpenAI's own API are sent, and token ids are recovered from the texts of the tokens where that is exact.

Sources: vLLM's ``CompletionRequest`` (``return_token_ids``, ``return_tokens_as_token_ids``, ``include_stop_str_in_output``),
its ``--logprobs-mode``, and its development endpoints ``/collective_rpc`` and ``/reset_prefix_cache``,
https://docs.vllm.ai.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, Literal
from urllib.parse import urlsplit

from guerdon.policies.engines.protocol import Completion, EngineError, Served
from guerdon.policies.engines.texts import TokenIds
from guerdon.policies.engines.weights import WeightFolder
from guerdon.policies.protocol import Sampling

_MARK = "token_id:"


class OpenAIEngine:
    """A server of completions, asked over HTTP.

    Args:
        url: the server's address with its version, such as ``http://localhost:8000/v1``.
        model: the name under which it serves the policy's model.
        dialect: what it understands beyond OpenAI's API.
        logprobs: whether its log-probabilities are of the model's own distribution (``raw``, vLLM's default) or of the
            one drawn from (``processed``: start vLLM with ``--logprobs-mode processed_logprobs``). Raw ones serve only
            at temperature 1 without top-k and top-p.
        sync: how it gets new weights: vLLM's development endpoints (``VLLM_SERVER_DEV_MODE=1``, weights through a folder
            that both see), a POST of ``{"path": ..., "version": ...}`` to ``hook``, or not at all.
        hook: the address for ``sync = "hook"``.
        folder: where weights are handed over; None is a temporary folder of this machine.
        parallel: requests at the same time.
        prompts_per_request: prompts in one request. With more than one no seed is sent, since a server would draw all of
            them with the same random numbers; draws are then not repeatable.
        timeout: seconds for one request.
        sync_timeout: seconds for the server to read new weights.
        retries: further attempts after 408, 409, 429, 5xx, a time-out or a cut connection, with growing pauses.
        key: name of the environment variable that holds the key; a local server mostly needs none.

    Raises:
        ValueError: settings that contradict each other.
        ImportError: the openai package is not installed.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        dialect: Literal["vllm", "openai"] = "vllm",
        logprobs: Literal["raw", "processed"] = "raw",
        sync: Literal["vllm", "hook", "none"] = "vllm",
        hook: str | None = None,
        folder: str | None = None,
        parallel: int = 32,
        prompts_per_request: int = 1,
        timeout: float = 600.0,
        sync_timeout: float = 600.0,
        retries: int = 5,
        key: str = "OPENAI_API_KEY",
    ):
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"expected url as http://host:port/v1, got {url!r}; correct it")
        if (sync == "hook") != (hook is not None):
            raise ValueError(
                f'expected sync = "hook" and hook together, got sync = {sync!r} and hook = {hook!r}; set both'
            )
        if min(parallel, prompts_per_request) < 1 or retries < 0:
            raise ValueError("expected parallel and prompts_per_request of at least 1 and retries of at least 0")
        try:
            import openai
        except ImportError as error:
            raise ImportError("expected the openai package, found none; pip install 'guerdon[engine]'") from error
        self.url, self.model, self.dialect, self.logprobs = url.rstrip("/"), model, dialect, logprobs
        self.shared = True
        self.syncs, self.hook = sync != "none", hook
        self.parallel, self.prompts_per_request, self.sync_timeout = parallel, prompts_per_request, sync_timeout
        self._openai = openai
        self._client = openai.OpenAI(
            base_url=self.url,
            api_key=os.environ.get(key) or "none",
            timeout=timeout,
            max_retries=retries,
        )
        self._folder = WeightFolder(folder)
        self._policy: Served | None = None
        self._ids: TokenIds | None = None

    def attach(self, policy: Served) -> None:
        """Keep the policy whose weights and end tokens the server gets."""
        self._policy = policy

    def check(self) -> None:
        """Ask which models the server has; see `guerdon.policies.engines.protocol.Engine`."""
        try:
            served = [model.id for model in self._client.models.list()]
        except (self._openai.APIError, ValueError) as error:
            raise self._error(error) from error
        if self.model not in served:
            raise EngineError(
                f"expected {self.url} to serve {self.model!r}, got {served}; set sampling.engine.model, or start the server "
                "with --served-model-name"
            )

    # drawing

    def draw(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, copies: int, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        """Draw completions; see `guerdon.policies.engines.protocol.Engine`."""
        greedy = sampling.greedy or sampling.temperature == 0
        if self.logprobs == "raw" and not greedy and not (sampling.full_support and sampling.temperature == 1):
            raise EngineError(
                "expected log-probabilities of the distribution that is drawn from, got raw ones with a temperature other "
                "than 1, top_k or top_p; start vLLM with --logprobs-mode processed_logprobs and set "
                'sampling.engine.logprobs = "processed", or sample at temperature 1 uncut'
            )
        size = self.prompts_per_request
        starts = range(0, len(prompts), size)
        pool = ThreadPoolExecutor(min(self.parallel, max(1, len(starts))))
        try:
            asked = [pool.submit(self._ask, prompts[i : i + size], seeds[i], sampling, copies) for i in starts]
            for first in wait(asked, return_when=FIRST_EXCEPTION).done:
                first.result()  # raises what failed
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after a failure, do not wait for what is on its way
        return [rows for one in asked for rows in one.result()]

    def _ask(
        self, prompts: Sequence[Sequence[int]], seed: int, sampling: Sampling, copies: int
    ) -> list[list[Completion]]:
        body = self._body(sampling, copies)
        if len(prompts) == 1:
            body["seed"] = seed
        try:
            text = self._client.post("/completions", cast_to=str, body={**body, "prompt": [list(p) for p in prompts]})
            answer = json.loads(text)
        except (self._openai.APIError, ValueError) as error:
            raise self._error(error) from error
        return self._read(answer, len(prompts), copies)

    def _body(self, sampling: Sampling, copies: int) -> dict[str, Any]:
        greedy = sampling.greedy or sampling.temperature == 0
        body: dict[str, Any] = {
            "model": self.model,
            "n": copies,
            "max_tokens": sampling.max_tokens,
            "temperature": 0.0 if greedy else sampling.temperature,
            "top_p": 1.0 if greedy else sampling.top_p,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": 1,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self.dialect == "openai":
            if sampling.top_k and not greedy:
                raise EngineError(
                    f'expected sampling.top_k = 0 with dialect = "openai", whose API has none, got {sampling.top_k}; leave it out'
                )
            return body
        assert self._policy is not None
        return body | {
            "logprobs": 0,
            "top_k": 0 if greedy else sampling.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop_token_ids": list(self._policy.ends),
            "include_stop_str_in_output": True,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }

    def _read(self, answer: Any, prompts: int, copies: int) -> list[list[Completion]]:
        try:
            choices = sorted(answer["choices"], key=lambda choice: choice["index"])
            rows = [self._completion(choice) for choice in choices]
        except (KeyError, TypeError, IndexError) as error:
            raise EngineError(
                f"expected an answer of /completions with log-probabilities, got {json.dumps(answer)[:200]} "
                f"({type(error).__name__}: {error}); check what serves {self.url}"
            ) from error
        if len(rows) != prompts * copies:
            raise EngineError(f"expected {prompts * copies} choices, got {len(rows)}; the server does not keep n")
        return [rows[i * copies : (i + 1) * copies] for i in range(prompts)]

    def _completion(self, choice: Mapping[str, Any]) -> Completion:
        finish = choice["finish_reason"]
        if finish not in ("stop", "length"):
            raise EngineError(
                f"expected a completion that ended by stop or length, got finish_reason {finish!r}; see the server's log"
            )
        said = choice["logprobs"]
        logp = tuple(math.nan if x is None else float(x) for x in said["token_logprobs"])
        ids = choice.get("token_ids")
        if ids is None:
            texts = said["tokens"]
            if all(t.startswith(_MARK) for t in texts):
                ids = [int(t.removeprefix(_MARK)) for t in texts]
            else:
                ids = self._recovered(texts)
        return Completion(tuple(ids), logp, finish)

    def _recovered(self, texts: list[str]) -> tuple[int, ...]:
        assert self._policy is not None
        if self._ids is None:
            if not hasattr(self._policy.tokenizer, "batch_decode"):
                raise EngineError(
                    "expected token ids from the engine, got texts of tokens, which only a Hugging Face tokenizer can read; "
                    'use a server that gives ids (vLLM: dialect = "vllm")'
                )
            self._ids = TokenIds(self._policy.tokenizer)
        return self._ids.of(texts)

    # weights

    def sync(self, version: int) -> None:
        """Hand over the weights; see `guerdon.policies.engines.protocol.Engine`."""
        assert self._policy is not None
        with self._folder.written(self._policy, version) as folder:
            if self.hook is not None:
                self._post(self.hook, {"path": str(folder), "version": version})
                return
            root = self.url.removesuffix("/v1")
            self._post(f"{root}/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
            # what is cached was computed with the old weights
            self._post(f"{root}/reset_prefix_cache", {})

    def _post(self, address: str, body: dict[str, Any]) -> None:
        try:
            self._client.post(address, cast_to=str, body=body, options={"timeout": self.sync_timeout, "max_retries": 0})
        except (self._openai.APIError, ValueError) as error:
            if getattr(error, "status_code", None) == 404:
                raise EngineError(
                    f"expected {address} to take new weights, got no such address; start vLLM with VLLM_SERVER_DEV_MODE=1, "
                    'set sampling.engine.hook, or sync = "none" to sample with the weights it has'
                ) from error
            raise self._error(error) from error

    def close(self) -> None:
        """Close connections and remove the temporary folder."""
        self._client.close()
        self._folder.close()

    def _error(self, error: Exception) -> EngineError:
        if isinstance(error, self._openai.APIStatusError):
            said = error.response.text[:300]
            return EngineError(
                f"expected an answer from {self.url}, got {error.status_code}: {said}; see the server's log, then resume"
            )
        if isinstance(error, self._openai.APITimeoutError):
            return EngineError(
                f"expected an answer from {self.url} within {self._client.timeout} seconds, got none; raise "
                "sampling.engine.timeout, or lower parallel"
            )
        if isinstance(error, self._openai.APIConnectionError):
            return EngineError(
                f"expected a server at {self.url}, got {error.__cause__ or error}; check that it runs, then resume"
            )
        return EngineError(f"expected JSON from {self.url}, got {error}; check what serves that address")
