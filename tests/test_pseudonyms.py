"""Pseudonyms in place of ids, by a key file that stays outside of the run."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from typer.testing import CliRunner

from deepqct.cli import app
from deepqct.cohort import CohortError, keep_cohort, load_cohort
from deepqct.cohort.pseudonyms import check_key, read_key
from deepqct.cohort.reviews import decide, read_reviews
from deepqct.curation import curate
from deepqct.folder import FileError, Job, Run, read_json, write_json, write_table, write_whole
from deepqct.run import RunError, execute
from deepqct.run.app import app_notebooks, overview
from deepqct.run.inputs import input_hash, scan_files
from deepqct.run.integrity import input_rows
from deepqct.run.jobs import run_job, write_jobs
from deepqct.run.parts import Part, run_part
from deepqct.run.plan import plan_run
from deepqct.run.record import without_folders
from deepqct.scans import ScanError


def test_a_key_file_is_made_kept_and_added_to(make_cohort, tmp_path):
    folder, key = make_cohort(), tmp_path / "keys" / "key.tsv"
    first = load_cohort(folder, pseudonyms=key)
    known = read_key(key)
    assert sorted(known) == [f"sub-{i:04d}" for i in range(8)]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    names = first.participants["participant_id"].tolist()
    assert names == first.scans["participant_id"].tolist() == list(known.values())
    assert len(set(names)) == 8
    assert not any("sub" in name for name in names)
    again = load_cohort(folder, pseudonyms=key)
    assert again.participants["participant_id"].tolist() == names
    with (folder / "participants.tsv").open("a", encoding="utf-8") as table:
        table.write("sub-9999\t70\t0.7\t1\n")
    assert load_cohort(folder, pseudonyms=key).participants["participant_id"].tolist()[:8] == names
    assert set(read_key(key)) - set(known) == {"sub-9999"}


@pytest.mark.parametrize(("rows", "words"), [
    ("sub-0000\tA\nsub-0001\tA", "twice"), ("sub-0000\tA\nsub-0000\tB", "twice"), ("sub-0000\t", "leaves one out"),
    ("sub-0000\t../x", "a pseudonym is"), ("sub-0000\t=1+1", "a pseudonym is"),
    ("sub-0000\tsub-0001\nsub-0001\tB", "an id among"), ("sub-0000\tnull", "a pseudonym is"),
    ("sub-0000\tNA", "a pseudonym is|leaves one out"), ("sub-0000\tA1\nsub-0001\ta1", "capitals alone"),
])  # fmt: skip
def test_a_key_file_that_cannot_be_is_refused(make_cohort, tmp_path, rows, words):
    key = tmp_path / "key.tsv"
    key.write_text(f"participant_id\tpseudonym\n{rows}\n", encoding="utf-8")
    with pytest.raises(CohortError, match=words):
        load_cohort(make_cohort(), pseudonyms=key)


def test_no_id_is_in_what_curation_writes(make_cohort, tmp_path):
    folder, run = make_cohort(), Run(tmp_path / "run")
    decide(folder, reviewer="AB", participant_id="sub-0003", site="wrist", decision="reject")
    cohort = load_cohort(folder, pseudonyms=tmp_path / "key.tsv")
    assert cohort.rejected == {(read_key(tmp_path / "key.tsv")["sub-0003"], "wrist")}
    keep_cohort(cohort, run)
    with pytest.raises(RuntimeError, match="None of 8 scans"):  # they hold nothing
        curate(cohort, run, image_px=32)
    written = [path for path in run.folder.rglob("*") if path.is_file()]
    assert len(written) > 4
    for path in written:
        assert "sub-00" not in path.name
        assert b"sub-00" not in path.read_bytes()


def test_who_was_rejected_and_has_no_outcome_needs_no_pseudonym(make_cohort, tmp_path):
    folder = make_cohort()
    rows = [f"sub-{i:04d}\t{'' if i == 3 else 2000.5 + i * 7}" for i in range(8)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id\tload", *rows, ""]), encoding="utf-8")
    decide(folder, reviewer="AB", participant_id="sub-0003", site="wrist", decision="reject")
    cohort = load_cohort(folder, outcome="load", pseudonyms=tmp_path / "key.tsv")
    assert (len(cohort.participants), cohort.rejected) == (7, frozenset())


def test_files_are_open_to_whom_the_umask_says_and_the_key_to_its_owner_alone(tmp_path):
    modes = {}
    for umask in (0o077, 0o022, 0o002):
        before = os.umask(umask)
        try:
            table = write_table(tmp_path / f"{umask}.csv", pd.DataFrame({"a": [1]}))
            with write_whole(tmp_path / f"{umask}.key", mode=0o600) as unfinished:
                first = stat.S_IMODE(unfinished.stat().st_mode)
        finally:
            os.umask(before)
        modes[umask] = stat.S_IMODE(table.stat().st_mode)
        assert first == stat.S_IMODE((tmp_path / f"{umask}.key").stat().st_mode) == 0o600
    assert modes == {0o077: 0o600, 0o022: 0o644, 0o002: 0o664}


def test_reviews_keep_the_cohorts_own_ids(make_cohort, tmp_path):
    from deepqct.widgets.review import ReviewPanel

    folder, key = make_cohort(), tmp_path / "key.tsv"
    cohort = load_cohort(folder, pseudonyms=key)
    panel = ReviewPanel(cohort, run=Run(tmp_path / "run"), reviewer="AB")
    assert panel.current == (read_key(key)["sub-0000"], "wrist")
    assert "sub-0000" not in panel.name.value
    decide(folder, reviewer="AB", participant_id="sub-0000", site="wrist", decision="accept")
    panel.go_on()
    assert panel.current == (read_key(key)["sub-0001"], "wrist")
    panel.grade.value = 1
    panel.accept.click()
    assert panel.current == (read_key(key)["sub-0002"], "wrist")
    assert read_reviews(folder)["participant_id"].tolist() == ["sub-0000", "sub-0001"]
    assert set(cohort.reviews()["participant_id"]) <= set(read_key(key).values())
    assert set(read_reviews(folder)["participant_id"]) <= set(read_key(key))


@pytest.mark.parametrize("inside", ["key.tsv", "jobs/key.tsv", "way"])
def test_a_key_file_in_the_run_folder_is_refused(make_cohort, tmp_path, inside):
    folder, run = make_cohort(), tmp_path / "run"
    (run / "jobs").mkdir(parents=True)
    key = run / inside
    if inside == "way":
        key = tmp_path / "way"
        key.symlink_to(run / "key.tsv")
    with pytest.raises(CohortError, match="lies in the run folder"):
        check_key(key, Run(run))
    called = CliRunner().invoke(app, ["run", str(folder), "--out", str(run), "--pseudonyms", str(key)])
    assert "lies in the run folder" in str(called.exception)
    assert not key.exists()


def test_ids_and_pseudonyms_are_never_mixed_in_a_run(make_cohort, tmp_path):
    folder, out = str(make_cohort()), tmp_path / "run"
    first = plan_run(folder, out=out, preset="smoke")
    write_json(first.run.parameters("01_data_curation"), {"parameters": first.parameters[Job("01_data_curation")]})
    with pytest.raises(RunError, match="holds ids, and both must not be mixed"):
        execute(plan_run(folder, out=out, preset="smoke", overrides=[f"pseudonyms={tmp_path / 'key.tsv'}"]))


def test_where_the_key_lies_makes_nothing_out_of_date():
    one, other, none = ({"parameters": {"pseudonyms": path}} for path in ("a/key.tsv", "b/key.tsv", ""))
    assert without_folders(one) == without_folders(other) != without_folders(none)


def test_the_start_page_counts_by_pseudonyms(make_cohort, tmp_path):
    import synthetic

    from deepqct.run.app import overview

    run = synthetic.explored_run(tmp_path / "run", virtual=False)
    first = synthetic.curation().iloc[0]
    folder, key = tmp_path / "cohort", tmp_path / "key.tsv"
    folder.mkdir()
    key.write_text(f"participant_id\tpseudonym\nMRN-1\t{first['participant_id']}\n", encoding="utf-8")
    given = {"cohort_dir": str(folder), "pseudonyms": str(key)}
    write_json(run.parameters("01_data_curation"), {"parameters": given})
    decide(folder, reviewer="AB", participant_id="MRN-1", site=first["site"], decision="accept")
    assert overview(run)["judged"] == 1
    assert Path(key).read_text(encoding="utf-8").count("\n") == 2


def test_the_key_is_found_from_anywhere_and_never_drawn_by_looking(make_cohort, tmp_path, monkeypatch):
    """Its path is relative, like those of run and cohort; without it, nobody says that scans are missing."""
    monkeypatch.setattr("deepqct.run.jobs.stage_hash", lambda stage: "c" * 64)
    folder, away = make_cohort(), tmp_path / "away"
    away.mkdir()
    monkeypatch.chdir(tmp_path)
    load_cohort(folder, pseudonyms="keys/ours.tsv")
    key = tmp_path / "keys" / "ours.tsv"
    names = read_key(key)
    decide(folder, reviewer="AB", participant_id="sub-0003", site="wrist", decision="accept")
    made = plan_run(
        "cohort", out=Path("run"), preset="smoke", overrides=["outcome=fracture", "pseudonyms=keys/ours.tsv"]
    )
    write_jobs(made)
    read = {f"{names[name.split('_')[0]]}_wrist": input_hash(path) for name, (path,) in scan_files(folder).items()}
    rows = [{"participant_id": name, "site": "wrist", "status": "curated", "notes": ""} for name in names.values()]
    run = Run(tmp_path / "run")
    write_table(run.curation, pd.DataFrame(rows))
    write_json(run.dictionary, {})
    monkeypatch.chdir(away)

    def states() -> list[str]:
        return [row["state"] for row in input_rows(run, {"inputs": read}) if row["file"] != "scans.tsv"]

    assert states().count("same") == 8
    assert "missing" not in states()
    assert overview(run)["judged"] == 1
    assert [page.stem for page in app_notebooks(run, tmp_path / "pages")] == ["Judge the scans"]
    assert str(key) in (tmp_path / "pages" / "Judge the scans.ipynb").read_text(encoding="utf-8")
    monkeypatch.setattr("deepqct.run.inputs.is_readable", lambda path: False)  # as for anybody but its owner
    monkeypatch.setattr("deepqct.run.integrity.is_readable", lambda path: False)
    said = [row["says"] for row in input_rows(run, {"inputs": read}) if row["file"] == "scans"]
    assert said == [
        "scans were not looked at, since the key file, which alone says whose they are, is not here or not readable."
    ]
    monkeypatch.undo()
    key.unlink()
    assert "missing" not in states()
    assert "The key file ours.tsv is not here" in overview(run)["fault"]
    assert not app_notebooks(run, tmp_path / "none")
    assert not key.exists()


# What a run folder keeps of errors

NAME = "Jane_Mustermann_19500102"


@pytest.fixture
def named(make_cohort, tmp_path, monkeypatch):
    """A run with pseudonyms, of a cohort whose ids and one file name women."""
    monkeypatch.setattr("deepqct.run.jobs.stage_hash", lambda _: "c")  # which takes seconds
    folder = make_cohort()
    (folder / "scans" / "sub-0002_wrist.AIM").rename(folder / "scans" / f"{NAME}.AIM")
    for table in (folder / "participants.tsv", folder / "scans.tsv"):
        text = table.read_text(encoding="utf-8").replace("scans/sub-0002_wrist", f"scans/{NAME}")
        table.write_text(text.replace("\nsub-", "\nPID-778899-"), encoding="utf-8")
    plan = plan_run(str(folder), out=tmp_path / "run", preset="smoke", overrides=[f"pseudonyms={tmp_path / 'key.tsv'}"])
    write_jobs(plan)
    load_cohort(folder, pseudonyms=tmp_path / "key.tsv")
    return folder, plan.run


def told(run: Run) -> str:
    """All that the run folder holds but the parameters, which `deepqct report --zip` leaves out."""
    kept = [path for path in run.folder.rglob("*") if path.is_file() and path != run.parameters("01_data_curation")]
    assert kept
    return "\n".join(path.read_text(encoding="utf-8") for path in kept)


def test_a_scan_that_goes_before_its_batch_leaves_no_name_in_the_run_folder(named, capsys):
    folder, run = named
    (folder / "scans" / f"{NAME}.AIM").unlink()
    assert not run_part(run, Part(Job("01_data_curation"), "0001-0008"))
    assert "PID-778899" not in told(run)
    assert NAME not in told(run)
    assert "CohortError: 1 fault in the cohort's tables" in told(run)
    assert f"(PID-778899-0002): scans/{NAME}.AIM does not exist" in capsys.readouterr().out


def errors(folder: Path) -> list[Exception]:
    """What may be raised while a cohort changes, with names in it."""
    return [
        FileNotFoundError(2, "No such file or directory", f"{folder}/scans/{NAME}.AIM"),
        FileNotFoundError(2, "No such file or directory", f"{folder}/scans/Erika Mustermann.AIM"),
        ScanError(f"{folder}/scans/{NAME}.AIM is empty; copy it again."),
        ScanError(f"{folder}/Mustermann.AIM is empty."),
        ScanError(f"scans/{NAME}.AIM is empty."),
        ValueError(f"{NAME} is no number"),
        KeyError("PID-778899-0003"),
        KeyError("PID-778899-0003_wrist"),
        FileError(f"{folder}/participants.json is not valid JSON."),
    ]


@pytest.mark.parametrize("cluster", ["", "7"])
def test_no_error_of_a_part_names_women_or_files_in_the_run_folder(named, monkeypatch, capsys, cluster):
    folder, run = named
    monkeypatch.setenv("SLURM_JOB_ID", cluster)  # of whose jobs the logs lie there, too
    for error in errors(folder):
        monkeypatch.setattr("deepqct.run.parts._curated", Mock(side_effect=error))
        assert not run_part(run, Part(Job("01_data_curation"), "0001-0008"))
        printed = capsys.readouterr().out
        for text in (told(run), printed) if cluster else (told(run),):
            assert [word for word in ("PID-778899", "Mustermann", str(folder)) if word in text] == []
            assert type(error).__name__ in text
        assert cluster or str(error) in printed


def test_no_error_of_a_notebook_names_women_or_files_in_the_run_folder(named, monkeypatch, capsys):
    from papermill.exceptions import PapermillExecutionError

    folder, run = named
    job, said = Job("01_data_curation"), f"scans.tsv, row 4 (PID-778899-0002): scans/{NAME}.AIM does not exist"
    of = {"CohortError": said, "KeyError": "'PID-778899-0002'"}

    def fails(kind):
        error = {"output_type": "error", "ename": kind, "evalue": of[kind], "traceback": [f"File {folder}", of[kind]]}
        cell = {"cell_type": "code", "metadata": {}, "source": "", "outputs": [error], "execution_count": 3, "id": "a"}
        noted = {"papermill": {"input_path": "a", "output_path": "b"}}
        write_json(run.notebook(job), {"nbformat": 4, "nbformat_minor": 5, "metadata": noted, "cells": [cell]})
        raise PapermillExecutionError(2, 3, "", kind, of[kind], [of[kind]])

    for kind, kept in (("CohortError", "1 fault in the cohort's tables"), ("KeyError", "KeyError: 'a woman'")):
        monkeypatch.setattr("papermill.execute_notebook", lambda *_, kind=kind, **__: fails(kind))
        assert not run_job(run, job)
        assert [word for word in ("PID-778899", "Mustermann", str(folder)) if word in told(run)] == []
        assert kept in read_json(run.status(job))["error"]
        assert kept.partition(": ")[2] in run.notebook(job).read_text(encoding="utf-8")
        assert of[kind] in capsys.readouterr().out


def test_an_error_is_not_kept_where_ids_cannot_be_known(named, tmp_path, monkeypatch):
    _, run = named
    (tmp_path / "key.tsv").unlink()
    monkeypatch.setattr("deepqct.run.parts._curated", lambda *_: {}["PID-GONE"])
    assert not run_part(run, Part(Job("01_data_curation"), "0001-0008"))
    assert "PID-GONE" not in told(run)


def test_a_run_with_ids_keeps_them_and_no_file_of_the_cohort(make_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("deepqct.run.jobs.stage_hash", lambda _: "c")
    folder = make_cohort()
    plan = plan_run(str(folder), out=tmp_path / "run", preset="smoke")
    write_jobs(plan)
    monkeypatch.setattr("deepqct.run.parts._curated", lambda *_: {}[f"sub-0001 of {folder}/scans/sub-0001_wrist.AIM"])
    assert not run_part(plan.run, Part(Job("01_data_curation"), "0001-0008"))
    failure = read_json(plan.run.failure(Part(Job("01_data_curation"), "0001-0008")))
    assert failure["error"] == "KeyError: 'sub-0001 of a file of the cohort'"
