"""A model behind any OpenAI-compatible chat endpoint: many questions at once, one reply or one reason each.

The openai client does the talking (connections, retries with back-off, ``Retry-After``); extra ``judge``.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from guerdon.signals.event_loop import run_awaitable

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Endpoint:
    """Where a judge lives and how it is asked.

    Attributes:
        model: as the endpoint calls it.
        url: such as ``http://localhost:8000/v1``; None is OpenAI's own.
        key: name of the environment variable that holds the key; a local server mostly needs none.
        temperature, max_tokens, seed: of the reply.
        parallel: questions at the same time.
        retries: further tries after 408, 409, 429, 5xx or a lost connection.
        timeout: seconds for one try.
        stream: take the reply in pieces, for servers that cut long requests.
        prices: of a million tokens asked and of a million tokens said; without them a cost is the number of tokens.
    """

    model: str
    url: str | None = None
    key: str = "OPENAI_API_KEY"
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int | None = None
    parallel: int = 32
    retries: int = 3
    timeout: float = 60.0
    stream: bool = False
    prices: tuple[float, float] | None = None


@dataclass(frozen=True)
class Reply:
    """What came back: text and cost; ``first`` are the likeliest first tokens with their log-probabilities, if asked."""

    text: str
    cost: float
    first: Mapping[str, float] | None = None


class NoReply(RuntimeError):
    """A question that was not answered; the message says why."""


def converse(endpoint: Endpoint, questions: Sequence[Messages], *, first: int = 0) -> list[Reply | NoReply]:
    """Ask all questions, ``endpoint.parallel`` at a time; the answers in their order, a `NoReply` where one failed.

    Args:
        first: how many of the likeliest first tokens to ask for; 0: none. The reply is then cut after one token.

    Raises:
        ImportError: without the openai package.
    """
    key = os.environ.get(endpoint.key)
    if key is None and endpoint.url is None:
        raise NoReply("expected a key for OpenAI's endpoint, got none; set OPENAI_API_KEY, or url = ... and key = ...")
    return run_awaitable(_converse(endpoint, key, questions, first), None)


async def _converse(
    endpoint: Endpoint, key: str | None, questions: Sequence[Messages], first: int
) -> list[Reply | NoReply]:
    client = _client(asyncio.get_running_loop(), endpoint.url, key, endpoint.timeout, endpoint.retries)
    room = asyncio.Semaphore(endpoint.parallel)

    async def one(messages: Messages) -> Reply | NoReply:
        async with room:
            try:
                return await _reply(client, endpoint, messages, first)
            except NoReply as reason:
                return reason
            except Exception as error:  # noqa: BLE001  whatever client or server do, the row is unscored and tells
                return NoReply(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")

    return list(await asyncio.gather(*[one(messages) for messages in questions]))


async def _reply(client: "AsyncOpenAI", endpoint: Endpoint, messages: Messages, first: int) -> Reply:
    settings: dict[str, Any] = {"model": endpoint.model, "messages": messages, "temperature": endpoint.temperature}
    settings["max_tokens"] = 1 if first else endpoint.max_tokens
    if endpoint.seed is not None:
        settings["seed"] = endpoint.seed
    if first:
        settings |= {"logprobs": True, "top_logprobs": first}
    asking = client.chat.completions
    if endpoint.stream:
        text, listed, usage = await _streamed(asking, settings)
    else:
        said = await asking.create(**settings)
        choice = (getattr(said, "choices", None) or [None])[0]
        if choice is None or getattr(choice, "message", None) is None:
            raise NoReply("the endpoint's answer holds no message")
        text, listed, usage = choice.message.content, getattr(choice.logprobs, "content", None), said.usage
    if text is None and not listed:
        raise NoReply("the endpoint's message is empty")
    top = {t.token: t.logprob for t in listed[0].top_logprobs} if listed else None
    return Reply(text or "", _cost(usage, endpoint.prices), top)


async def _streamed(asking: Any, settings: Mapping[str, Any]) -> tuple[str, Any, Any]:
    pieces, listed, usage, ended = [], None, None, False
    async for event in await asking.create(**settings, stream=True, stream_options={"include_usage": True}):
        usage = getattr(event, "usage", None) or usage
        for choice in event.choices[:1]:
            pieces.append(choice.delta.content or "")
            listed = listed or getattr(choice.logprobs, "content", None)
            ended = ended or choice.finish_reason is not None
    if not ended:
        raise NoReply("the endpoint's stream ended before the reply did")
    return "".join(pieces), listed, usage


def _cost(usage: Any, prices: tuple[float, float] | None) -> float:
    asked, said = (getattr(usage, f"{what}_tokens", None) or 0 for what in ("prompt", "completion"))
    return float(asked + said) if prices is None else (asked * prices[0] + said * prices[1]) / 1e6


@cache
def _client(
    loop: asyncio.AbstractEventLoop, url: str | None, key: str | None, timeout: float, retries: int
) -> "AsyncOpenAI":
    """One client, and so one set of connections, for each way of asking; it lasts as long as the process.

    Connections belong to the loop that opened them: on another, which may take over from one that hangs, they are of no use.
    """
    try:
        from openai import AsyncOpenAI
    except ImportError as error:
        raise ImportError(
            "expected the openai package for a judge, got none; install the extra: pip install guerdon[judge]"
        ) from error
    return AsyncOpenAI(base_url=url, api_key=key or "none", timeout=timeout, max_retries=retries)
