"""A small bundle of the example run, to try things out on; the examples in the docstrings use it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

from deepqct.bundles.content import Bundle, load_bundle
from deepqct.bundles.make import bundle
from deepqct.run import example


@cache
def example_bundle() -> Bundle:
    """A bundle of `deepqct.run.example_run`, in a temporary folder that is removed when the process ends.

    Returns
    -------
    Bundle
        Of 12 virtual women, whose figures mean nothing.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.bundles.example_bundle().content.made.folds
    ('0', '1')
    """
    folder = Path(tempfile.mkdtemp(prefix="deepqct-example-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with redirect_stdout(StringIO()):
        return load_bundle(bundle(example.example_run(), folder / "bundle"))
