"""The embedded policy: a character-level transformer small enough to be trained with rewards on two CPU cores.

Without arguments it is the base that ships with the package, which half-knows how to evaluate arithmetic expressions
step by step (`guerdon.policies.pretrain` regenerates it). A prompt is computed once for all its completions, when they
are drawn and when they are evaluated (`guerdon.policies.layout`), rows that have ended leave the batch, and a checkpoint is one safetensors file whose metadata holds sizes and vocabulary.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from guerdon.batch import Rollouts
from guerdon.kernels.distribution import OF_LOGITS, with_options
from guerdon.policies.layout import lay_out
from guerdon.policies.network import _HIDDEN, Network, Shape
from guerdon.policies.protocol import Prompt, Sampling
from guerdon.policies.sampling import draw
from guerdon.policies.tokenizer import ARITHMETIC, END, Characters

BASE = Path(__file__).with_name("base.safetensors")
FILE = "tiny.safetensors"
_FORMAT = "guerdon-tiny-1"
_COMPACT = 0.8  # rows that have ended leave the batch once at most this share is left


class Tiny:
    """A small decoder-only transformer over characters.

    ``shares_prompts`` tells the trainer to keep the rows of a prompt together: they are cheaper so.

    Args:
        checkpoint: a file or folder written by ``export``; None takes the base of the package.
        width: gives a freshly initialised network of this width instead.
        layers, heads, hidden, vocabulary: the rest of its shape; ``hidden`` None is four times the width.
        seed: of the initialisation.
        nucleus: which tokens ``nucleus_entropy`` is about (`guerdon.kernels.distribution.nucleus_entropy`'s options).
        top: how many tokens ``top_entropy`` counts one by one.

    Raises:
        ValueError: an unreadable checkpoint or an impossible shape.
    """

    ends = (END,)
    shares_prompts = True

    def __init__(
        self,
        *,
        checkpoint: str | None = None,
        width: int | None = None,
        layers: int = 3,
        heads: int = 3,
        hidden: int | None = None,
        vocabulary: str = ARITHMETIC,
        seed: int = 0,
        nucleus: Mapping[str, Any] | None = None,
        top: int = 10,
    ):
        self.of_logits = with_options(nucleus, top)
        weights: dict[str, Tensor] = {}
        if width is None:
            shape, weights = _read(Path(checkpoint) if checkpoint else BASE)
        elif checkpoint is None:
            shape = Shape(vocabulary, width, layers, heads, hidden or 4 * width)
        else:
            raise ValueError("expected policy.checkpoint or policy.width, got both; a checkpoint knows its own shape")
        self.shape = shape
        self.tokenizer = Characters(shape.vocabulary)
        self.network = Network(shape, seed)
        self.module: nn.Module = self.network
        if weights:
            self.load_state({name: weight.float() for name, weight in weights.items()})

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Draw ``copies`` completions of each prompt; see `guerdon.policies.protocol.Policy`.

        Raises:
            ValueError: no prompt, chat messages, or a character outside the vocabulary.
        """
        texts = [_plain(prompt) for prompt in prompts]
        if not texts or copies < 1:
            raise ValueError(f"expected at least one prompt and one copy, got {len(texts)} and {copies}")
        drawn = self.extend(*self.encode_prompts(texts), sampling, copies=copies, generator=generator)
        return drawn.with_(prompts=[text for text in texts for _ in range(copies)])

    @torch.no_grad()
    def extend(
        self, context: Tensor, context_mask: Tensor, sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Continue token ids; see `guerdon.policies.protocol.Policy`."""
        tokens, logp, ended = self._generate(context, context_mask, sampling, copies, generator)
        width = tokens.shape[1]
        lengths = torch.where(ended > 0, ended, width)
        mask = torch.arange(width) < lengths[:, None]
        tokens, logp = tokens.masked_fill(~mask, END), logp.masked_fill(~mask, 0)
        return Rollouts(
            {
                "completions": self.tokenizer.decode(tokens),
                "prompt_tokens": context.repeat_interleave(copies, 0),
                "prompt_mask": context_mask.repeat_interleave(copies, 0),
                "tokens": tokens,
                "attention_mask": mask,
                "mask": mask.clone(),
                "token_spans": self.tokenizer.spans(tokens),
                "terminated": ended > 0,
                "truncated": ended == 0,
                "sampled_logp": logp,
            }
        )

    def encode_prompts(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Left-padded ids and mask of prompts."""
        return self.tokenizer.encode_left_padded([_plain(prompt) for prompt in prompts])

    def encode(self, text: str) -> list[int]:
        """The characters of ``text``; a character outside the vocabulary is an error."""
        return self.tokenizer.encode(text)

    def encode_observation(self, text: str, role: str = "tool") -> list[int]:
        """The text as it is: there are no turns in a template."""
        return self.tokenizer.encode(text)

    def read(self, tokens: Tensor, present: Tensor) -> tuple[list[str], Tensor]:
        """Texts and spans of token ids; see `guerdon.policies.protocol.Policy`."""
        tokens = tokens.masked_fill(~present, END)
        return self.tokenizer.decode(tokens), self.tokenizer.spans(tokens)

    def _generate(
        self, prompts: Tensor, prompt_mask: Tensor, sampling: Sampling, copies: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and log-probabilities [B, T], and how many tokens each row had when it ended (0: cut off)."""
        network, device = self.network, self.network.embed.weight.device
        left, most = prompts.shape[1], sampling.max_tokens
        rows = prompts.shape[0] * copies
        padded = None if bool(prompt_mask.all()) else ~prompt_mask.to(device)
        hidden, kept = network(prompts.to(device), padded)
        slots = left + min(most, 32)
        caches = [_widen(kv, slots).repeat_interleave(copies, 0) for kv in kept]
        bias = None
        if padded is not None:
            bias = _widen(padded.float()[..., None] * _HIDDEN, left + most).mT.repeat_interleave(copies, 0)
        logits = network.head(hidden[:, -1]).repeat_interleave(copies, 0)
        tokens = torch.zeros(rows, most, dtype=torch.long, device=device)
        logp = torch.zeros(rows, most, device=device)
        ended = torch.zeros(rows, dtype=torch.long, device=device)
        alive = torch.arange(rows, device=device)
        stops = [ids for ids in map(self._stop_ids, sampling.stop) if ids is not None]
        done = torch.zeros(rows, dtype=torch.bool, device=device)
        for t in range(most):
            token, chance = draw(logits, sampling, generator)
            tokens[alive, t], logp[alive, t] = token, chance
            now = token == END
            for ids in stops:
                if t + 1 >= len(ids):
                    now = now | (tokens[alive, t + 1 - len(ids) : t + 1] == ids.to(device)).all(-1)
            now = now & ~done
            ended[alive[now]] = t + 1
            done = done | now
            left_over = int((~done).sum())
            if left_over == 0 or t + 1 == most:
                break
            if left_over <= _COMPACT * len(alive):
                on = (~done).nonzero().squeeze(-1)
                alive, token, done = alive[on], token[on], done[on]
                caches = [cache[on] for cache in caches]
                bias = None if bias is None else bias[on]
            if left + t >= caches[0].shape[1]:
                caches = [_widen(cache, min(left + most, 2 * (left + t))) for cache in caches]
            logits = network.step(token, bias, caches, left + t)
        width = int(ended.max()) if bool((ended > 0).all()) else most
        return tokens[:, :width].cpu(), logp[:, :width].cpu(), ended.cpu()

    def _stop_ids(self, text: str) -> Tensor | None:
        """Ids of a stop string; None where it holds a character that is never written."""
        if not text or not set(text) <= set(self.shape.vocabulary):
            return None
        return torch.tensor(self.tokenizer.encode(text))

    def evaluate(self, batch: Rollouts, make: frozenset[str], *, temperature: float = 1.0) -> dict[str, Tensor]:
        """Forward pass over prompts and responses; see `guerdon.policies.protocol.Policy`.

        Raises:
            ValueError: a quantity that a policy does not make, or values without a value head.
        """
        known = {"logp", "entropy", "values", "hidden", "bootstrap_values", *OF_LOGITS}
        if not make <= known:
            raise ValueError(f"expected quantities out of {sorted(known)}, got {sorted(make - known)}")
        tokens, mask, exists = batch["tokens"], batch["mask"], batch["attention_mask"]
        needed = exists if "bootstrap_values" in make else exists & F.pad(exists[:, 1:], (0, 1))
        layout = lay_out(batch["prompt_tokens"], batch["prompt_mask"], tokens, needed)
        states, before = self.network.flat(layout), layout.before
        rows, width = tokens.shape
        made: dict[str, Tensor] = {}
        if make & {"logp", "entropy", *OF_LOGITS}:
            chosen = states.index_select(0, before[:, :width][mask])
            logits = self.network.head(chosen)
            logp, entropy = _logp_and_entropy(logits, tokens[mask], temperature, entropy="entropy" in make)
            blank = states.new_zeros(rows, width)
            if "logp" in make:
                made["logp"] = blank.masked_scatter(mask, logp)
            if entropy is not None:
                made["entropy"] = blank.masked_scatter(mask, entropy)
            for name in sorted(make & OF_LOGITS.keys()):
                made[name] = blank.masked_scatter(mask, self.of_logits[name](logits / temperature))
        if "hidden" in make:
            hidden = states.index_select(0, before[:, :width].flatten()).view(rows, width, -1)
            made["hidden"] = hidden * exists[..., None]
        if make & {"values", "bootstrap_values"}:
            head = self.network.value_head
            if head is None:
                raise ValueError("expected a value head, got none; call add_value_head() before training")
            values = head(states).squeeze(-1).index_select(0, before.flatten()).view(rows, width + 1)
            if "values" in make:
                made["values"] = values[:, :width] * exists
            if "bootstrap_values" in make:
                made["bootstrap_values"] = values.gather(1, exists.sum(-1, keepdim=True)).squeeze(-1)
        return made

    def add_value_head(self) -> None:
        """Add a linear value head that starts at 0; nothing happens where there is one."""
        if self.network.value_head is None:
            head = nn.Linear(self.shape.width, 1)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            self.network.value_head = head.to(self.network.embed.weight.device)

    def reference(self) -> "Tiny":
        """A frozen copy with today's weights."""
        twin = copy.copy(self)
        twin.network = copy.deepcopy(self.network).requires_grad_(False)
        twin.module = twin.network
        return twin

    def state(self) -> Mapping[str, Tensor]:
        """The weights, contiguous, without gradient; copies, so that training on does not change them."""
        return {name: weight.detach().clone().contiguous() for name, weight in self.network.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state`` gave; adds the value head where the state has one.

        Raises:
            ValueError: the names or shapes are of another network.
        """
        if any(name.startswith("value_head.") for name in state):
            self.add_value_head()
        own = self.network.state_dict()
        odd = sorted(own.keys() ^ state.keys()) or sorted(n for n in own if own[n].shape != state[n].shape)
        if odd:
            raise ValueError(
                f"expected the weights of a {self.shape.width}-wide tiny policy, got a mismatch at {odd[:5]}"
            )
        self.network.load_state_dict(dict(state))

    def export(self, folder: Path) -> None:
        """Write ``tiny.safetensors`` into ``folder``, which ``Tiny(checkpoint=folder)`` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        save(self, folder / FILE)


def save(policy: Tiny, file: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write weights, sizes and vocabulary to one safetensors file."""
    weights = {name: weight.to(dtype) for name, weight in policy.state().items()}
    save_file(weights, str(file), metadata={"format": _FORMAT, "shape": json.dumps(policy.shape.asdict())})


def _read(path: Path) -> tuple[Shape, dict[str, Tensor]]:
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"expected a checkpoint of the tiny policy at {path}, got nothing there; give what export wrote"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"expected a readable safetensors file at {path}, got {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"expected a checkpoint of the tiny policy ({_FORMAT}) at {path}, got {metadata.get('format')!r}"
        )
    return Shape(**json.loads(metadata["shape"])), weights


def _plain(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    raise ValueError("expected a prompt as text for the tiny policy, got chat messages; use the huggingface policy")


def _widen(x: Tensor, slots: int) -> Tensor:
    """[B, T, D] with room for ``slots`` positions."""
    return torch.cat([x, x.new_zeros(x.shape[0], slots - x.shape[1], x.shape[2])], dim=1)


def _logp_and_entropy(
    logits: Tensor, targets: Tensor, temperature: float, *, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    logp = (logits / temperature if temperature != 1 else logits).log_softmax(-1)
    chosen = logp.gather(-1, targets[:, None]).squeeze(-1)
    return chosen, -(logp.exp() * logp).sum(-1) if entropy else None
