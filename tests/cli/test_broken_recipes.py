"""Every broken recipe is refused before anything is written, in the words of the committed file."""

import pytest

from guerdon.recipe import RecipeError
from guerdon.training import train
from tests.cli.broken import CASES, SNAPSHOT, refusal, snapshot


@pytest.fixture(scope="module")
def messages():
    """What each broken recipe is told; making them all takes a few seconds."""
    return {name: refusal(case) for name, case in CASES.items()}


def test_the_messages_are_those_of_the_committed_file(messages):
    """After a change on purpose: ``python -m tests.cli.broken --write``."""
    assert snapshot(messages) == SNAPSHOT.read_text("utf-8")


def test_every_message_says_what_was_expected_or_missing_and_what_to_do(messages):
    assert len(messages) >= 25
    for name, message in messages.items():
        assert "expected" in message or "takes" in message or "makes" in message, name
        assert ";" in message or "expected start and end" in message, name
        assert "\n" not in message, name


@pytest.mark.parametrize("path", ["nowhere.toml", "folder", "arithmetics"])
def test_paths_that_are_no_recipes(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecipeError, match=r"expected a (recipe file or one of|readable TOML file)"):
        train(path, "run")
    assert not (tmp_path / "run").exists()


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    file = tmp_path / "secret.toml"
    file.write_text('preset = "grpo"\n')

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(file), "read_text", refuse)  # root may read any file
    with pytest.raises(RecipeError, match="Permission denied"):
        train(file, tmp_path / "run")
