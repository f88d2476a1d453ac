"""Copies of files that programs in a sandbox may read and nobody changes."""

import os
import shutil
import tempfile
import threading
from pathlib import Path


class Shared:
    """A folder of copies. It is the caller's business to close it; no program can write there."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="guerdon-shared-")
        os.chmod(self.folder, 0o755)  # whoever a jailed program is may read it
        self._names: dict[tuple[str, int, int], str] = {}
        self._lock = threading.Lock()

    def copy(self, path: str | Path) -> str:
        """The name of the copy of a file, which is made anew only where the file has changed.

        Raises:
            OSError: a file that cannot be read, or no space.
        """
        place = Path(path).resolve()
        told = place.stat()
        key = (str(place), told.st_mtime_ns, told.st_size)
        with self._lock:
            if key not in self._names:
                name = str(len(self._names))
                shutil.copyfile(place, Path(self.folder, name))
                os.chmod(Path(self.folder, name), 0o444)
                self._names[key] = name
            return self._names[key]

    def close(self) -> None:
        """Remove the copies."""
        shutil.rmtree(self.folder, ignore_errors=True)
