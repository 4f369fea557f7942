"""A run that is killed at any moment goes on from what was done, and ends with the tables of one that nobody killed."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

import pytest
from tiny import BY_FOLD, begin, ended, finish, finished_pieces, kill_all, tables, words

from deepqct.folder import read_json

pytestmark = pytest.mark.long
KILLS, SEED = 12, 5
HOW = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
REGISTERED_S = 10.0  # after which the workflow surely knows that a job is done


def test_the_tables_do_not_depend_on_the_division_into_jobs(whole, tmp_path):
    """One batch against three, bone against fold, two workers against one, one processor against two."""
    expected, jobs = whole.tables, whole.jobs
    said = tmp_path / "said"
    assert finish(tmp_path / "run", "--cores", "1", "01_data_curation.workers=2", said=said) == 0
    assert tables(tmp_path / "run") == expected
    assert len(expected) > 25
    assert {job.rpartition("_")[2] for job in set(jobs) - set(ended(words(said)))} == {
        "0001-0008", "0009-0016", "0017-0024", "fold0", "fold1",
    }  # fmt: skip
    peaks = [read_json(path)["peak_mb"] for path in (tmp_path / "run" / "jobs").glob("*_status.json")]
    print("peak MB of jobs:", sorted(peaks))  # noqa: T201
    assert 0 < max(peaks) < 4000


def end(run: subprocess.Popen[str], how: signal.Signals) -> None:
    """End a run by a power cut, a batch system, or Ctrl+C."""
    if how == signal.SIGKILL:
        kill_all(run)
    else:
        run.send_signal(how)
        run.wait(90)


@dataclass(frozen=True)
class Attempt:
    """What one call of a run did before it was over or killed."""

    over: bool
    begun: list[str]  # jobs
    known: set[str]  # jobs that were done long enough for the workflow to know it


def attempt(out: Path, said: Path, how: signal.Signals, when: Callable[[str], bool]) -> Attempt:
    """Let a run go on until it is over, or until a moment at which it is killed; no finished piece may be made again."""
    before, count, done_at = finished_pieces(out), len(words(said)), dict[str, float]()
    run = begin(out, *BY_FOLD, said=said)
    try:
        while run.poll() is None:
            now, new = time.monotonic(), words(said)[count:]
            done_at = dict.fromkeys(ended(new), now) | done_at
            if when(new):
                end(run, how)  # which may take a while, in which the workflow learns nothing any more
            else:
                time.sleep(0.05)
    finally:
        kill_all(run)
    new = words(said)[count:]
    over = run.returncode == 0
    # 0 also if it was over at that moment; the signal's own number before and after the run's work, where nobody heeds it.
    assert over or run.returncode in (130, -how), new
    after = finished_pieces(out)
    again = [piece for piece, at in before.items() if after.get(piece) != at]
    assert not again, f"finished before the kill, and made again: {again}"
    known = {job for job in ended(new) if over or now - done_at.get(job, now) > REGISTERED_S}
    return Attempt(over, re.findall(r"^(\S+): started", new, flags=re.MULTILINE), known)


def test_killed_at_random_moments_it_ends_as_if_nobody_had(whole, tmp_path):
    """Twelve kills over as many runs as they last for; a job that was done is never begun again."""
    expected, seconds, jobs = whole.tables, whole.seconds, whole.jobs
    drawn, killed, runs, begun = random.Random(SEED), 0, 0, 0
    while killed < KILLS:
        out, said, known, over = tmp_path / f"run{runs}", tmp_path / f"said{runs}", set[str](), False
        said.touch()
        runs += 1
        while not over:
            moment = time.monotonic() + (drawn.uniform(3, seconds / 3) if killed < KILLS else inf)
            one = attempt(out, said, HOW[killed % 3], lambda _, moment=moment: time.monotonic() > moment)
            assert not known & set(one.begun), "a job that was done is begun again"
            known |= one.known
            over, begun, killed = one.over, begun + len(one.begun), killed + (not one.over)
        assert tables(out) == expected
    again = begun - runs * len(jobs)
    print(f"{killed} kills in {runs} runs of {seconds:.0f} s: {again} jobs begun again, each in flight")  # noqa: T201
    assert again <= 2 * KILLS, "two processors have two jobs in flight"


def test_killed_whenever_a_job_is_done_it_ends_as_if_nobody_had(whole, tmp_path):
    """The moment in which a job's files are there and the workflow may not know it yet."""
    expected, jobs = whole.tables, whole.jobs
    out, said, seen, over, kills = tmp_path / "run", tmp_path / "said", set[str](), False, 0
    said.touch()

    def one_more(new: str) -> bool:
        before = len(seen)
        seen.update(ended(new))
        return len(seen) > before

    while not over:
        over = attempt(out, said, HOW[kills % 3], one_more).over
        kills += not over
        assert kills <= len(jobs)
    print(f"{kills} kills at the ends of {len(jobs)} jobs")  # noqa: T201
    assert tables(out) == expected
    assert set(ended(words(said))) == set(jobs)
