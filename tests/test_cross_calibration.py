"""Scanners that measure differently and go with the outcome: what is taken off, and that nothing held out takes part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from deepqct.evaluation import auc, cramers_v
from deepqct.models.classifiers import cross_predict
from deepqct.models.inputs import Tables
from deepqct.models.predict import predict_all
from deepqct.models.scanners import _added, cross_calibrate
from deepqct.terms import BONES
from deepqct.virtual import draw_women


def confounded(seed: int = 0, n: int = 300) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series, pd.Series]:
    """Drawn indices of virtual women, the same with 5 % more on one of two scanners, scanner, outcome and fold."""
    women = draw_women(n, scenario="literature", seed=seed).set_index("participant_id")
    clean = women[[c for c in women if str(c).split(" ")[0] in BONES and str(c).endswith("Ct.Th")]]
    rng, y = np.random.default_rng(seed), women["fracture"].astype(int)
    scanner = pd.Series(np.where(rng.random(n) < np.where(y == 1, 0.75, 0.35), "two", "one"), women.index)
    biased = clean * np.where(scanner == "two", 1.08, 1.0)[:, None]
    return clean, biased, scanner, y, pd.Series((np.arange(n) % 6).astype(str), women.index)


def test_cross_calibration_inside_folds_removes_a_planted_bias():
    """Uncorrected, the ridge is told the scanner; corrected, it does as well as on the clean indices, and no better."""
    errors = []
    for seed in range(2):
        clean, biased, scanner, y, fold = confounded(seed)
        assert cramers_v(y, scanner) > 0.2
        true, told = (auc(y, cross_predict(x, outcome=y, fold=fold)["score"]).estimate for x in (clean, biased))
        mended = cross_calibrate(biased, scanner=scanner, outcome=y, fold=fold)
        score = cross_predict(mended.features, outcome=y, fold=fold, training=mended.training)["score"]
        errors.append((told - true, auc(y, score).estimate - true))
    told, mended = np.abs(np.mean(errors, axis=0))
    assert mended < 0.03 and told > 2 * mended, errors


def test_nothing_of_the_held_out_women_takes_part():
    """Their outcomes and values changed at will: neither what is taken off them nor any training table moves.

    A cross-calibration of all women at once fails here.
    """
    _, biased, scanner, y, fold = confounded(n=120)
    before = cross_calibrate(biased, scanner=scanner, outcome=y, fold=fold)
    held_out = fold == "2"
    spoilt = biased.where(~held_out, biased * 3.0)
    after = cross_calibrate(spoilt, scanner=scanner, outcome=y.where(~held_out, 1 - y), fold=fold)
    pd.testing.assert_frame_equal(before.training["2"], after.training["2"])
    off = biased[held_out] - before.features[held_out]
    pd.testing.assert_frame_equal(spoilt[held_out] - after.features[held_out], off, atol=1e-9, rtol=0)
    assert not before.training["3"].loc[fold.index[held_out]].equals(after.training["3"].loc[fold.index[held_out]])

    at_once = [
        _added(x, scanner.astype("string"), outcome, reference="one")
        for x, outcome in ((biased, y), (spoilt, y.where(~held_out, 1 - y)))
    ]
    assert not np.allclose(*at_once)


def test_a_scanner_that_tells_the_outcome_is_refused_and_a_rare_one_left_alone():
    """Nobody can tell what such a scanner adds; and five women are needed to say what one adds."""
    _, biased, _, y, fold = confounded(n=60)
    with pytest.raises(ValueError, match="tells the outcome"):
        cross_calibrate(biased, scanner=y.map({0: "one", 1: "two"}), outcome=y, fold=fold)
    rare = pd.Series("one", y.index).where(np.arange(60) >= 3, "rare")
    pd.testing.assert_frame_equal(
        cross_calibrate(biased, scanner=rare, outcome=y, fold=fold).features, biased.astype(float)
    )


def test_only_models_of_measured_bone_take_it_and_only_when_asked():
    """The index family's scores change, clinical ones do not; without the parameter all is as before."""
    _, biased, scanner, y, fold = confounded(n=90)
    biased, fold, people = biased[["radius Ct.Th"]], fold.map(int).mod(2).astype(str), y.index.astype(str)
    data = Tables(
        features=biased.assign(age=np.linspace(60, 80, 90)),
        indices=list(biased.columns),
        scores={},
        inner={},
        splits=pd.DataFrame({"protocol": "all", "repeat": 0, "participant_id": people, "fold": fold.to_numpy()}),
        dictionary={"age": {"Role": "clinical"}},
        outcome=y,
        patients=pd.Series(people, y.index),
    )
    plain, mended = (predict_all(one) for one in (data, replace(data, scanner=scanner.astype("string"))))
    key = ["family", "model", "participant_id"]
    apart = (plain.set_index(key)["score"] - mended.set_index(key)["score"]).abs().groupby("family").max()
    assert apart["Clinical"] == 0 and apart["pQCT-index"] > 0.01
    assert list(data.features[data.indices].columns) == list(biased.columns)  # nothing is changed in place
    pd.testing.assert_frame_equal(data.features[data.indices], biased)
