"""Threads that share the work."""

import subprocess
import sys


def test_the_threads_of_share_are_there_after_a_fork():
    """Threads do not survive a fork; a child that waited for them would wait for ever."""
    code = (
        "import os, numpy as np, deepqct as dq\n"
        "def step(first, last, out): out[first:last] += 1\n"
        "out = np.zeros(100, int)\n"
        "dq.work.share(step, 100, out, threads=2)\n"
        "if child := os.fork(): code = os.waitpid(child, 0)[1]\n"
        "else: dq.work.share(step, 100, out, threads=2); os._exit(int(out.sum() != 200))\n"
        "print(code, out.sum())"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.check_output(command, encoding="utf-8", timeout=60) == "0 100\n"
