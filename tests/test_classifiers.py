"""Classifiers of tables: penalty and threshold are chosen in the training folds, and odd tables are met with sense."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from deepqct.models.classifiers import C_GRID, OTHERS, RIDGE, cross_predict, fit


def table(n: int = 90, columns: int = 4, *, effect: float = 1.0, seed: int = 0):
    """Features, outcome and six folds."""
    rng = np.random.default_rng(seed)
    people = [f"sub-{i:04d}" for i in range(n)]
    y = pd.Series((np.arange(n) % 3 == 0).astype(int), index=people)
    x = rng.standard_normal((n, columns))
    x[:, 0] += effect * y.to_numpy()
    fold = pd.Series((rng.permutation(n) % 6).astype(str), index=people)
    return pd.DataFrame(x, index=people, columns=[f"c{i}" for i in range(columns)]), y, fold


def test_the_threshold_never_sees_the_held_out_fold():
    """A threshold that knows who fell is always a good one."""
    x, y, fold = table()
    before = cross_predict(x, outcome=y, fold=fold)["threshold"]
    after = cross_predict(x, outcome=y.where(fold != "0", 1 - y), fold=fold)["threshold"]
    assert before[fold == "0"].nunique() == 1
    np.testing.assert_array_equal(before[fold == "0"], after[fold == "0"])
    assert (before[fold == "1"] != after[fold == "1"]).all()


def test_the_penalty_is_chosen_by_the_training_folds():
    """Noise asks for the strongest penalty, a clear signal for a weak one."""
    chosen = {}
    for effect in (0.0, 3.0):
        x, y, fold = table(effect=effect, columns=20, n=180)
        chosen[effect] = fit(x, outcome=y, fold=fold).model[-1].C
    assert chosen[0.0] <= 1e-3
    assert chosen[3.0] > chosen[0.0]
    assert set(chosen.values()) <= set(C_GRID)


def test_the_choice_of_columns_is_made_in_the_training_folds():
    """A column that has values in the held-out fold only must be left out there, not imputed from it."""
    x, y, fold = table()
    x["late"] = np.where(fold == "0", y * 100.0, np.nan)
    plain = cross_predict(x.drop(columns="late"), outcome=y, fold=fold)["score"]
    found = cross_predict(x, outcome=y, fold=fold)["score"]
    np.testing.assert_array_equal(found[fold == "0"], plain[fold == "0"])
    assert "late" not in _columns_of_fits(x, y, fold)["0"]
    assert "late" in _columns_of_fits(x, y, fold)["1"]


def _columns_of_fits(x, y, fold) -> dict[str, tuple[str, ...]]:
    """The columns that `cross_predict` gives to each fit, by held-out fold."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "deepqct.models.classifiers.fit", lambda *args, **kwargs: seen.append(fit(*args, **kwargs)) or seen[-1]
        )
        cross_predict(x, outcome=y, fold=fold)
    return {k: fitted.columns for k, fitted in zip(fold.unique(), seen, strict=True)}


def test_inner_logits_are_held_out():
    """The threshold is chosen on them: in-sample logits would promise too much."""
    x, y, fold = table(columns=60, effect=0.0)
    fitted = fit(x, outcome=y, fold=fold)
    assert roc_auc_score(y, fitted.logit(x)) > 0.8
    assert 0.25 < roc_auc_score(y, fitted.inner) < 0.7


@pytest.mark.parametrize("classifier", OTHERS)
def test_other_classifiers_find_a_signal_and_nothing_in_noise(classifier):
    """They are a check on the ridge and must be checked themselves."""
    x, y, fold = table(effect=2.0, n=180)
    assert roc_auc_score(y, cross_predict(x, outcome=y, fold=fold, classifier=classifier)["score"]) > 0.8
    x, y, fold = table(effect=0.0, n=180, seed=3)
    assert 0.3 < roc_auc_score(y, cross_predict(x, outcome=y, fold=fold, classifier=classifier)["score"]) < 0.65


def test_an_unknown_classifier_is_named():
    """A slip in a notebook's parameter must not end in a traceback of another library."""
    x, y, fold = table()
    with pytest.raises(ValueError, match="Unknown classifier 'forest'; use one of ridge, random forest"):
        fit(x, outcome=y, fold=fold, classifier="forest")


def test_one_class_in_the_training_folds():
    """All events in one fold: nothing can be learnt without it, and that is said by a logit of 0 and no threshold."""
    x, y, fold = table()
    y[:] = 0
    y[fold[fold == "2"].index[:8]] = 1
    found = cross_predict(x, outcome=y, fold=fold)
    assert (found.loc[fold == "2", "score"] == 0).all()
    assert found.loc[fold == "2", "threshold"].isna().all()
    assert np.isfinite(found.loc[fold == "1", "score"]).all()


def test_a_constant_and_an_empty_column_change_nothing():
    """A hospital's table has both."""
    x, y, fold = table()
    odd = x.assign(constant=3.0, empty=np.nan)
    plain, found = (cross_predict(t, outcome=y, fold=fold)["score"] for t in (x, odd))
    np.testing.assert_allclose(found, plain, atol=1e-8)


def test_two_folds_are_enough():
    """The smoke preset has two: the inner folds are then drawn anew."""
    x, y, fold = table(effect=2.0)
    fold = pd.Series(np.where(np.arange(len(y)) % 2, "0", "1"), index=y.index)
    found = cross_predict(x, outcome=y, fold=fold, classifier=RIDGE)
    assert found.notna().all(axis=None)
    assert roc_auc_score(y, found["score"]) > 0.7


def test_folds_of_unlike_prevalence_do_not_speak_through_the_intercept():
    """A fold with more events leaves fewer to train on: whole logits of noise would order women by that."""
    rng = np.random.default_rng(0)
    y = pd.Series((np.arange(90) % 3 == 0).astype(int))
    fold = pd.Series(np.where(rng.permutation(90) + 30 * y < 60, "0", "1"))
    x = pd.DataFrame(rng.standard_normal((90, 3)) * 1e-9, columns=list("abc")).round(9)
    found = cross_predict(x, outcome=y, fold=fold)
    assert roc_auc_score(y, found["risk"]) < 0.45
    assert roc_auc_score(y, found["score"]) > roc_auc_score(y, found["risk"])
    assert found.groupby(fold)["score"].mean().abs().max() < 0.1


def test_new_inner_folds_keep_the_rows_of_one_patient_together():
    """With two folds each training set is divided anew: twins on both sides would choose too weak a penalty."""
    x, y, _ = table(n=60, columns=60, effect=0.0)
    doubled, outcome = (pd.concat([t, t.set_axis([f"{i}-2" for i in t.index])]) for t in (x, y))
    groups = pd.Series([i.removesuffix("-2") for i in doubled.index], index=doubled.index)
    single = pd.Series("0", index=doubled.index)
    apart = fit(doubled, outcome=outcome, fold=single)
    together = fit(doubled, outcome=outcome, fold=single, patients=groups)
    assert roc_auc_score(outcome, apart.inner) > 0.8
    assert roc_auc_score(outcome, together.inner) < 0.7
    assert together.model[-1].C < apart.model[-1].C
