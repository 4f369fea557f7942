"""Files of a run from before a clock was set back: their times lie in the future, and nothing new would be newer."""

from __future__ import annotations

import os
import time
from pathlib import Path

_SLACK_NS = 2_000_000_000  # file servers keep clocks of their own
_STEP_NS = 1000


def back_to_the_present(folder: Path) -> int:
    """Give files that are dated in the future times just before now, in the order that they have; return how many.

    Without it a parameter that is changed after the clock was set back would be older than the results, which would pass
    for up to date.

    Parameters
    ----------
    folder : Path
        A run folder in which nobody is at work.

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> import time
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.clock import back_to_the_present
    >>> folder = Path(tempfile.mkdtemp())
    >>> result = dq.folder.write_text(folder / "indices.csv", "made tomorrow")
    >>> os.utime(result, (time.time() + 86400,) * 2)
    >>> back_to_the_present(folder), result.stat().st_mtime < time.time()
    (1, True)
    """
    now = time.time_ns()
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    ahead = {path: at for path, at in times.items() if at > now + _SLACK_NS}
    # Files of the same time keep one: of an input and what was made from it, none is newer.
    number = {at: place for place, at in enumerate(sorted(set(ahead.values()), reverse=True), start=1)}
    for path, at in ahead.items():
        os.utime(path, ns=(now, now - number[at] * _STEP_NS))
    return len(ahead)
