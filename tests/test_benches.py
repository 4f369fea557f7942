"""What the long benches rest on: which networks count as trained, and whose scores are taken for whose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from deepqct.cohort.splits import make_splits
from deepqct.folder import Run, write_table
from deepqct.networks import Recipe
from deepqct.networks.cross_validation import _places

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def benches(monkeypatch):
    """The benches can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "bench"))
    monkeypatch.chdir(ROOT)


def test_minutes_of_paper_count_every_network_that_the_preset_trains():
    """Three repeats take three times as long; a lab that plans with a third of it waits the night."""
    from gpu import paper_minutes

    preset = yaml.safe_load((ROOT / "deepqct" / "run" / "presets" / "paper.yaml").read_text(encoding="utf-8"))
    train, drawn = preset["02_train_bone"], preset["01_data_curation"]
    women = pd.Index([f"P{i:04d}" for i in range(216)], name="participant_id")
    protocols = [name.strip() for name in drawn["protocols"].split(",")]
    splits = make_splits(
        pd.Series(np.arange(216) % 3 == 0, women).astype(int),
        protocols=protocols, folds=drawn["folds"], repeats=train["network_repeats"],
    )  # fmt: skip
    learned = 0
    for place in _places(splits):
        mine = splits[(splits["protocol"] == place["protocol"]) & (splits["repeat"] == place["repeat"])]
        learned += (~mine["fold"].isin(["test", place["fold"]])).sum()
    images = 4 * learned * train["images"] * (train["epochs"] + 1)  # the head alone comes first
    assert paper_minutes(100.0) == pytest.approx(images / 100 / 60, rel=0.01)


def test_the_grid_lays_a_limb_down_at_each_shift_and_turn_and_nothing_else():
    """Nine pairs that begin alike; and an error of nothing where the second place is the one that was found."""
    from twins import error_voxels, laid_down, share_gone

    from deepqct.evaluation import precision

    pairs = laid_down("grid", 0, 0)
    assert [(how["slices"], how["degrees"]) for _, how in pairs] == [(s, d) for s in (0, 1, 2) for d in (0.0, 3.0, 6.0)]
    assert all(one == pairs[0][0][0] and (one.slices, one.degrees) == (0, 0.0) for (one, _), _ in pairs)
    assert all((two.slices, two.degrees) == (how["slices"], how["degrees"]) for (_, two), how in pairs)
    assert len(laid_down("random", 0, 0)) == 1

    class Part:
        total, origin = np.ones((4, 30, 30), bool), (0, 0, 0)

    class Same:
        def to_second(self, place):
            return place

    still, moved = (
        error_voxels(Part, Part, Same(), hows, np.array([15.0, 15.0]), 1.0) for hows, _ in (pairs[0], pairs[3])
    )
    assert still == pytest.approx(0) and moved == pytest.approx(1)  # one slice, of which nothing was found
    plain, mended = (precision(["A", "A", "B", "B"], [0.0, size, 9.0, 9.0 + size]) for size in (2.0, 1.0))
    assert share_gone(plain, mended) == "75"


def test_scores_of_other_settings_are_not_taken_for_those_that_are_asked_for(tmp_path):
    """The same name with other epochs is another reader: a table of both would compare nothing."""
    from readers import scored

    done = Recipe(epochs=12)
    row = {"cohort": tmp_path.name, "bone": "radius", "reader": "plain", "participant_id": "P1", "fold": "0"}
    table = pd.DataFrame(
        [row | {"outcome": 1, "score": 0.5, "training_auc": 0.9, "seconds": 1.0, "settings": str(done)}]
    )
    write_table(tmp_path / "scores.csv", table)
    assert len(scored(tmp_path, Run(tmp_path), "radius", "plain", done)) == 1
    with pytest.raises(ValueError, match=r"holds plain of .* with other settings"):
        scored(tmp_path, Run(tmp_path), "radius", "plain", Recipe(epochs=30))
