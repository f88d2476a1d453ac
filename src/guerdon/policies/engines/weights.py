"""How the weights of a policy get to an engine: a folder of safetensors that the engine reads."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guerdon.policies.protocol import Policy


class WeightFolder:
    """Writes the weights of each version into a folder of its own, and takes it away once the engine has read it.

    Costs one write and one read of all weights per version, and for an adapter a second copy of the model in memory while
    it is merged. The engine must see the folder under the same path.

    Args:
        root: where; None is a temporary folder of this machine.
    """

    def __init__(self, root: str | None = None):
        self.root = None if root is None else Path(root)
        self._own = False

    @contextmanager
    def written(self, policy: Policy, version: int) -> Iterator[Path]:
        """The folder with the policy's weights of now, as long as the block lasts."""
        if self.root is None:
            self.root, self._own = Path(tempfile.mkdtemp(prefix="guerdon-weights-")), True
        self.root.mkdir(parents=True, exist_ok=True)
        # a new name each time: an engine may keep what it read under an old one
        folder = Path(tempfile.mkdtemp(prefix=f"version-{version}-", dir=self.root))
        folder.chmod(0o755)
        try:
            merged = getattr(policy, "export_merged", policy.export)
            merged(folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._own and self.root is not None:
            shutil.rmtree(self.root, ignore_errors=True)
            self.root, self._own = None, False
