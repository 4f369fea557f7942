"""Threads that share the work."""

import os
import subprocess
import sys

import pytest

from deepqct.folder import PACKAGE
from deepqct.work import GIVEN_CORES, processors, side_by_side, workers


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


def threads_of_one(_):
    return workers()


@pytest.mark.parametrize(("given", "found"), [("1", 1), ("", None), ("0", None), ("many", None), ("4096", None)])
def test_a_job_uses_the_processors_that_it_was_given(monkeypatch, given, found):
    """A node of a cluster may have sixty-four, and other people's jobs on all but one."""
    monkeypatch.delenv(GIVEN_CORES, raising=False)
    all_of_them = processors()
    monkeypatch.setenv(GIVEN_CORES, given)
    assert processors() == (found or all_of_them)
    assert list(side_by_side(threads_of_one, [0], workers=1)) == [processors()]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors")
def test_a_bound_process_counts_its_own_processors():
    code = "import os; os.sched_setaffinity(0, {0}); import deepqct as dq; print(dq.work.processors())"
    environment = {name: value for name, value in os.environ.items() if name != GIVEN_CORES}
    assert subprocess.check_output([sys.executable, "-c", code], encoding="utf-8", env=environment) == "1\n"


def test_every_job_of_the_workflow_is_told_its_processors():
    text = (PACKAGE / "run" / "Snakefile").read_text(encoding="utf-8")
    shells = [line for line in text.splitlines() if " JOB + " in line or " PART + " in line]
    assert len(shells) == text.count("    shell:\n")
    assert all(line.strip().startswith(("GIVEN + ", "ALONE + ")) for line in shells)
    assert f"export DEEPQCT_GIVEN_MB={{resources.mem_mb}} {GIVEN_CORES}={{threads}}; " in text
