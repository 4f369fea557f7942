"""What the bench of a graphics card tells without one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from deepqct.cohort.splits import make_splits
from deepqct.networks.cross_validation import _places

ROOT = Path(__file__).parents[1]


def test_minutes_of_paper_count_every_network_that_the_preset_trains(monkeypatch):
    """Three repeats take three times as long; a lab that plans with a third of it waits the night."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "bench"))
    monkeypatch.chdir(ROOT)
    sys.modules.pop("gpu", None)
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
