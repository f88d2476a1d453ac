"""Every annotation of the package is checked on every call while the tests run."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  the hook looks it up by name
from tests.judge_server import JudgeServer

if not torch.cuda.is_available():  # Triton reads it when it is first imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

install_import_hook("guerdon", "tests.typecheck.check")


@pytest.fixture(scope="module")
def judge_server():
    """A judge over real HTTP, and no key of OpenAI's in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("OPENAI_API_KEY", raising=False)
        running = JudgeServer()
        yield running
        running.close()
