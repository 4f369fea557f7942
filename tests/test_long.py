"""Budgets and recoveries that take minutes; `make test-long`."""

from __future__ import annotations

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
