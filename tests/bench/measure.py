"""Seconds and memory of a piece of work in a process of its own, and tables in plain text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


def ask_peers(python: str | None, job: str, *, limit_s: float | None = None, **arrays: Any) -> dict[str, Any] | None:
    """Run a job of peers.py on arrays; None if there are no peers, and ``stopped_s`` if they took longer than `limit_s`."""
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.npz"
        np.savez(path, **arrays)
        command = [python, str(HERE / "peers.py"), job, str(path)]
        try:
            done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=limit_s)
        except subprocess.TimeoutExpired as stopped:
            said = (stopped.stdout or b"").decode().strip().splitlines()
            return {"stopped_s": limit_s, "before": json.loads(said[-1]) if said else {}}
    if done.returncode:
        print(f"  the peers failed at {job}: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def in_own_process(job: str, *arguments: str) -> dict[str, Any]:
    """Run a job of ours.py; its last line is JSON."""
    command = [sys.executable, str(HERE / "ours.py"), job, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


class Memory:
    """The most memory that this process holds while the block runs, in GB: its own, and with mapped files."""

    def __enter__(self) -> Memory:
        self.own = self.all = 0.0
        self._stop = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            own, mapped = (float(re.search(rf"{k}:\s+(\d+)", status)[1]) / 1e6 for k in ("RssAnon", "RssFile"))
            self.own, self.all = max(self.own, own), max(self.all, own + mapped)
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with its caption."""
    text = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *text]) for i in range(len(header))]
    print(f"\n{caption}")
    for row in [list(header), *text]:
        print(
            "  "
            + "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
