"""Scans that were made in several stacks: the jump between them found, each stack measured, one chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from deepqct.bones import find_bones, measure
from deepqct.cohort import load_cohort
from deepqct.curation import CurationError, curate
from deepqct.curation.scan_stacks import chosen_stack, measure_stacks, part_of, stacks_of
from deepqct.folder import Run
from deepqct.scans import Scan, ScanError, find_seams, write_aim
from deepqct.virtual import draw_scan, draw_women


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A virtual wrist of one stack."""
    woman = draw_women(1, seed=4).iloc[0]
    return draw_scan(woman, site="wrist", side="right", voxel_mm=0.12, slices=12, seed=4)


def jumped(scan: Scan, y: float, x: float, degrees: float, *, at: int = 6) -> Scan:
    """The scan with its slices from `at` on shifted by (y, x) voxels and turned around the middle."""
    turn = np.radians(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = (np.array(scan.native.shape[1:]) - 1) / 2
    native = scan.native.copy()
    for z in range(at, len(native)):
        offset = middle - matrix @ (middle + np.array([y, x]))
        native[z] = ndimage.affine_transform(
            native[z].astype(np.float32), matrix, offset=offset, order=1, cval=native.min()
        )
    return replace(scan, native=native)


@pytest.mark.parametrize(("y", "x", "degrees"), [(1, 0, 0), (0, -2, 0), (3, -4, 0.5), (8, 5, 2), (0, 0, 0.8)])
def test_a_jump_between_stacks_is_found_and_measured(scan, y, x, degrees):
    """Shift and turn are known to a quarter of a voxel at the skin, a hundred voxels from the middle."""
    (seam,) = find_seams(jumped(scan, y, x, degrees))
    assert seam.first == 6
    np.testing.assert_allclose([seam.y, seam.x], [y, x], atol=0.25)
    assert abs(seam.degrees - degrees) < 0.15


@pytest.mark.parametrize("moved", [(0, 0, 0), (0.2, 0.2, 0)])
def test_a_scan_of_one_stack_has_no_seam(scan, moved):
    assert find_seams(jumped(scan, *moved)) == ()
    assert find_seams(replace(scan, native=scan.native[:3])) == ()


def test_motion_within_a_stack_is_no_seam():
    """The slices of a stack are made at once: they all move alike."""
    woman = draw_women(1, seed=4).iloc[0]
    drawn = draw_scan(woman, site="ankle", side="left", voxel_mm=0.15, slices=8, seed=4, motion_grade=5)
    assert find_seams(drawn) == ()


@pytest.mark.parametrize(
    ("slices", "voxel", "spans"),
    [
        (168, 0.0607, [(0, 168)]),
        (504, 0.0607, [(0, 168), (168, 336), (336, 504)]),
        (220, 0.082, [(0, 110), (110, 220)]),
        (220, 0.0607, [(0, 220)]),
    ],
)
def test_the_scanners_own_stacks_are_known_by_their_slices(slices, voxel, spans):
    scan = Scan(np.zeros((slices, 2, 2), np.int16), 0.25, -391.0, (voxel,) * 3)
    assert stacks_of(scan, []) == spans


def test_one_stack_can_be_chosen_and_one_that_is_not_there_is_refused():
    spans = [(0, 168), (168, 336)]
    assert chosen_stack(spans, "each") == (0, 336)
    assert chosen_stack(spans, "2") == (168, 336)
    assert chosen_stack(spans[:1], "2") == (0, 168)
    with pytest.raises(ScanError, match="has 2 stacks, and stack 3 is wanted"):
        chosen_stack(spans, "3")


def test_each_stack_is_measured_by_itself(scan):
    """What lies in the first stack does not change what the second one measures."""
    radius = find_bones(scan)["radius"]
    first, second = (part_of(radius, span) for span in ((0, 8), (8, 12)))
    assert first.origin[0] == second.origin[0] == 0
    expected = (8 * measure(first) + 4 * measure(second)) / 12
    pd.testing.assert_series_equal(measure_stacks(radius, [(0, 8), (8, 12)]), expected)
    assert part_of(radius, (12, 20)) is None
    pd.testing.assert_series_equal(measure_stacks(radius, [(0, 12)]), measure(radius))


def test_a_jump_is_flagged_and_a_chosen_stack_is_curated_alone(scan, make_cohort, tmp_path):
    """A reader sees the jump of the whole scan; the stack that she chooses has none."""
    folder = make_cohort()
    (folder / "scans.tsv").write_text("participant_id\tsite\tside\tfile\nsub-0001\twrist\tright\tlong.AIM\n")
    write_aim(folder / "long.AIM", jumped(scan, 3, -4, 0))
    cohort = load_cohort(folder)
    whole = curate(cohort, Run(tmp_path / "whole"), image_px=32).iloc[0]
    assert "a jump of 5.0 voxels" in whole["flags"]
    assert "between slices 6 and 7" in whole["flags"]
    second = curate(cohort, Run(tmp_path / "second"), image_px=32, scan_stack="2").iloc[0]
    assert (second["status"], second["flags"]) == ("curated", "")
    for run, depth in (("whole", 12), ("second", 6)):
        (stack,) = (tmp_path / run / "bones").glob("*_radius.npy")
        assert len(np.load(stack)) == depth
    with pytest.raises(CurationError, match="has 2 stacks, and stack 3 is wanted"):
        curate(cohort, Run(tmp_path / "third"), image_px=32, scan_stack="3")
