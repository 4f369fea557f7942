"""Budgets and recoveries that take minutes; `make test-long`."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "bench"))

from measure import in_own_process

pytestmark = pytest.mark.long


def test_a_real_size_bone_within_90_seconds_and_3_gb():
    found = in_own_process("real")
    assert found["seconds"] <= 90
    assert found["peak_gb"] <= 3


def test_a_full_isq_is_never_held_whole(tmp_path):
    path = str(tmp_path / "full.ISQ")
    assert in_own_process("make_isq", path)["gb"] > 1.7
    found = in_own_process("isq", path)
    assert found["peak_gb"] < 1.2
    assert set(found["boxes"]) == {"radius", "ulna"}


def test_a_full_virtual_wrist_within_90_seconds_and_6_gb():
    found = in_own_process("wrist")
    assert found["seconds"] <= 90
    assert found["peak_gb"] <= 6


def test_virtual_bones_measure_as_they_were_drawn():
    """A quarter of what `make bench` does; the limits are wider for it."""
    from scipy.stats import pearsonr
    from virtual import limbs

    table = limbs(15, spread_evenly=True)
    for bone, part in table.groupby("bone"):
        for index in ("Tt.Ar", "Ct.Th", "Ct.vBMD", "Tb.vBMD", "Tb.BV/TV", "Tb.N"):
            kept = part[[f"drawn {index}", index]].dropna()
            assert pearsonr(*kept.to_numpy().T)[0] >= 0.85, (bone, index)
            assert kept[index].mean() == pytest.approx(kept[f"drawn {index}"].mean(), rel=0.12), (bone, index)


_TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_controls import RECIPE
from deepqct.folder import Run
from deepqct.networks import cross_validate
if __name__ == "__main__":
    cross_validate(Run(Path(sys.argv[2])), bone="radius", recipe=RECIPE, workers=int(sys.argv[3]))
"""


def test_a_killed_training_resumes_with_identical_numbers(tmp_path):
    """Killed in the second fold: only what is missing is trained, and no number differs, with or without workers."""
    from test_controls import make_run

    def train(run, *, workers=0):
        command = [sys.executable, "-c", _TRAIN, str(ROOT / "tests"), str(run.folder), str(workers)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", cwd=ROOT)

    whole, broken, helped = (make_run(tmp_path / name, n=12, cue=300.0) for name in ("whole", "broken", "helped"))
    for run, workers in ((whole, 0), (helped, 2)):
        with train(run, workers=workers) as process:
            process.communicate()
        assert process.returncode == 0
    with train(broken) as process:
        for line in process.stdout:
            if "fold 1" in line:
                process.send_signal(signal.SIGKILL)
                break
    folds = broken.models("radius") / "all" / "repeat0"
    assert (folds / "fold0.json").exists()
    assert not (folds / "fold1.json").exists()
    first = (folds / "fold0.safetensors").stat().st_mtime_ns
    with train(broken) as again:
        said, _ = again.communicate()
    assert again.returncode == 0
    assert "fold 0: trained before, kept" in said
    assert (folds / "fold0.safetensors").stat().st_mtime_ns == first
    for run in (broken, helped):
        assert run.scores("radius").read_bytes() == whole.scores("radius").read_bytes()
        for fold in ("fold0.safetensors", "fold1.safetensors"):
            one, other = (r.models("radius") / "all" / "repeat0" / fold for r in (run, whole))
            assert one.read_bytes() == other.read_bytes()
