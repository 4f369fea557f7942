"""What may happen to a run: two at once, a kill, Ctrl+C, a full disk, a kernel without memory, files that change."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from unittest.mock import Mock

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from safetensors.numpy import save_file

import deepqct.run.alone as one_run
from deepqct.cohort import load_cohort
from deepqct.curation import one_scan
from deepqct.curation.one_scan import Task, curate_scan
from deepqct.folder import (
    Job,
    NotWrittenError,
    Run,
    file_hash,
    not_written,
    read_json,
    read_table,
    write_array,
    write_json,
    write_table,
    write_text,
    write_whole,
)
from deepqct.run import RunError, execute, workflow
from deepqct.run.changed import NOTE
from deepqct.run.clock import back_to_the_present
from deepqct.run.cost import Workload, disk_mb
from deepqct.run.jobs import run_job, write_inputs
from deepqct.run.plan import plan_run
from deepqct.run.stage import do_again
from deepqct.run.watch import STARTED_BY, interruptible
from deepqct.scans import Scan, write_aim, write_image, write_isq
from deepqct.work import side_by_side

HERE = socket.gethostname()


# Two runs in one folder


def one_of_two(
    folder: Path, barrier: multiprocessing.synchronize.Barrier, rounds: int, got: multiprocessing.Queue
) -> None:
    """Begin a run in each round at the same moment as the other process, and tell whether it began."""
    for _ in range(rounds):
        barrier.wait()
        try:
            with one_run.alone(Run(folder)):
                got.put("began")
                barrier.wait()
        except RunError:
            got.put("refused")
            barrier.wait()


def test_of_two_runs_that_begin_at_once_one_is_refused(tmp_path):
    begin = multiprocessing.get_context("fork")
    barrier, got, rounds = begin.Barrier(2), begin.Queue(), 40
    both = [begin.Process(target=one_of_two, args=(tmp_path, barrier, rounds, got)) for _ in "ab"]
    for process in both:
        process.start()
    answers = [got.get(timeout=60) for _ in range(2 * rounds)]
    for process in both:
        process.join(60)
    assert answers.count("began") == answers.count("refused") == rounds


def began(process: int) -> int | None:
    return one_run._began(process)


@pytest.mark.parametrize(("holder", "taken"), [
    ("", False), ('{"host": "', False), ("[]", False), ('{"process": 1}', False), ("null", False),
    ({"host": HERE, "process": 2**22 + 1}, False), ({"host": HERE, "process": -1}, False),
    ({"host": HERE, "process": 0}, False), ({"host": HERE, "process": 2**40}, False),
    ({"host": HERE, "process": "x"}, False), ({"host": "elsewhere", "process": 5}, True),
    ({"host": HERE, "process": os.getppid()}, True), ({"host": HERE, "process": os.getppid(), "began": 1}, False),
    ({"host": HERE, "process": os.getppid(), "began": began(os.getppid())}, True),
])  # fmt: skip
def test_a_lock_counts_while_its_process_lives_or_may_live_elsewhere(tmp_path, holder, taken):
    """The number of a process that ended may be another's by now."""
    path = write_text(tmp_path / "jobs" / "running.json", holder if isinstance(holder, str) else json.dumps(holder))
    if taken:
        with (
            pytest.raises(RunError, match=r"Another run is at work in .*running.json if it is gone"),
            one_run.alone(Run(tmp_path)),
        ):
            pass
        assert path.exists()
    else:
        with one_run.alone(Run(tmp_path)):
            assert read_json(path)["process"] == os.getpid()
        assert not path.exists()


def test_the_jobs_of_a_killed_run_are_waited_for_and_not_joined(tmp_path, monkeypatch):
    """Its workflow holds the lock on, and may write for some seconds."""
    path = tmp_path / "jobs" / "running.json"
    write_json(path, {"host": HERE, "process": 2**22 + 1})
    lock = one_run._locked(path)
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"], pass_fds=[lock])
    os.close(lock)
    start = time.monotonic()
    with one_run.alone(Run(tmp_path)):
        assert orphan.poll() is not None or time.monotonic() - start > 0.5
    orphan.wait()
    monkeypatch.setattr(one_run, "PATIENCE_S", 0.3)
    lock = one_run._locked(path)
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], pass_fds=[lock])
    os.close(lock)
    with pytest.raises(RunError, match="Another run is at work"), one_run.alone(Run(tmp_path)):
        pass
    orphan.kill()
    orphan.wait()


# What ends a run


def test_a_job_ends_with_its_run(tmp_path):
    """A job of hours, whose run was killed, would write into the next one's files."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    program = (
        "import time\nfrom pathlib import Path\nfrom deepqct import Run\nfrom deepqct.run import watch\n"
        "watch.LOOK_S = 0.1\nwatch.end_with_its_run(Run(Path('nowhere')))\n"
        "try:\n    time.sleep(30)\nexcept KeyboardInterrupt:\n    print('interrupted')"
    )
    for process, said in ((gone.pid, "interrupted\n"), (os.getpid(), None)):
        own = os.environ | {STARTED_BY: f"{HERE} {process}"}
        job = subprocess.Popen([sys.executable, "-c", program], env=own, stdout=subprocess.PIPE, encoding="utf-8")
        if said:
            assert job.communicate(timeout=30)[0] == said
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                job.wait(1.5)
            job.kill()
            job.communicate()


def notebook_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let every stage be a notebook of one cell."""
    cells = [nbformat.v4.new_code_cell("", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(code)]
    path = tmp_path / "notebook.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    monkeypatch.setattr("deepqct.run.jobs.notebook_source", lambda _: path)


def test_a_kernel_that_the_system_ended_is_said_so_with_what_to_lower(tmp_path, monkeypatch, capfd):
    notebook_that(tmp_path, monkeypatch, "import os\nos.kill(os.getpid(), 9)")
    run, job = Run(tmp_path / "run"), Job("02_train_bone", "radius")
    write_json(run.parameters(job), {"parameters": {}})
    assert not run_job(run, job)
    status = read_json(run.status(job))
    assert status["status"] == "failed"
    assert (
        "the system ended the kernel of 02_train_bone_radius, as it does for lack of memory; lower batch_size"
        in status["error"]
    )
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    assert "lower batch_size" in said.out


@pytest.mark.long
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_is_one_sentence_and_leaves_nobody_at_work(tmp_path, sent):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "deepqct", "run", "virtual", "--preset", "smoke", "--out", str(out)]
    with (tmp_path / "said").open("w", encoding="utf-8") as said, interruptible():
        run = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT, start_new_session=True)
    while "started" not in (tmp_path / "said").read_text(encoding="utf-8"):
        assert run.poll() is None
        time.sleep(0.2)
    time.sleep(3)
    (os.killpg if sent == signal.SIGINT else os.kill)(run.pid, sent)
    code = run.wait(60)
    words = (tmp_path / "said").read_text(encoding="utf-8")
    assert "Traceback" not in words
    if sent == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        assert words.splitlines()[-1] == "Stopped; the same command goes on from where it was."
        assert not (out / "jobs" / "running.json").exists()
        assert not (out / "jobs" / "workflow.json").exists()
    until = time.monotonic() + 60
    while subprocess.run(["pgrep", "-f", str(out)], capture_output=True, check=False).stdout:
        assert time.monotonic() < until
        time.sleep(0.5)


# Disks and files


def test_no_run_begins_on_a_full_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1_000_000))
    with pytest.raises(RunError, match=r"The disk of .* has 1 MB left, and a run needs about 1\d{3} MB; free space"):
        execute(plan_run("virtual", out=tmp_path / "a" / "run", preset="smoke"))
    assert not (tmp_path / "a").exists()


def test_a_run_is_held_against_what_it_will_leave_on_the_disk(tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1_000_000_000))
    plan = plan_run("virtual", out=tmp_path / "a" / "run", preset="paper", overrides=["n=2000", "weights=none"])
    needs = disk_mb(plan, Workload.of(plan))
    with pytest.raises(RunError, match=rf"has 1000 MB left, and a run needs about {needs:.0f} MB; free space"):
        execute(plan)
    assert not (tmp_path / "a").exists()
    workflow._check_disk(tmp_path / "a", needs=900e6)
    assert capsys.readouterr().out == ""
    workflow._check_disk(tmp_path / "a", needs=1500e6)
    assert "has 1000 MB left, and this run may need 1500 MB." in capsys.readouterr().out
    with (tmp_path / "held").open("wb") as file:  # a file of nothing
        file.truncate(700_000_000)
    workflow._check_disk(tmp_path, needs=1500e6)
    assert capsys.readouterr().out == ""


def test_unfinished_files_of_a_killed_process_are_swept(tmp_path):
    old, new, other = (tmp_path / "bones" / name for name in (".part-old.npy", ".part-new.npy", "P1_radius.npy"))
    for path in (old, new, other):
        write_text(path, "x")
    os.utime(old, (time.time() - 7200,) * 2)
    os.utime(other, (time.time() - 7200,) * 2)
    workflow._sweep(tmp_path)
    assert [path.exists() for path in (old, new, other)] == [False, True, True]


def finished(make_cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile) -> Path:
    """A run of which nothing is out of date, during which something happens to its cohort."""
    folder = make_cohort(16)
    plan = plan_run(str(folder), out=tmp_path / "run", preset="smoke", overrides=["bone=radius"])
    write_text(plan.run.report, "as before")

    def work(plan, *, files, **_):
        write_inputs(plan.run, files)
        meanwhile(folder)
        return 0, ""

    monkeypatch.setattr(workflow, "_snakemake", work)
    execute(plan)
    return plan.run.inputs


def replaced(folder: Path) -> None:
    """Another scan of the same length in the place of one, with an older time."""
    path = folder / "scans" / "sub-0003_wrist.AIM"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, (1e9, 1e9))


def test_a_cohort_that_changes_during_the_run_is_noticed(make_cohort, tmp_path, monkeypatch):
    with pytest.raises(RunError, match="Files of the cohort changed while the run was at work"):
        finished(make_cohort, tmp_path, monkeypatch, replaced)


def test_a_scan_that_changed_is_named_and_its_row_says_so(make_cohort, tmp_path, monkeypatch):
    """By its content: a scan that was only touched is the same."""
    out = Run(tmp_path / "run")

    def curated_and_replaced(folder: Path) -> None:
        scans = load_cohort(folder).scans
        rows = [{"participant_id": person, "site": site, "side": "left", "status": "curated", "reason": "", "flags": "",
                 "notes": "thin" * (person == "sub-0003"), "motion_score": 0.1, "ring_score": 0.2,
                 "sha256": file_hash(folder / file)}
                for person, site, file in scans[["participant_id", "site", "file"]].itertuples(index=False)]  # fmt: skip
        write_table(out.curation, pd.DataFrame(rows))
        os.utime(out.curation, (1e9, 1e9))
        replaced(folder)
        os.utime(folder / "scans" / "sub-0004_wrist.AIM", (1e9, 1e9))

    with pytest.raises(
        RunError, match=r"while the run was at work \(sub-0003 wrist\), and its results may be of either"
    ):
        finished(make_cohort, tmp_path, monkeypatch, curated_and_replaced)
    notes = read_table(out.curation).set_index("participant_id")["notes"].fillna("")
    assert notes["sub-0003"] == f"thin; {NOTE}"
    assert (notes.drop("sub-0003") == "").all()
    assert out.curation.stat().st_mtime == 1e9, "the next run curates what changed; nothing else follows from the note"


def test_a_cohort_that_stays_is_read_and_never_written(make_cohort, tmp_path, monkeypatch):
    seen: list[dict[Path, tuple[int, int]]] = []

    def look(folder: Path) -> None:
        seen.append({path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (folder, *folder.rglob("*"))})

    inputs = finished(make_cohort, tmp_path, monkeypatch, look)
    look(tmp_path / "cohort")
    assert seen[0] == seen[1]
    before = inputs.read_bytes()
    replaced(tmp_path / "cohort")  # content and time, whatever the clock says
    cohort = load_cohort(tmp_path / "cohort")
    write_inputs(Run(tmp_path / "run"), [cohort.folder / name for name in cohort.scans["file"]])
    assert inputs.read_bytes() != before


def test_a_clock_that_was_set_back_makes_nothing_pass_for_up_to_date(tmp_path):
    """Results of tomorrow would be newer than a parameter that is changed today."""
    run, now, job = Run(tmp_path / "run"), time.time(), Job("04_clustering")
    write_json(run.parameters(job), {"parameters": {"groups": 2}})
    os.utime(run.parameters(job), (now - 5,) * 2)
    results = [write_text(run.folder / name, "x") for name in ("indices.csv", "scores_radius.csv", "performance.csv")]
    for ahead, path in enumerate(results):
        os.utime(path, (now + 86400 + ahead,) * 2)
    assert back_to_the_present(run.folder) == 3
    times = [path.stat().st_mtime_ns for path in results]
    assert times == sorted(set(times)), "in the order in which they were made"
    assert run.parameters(job).stat().st_mtime_ns < times[0]
    assert times[-1] <= time.time_ns()
    do_again(run, job)
    assert run.parameters(job).stat().st_mtime_ns > times[-1]
    assert back_to_the_present(run.folder) == 0


def test_a_disk_that_fills_up_during_a_batch_is_said_and_what_was_done_stays(make_cohort, tmp_path, monkeypatch):
    """An error of a full disk must not be a row of a scan that is blamed for it alone, nor leave half a file."""
    run, path = Run(tmp_path / "run"), make_cohort(2) / "scans" / "sub-0000_wrist.AIM"

    def full(task, **_):
        with write_whole(run.stack("sub-0000", "radius")) as unfinished:
            unfinished.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(one_scan, "_curate_anew", full)
    task = Task("sub-0000", "wrist", "left", path, None, run, 32, {}, "ours", False, "each", "none", "x")
    for workers in (0, 1):
        with pytest.raises(
            NotWrittenError, match=r"cannot be written \(No space left on device\); free space on its disk"
        ):
            list(side_by_side(curate_scan if workers == 0 else fills, [task], workers=workers))
    assert not list(run.bones.iterdir())
    monkeypatch.setattr(one_scan, "_curate_anew", Mock(side_effect=OSError(errno.EDQUOT, "Disk quota exceeded")))
    with pytest.raises(NotWrittenError, match="Disk quota exceeded"):  # also what a library keeps elsewhere
        curate_scan(task)


def fills(_: Task) -> None:
    """A task whose process finds the disk full."""
    raise not_written(Path("bones"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def write_all(folder: Path, how: str) -> None:
    """Write some 100 kB as each kind of file is written."""
    numbers = np.random.default_rng(0).integers(0, 9000, (10, 70, 70)).astype(np.int16)
    scan = Scan(numbers, 0.25, -391.0, (0.061,) * 3, "wrist", "left")
    path = folder / f"whole{how}"
    match how:
        case ".npy":
            write_array(path, numbers)
        case ".npz":
            with write_whole(path) as unfinished, unfinished.open("wb") as file:
                np.savez_compressed(file, numbers=numbers)
        case ".safetensors":
            with write_whole(path) as unfinished:
                save_file({"numbers": numbers}, unfinished)
        case ".csv":
            write_table(path, pd.DataFrame({"number": numbers.ravel()}))
        case ".AIM":
            write_aim(path, scan)
        case ".ISQ":
            write_isq(path, scan)
        case _:
            write_image(path, scan)


KINDS = [".npy", ".npz", ".safetensors", ".csv", ".AIM", ".ISQ", ".nii", ".nii.gz", ".mha", ".nrrd"]


@pytest.mark.parametrize("how", KINDS)
def test_no_file_is_kept_that_the_disk_took_in_part_alone(tmp_path, how):
    """A limit of the system stands for the full disk: some writers say nothing of it, or in words of their own."""
    (tmp_path / "whole").mkdir()
    write_all(tmp_path / "whole", how)
    size = (tmp_path / "whole" / f"whole{how}").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (size // 2, size - 50):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(NotWrittenError, match=f"whole{how} cannot be written"):
                write_all(tmp_path / "half", how)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert list((tmp_path / "half").iterdir()) == []


def test_an_error_of_what_is_read_while_a_file_is_written_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"), write_whole(tmp_path / "a"):
        (tmp_path / "gone").read_bytes()
    with pytest.raises(NotWrittenError, match="9 requested and 8 written"), write_whole(tmp_path / "a"):
        raise OSError("9 requested and 8 written")  # so numpy says it
    with pytest.raises(ValueError, match="no number"), write_whole(tmp_path / "a"):
        raise ValueError("no number")


@pytest.mark.parametrize(("what", "status"), [("content", "changed"), ("time", "as it was"), ("file", "changed")])
def test_a_scan_that_changes_while_it_is_read_says_so(make_cohort, tmp_path, monkeypatch, what, status):
    path = make_cohort(2) / "scans" / "sub-0000_wrist.AIM"
    run = Run(tmp_path / "run")

    def slow(task, **_):
        if what == "content":
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        elif what == "file":
            shutil.copy(path.with_name("sub-0001_wrist.AIM"), path)
        else:
            os.utime(path, (1e9, 1e9))
        for name in ("radius", "ulna"):
            write_json(run.stack_record("sub-0000", name), {})
        return [{"flags": [], "notes": [], "motion_score": 1.0, "ring_score": 1.0}] * 2

    monkeypatch.setattr(one_scan, "_curate_anew", slow)
    row = curate_scan(Task("sub-0000", "wrist", "left", path, None, run, 32, {}, "ours", False, "each", "none", "x"))
    if status == "changed":
        assert row["status"] == "failed"
        assert row["reason"].startswith("the scan or a contour of it changed while it was read")
        assert not run.stack_record("sub-0000", "radius").exists()
    else:
        assert row["status"] == "curated"
