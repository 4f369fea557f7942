"""Scores and flags for the reviewer: motion, rings, published ranges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import shapes
from scipy.stats import spearmanr

from deepqct.bones import find_bones, motion_score, ring_score, unusual_indices, unusual_strength
from deepqct.bones.quality import MOTION_FAINT, MOTION_LIMIT, PUBLISHED, RING_LIMIT, flags_of_scores
from deepqct.scans import Scan
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE, to_native
from deepqct.virtual import draw_scan, draw_women
from deepqct.virtual.motion import EXTENT, Pose, draw_poses, move


def test_the_motion_score_follows_the_grade_of_virtual_motion():
    """A score that does not rise with motion would send good scans to the reviewer and hide bad ones."""
    women = draw_women(20, seed=5).to_dict("records")
    grades, scores = [], []
    for i, woman in enumerate(women):
        grade, site = i % 5 + 1, ("wrist", "ankle")[i // 5 % 2]
        scan = draw_scan(woman, site=site, side="right", voxel_mm=0.15, slices=8, seed=5, motion_grade=grade)
        grades.append(grade)
        scores.append(max(motion_score(bone) for bone in find_bones(scan).values()))
    table = pd.DataFrame({"grade": grades, "score": scores})
    assert spearmanr(table["grade"], table["score"])[0] >= 0.8
    # Of 40 virtual scans of grade 5, a quarter stays below the limit, and of 20 of grade 1 none reaches the fainter one.
    assert table.query("grade == 1")["score"].max() < MOTION_FAINT < MOTION_LIMIT
    assert (table.query("grade == 5")["score"] > MOTION_LIMIT).mean() >= 0.5
    assert table.query("grade == 5")["score"].min() > MOTION_FAINT


def test_a_limb_that_lies_still_is_reconstructed_as_it_is():
    """Two wedges of the same pose make the whole; a limb moved all the time is the moved limb."""
    limb = np.full((2, 60, 80), -391.0, np.float32)
    limb[:, 20:40, 30:50] = 900
    still = (Pose(0, 1.0, 0, 0, 0), Pose(1.0, np.pi, 0, 0, 0))
    np.testing.assert_allclose(move(limb, still, voxel_mm=0.1), limb, atol=0.5)
    shifted = move(limb, (Pose(0, 2, 0.3, -0.5, 0), Pose(2, np.pi, 0.3, -0.5, 0)), voxel_mm=0.1)
    np.testing.assert_allclose(shifted, np.roll(limb, (3, -5), axis=(1, 2)), atol=0.5)


@pytest.mark.parametrize("grade", EXTENT)
def test_poses_fill_the_half_turn_around_the_resting_pose(grade):
    poses = draw_poses(grade, rng=np.random.default_rng(0))
    assert (poses[0].first, poses[-1].last) == (0, pytest.approx(np.pi))
    assert [a.last for a in poses[:-1]] == [b.first for b in poses[1:]]
    mean = sum(np.array([p.y_mm, p.x_mm, p.degrees]) * (p.last - p.first) for p in poses)
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    with pytest.raises(ValueError, match="motion grade is 6; use 1 to 5"):
        draw_poses(6, rng=np.random.default_rng(0))


@pytest.mark.parametrize("strength", [0, 120])
def test_rings_around_the_axis_are_found(strength):
    """A defect detector pixel draws a ring through bone and muscle alike."""
    density, _ = shapes.two_bones("wrist", gap=20, angle=0.0, voxel_mm=0.2, slices=8, rng=np.random.default_rng(1))
    n = density.shape[1]
    y, x = np.ogrid[:n, :n]
    radius = np.hypot(y - n / 2 - 10, x - n / 2 + 40)
    for at in (50, 63, 90):
        density[:, np.abs(radius - at) < 1] += strength
    place = (0, round(2303 / 2 - n / 2 - 10), round(2303 / 2 - n / 2 + 40))
    scan = Scan(to_native(density), SLOPE / MU_SCALING, INTERCEPT, (0.2,) * 3, "wrist", "left", "XtremeCT II")
    bones = find_bones(scan)
    assert np.isnan(ring_score(scan, bones))  # where the axis is, the file does not say
    score = ring_score(replace(scan, origin_mm=tuple(0.2 * n for n in place)), bones)
    assert (score > RING_LIMIT) == (strength > 0), score


def test_an_index_outside_of_its_published_range_is_named_with_the_range():
    usual = pd.Series({symbol: sum(ends) / 2 for symbol, ends in PUBLISHED["radius"].items()})
    assert unusual_indices(usual, bone="radius", voxel_mm=0.0607) == []
    odd = pd.Series({**usual, "Tb.N": 2.7})
    words = "Tb.N 2.7 is outside the published 0.4 to 2 (Neeteson 2023)"
    assert unusual_indices(odd, bone="radius", voxel_mm=0.0607) == [words]
    assert unusual_indices(odd, bone="radius", voxel_mm=0.082) == []  # the range holds for the finer voxel
    assert unusual_indices(odd, bone="ulna", voxel_mm=0.0607) == []  # nothing is published


def test_a_strength_beyond_what_is_published_is_named_where_stacks_are_alike():
    """A low stack is stiffer, and of ulna and fibula nothing is published."""
    usual = pd.Series({"F.Load": 2.2, "Stiffness": 42.0, "E.App": 1000.0})
    like = {"bone": "radius", "height_mm": 10.2, "voxel_mm": 0.0607}
    assert unusual_strength(usual, **like) == []
    weak = usual.where(usual.index != "Stiffness", 12.0)
    assert unusual_strength(weak, **like) == [
        "Stiffness 12 kN/mm is outside of the published 19.1 kN/mm and more (Mikolajewicz 2021)"
    ]
    strong = usual.where(usual.index != "F.Load", 9.0)
    assert [said.split(" is ")[0] for said in unusual_strength(strong, **like)] == ["F.Load 9 kN"]
    assert unusual_strength(strong, **like | {"bone": "tibia"}) == [
        said for said in unusual_strength(usual, **like | {"bone": "tibia"}) if not said.startswith("F.Load")
    ]
    for other in ({"height_mm": 2.9}, {"voxel_mm": 0.12}, {"bone": "ulna"}, {"bone": "fibula"}):
        assert unusual_strength(weak, **like | other) == []
    assert unusual_strength(usual * np.nan, **like) == []


def test_scores_become_flags_above_their_limits_and_notes_just_under_them():
    """A flag on every second scan is read by nobody: what no eye confirms is a note."""
    assert flags_of_scores(MOTION_FAINT - 1, np.nan) == ([], [])
    assert flags_of_scores(np.nan, RING_LIMIT - 1) == ([], [])
    for motion, said in ((MOTION_FAINT + 1, ([], ["faint double contours or streaks"])),
                         (MOTION_LIMIT + 1, (["double contours or streaks"], []))):  # fmt: skip
        assert tuple([one.split(",")[0] for one in level] for level in flags_of_scores(motion, np.nan)) == said
    assert [note.split(",")[0] for note in flags_of_scores(0, 99)[1]] == ["rings"]
