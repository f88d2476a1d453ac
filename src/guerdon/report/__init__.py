"""A run as one self-contained HTML page.

The page answers a person's questions in their order: did it learn (tiles, held-out evaluation), how (a chart for every
number that was logged), what does the policy write now and which of its tokens are being praised or blamed (samples
coloured by their final credit), where did the time go, what failed, and which recipe was it. It is made from the run
folder alone, at any moment of the run's life, and can be mailed: one file, no script, nothing fetched.

``data`` and ``samples`` read, ``charts`` draws, ``panels`` decides what shares a chart, ``sections`` and ``page`` lay
out, ``html`` escapes.
"""

from pathlib import Path

from guerdon.report.data import read_run
from guerdon.report.page import page
from guerdon.training.runfolder import RunFolder, write_text

__all__ = ["write_report"]


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder, finished or not, over an older one.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: ``run`` is not a run folder.
    """
    target = RunFolder(run).report
    write_text(target, page(read_run(run)))
    return target
