"""Any causal language model of transformers as a policy: sampling, training, LoRA, value head, reference.

The model is read from safetensors only. transformers and peft are imported when a policy is made, not before. Its own
decoding loop samples (`guerdon.policies.hf_decoding`), and the vocabulary is projected only at the positions that the
policy chose. Dropout is off for good: the ratio of new and old probabilities must not carry its noise.
"""

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.kernels.distribution import with_options
from guerdon.kernels.last_layer import Transform
from guerdon.policies.hf_decoding import decode, left_aligned
from guerdon.policies.hf_loading import add_lora, copied, end_tokens, load, save_merged
from guerdon.policies.hf_prompts import prompt_ids
from guerdon.policies.last_layer import LastLayer, transform_of
from guerdon.policies.protocol import Policy, Prompt, Sampling
from guerdon.policies.token_statistics import OF_POSITIONS, placed, token_statistics
from guerdon.policies.token_text import StopStrings, TokenText

_MAKES = {"values", "hidden", "bootstrap_values", *OF_POSITIONS}


class HuggingFace:
    """A causal language model by hub id or folder.

    Args:
        model: hub id, folder of a model, or folder of a LoRA adapter that this class exported.
        dtype: of the weights; ``auto`` is float32 on the CPU and what the model was saved in elsewhere.
        device: ``auto`` takes a GPU where there is one.
        lora: rank of the adapter to train; None trains all weights.
        lora_alpha: scale of the adapter; None is twice the rank.
        lora_targets: names of the modules that get an adapter.
        trust_remote_code: run code that comes with the model. It is other people's code on your machine.
        revision: branch, tag or commit on the hub.
        gradient_checkpointing: less memory for more time.
        chat: prompts go through the tokenizer's chat template, plain strings as a user's message; None: if it has one.
        seed: of the adapter's first weights.
        nucleus: options of `guerdon.kernels.distribution.nucleus_entropy`.
        top: how many tokens ``top_entropy`` counts one by one.
        fused: never hold the logits of an update (`guerdon.kernels.last_layer`); False runs the model whole.

    Raises:
        ValueError: no safetensors weights, or prompts that the tokenizer or the context cannot take.
        OSError: no such model.
        ImportError: transformers or peft is not installed.
    """

    module: nn.Module
    exact_head: bool = False
    """`guerdon.policies.last_layer.LastLayer.exact`: a host's setting."""

    def __init__(
        self,
        *,
        model: str,
        dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto",
        device: str = "auto",
        lora: int | None = None,
        lora_alpha: int | None = None,
        lora_targets: str | list[str] | None = "all-linear",
        trust_remote_code: bool = False,
        revision: str | None = None,
        gradient_checkpointing: bool = False,
        chat: bool | None = None,
        seed: int = 0,
        nucleus: dict[str, Any] | None = None,
        top: int = 10,
        fused: bool = True,
    ):
        self.of_logits, self.fused = with_options(nucleus, top), fused
        place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.device = torch.device(place)
        wrapped, self.tokenizer = load(
            model, dtype=dtype, device=self.device, trust_remote_code=trust_remote_code, revision=revision
        )
        if lora is not None:
            wrapped = add_lora(wrapped, rank=lora, alpha=lora_alpha, targets=lora_targets, seed=seed)
        if gradient_checkpointing:
            wrapped.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._wrap(wrapped, chat, gradient_checkpointing)
        self.module.eval()

    @classmethod
    def of(
        cls,
        model: Any,
        tokenizer: Any,
        *,
        chat: bool | None = None,
        fused: bool = True,
        nucleus: dict[str, Any] | None = None,
        top: int = 10,
    ) -> "HuggingFace":
        """A model that is there already, such as one that another trainer trains: not copied, not changed."""
        made, checkpointing = cls.__new__(cls), (getattr(p, "gradient_checkpointing", False) for p in model.modules())
        made.device, made.tokenizer = next(model.parameters()).device, tokenizer
        made.of_logits, made.fused = with_options(nucleus, top), fused
        made._wrap(model, chat, any(checkpointing))
        return made

    def _wrap(self, model: Any, chat: bool | None, gradient_checkpointing: bool) -> None:
        self.gradient_checkpointing = gradient_checkpointing
        self.module = nn.ModuleDict({"model": model})
        self.chat = self.tokenizer.chat_template is not None if chat is None else chat
        self._text = TokenText(self.tokenizer)
        self._adapter = hasattr(model, "disable_adapter")
        self._adapter_off = False
        self._parameters = set(inspect.signature(self._causal.forward).parameters)
        self._cache_name = "cache" if "cache" in self._parameters else "past_key_values"
        self.ends = end_tokens(self._causal, self.tokenizer)

    @cached_property
    def _transform(self) -> Transform | None:
        return transform_of(self._causal) if self.fused else None

    @property
    def _layer(self) -> LastLayer | None:
        return self._transform and LastLayer(self._causal.get_output_embeddings(), self._transform, self.exact_head)

    @property
    def _causal(self) -> Any:
        """The model itself, with adapters inside it but without peft's wrapper."""
        model: Any = self.module["model"]  # pyright: ignore[reportIndexIssue]
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    # sampling

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Draw ``copies`` completions of each prompt; see `guerdon.policies.protocol.Policy.sample`."""
        drawn = self.extend(*self.encode_prompts(prompts), sampling, copies=copies, generator=generator)
        return drawn.with_(prompts=[p for p in prompts for _ in range(copies)])

    @torch.no_grad()
    def extend(
        self, context: Tensor, context_mask: Tensor, sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Continue token ids; see `guerdon.policies.protocol.Policy.extend`."""
        prompt, prompt_mask = context.to(self.device), context_mask.to(self.device)
        self._check_room(int(prompt_mask.sum(-1).max()), sampling.max_tokens)
        self.module.eval()
        config = self._causal.config
        plain = (
            "position_ids" in self._parameters
            and getattr(config, "_attn_implementation", None) in ("sdpa", "eager")
            and not getattr(config, "alibi", False)
        )
        from guerdon.policies.growing_cache import new_cache

        text_config = config.get_text_config()
        _, in_place = new_cache(text_config, 1)
        with self._base_only():
            drawn = decode(
                self._last_logits,
                prompt,
                prompt_mask,
                sampling,
                copies=copies,
                ends=torch.tensor(self.ends, device=self.device),
                stop=StopStrings(self._text, sampling.stop) if sampling.stop else None,
                generator=generator,
                new_cache=partial(new_cache, text_config),
                bias_dtype=self._causal.dtype if plain and in_place else None,
            )
        present = torch.arange(drawn.tokens.shape[1], device=self.device) < drawn.lengths[:, None]
        texts, spans = self.read(drawn.tokens, present)
        return Rollouts(
            {
                "completions": texts,
                "prompt_tokens": prompt.repeat_interleave(copies, 0),
                "prompt_mask": prompt_mask.repeat_interleave(copies, 0),
                "tokens": drawn.tokens,
                "attention_mask": present,
                "mask": present.clone(),
                "token_spans": spans,
                "terminated": drawn.ended,
                "truncated": ~drawn.ended,
                "sampled_logp": drawn.logp,
            }
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of text, without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_observation(self, text: str, role: str = "tool") -> list[int]:
        """Token ids of an observation; see `guerdon.policies.protocol.Policy.encode_observation`.

        What a chat template puts around a turn is found by rendering a short conversation with and without it.
        """
        if not self.chat:
            return self.encode(text)
        start = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        before = self.tokenizer.apply_chat_template(start, tokenize=False)
        after = self.tokenizer.apply_chat_template(
            [*start, {"role": role, "content": text}], tokenize=False, add_generation_prompt=True
        )
        said = before[: before.rindex("b") + 1]
        if not after.startswith(said):
            raise ValueError(
                "expected a chat template whose turns do not change when another follows, got one that rewrites them; "
                "give the policy a chat_template of its own"
            )
        return self.encode(after[len(said) :])

    def read(self, tokens: Tensor, present: Tensor) -> tuple[list[str], Tensor]:
        """Texts and spans of token ids; see `guerdon.policies.protocol.Policy.read`."""
        texts = self._text.decode([row[here].tolist() for row, here in zip(tokens, present, strict=True)])
        return texts, self._text.spans(tokens, present, texts).to(self.device)

    def _last_logits(self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any) -> Tensor:
        model = self._causal
        inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": True, self._cache_name: cache}
        if "position_ids" in self._parameters:
            inputs["position_ids"] = positions
        if layer := self._layer:
            return layer.logits(model.base_model(**inputs)[0][:, -1]).float()
        if "logits_to_keep" in self._parameters:
            inputs["logits_to_keep"] = 1
        return model(**inputs).logits[:, -1].float()

    # evaluation

    def evaluate(self, batch: Rollouts, make: frozenset[str], *, temperature: float = 1.0) -> dict[str, Tensor]:
        """Forward pass; see `guerdon.policies.protocol.Policy.evaluate`.

        Rows are shifted to the left before the pass, so that padding stands only at the right, where causal
        attention never looks: no mask is needed and a row's results do not depend on its company.

        Raises:
            ValueError: an unknown quantity, values without a value head, or a temperature that is not positive.
        """
        if make - _MAKES:
            raise ValueError(f"expected quantities among {sorted(_MAKES)}, got {sorted(make - _MAKES)}")
        if temperature <= 0:
            raise ValueError(f"expected a temperature above 0, got {temperature}; greedy draws are evaluated at 1")
        ids, first = left_aligned(batch, self.device)
        mask, present = batch["mask"].to(self.device), batch["attention_mask"].to(self.device)
        row, at = mask.nonzero(as_tuple=True)
        before = first[row] + at - 1
        target = batch["tokens"].to(self.device)[row, at]
        self.module.train(self.gradient_checkpointing and torch.is_grad_enabled())
        with self._base_only():
            hidden, logits = self._forward(
                ids, int(first.min()) - 1 if len(first) else 0, want_hidden=make - OF_POSITIONS
            )
        made: dict[str, Tensor] = {}
        chosen = hidden[row, before] if hidden is not None else None
        if make & OF_POSITIONS:
            at_hand = None if logits is None else logits[row, before - (ids.shape[1] - logits.shape[1])].float()
            where = {"hidden": chosen, "layer": self._layer, "logits": at_hand}
            told = token_statistics(make, target, **where, temperature=temperature, functions=self.of_logits)
            made |= {name: placed(value.float(), row, at, mask) for name, value in told.items()}
        if "hidden" in make:
            assert chosen is not None
            made["hidden"] = placed(chosen.float(), row, at, mask)
        if make & {"values", "bootstrap_values"}:
            head = self._value_head()
            assert chosen is not None
            assert hidden is not None
            if "values" in make:
                made["values"] = placed(head(chosen.float()).squeeze(-1), row, at, mask)
            if "bootstrap_values" in make:
                last = first + present.sum(-1) - 1
                made["bootstrap_values"] = head(
                    hidden[torch.arange(len(last), device=last.device), last].float()
                ).squeeze(-1)
        return made

    def _forward(self, ids: Tensor, start: int, want_hidden: Any) -> tuple[Tensor | None, Tensor | None]:
        """(last hidden states [B, W, D] or None, logits of the positions from ``start`` on or None)."""
        model = self._causal
        if self._transform is not None:
            return model.base_model(input_ids=ids, use_cache=False)[0], None
        inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
        if "logits_to_keep" in self._parameters:
            inputs["logits_to_keep"] = ids.shape[1] - max(0, start)
        out = model(**inputs, output_hidden_states=bool(want_hidden))
        return out.hidden_states[-1] if want_hidden else None, out.logits

    # value head and reference

    def add_value_head(self) -> None:
        """Add a linear value head on the last hidden state, float32, zero at first (so that all values are 0)."""
        if "value_head" in self.module:  # pyright: ignore[reportOperatorIssue]
            return
        width = self._causal.get_output_embeddings().weight.shape[1]
        head = nn.Linear(width, 1, device=self.device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        self.module["value_head"] = head  # pyright: ignore[reportIndexIssue]

    def _value_head(self) -> nn.Module:
        if "value_head" not in self.module:  # pyright: ignore[reportOperatorIssue]
            raise ValueError("expected a value head for values, got a policy without one; call add_value_head() first")
        return self.module["value_head"]  # pyright: ignore[reportIndexIssue]

    def reference(self) -> Policy:
        """A frozen copy without value head; under LoRA the same weights with the adapter switched off.

        Under LoRA this is the model before training: an adapter that was loaded is not part of it.
        """
        other = copy.copy(self)
        if self._adapter:
            other._adapter_off = True
            return other
        frozen = copied(self.module["model"])  # pyright: ignore[reportIndexIssue]
        other.module = nn.ModuleDict({"model": frozen}).requires_grad_(False).eval()
        return other

    @contextmanager
    def _base_only(self) -> Iterator[None]:
        model: Any = self.module["model"]  # pyright: ignore[reportIndexIssue]
        with model.disable_adapter() if self._adapter_off else nullcontext():
            yield

    # state

    def state(self) -> Mapping[str, Tensor]:
        """Trainable weights by name, each shared (tied) weight once; contiguous and detached, not copied."""
        return {name: p.detach().contiguous() for name, p in self._trainable()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy what ``state`` gave into the weights.

        Raises:
            ValueError: names or shapes differ from this policy's.
        """
        own = dict(self._trainable())
        odd = sorted(set(own) ^ set(state))
        if odd:
            raise ValueError(
                f"expected a state with the {len(own)} weights of this policy, got one that differs in {odd[:4]}; "
                "use the same model, lora and value head as the run that saved it"
            )
        for name, weight in own.items():
            if weight.shape != state[name].shape:
                raise ValueError(f"expected {name} of shape {list(weight.shape)}, got {list(state[name].shape)}")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(state[name])

    def _trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        # named_parameters gives a shared parameter once, under its first name
        return ((name, p) for name, p in self.module.named_parameters() if p.requires_grad)

    def export(self, folder: Path) -> None:
        """Write model (or adapter) and tokenizer as a Hugging Face folder; the value head is not part of it."""
        model: Any = self.module["model"]  # pyright: ignore[reportIndexIssue]
        options = {"save_embedding_layers": False} if self._adapter else {}
        model.save_pretrained(folder, safe_serialization=True, **options)
        self.tokenizer.save_pretrained(folder)

    def export_merged(self, folder: Path) -> None:
        """Write the weights as a plain model, an adapter merged in: what sampling engines read."""
        save_merged(self.module["model"], folder)  # pyright: ignore[reportIndexIssue]

    # prompts

    def encode_prompts(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Left-padded token ids and mask [P, L]."""
        if not prompts:
            raise ValueError("expected at least one prompt, got none")
        rows = [prompt_ids(self.tokenizer, p, chat=self.chat) for p in prompts]
        width = max(len(r) for r in rows)
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], device=self.device)
        mask = torch.tensor([[False] * (width - len(r)) + [True] * len(r) for r in rows], device=self.device)
        return ids, mask

    def _check_room(self, prompt: int, new: int) -> None:
        room = getattr(self._causal.config.get_text_config(), "max_position_embeddings", None)
        if room is not None and prompt + new > room:
            raise ValueError(
                f"expected prompt and completion within the model's {room} positions, got {prompt} + {new}; "
                "lower sampling.max_tokens or shorten the prompts"
            )
