"""Patient groups: found where they are and not where they are not, the same twice, never tested on what made them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from deepqct.folder import Run, read_json, read_table, write_json, write_table
from deepqct.groups import METHODS, beside_preprint, embedding, find, find_groups, keep_comparison, space, z_means
from deepqct.groups.comparison import compare_groups
from deepqct.groups.methods import number_by_gap, partition
from deepqct.widgets import group_explorer

QUICK = {"draws": 39, "bootstraps": 20}


def two_clouds(n: int = 60, *, apart: float = 4.0, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Two groups that differ in every index, with a few values missing."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 5 < 2
    values = rng.standard_normal((n, 6)) - apart / np.sqrt(6) * truth[:, None]
    table = pd.DataFrame(values, columns=[f"radius {i}" for i in range(5)] + ["radius Tt.vBMD"])
    table.index = pd.Index([f"sub-{i:04d}" for i in range(n)], name="participant_id")
    table.iloc[3, 2] = np.nan
    return table, truth


@pytest.fixture(scope="module")
def found() -> tuple[pd.DataFrame, np.ndarray, find.Groups]:
    """Two clouds and their groups."""
    table, truth = two_clouds(100, apart=5.0)
    return table, truth, find_groups(table, seed=1, **QUICK)


def test_two_clouds_are_found_and_the_weaker_one_is_group_2(found):
    """The later comparison takes the last group as the one of low density."""
    table, truth, groups = found
    assert groups.n_groups == 2
    assert adjusted_rand_score(truth, groups.labels[table.index]) > 0.8
    means = z_means(groups, table)["radius Tt.vBMD"]
    assert means[1] > means[2]
    assert groups.numbers["bic"].idxmin() == 2
    assert groups.numbers["silhouette"].idxmax() == 2
    assert groups.stability.min() > 0.75
    together = groups.consensus.to_numpy()[np.equal.outer(groups.labels.to_numpy(), groups.labels.to_numpy())]
    assert np.nanmean(together) > 0.8
    assert "There are 2 groups" in find.verdict(groups)


def test_the_number_is_the_first_gap_that_the_next_does_not_beat():
    """By Tibshirani's rule; the highest gap of all would be of as many groups as one likes."""
    table = pd.DataFrame({"gap": [0.5, 0.1, 0.4, 0.42, 0.9], "gap_se": 0.05}, index=range(1, 6))
    assert number_by_gap(table) == 3
    assert number_by_gap(table.head(2)) == 2
    assert number_by_gap(table.assign(gap=[0.0, 1.0, 2.0, 3.0, 4.0])) == 5


def test_one_cloud_is_an_answer_and_is_said():
    """Any method cuts a cloud in two; only a test says that it should not."""
    table, _ = two_clouds(100, apart=0.0, seed=3)
    groups = find_groups(table, seed=1, **QUICK)
    assert groups.n_groups == 1
    assert (groups.labels == 1).all()
    assert groups.stability.empty
    assert "there are no groups to report" in find.verdict(groups)
    asked = find_groups(table, groups=2, seed=1, **QUICK)
    assert asked.n_groups == 2
    assert "the data do not support it" in find.verdict(asked)
    assert compare_groups(groups.labels, table, clustered=set()).empty


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_clear_groups_again(method):
    """Each by its own call, its own memberships, and the same numbering."""
    table, truth = two_clouds(100, apart=7.0)
    groups = find_groups(table, groups=2, method=method, seed=1, draws=1, bootstraps=0)
    assert adjusted_rand_score(truth, groups.labels[table.index]) > 0.9
    assigned = groups.assign(table)
    assert (assigned["group"] == groups.labels[table.index]).mean() > 0.97
    assert assigned["membership"].between(0.5, 1).all()


@pytest.mark.long
def test_same_seed_same_groups_in_any_order_of_rows():
    """A partition that follows the order of a table says nothing about women."""
    table, _ = two_clouds(apart=1.5)
    shuffled = table.sample(frac=1, random_state=5)
    for method in METHODS:
        settings = {"groups": 3, "method": method, "seed": 1, "draws": 5, "bootstraps": 5}
        one, other, again = (find_groups(part, **settings) for part in (table, shuffled, table))
        pd.testing.assert_series_equal(one.labels, other.labels)
        pd.testing.assert_series_equal(one.labels, again.labels)
        pd.testing.assert_series_equal(one.stability, other.stability)
    z = one.space.standardise(table)
    pd.testing.assert_frame_equal(embedding.embed(z, seed=1), embedding.embed(z.sample(frac=1, random_state=5), seed=1))


def test_a_new_patient_gets_her_group_or_is_like_none(found):
    """A value that no woman ever had must not be called a typical member of a group."""
    table, _, groups = found
    own = groups.assign(table)
    pd.testing.assert_series_equal(own["group"], groups.labels[table.index])
    assert own["like_none"].mean() <= 0.05
    new = table.iloc[:2].copy()
    new.iloc[0, :5] = [9.0, -9.0, 9.0, -9.0, 9.0]
    new.index = ["new-1", "new-2"]
    assigned = groups.assign(new)
    assert assigned["like_none"].tolist() == [True, False]
    # Imputed by the ten nearest women.
    assert groups.assign(table.iloc[[0]].assign(**{"radius 1": np.nan}))["group"].iloc[0] == groups.labels.iloc[0]


def test_what_cannot_be_grouped_is_refused_in_one_sentence():
    """Two groups of three women would be a picture of nothing."""
    table = two_clouds()[0]
    with pytest.raises(ValueError, match="groups is 4 for 3 patients"):
        find_groups(table.head(3), groups=4)
    with pytest.raises(ValueError, match="groups is 2 for 9 patients; groups are drawn in 10 or more"):
        find_groups(table.head(9), groups=2)
    with pytest.raises(ValueError, match="'kmeans'; use one of mixture, k-means"):
        find_groups(table, method="kmeans")
    with pytest.raises(ValueError, match=r"cluster_on names 'Tb\.X'"):
        space.named(table, "Tt.vBMD, Tb.X")
    with pytest.raises(ValueError, match="adjust_for names 'size'"):
        space.covariates_of(table, "size")
    people = table.assign(fracture=1.0, height=np.nan)
    with pytest.raises(ValueError, match="adjust_for names 'fracture', the outcome: the groups would know it"):
        space.covariates_of(people, "fracture", outcome="time_to_fracture, fracture")
    with pytest.raises(ValueError, match="adjust_for names 'height', which no participant has a value of"):
        space.covariates_of(people, "height")
    assert list(space.covariates_of(table, "radius 1, radius 1")) == ["radius 1"]
    assert list(space.named(table, "Tt.vBMD, 1")) == ["radius 1", "radius Tt.vBMD"]


@pytest.mark.parametrize("n", [3, 9])
def test_too_few_women_are_one_group_and_told_so(tmp_path, n):
    """Where most scans of a cohort failed, the stage writes its tables and says what it could not do."""
    table = two_clouds()[0].head(n)
    groups = find_groups(table, **QUICK)
    assert (groups.n_groups, set(groups.labels), len(groups.numbers) > 0) == (1, {1}, True)
    said = f"Groups are looked for in 10 women or more, and here are {n}: they stay one group."
    assert find.verdict(groups) == said
    run = Run(tmp_path)
    kept = find.keep_groups(run, groups, embedding.embed(groups.space.standardise(table)), table)
    assert len(kept) == n
    assert read_json(run.phenotypes_record)["p_one_cloud"] is None
    assert find.agreement_between_bones(groups, table).empty


def test_useless_columns_make_no_groups(found):
    """0.1 has a floating-point SD above 0; dividing by it would make noise a feature; a copy would count twice."""
    table, _, groups = found
    more = table.assign(constant=0.1, empty=np.nan, copy=2 * table["radius 0"] + 1)
    again = find_groups(more, seed=1, **QUICK)
    assert again.space.columns == groups.space.columns
    pd.testing.assert_series_equal(again.labels, groups.labels)
    with pytest.raises(ValueError, match="only 1 of 100 patients differ"):
        find_groups(more[["constant", "empty"]])


def test_a_new_patient_needs_the_same_columns(found):
    """A distance over other columns than the groups' own would be of something else."""
    table, _, groups = found
    with pytest.raises(ValueError, match="lack 'radius 0'"):
        groups.assign(table.drop(columns="radius 0"))


def test_groups_that_are_only_age_vanish_when_age_is_taken_out():
    """Old and young women differ in every index; adjusted for age there is one cloud left."""
    table, truth = two_clouds(120, apart=0.0, seed=2)
    age = pd.DataFrame({"age": 60.0 + 20 * truth}, index=table.index)
    aged = table - 2.0 * truth[:, None]
    assert find_groups(aged, seed=1, **QUICK).n_groups == 2
    adjusted = find_groups(aged, covariates=age, seed=1, **QUICK)
    assert adjusted.n_groups == 1
    assert adjusted.space.adjusted_for == ("age",)
    with pytest.raises(ValueError, match="adjusted for age; give these"):
        adjusted.assign(aged)
    pd.testing.assert_series_equal(adjusted.assign(aged, covariates=age)["group"], adjusted.labels)


def test_methods_and_bones_are_compared(found):
    """Clear groups are the same to every method; a bone of noise finds others."""
    table, _, groups = found
    assert find.agreement_between_methods(groups, table).min(axis=None) > 0.7
    noise = np.random.default_rng(9).standard_normal((len(table), 3))
    both = table.join(pd.DataFrame(noise, index=table.index, columns=["ulna a", "ulna b", "ulna c"]))
    bones = find.agreement_between_bones(groups, both)
    assert list(bones) == ["all", "radius", "ulna"]
    assert bones.loc["all", "radius"] > 0.9 > 0.3 > bones.loc["all", "ulna"]
    one = table.assign(**{"tibia Ct.Po": 0.1})  # of a bone in which all women are alike there is nothing to compare
    assert "tibia" not in find.agreement_between_bones(groups, one)
    porous = table.assign(**{"tibia Ct.Po": np.arange(len(table)) % 2})
    three = find_groups(table, groups=3, seed=1, draws=1, bootstraps=0, max_groups=3)
    assert list(find.agreement_between_bones(three, porous)) == ["all", "radius"]


def test_bones_are_adjusted_as_the_groups_are():
    """One bone beside itself would agree as by chance, where age moves its indices and not the groups."""
    table, _ = two_clouds(40, apart=6.0, seed=2)
    age = pd.DataFrame({"age": np.random.default_rng(1).normal(70, 9, 40)}, index=table.index)
    aged = table - 0.6 * (age["age"].to_numpy()[:, None] - 70)
    groups = find_groups(aged, groups=2, max_groups=2, covariates=age, seed=1, draws=1, bootstraps=0)
    assert find.agreement_between_bones(groups, aged, covariates=age).loc["all", "radius"] == 1.0


def test_ward_of_a_crowd_joins_neighbours_only():
    """A full tree of 20,000 women would need gigabytes."""
    values = np.random.default_rng(0).standard_normal((6000, 2))
    values[:3000] += 8
    labels, centres = partition(values, groups=2, method="ward")
    assert adjusted_rand_score(np.arange(6000) < 3000, labels) > 0.99
    assert centres.shape == (2, 2)


def test_what_is_kept_says_how_it_was_made(found, tmp_path):
    """The picture cannot be made again on another system; its versions can at least be named."""
    table, _, groups = found
    run = synthetic.finished_run(tmp_path / "run", figures=())
    picture = embedding.embed(groups.space.standardise(table), seed=1)
    kept = find.keep_groups(run, groups, picture, table)
    assert list(kept) == ["participant_id", "group", "membership", "distance", "like_none", "umap_1", "umap_2"]
    assert set(read_table(run.phenotypes)["participant_id"]) == set(table.index)
    record = read_json(run.phenotypes_record)
    assert record["groups"] == 2
    assert {"umap-learn", "scikit-learn"} <= set(record["versions"])
    sizes = embedding.several(groups.space.standardise(table), seeds=(1, 2), neighbours=(5, 500))
    assert sizes.groupby(["seed", "neighbours"]).size().to_dict() == {
        (s, k): len(table) for s in (1, 2) for k in (5, len(table) - 1)
    }
    # A column that pandas sorts must not move a woman to another's dot.
    pd.testing.assert_frame_equal(kept.set_index("participant_id")[["umap_1", "umap_2"]], picture)


def test_by_hand_number_method_and_indices_move_the_pictures(found):
    """A slider whose pictures stay would be worse than none."""
    table, _, groups = found
    picture = embedding.embed(groups.space.standardise(table), seed=1)
    box = group_explorer(table, picture=picture, seed=1, virtual=True)
    (left, chosen), said, image = box.children[0].children, box.children[1], box.children[2].children[0]
    number, method = left.children
    assert "There are 2 groups" in said.value
    before = image.value
    number.value = 3
    assert "Their number was asked for" in said.value or "There are 3 groups" in said.value
    assert image.value != before
    before = image.value
    method.value = "k-means"
    assert image.value != before
    chosen.value = ("Tt.vBMD",)
    assert "Looking" not in said.value
    assert image.value != before


def test_what_was_clustered_is_not_tested():
    """Groups differ in the indices they were made from even in one cloud; a p value would pretend otherwise."""
    table, truth = two_clouds()
    labels = pd.Series(np.where(truth, 2, 1), index=table.index)
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


def test_the_risk_of_the_groups_is_that_of_the_images_alone(tmp_path):
    """A fused score that holds the indices would differ between groups of indices by construction."""
    run = synthetic.finished_run(tmp_path / "run", figures=())
    table = synthetic.predictions()
    images = table[(table["family"] == "DeepQCT") & (table["model"] == "all four bones")]
    write_table(run.predictions, pd.concat([table, images.assign(model="all four bones + all indices", risk=0.5)]))
    people = synthetic.outcome().index
    groups = pd.DataFrame({"participant_id": people, "group": np.arange(len(people)) % 2 + 1})
    found = keep_comparison(run, groups, pd.DataFrame(index=people)).set_index("variable")
    assert "DeepQCT risk, mean of all four bones" in found.index
    assert found.loc["DeepQCT risk, mean of all four bones", "n"] == len(people)


def test_the_group_of_higher_risk_is_set_beside_the_preprint(tmp_path):
    """A bare table of differences leaves the reader to remember what the preprint found."""
    run = synthetic.finished_run(tmp_path / "run", figures=())
    outcome = synthetic.outcome()
    ill = outcome.to_numpy(bool)
    density = np.random.default_rng(0).standard_normal(len(ill)) - 2.0 * ill
    features = pd.DataFrame({"radius Tt.vBMD": density}, index=outcome.index)
    people = pd.DataFrame({"participant_id": outcome.index, "group": np.where(ill, 2, 1)})
    with_scores = read_table(run.participants).assign(t_total_hip=np.where(ill, -2.5, -1.0), t_femoral_neck=-2.0)
    write_table(run.participants, with_scores)
    table = beside_preprint(run, people, features).set_index("finding")
    assert table.loc["radius Tt.vBMD (made the groups)", "as_there"]
    assert table.loc["fracture", "as_there"]
    assert table.loc["osteoporosis", "as_there"]
    (risk,) = [name for name in table.index if name.endswith("(chose the group)")]
    assert pd.isna(table.loc[risk, "as_there"])  # the highest of the groups' means by choice
    assert keep_comparison(run, people, features).set_index("variable").loc["osteoporosis", "group 1"].startswith("0/")
    assert (table["n"] == len(ill)).all()
    # The other way round: weak bone in the group of lower risk.
    turned = beside_preprint(run, people, -features).set_index("finding")
    assert not turned.loc["radius Tt.vBMD (made the groups)", "as_there"]
    assert beside_preprint(run, people.assign(group=1), features).empty
    assert read_table(run.groups_beside_preprint).empty


@pytest.mark.parametrize("role", ["outcome", "clinical"])
def test_a_cohort_s_own_osteoporosis_stands_in_place_of_that_by_t_scores(tmp_path, role):
    """Outcomes and columns of a cohort have any name, also one that a table gives to what it works out."""
    run = synthetic.explored_run(tmp_path / "run")
    people = read_table(run.participants)
    own = people["fracture"] if role == "outcome" else people["fracture"] * 0
    people = people.drop(columns="fracture") if role == "outcome" else people
    write_table(run.participants, people.assign(osteoporosis=own, t_total_hip=-3.0))
    dictionary = {name: told for name, told in read_json(run.dictionary).items() if name in people}
    write_json(run.dictionary, dictionary | {"osteoporosis": {"Role": role, "Description": "by DXA"}})
    women = synthetic.outcome().index
    groups = pd.DataFrame({"participant_id": women, "group": np.arange(len(women)) % 2 + 1})
    features = pd.DataFrame({"radius Tt.vBMD": np.arange(len(women)) * 1.0}, index=women)
    table = keep_comparison(run, groups, features).set_index("variable")
    assert table.index.is_unique
    known = own.groupby(np.arange(len(women)) % 2 + 1).sum()
    assert [int(table.loc["osteoporosis", f"group {k}"].split("/")[0]) for k in (1, 2)] == known.tolist()
    assert beside_preprint(run, groups, features)["finding"].is_unique


@pytest.mark.parametrize(
    ("own", "told"), [("smoking", ""), ("osteoporosis", ""), ("hip_fracture", ""), ("fx", "Fracture of the hip")]
)
def test_the_preprint_is_not_quoted_on_what_it_says_nothing_of(tmp_path, own, told):
    """It speaks of fractures and osteoporosis; "more smoking" would be put into its mouth."""
    run = synthetic.explored_run(tmp_path / "run")
    people = read_table(run.participants).rename(columns={"fracture": own})
    write_table(run.participants, people)
    write_json(run.dictionary, {own: {"Role": "outcome", "Description": told}})
    women = synthetic.outcome().index
    groups = pd.DataFrame({"participant_id": women, "group": np.arange(len(women)) % 2 + 1})
    table = beside_preprint(run, groups, pd.DataFrame({"radius Tt.vBMD": np.arange(60) * 1.0}, index=women))
    said = table.set_index("finding")[["preprint", "as_there", "estimate"]]
    risk = next(name for name in said.index if name.startswith("DeepQCT risk"))
    expected = {"smoking": ("", ""), "osteoporosis": ("", "more")}.get(own, ("higher", "more"))
    assert tuple(said.loc[[risk, own.replace("_", " ")], "preprint"]) == expected
    held = said.drop(risk)
    assert (held["as_there"].isna() == (held["preprint"] == "")).all()
    assert said["estimate"].notna().all()


def test_a_column_of_one_value_differs_between_no_groups():
    """0.1 in everybody has an SD of 1e-17: of it a difference of 1.8 SD was made."""
    labels = pd.Series([1] * 7 + [2] * 3)
    table = pd.DataFrame({"same": 0.1, "other": [3, 4, 5, 6, 7, 8, 9, 5, 5, 5]})
    found = compare_groups(labels, table, clustered=set()).set_index("variable")
    assert found.loc["same", "effect"] == 0
    assert found.loc["same", ["low", "high", "p"]].isna().all()
    nearly = table["other"][7:] + np.array([-1e-6, 0, 1e-6])
    expected = stats.ttest_ind(nearly, table["other"][:7], equal_var=False).pvalue
    assert found.loc["other", "p"] == pytest.approx(expected, rel=1e-3)  # one value in one group is no fault


def test_osteoporosis_in_numbers_is_no_share(tmp_path):
    """A column of that name may hold 1 and 2, of which no share can be counted."""
    run = synthetic.explored_run(tmp_path / "run")
    people = read_table(run.participants)
    write_table(run.participants, people.assign(osteoporosis=1 + np.arange(60) % 2))
    write_json(run.dictionary, read_json(run.dictionary) | {"osteoporosis": {"Role": "clinical"}})
    women = synthetic.outcome().index
    groups = pd.DataFrame({"participant_id": women, "group": np.arange(len(women)) % 3 % 2 + 1})
    table = beside_preprint(run, groups, pd.DataFrame({"radius Tt.vBMD": np.arange(60) * 1.0}, index=women))
    assert "osteoporosis" not in set(table["finding"])


def test_a_number_is_not_set_beside_the_preprint_s_risk(tmp_path):
    """The group of the highest predicted density is that of the lowest risk."""
    run = synthetic.explored_run(tmp_path / "run")
    people = read_table(run.participants)
    write_table(run.participants, people.assign(strides=np.arange(len(people)) * 1.0).drop(columns="fracture"))
    write_json(run.dictionary, {"strides": {"Role": "outcome", "Kind": "number"}})
    women = synthetic.outcome().index
    groups = pd.DataFrame({"participant_id": women, "group": np.arange(len(women)) % 2 + 1})
    assert beside_preprint(run, groups, pd.DataFrame({"radius Tt.vBMD": 1.0}, index=women)).empty


def test_groups_are_told_in_numbers_without_powers_of_ten():
    """An SD of 1e+02 mm² is read as 100 by some and as a fault by all; one woman has no SD."""
    labels = pd.Series([1, 1, 1, 2], list("abcd"))
    table = pd.DataFrame({"tibia Tt.Ar": [690.0, 512, 820, 512], "steps": [11234, 7500, 3000, 10600]}, labels.index)
    found = compare_groups(labels, table, clustered=set()).set_index("variable")
    assert found.loc["tibia Tt.Ar", ["group 1", "group 2"]].tolist() == ["674 (155)", "512"]
    assert found.loc["steps", ["group 1", "group 2"]].tolist() == ["7245 (4123)", "10600"]


@pytest.mark.parametrize("groups", [1, 2])
def test_whoever_waits_is_told_how_long(groups):
    """The bar must reach its end, also where one group has no stability to wait for."""
    told: list[tuple[int, int]] = []
    find_groups(two_clouds()[0], groups=groups, **QUICK, progress=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {59}
    done = [number for number, _ in told]
    assert done == (list(range(1, 60)) if groups == 2 else [*range(1, 40), 59])
