"""A stage for verl's reward manager and trainer without a cluster: its configuration, a tokenizer, and its queue in memory."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
import verl
from hydra import compose, initialize_config_dir
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

LIMIT = 16
MICRO = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1"


def configure(*overrides: str) -> Any:
    """verl's own configuration with these changes."""
    folder = os.path.join(os.path.dirname(verl.__file__), "trainer", "config")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra and omegaconf of each other
        with initialize_config_dir(folder, version_base=None):
            return compose("ppo_trainer", overrides=[MICRO, f"data.max_response_length={LIMIT}", *overrides])


def make_tokenizer() -> Any:
    """One token per character."""
    letters = {c: i + 2 for i, c in enumerate("0123456789+-=\n answer:tol")}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "<eos>": 1, **letters}, unk_token="<pad>"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    core.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def session(tokenizer: Any, texts: Sequence[str], *, ended: bool = True, **fields: Any) -> DataProto:
    """The outputs of one session as an agent loop hands them to the reward manager: 1-D rows, padded on the right."""
    ids = [torch.tensor(tokenizer.encode(t) + [1] * ended) for t in texts]
    prompts = [torch.tensor(tokenizer.encode("1+2=")[: 4 - i]) for i in range(len(ids))]

    def pad(rows):
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    whole = [torch.cat(pair) for pair in zip(prompts, ids, strict=True)]
    tensors = {
        "prompts": pad(prompts),
        "responses": pad(ids),
        "attention_mask": pad([torch.ones_like(w) for w in whole]),
    }
    fields = {"raw_prompt": [{"role": "user", "content": "1+2="}], "data_source": "sums", **fields}
    arrays = {k: np.array([v] * len(ids), dtype=object) for k, v in fields.items()}
    arrays |= {"response_len": np.array([len(i) for i in ids]), "__num_turns__": np.array([2] * len(ids))}
    return DataProto(batch=TensorDict(tensors, batch_size=len(ids)), non_tensor_batch=arrays)


class Queue:
    """verl's TransferQueue, in this process: values by key and field, ragged tensors nested as it nests them."""

    def __init__(self, rows: dict[str, dict[str, Any]]):
        self.rows = rows
        self.batch = KVBatchMeta(keys=list(rows), partition_id="train", tags=[{} for _ in rows])

    def kv_batch_get(self, keys, partition_id, select_fields):
        found = [{f: self.rows[k][f] for f in select_fields if f in self.rows[k]} for k in keys]
        data = list_of_dict_to_tensordict(found)
        for name, value in found[0].items():
            if isinstance(value, torch.Tensor):  # nested even where all rows have the same length
                data[name] = torch.nested.as_nested_tensor([row[name] for row in found], layout=torch.jagged)
        return data

    def kv_batch_put(self, keys, partition_id, fields):
        for name in fields.keys():  # noqa: SIM118  a TensorDict iterates over its rows
            for key, value in zip(keys, fields[name].unbind() if fields[name].is_nested else fields[name], strict=True):
                self.rows[key][name] = value
        return self.batch
