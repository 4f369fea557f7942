"""Patient groups: found where they are, the same twice, compared without testing what they were made from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic
from sklearn.metrics import adjusted_rand_score

from deepqct import phenotypes
from deepqct.folder import write_table
from deepqct.phenotypes import compare_groups, embed, find_groups, z_means


def two_clouds(n: int = 60, *, apart: float = 4.0, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Two groups that differ in every index, with a few values missing."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 5 < 2
    values = rng.standard_normal((n, 6)) - apart / np.sqrt(6) * truth[:, None]
    table = pd.DataFrame(values, columns=[f"radius {i}" for i in range(5)] + ["radius Tt.vBMD"])
    table.index = pd.Index([f"sub-{i:04d}" for i in range(n)], name="participant_id")
    table.iloc[3, 2] = np.nan
    return table, truth


def test_two_clouds_are_found_and_the_weaker_one_is_group_2():
    """The later comparison takes the last group as the one of low density."""
    table, truth = two_clouds()
    groups = find_groups(table, seed=1)
    assert groups.n_groups == 2
    assert adjusted_rand_score(truth, groups.labels[table.index]) > 0.8
    means = z_means(groups, table)["radius Tt.vBMD"]
    assert means[1] > means[2]
    assert groups.silhouette.idxmax() == 2


def test_same_seed_same_groups_in_any_order_of_rows():
    """A partition that follows the order of a table says nothing about women."""
    table, _ = two_clouds(apart=1.5)
    groups = find_groups(table, groups=3, seed=1)
    shuffled = find_groups(table.sample(frac=1, random_state=5), groups=3, seed=1)
    pd.testing.assert_series_equal(groups.labels, shuffled.labels)
    pd.testing.assert_frame_equal(embed(table, seed=1), embed(table.sample(frac=1, random_state=5), seed=1))


def test_a_new_patient_gets_the_nearest_group():
    """Assigning the patients themselves must give their own groups back."""
    table, _ = two_clouds()
    groups = find_groups(table, seed=1)
    pd.testing.assert_series_equal(groups.assign(table).rename(groups.labels.name), groups.labels)


def test_too_few_patients_are_refused():
    """Two groups of three women would be a picture of nothing."""
    table = two_clouds()[0].head(3)
    with pytest.raises(ValueError, match="groups is 4 for 3 patients"):
        find_groups(table, groups=4)


def test_what_was_clustered_is_not_tested():
    """Groups differ in the indices they were made from even in one cloud; a p value would pretend otherwise."""
    table, truth = two_clouds()
    labels = find_groups(table, seed=1).labels
    extra = pd.DataFrame({"fracture": truth.astype(float), "age": 70.0 + 5 * truth}, index=table.index)
    extra["age"] += np.random.default_rng(0).standard_normal(len(extra))
    result = compare_groups(labels, extra.join(table), clustered=set(table)).set_index("variable")
    assert result.loc[list(table), ["low", "high", "p", "q"]].isna().all(axis=None)
    assert result.loc[["fracture", "age"], "p"].lt(0.01).all()
    assert result.loc["fracture", "effect"] > 1
    assert result.loc["fracture", "low"] < result.loc["fracture", "effect"] < result.loc["fracture", "high"]
    assert result.loc["fracture", "kind"] == "odds ratio"


def test_what_nobody_has_is_not_compared():
    """A factor that is missing, or the same in all women, has no odds ratio and must not count in the q values."""
    table, truth = two_clouds()
    labels = pd.Series(np.where(truth, 2, 1), index=table.index)
    extra = pd.DataFrame({"missing": np.nan, "smoking": 0.0, "fracture": truth * 1.0}, index=table.index)
    result = compare_groups(labels, extra, clustered=set()).set_index("variable")
    assert result.loc[["missing", "smoking"], ["effect", "low", "high", "p", "q"]].isna().all(axis=None)
    assert result.loc["fracture", "q"] == result.loc["fracture", "p"]


def test_constant_indices_make_no_groups():
    """0.1 has a floating-point SD above 0; dividing by it would make noise a feature."""
    table, _ = two_clouds(20)
    constant = table.assign(**{"radius constant": 0.1})
    assert "radius constant" not in find_groups(constant, seed=1).centres
    with pytest.raises(ValueError, match="only 1 of 20 patients differ"):
        find_groups(constant[["radius constant"]])


def test_a_new_patient_needs_the_same_columns():
    """A distance over other columns than the groups' own would be of something else."""
    table, _ = two_clouds(20)
    with pytest.raises(ValueError, match="lack 'radius 0'"):
        find_groups(table, seed=1).assign(table.drop(columns="radius 0"))


def test_the_risk_of_the_groups_is_that_of_the_images_alone(tmp_path):
    """A fused score that holds the indices would differ between groups of indices by construction."""
    run = synthetic.finished_run(tmp_path / "run", figures=())
    table = synthetic.predictions()
    images = table[(table["family"] == "DeepQCT") & (table["model"] == "all four bones")]
    write_table(run.predictions, pd.concat([table, images.assign(model="all four bones + all indices", risk=0.5)]))
    people = synthetic.outcome().index
    groups = pd.DataFrame({"participant_id": people, "group": np.arange(len(people)) % 2 + 1})
    found = phenotypes.keep_comparison(run, groups, pd.DataFrame(index=people)).set_index("variable")
    assert "DeepQCT risk, all four bones" in found.index
    assert found.loc["DeepQCT risk, all four bones", "n"] == len(people)
