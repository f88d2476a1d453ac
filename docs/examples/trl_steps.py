"""Credit for every step of a sum, in TRL: python trl_steps.py [model] [steps]"""

import sys

import torch
from datasets import Dataset
from trl import GRPOConfig

from guerdon.adapters.trl import GuerdonGRPOTrainer

model = sys.argv[1] if len(sys.argv) > 1 else "Qwen/Qwen2.5-0.5B"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 200
gpu = torch.cuda.is_available()

sums = [f"{a}+{b}-{c}" for a in range(1, 10) for b in range(1, 10) for c in range(1, 10)]
columns = {"prompt": [f"{s}=" for s in sums], "expression": sums, "answer": [str(eval(s)) for s in sums]}
data = Dataset.from_dict(columns)
args = GRPOConfig("run", max_completion_length=16, max_steps=steps, bf16=gpu, use_cpu=not gpu, report_to="none")
trainer = GuerdonGRPOTrainer(model, recipe="trl_steps.toml", args=args, train_dataset=data, separator="=")
trainer.train()
