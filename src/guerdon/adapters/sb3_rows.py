"""A rollout buffer of Stable-Baselines3 as rows of episodes. Nothing here imports it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.batch import Rollouts


class Episodes:
    """The buffer's [steps, environments] as rows of episodes, and the way back."""

    def __init__(self, buffer: Any, last_values: np.ndarray, dones: np.ndarray):
        steps, count = buffer.buffer_size, buffer.n_envs
        ends = np.concatenate([buffer.episode_starts[1:] > 0, np.ones((1, count), dtype=bool)])
        row = np.concatenate([np.zeros((1, count), dtype=np.int64), np.cumsum(ends, axis=0)[:-1]])
        row = (
            row + np.concatenate([[0], np.cumsum(ends.sum(0))[:-1]])[None]
        )  # numbered on from environment to environment
        at = np.arange(steps)[:, None] - np.maximum.accumulate(_starts(ends), axis=0)
        self.at = (torch.from_numpy(row), torch.from_numpy(at))
        self.size = (int(ends.sum()), int(at.max()) + 1)
        self.mask = self._rows(np.ones((steps, count), dtype=bool), False)
        over = np.concatenate([ends[:-1], dones[None].astype(bool)])
        cut = ends & (~over | ~np.isnan(buffer.cut_values))
        after = np.where(np.isnan(buffer.cut_values), 0.0, buffer.cut_values)
        after[-1] = np.where(dones.astype(bool), after[-1], last_values)
        truncated, bootstrap = torch.zeros(self.size[0], dtype=torch.bool), torch.zeros(self.size[0])
        which = torch.from_numpy(ends)
        truncated[self.at[0][which]] = torch.from_numpy(cut)[which]
        bootstrap[self.at[0][which]] = torch.from_numpy(np.where(cut, after, 0.0).astype(np.float32))[which]
        turns = torch.where(self.mask, torch.arange(self.size[1]), -1)
        self.batch = Rollouts(
            {
                "mask": self.mask,
                "attention_mask": self.mask,
                "turn_ids": turns,
                "step_ids": turns,
                "turn_scores": self._rows(buffer.paid, torch.nan),
                "old_values": self._rows(buffer.values, 0.0),
                "old_logp": self._rows(buffer.log_probs, 0.0),
                "bootstrap_values": bootstrap,
                "truncated": truncated,
                "terminated": ~truncated,
            }
        )

    def _rows(self, table: np.ndarray, padding: Any) -> Tensor:
        values = torch.from_numpy(table)
        return torch.full(self.size, padding, dtype=values.dtype).index_put(self.at, values)

    def back(self, rows: Tensor) -> np.ndarray:
        """[rows, positions] as the host's [steps, environments]."""
        return rows[self.at].numpy()


def _starts(ends: np.ndarray) -> np.ndarray:
    """The step at which an episode starts, there; 0 elsewhere."""
    begin = np.concatenate([np.ones((1, ends.shape[1]), dtype=bool), ends[:-1]])
    return np.where(begin, np.arange(len(ends))[:, None], 0)
