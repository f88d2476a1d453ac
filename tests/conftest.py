"""Every annotation of the package is checked on every call while the tests run."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  the hook looks it up by name

if not torch.cuda.is_available():  # Triton reads it when it is first imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

install_import_hook("guerdon", "tests.typecheck.check")
