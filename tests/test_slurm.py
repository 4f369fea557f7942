"""A run on a real Slurm, of one node on this machine: its jobs killed by memory, by time, and with their node.

Debian has it: ``apt-get install --no-install-recommends slurm-wlm munge``.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from slurm import Slurm, missing
from tiny import BY_FOLD, begin, finish, tables, wait, words

from deepqct.folder import Run, read_json

pytestmark = pytest.mark.long
PROFILE = """\
executor: slurm
jobs: 4
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 2
seconds-between-status-checks: 2
slurm-no-account: true
latency-wait: 20
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Slurm]:
    """A Slurm of our own, where its programs are there."""
    if missing():
        pytest.skip(f"no {', '.join(missing())} (Debian: apt-get install --no-install-recommends slurm-wlm munge)")
    with Slurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


def profile(folder: Path, more: str = "") -> dict[str, str]:
    """The environment that names a profile with these lines more."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(PROFILE + more, encoding="utf-8")
    return {"SNAKEMAKE_PROFILE": str(folder)}


def at_work(run: Run, job: str, *, not_as: int | None = None, seconds: float = 400) -> int:
    """The process of a job, once it is at work; one that was killed left its file, and is not waited for."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(FileNotFoundError):
            process = int(read_json(run.at_work(job))["process"])
            if process != not_as:
                return process
        assert time.monotonic() < until, f"{job} does not begin"
        time.sleep(0.2)


def last_words(said: Path) -> str:
    """The last line that a run said."""
    return words(said).splitlines()[-1]


def test_a_cluster_gives_the_tables_of_one_machine_whatever_it_kills(cluster, whole, tmp_path):
    """Batches and folds as jobs of Slurm; ended by memory, by time and with a node; each is told, and the rest goes on."""
    own = cluster.names
    run, said = Run(tmp_path / "run"), tmp_path / "said"
    # Above what a job takes before it says that it is at work, and below what PyTorch takes.
    few = profile(tmp_path / "few", "set-resources:\n  train_part: {mem_mb: 600}\n")
    assert finish(run.folder, *BY_FOLD, said=said, **own, **few) == 1
    assert (
        "02_train_bone_radius_all_fold0 was ended for needing more than its memory of 600 MB; lower batch_size"
        in last_words(said)
    )
    jobs = {comment: state for _, state, comment in cluster.jobs()}
    assert sorted(name for name in jobs if name.startswith("rule_curate_batch")) == [
        f"rule_curate_batch_wildcards_{batch}" for batch in ("0001-0008", "0009-0016", "0017-0024")
    ]
    assert jobs["rule_data_curation"] == "COMPLETED"
    curated = run.indices.stat().st_mtime_ns

    short = profile(tmp_path / "short", "set-resources:\n  fusion_and_baselines: {runtime: 1}\n")
    going = begin(run.folder, *BY_FOLD, said=said, **own, **short)
    slow = psutil.Process(at_work(run, "03_fusion_and_baselines"))
    for process in (*slow.children(recursive=True), slow):
        process.send_signal(signal.SIGSTOP)  # a job that takes for ever
    assert wait(going, 400) == 1
    assert "03_fusion_and_baselines was ended at its time limit; give it more minutes by set-resources" in last_words(
        said
    )

    enough = profile(tmp_path / "enough")
    going = begin(run.folder, *BY_FOLD, said=said, **own, **enough)
    at_work(run, "03_fusion_and_baselines", not_as=slow.pid)
    cluster.kill_node()
    assert wait(going, 400) == 1
    assert "03_fusion_and_baselines was lost with its machine (NODE_FAIL)." in last_words(said)
    cluster.begin_node()
    done = finish(run.folder, *BY_FOLD, said=said, **own, **enough)
    assert done == 0, words(said)[-3000:]
    assert tables(run.folder) == whole.tables
    assert run.indices.stat().st_mtime_ns == curated, "what was done before the first kill was done once"
