"""The command line: helpful, exact exit codes, not a word about a patient."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from deepqct.scans import Scan, write_aim
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE


def deepqct(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "deepqct", *words],
        capture_output=True, encoding="utf-8", cwd=cwd, check=False,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


def test_help_names_the_commands():
    """Whoever types deepqct alone must see what it can do."""
    done = deepqct("--help")
    assert done.returncode == 0
    for command in ("run", "check", "inspect", "cohort"):
        assert command in done.stdout


def test_a_misspelt_parameter_fails_at_once(tmp_path):
    """Nothing may start, and nothing may be written, before every name is known."""
    done = deepqct("run", "virtual", "bne=radius", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "Unknown parameter 'bne' for any stage; did you mean 'bone'?" in done.stderr
    assert not (tmp_path / "run").exists()
    done = deepqct("run", "bne=radius")
    assert done.returncode == 2
    assert "did you mean 'bone'?" in done.stderr


def test_check_says_every_fault_and_its_exit_code(make_cohort):
    """Scripts rely on 0 and 2."""
    folder = make_cohort()
    done = deepqct("check", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 (4 with fracture, 4 without)" in done.stdout
    (folder / "scans" / "sub-0001_wrist.AIM").unlink()
    text = (folder / "participants.tsv").read_text(encoding="utf-8")
    (folder / "participants.tsv").write_text(text.replace("\t62\t", "\t212\t"), encoding="utf-8")
    done = deepqct("check", str(folder))
    assert done.returncode == 2
    assert "age is 212" in done.stderr
    assert "sub-0001_wrist.AIM does not exist" in done.stderr
    assert "2 faults" in done.stderr


def test_check_says_which_columns_the_models_take(make_cohort):
    """A column under another name is no fault, and would be missed by nobody until the report."""
    folder = make_cohort()
    lines = (folder / "participants.tsv").read_text(encoding="utf-8").splitlines()
    named = [lines[0] + "\tBMI\tsex\theight_cm", *(f"{line}\t25\t0\t160" for line in lines[1:])]
    (folder / "participants.tsv").write_text("\n".join(named) + "\n", encoding="utf-8")
    (folder / "participants.json").write_text('{"sex": {"Role": "clinical"}}', encoding="utf-8")
    done = deepqct("check", str(folder))
    assert done.returncode == 0
    assert "Columns by role: clinical: age, sex; bmd: bmd_total_hip; outcome: fracture." in done.stdout
    assert "No model takes height_cm; a Role in participants.json would change that." in done.stdout
    assert "Left in the cohort folder: BMI; describe them in participants.json to take them along." in done.stdout


def test_check_says_which_presets_a_cohort_is_too_small_for(make_cohort):
    """Whoever has four women should know it before she waits for a run."""
    done = deepqct("check", str(make_cohort(4)))
    assert done.returncode == 0
    for preset in ("smoke", "quick", "paper"):
        assert f"Preset {preset} cannot be run: 4 of 4 women have a scan" in done.stdout


def test_run_refuses_a_faulty_cohort_before_any_work(make_cohort, tmp_path):
    """An hour of training on a table with a wrong age is an hour lost."""
    folder = make_cohort()
    (folder / "scans" / "sub-0001_wrist.AIM").unlink()
    done = deepqct("run", str(folder), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "sub-0001_wrist.AIM does not exist" in done.stderr
    assert not (tmp_path / "run").exists()


def test_inspect_shows_a_scan_and_hides_its_patient(tmp_path):
    """Its output goes into mails and tickets."""
    scan = Scan(
        np.arange(3000, dtype=np.int16).reshape(5, 20, 30),
        SLOPE / MU_SCALING,
        INTERCEPT,
        (0.0607,) * 3,
        "wrist",
        "left",
    )
    path = write_aim(tmp_path / "a.AIM", scan)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Created by                    deepqct", b"Patient Name                  Doe^Jane"))
    done = deepqct("inspect", str(path), "--png", str(tmp_path / "slice.png"))
    assert done.returncode == 0, done.stderr
    assert "0.0607 × 0.0607 × 0.0607 mm" in done.stdout
    assert "5 × 20 × 30" in done.stdout
    assert "0.195742" in done.stdout
    assert "Doe" not in done.stdout + done.stderr
    plain = subprocess.run(
        [sys.executable, "-m", "deepqct", "inspect", str(path)],
        capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert plain.returncode == 0, plain.stderr
    assert b"0.0607 ? 0.0607" in plain.stdout
    png = (tmp_path / "slice.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert b"Doe" not in png
    done = deepqct("inspect", str(tmp_path / "none.AIM"))
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert "Traceback" not in done.stderr


REAL = ROOT.parent / "shared" / "real" / "TRAB_1237.AIM"


@pytest.mark.skipif(not REAL.exists(), reason="the real scanner files are not beside this checkout")
def test_inspect_of_a_real_scan_names_nobody(tmp_path):
    """The log of this file holds a study name, an index number and dates."""
    done = deepqct("inspect", str(REAL), "--png", str(tmp_path / "slice.png"))
    assert "mean 112.3" in done.stdout
    for secret in ("DBQ", "1237", "5697", "2016", "2017", "d0005679"):
        assert secret not in (done.stdout + done.stderr).replace(str(REAL), "")


@pytest.mark.parametrize("words", [[], ["--png", "elsewhere/slice.png"]])
def test_inspect_says_where_it_cannot_write(tmp_path, words):
    """A working folder may belong to somebody else; here files stand where files and folders should be written."""
    scan = Scan(np.zeros((3, 20, 20), np.int16), SLOPE / MU_SCALING, INTERCEPT, (0.0607,) * 3, "wrist", "left")
    path = write_aim(tmp_path / "a.AIM", scan)
    (tmp_path / "deepqct-slice.png").mkdir()
    (tmp_path / "elsewhere").touch()
    done = deepqct("inspect", str(path), *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "3 × 20 × 20" in done.stdout
    assert "slice.png cannot be written (" in done.stderr
    assert done.stderr.rstrip().endswith("or take a folder that you may write to, by --png.")
    assert "Traceback" not in done.stderr
    done = deepqct("inspect", str(path), "--png", str(tmp_path / "here.png"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_home_folder_that_cannot_be_written_stops_nothing(tmp_path):
    """On a node of a cluster nobody may own it, nor the folder of the installation: numba would find no place."""
    (tmp_path / "home").touch()
    code = (
        "import numba.core.caching as c; c.InTreeCacheLocator.from_function = classmethod(lambda *_: None)\n"
        "import os, deepqct.bones.spheres, jupyter_core.paths as paths\n"
        "print(os.environ['XDG_CACHE_HOME'], paths.jupyter_runtime_dir(), sep='\\n')"
    )
    names = ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=own | {"HOME": str(tmp_path / "home")}, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 2
    for folder in map(Path, done.stdout.split()):
        assert "deepqct-" in str(folder)
        assert not folder.exists(), "it goes away with the process"
    (tmp_path / "home").unlink()
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "import deepqct as dq, os; dq.work.keep_elsewhere(); print(os.environ.get('IPYTHONDIR'))"],
        env=own | {"HOME": str(tmp_path / "home")}, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "None"
    assert not list((tmp_path / "home").iterdir())
