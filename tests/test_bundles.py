"""A trained model outside of its cohort: the same numbers as in its run, and no number where there should be none."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import deepqct as dq
from deepqct.bundles import BundleError, make
from deepqct.bundles.grouping import grouping_of
from deepqct.bundles.new_scans import scans_given
from deepqct.bundles.prediction import Predictions, _row
from deepqct.bundles.reference import LEVELS, axes_distance, axes_of, cloud_of, far_limit, reference_of
from deepqct.bundles.scoring import read_women
from deepqct.bundles.sheet import woman_page
from deepqct.cli import app
from deepqct.models.frozen import Frozen, Levelled, frozen_models, new_features, new_levelled
from deepqct.models.inputs import Tables
from deepqct.models.predict import prepared
from deepqct.models.scanners import Scale
from deepqct.scans import Scan, write_aim, write_image

WOMAN = dq.virtual.draw_women(1, seed=1).iloc[0]
SCAN = {"voxel_mm": 0.3, "slices": 6, "seed": 1}


@pytest.fixture(scope="module")
def bundle() -> dq.bundles.Bundle:
    """A bundle of the example run."""
    return dq.bundles.example_bundle()


@pytest.fixture(scope="module")
def tested() -> Tables:
    """The tables of the example run with a test set of four women, and drawn scores of three folds' networks."""
    data, rng = dq.models.tables(dq.run.example_run()), np.random.default_rng(0)
    people = data.features.index
    # Each of the three folds has women of both outcomes.
    order = data.outcome[people].sort_values(kind="stable").index
    fold = pd.Series([*"012012t012tt"], order).replace("t", "test").reindex(people)
    fold = fold.where(fold != "t", "test")
    splits = pd.DataFrame({"protocol": "p", "repeat": 0, "participant_id": people, "fold": fold.to_numpy()})
    scores, networks = {}, {}
    test = fold.index[fold == "test"]
    for bone in ("radius", "tibia"):
        drawn = pd.DataFrame(
            rng.normal(data.outcome[people].to_numpy()[:, None], 1, (len(people), 3)), people, list("012")
        )
        own = pd.Series([drawn.loc[p, fold[p]] if fold[p] != "test" else drawn.loc[p].mean() for p in people], people)
        rows = splits.assign(score=own.to_numpy(), split=np.where(fold == "test", "test", "out-of-fold"))
        scores[bone] = rows
        long = drawn.loc[test].rename_axis("participant_id").reset_index()
        networks[bone] = long.melt("participant_id", var_name="fold", value_name="score").assign(protocol="p", repeat=0)
    scores["tibia"] = scores["tibia"][scores["tibia"]["participant_id"] != test[0]]  # one woman lacks a bone
    networks["tibia"] = networks["tibia"][networks["tibia"]["participant_id"] != test[0]]
    return replace(data, splits=splits, scores=scores, networks=networks)


@pytest.fixture(scope="module")
def frozen(tested: Tables) -> list[Frozen]:
    """Its models, refitted on the women who are not in the test set."""
    return frozen_models(tested, protocol="p")


def of_test(tested: Tables, frozen: list[Frozen]) -> tuple[pd.DataFrame, Levelled]:
    """Features and levelled scores of the test women, made as for new women."""
    given = prepared(tested, "p", 0)
    test = given.fold.index[given.fold == "test"]
    level = {
        bone: {k: float(v) for k, v in rows[rows["split"] == "out-of-fold"].groupby("fold")["score"].mean().items()}
        for bone, rows in tested.scores.items()
    }
    each = {
        bone: rows.pivot(index="participant_id", columns="fold", values="score").reindex(test)
        for bone, rows in tested.networks.items()
    }
    networks = new_levelled(each, level=level)
    return new_features(tested.features.select_dtypes("number").loc[test], networks, frozen), networks


def test_frozen_models_give_the_numbers_of_the_runs_own_test_set(tested, frozen):
    """A bundle that says anything else than its run did is another model."""
    ours = dq.models.predict_all(tested).query("split == 'test'")
    ours = ours.set_index(["family", "model", "participant_id"]).sort_index()
    features, networks = of_test(tested, frozen)
    compared = 0
    for one in frozen:
        predicted = one.predict(features, networks).dropna(subset="score")
        run = ours.loc[(one.model.family, one.model.name)]
        assert set(predicted.index) == set(run.index)
        for column in ("score", "risk", "threshold"):
            np.testing.assert_allclose(predicted[column], run.loc[predicted.index, column], rtol=1e-9, atol=1e-12)
        compared += len(predicted)
    assert compared > 80
    assert len({one.model.family for one in frozen}) == 5


def test_a_test_woman_without_any_bone_is_no_sign_that_networks_agree(tested):
    """In a fusion by ridge medians stand for her scores; the noise of the others, and their risks, are as in the run."""
    gone = tested.splits.query("fold == 'test'")["participant_id"].iloc[0]
    scores, networks = (
        {bone: rows[rows["participant_id"] != gone] for bone, rows in tables.items()}
        for tables in (tested.scores, tested.networks)
    )
    data = replace(tested, scores=scores, networks=networks)
    models = frozen_models(data, protocol="p")
    fused = [one for one in models if one.model.fitted and one.model.family == "DeepQCT"]
    ours = dq.models.predict_all(data).query("split == 'test' and family == 'DeepQCT'").set_index("participant_id")
    features, networks = of_test(data, models)
    for one in fused:
        told = one.predict(features, networks).dropna(subset="score")
        expected = ours.loc[ours["model"] == one.model.name, "risk"]
        np.testing.assert_allclose(told["risk"], expected[told.index], rtol=1e-9)
    assert "radius + tibia" in {one.model.name for one in fused}


def test_whether_networks_know_anything_is_that_of_their_own_protocol(tmp_path):
    """The other protocol's networks are others."""
    run = dq.run.example_run()
    copy = dq.Run(tmp_path)
    shutil.copy(run.models_table, copy.models_table)
    table = dq.folder.read_table(run.performance).query("protocol == 'all'")
    low = table["low"].where(~((table["family"] == "DeepQCT") & (table["measure"] == "AUC")), 0.4)
    both = [table.assign(low=low), table.assign(low=low + 0.3, protocol="as-published")]
    dq.folder.write_table(copy.performance, pd.concat(both))
    known = [make._known(copy, bone="radius", protocol=protocol) for protocol in ("all", "as-published", "none")]
    assert known == [False, True, False]


def test_a_risk_does_not_depend_on_who_else_is_scored(tested, frozen):
    """A woman must not get another risk since another was scored with her."""
    features, networks = of_test(tested, frozen)
    alone = Levelled(networks.scores.iloc[:1], {key: table.iloc[:1] for key, table in networks.by_network.items()})
    for one in frozen:
        with_others = one.predict(features, networks).iloc[0]
        np.testing.assert_allclose(one.predict(features.iloc[:1], alone).iloc[0], with_others, rtol=1e-12)


def test_the_interval_is_as_wide_as_the_networks_disagree(tested, frozen):
    """Networks that agree on everybody leave no interval, and a model without networks has none."""
    features, networks = of_test(tested, frozen)
    fused = next(one for one in frozen if one.model.family == "DeepQCT" and one.model.headline)
    table = fused.predict(features, networks)
    assert ((table["low"] < table["risk"]) & (table["risk"] < table["high"])).all()
    same = Levelled(networks.scores, dict.fromkeys(networks.by_network, networks.scores))
    flat = replace(fused, noise=0.0, how=replace(fused.how, levels=dict.fromkeys(fused.how.levels, 0.0)))
    table = flat.predict(features, same)
    np.testing.assert_allclose(table["low"], table["high"], atol=1e-12)
    wider = replace(fused, noise=4 * fused.noise).predict(features, networks)
    assert (wider["high"] - wider["low"] > table["high"] - table["low"]).all()
    bmd = next(one for one in frozen if one.model.family == "BMD")
    assert bmd.predict(features, networks)[["low", "high"]].isna().all().all()


def test_shares_of_the_bones_add_up_to_the_log_odds(tested, frozen):
    """The bars of a sheet must be what the risk is made of."""
    features, networks = of_test(tested, frozen)
    whole = features.index[1:]  # the first woman lacks a bone
    for one in (one for one in frozen if one.model.family == "DeepQCT" and one.model.headline):
        risk = one.predict(features, networks).loc[whole, "risk"]
        rest = np.log(risk / (1 - risk)) - one.shares(features).loc[whole].sum(axis=1)
        assert rest.std() < 1e-9


def test_the_networks_of_a_bundle_score_as_they_did_in_their_run(bundle):
    """The same women in the same batches, read back from the bundle: not a bit may differ."""
    run = dq.run.example_run()
    networks = bundle.content.networks["tibia"]
    own = dq.folder.read_table(run.scores("tibia")).set_index("participant_id")
    for fold in networks.folds:
        people = list(own.index[own["fold"] == fold.fold])
        members = [bundle.network("tibia", name) for name in fold.weights]
        scored = read_women(members, run, people, bone="tibia", recipe=networks.recipe).logits
        assert len(people) == 6
        np.testing.assert_allclose(scored, own.loc[scored.index, "score"], rtol=0, atol=2e-7)


def test_groups_as_numbers_are_the_groups(bundle):
    """A woman would change her group on the way out of the cohort."""
    rng = np.random.default_rng(1)
    shift = np.repeat([0.0, 3.0], 30)[:, None] * [1, 1, 0, 0, 1]
    columns = [f"radius {name}" for name in ("Tt.vBMD", "Tb.N", "Ct.Th", "Ct.Ar", "Tb.Th")]
    table = pd.DataFrame(np.exp((rng.normal(size=(60, 5)) + shift) / 3), columns=columns)
    age = pd.DataFrame({"age": rng.normal(70, 8, 60)})
    for method in ("mixture", "k-means"):
        for covariates in (None, age):
            found = dq.find_groups(table, groups=2, method=method, draws=0, bootstraps=0, covariates=covariates)
            z = found.space.standardise(table, covariates=covariates)
            frozen = grouping_of(found, z)
            new = table * rng.uniform(0.8, 1.2, table.shape)
            ours, theirs = frozen.assign(new.join(age)), found.assign(new, covariates=covariates)
            np.testing.assert_allclose(ours.astype(float), theirs.astype(float), atol=1e-8)
    missing = new.copy()
    missing.iloc[:, 1] = np.nan
    assert (frozen.assign(missing.join(age))["group"] == theirs["group"]).mean() > 0.9
    assert frozen.assign(missing * np.nan).isna().all().all()
    run_groups = dq.folder.read_table(dq.run.example_run().phenotypes).set_index("participant_id")["group"]
    wide = dq.run_tables.wide_indices(dq.folder.read_table(dq.run.example_run().indices))
    assert (bundle.content.groups.assign(wide)["group"] == run_groups).all()


def test_z_scores_are_those_of_her_age():
    """Density falls with age: an old woman is not sparse only since she is old."""
    rng = np.random.default_rng(0)
    age = pd.Series(rng.uniform(50, 90, 4000))
    indices = pd.DataFrame({"radius Tt.vBMD": 400 - 2 * age + rng.normal(0, 20, 4000)})
    reference = reference_of(indices, age=age, events=7)
    assert (reference.n, reference.events, reference.age_low, reference.age_high) == (4000, 7, 50.0, 90.0)
    her = pd.Series({"radius Tt.vBMD": 400 - 2 * 80 - 20.0})
    row = reference.compare(her, age=80.0).iloc[0]
    assert row["z"] == pytest.approx(-1, abs=0.05)
    assert row["percentile"] == pytest.approx(16, abs=2)
    assert reference.compare(her, age=float("nan")).iloc[0]["z"] == pytest.approx(
        -40 / np.hypot(20, 80 / 12**0.5), abs=0.05
    )
    ends = reference.compare(pd.Series({"radius Tt.vBMD": 0.0}), age=80.0)["percentile"]
    assert ends.tolist() == [LEVELS[0]]
    assert reference.compare(pd.Series({"radius Tt.vBMD": np.nan}), age=80.0).empty


def test_the_range_keeps_those_who_are_alike_and_refuses_others():
    """A limit that refuses everybody, or nobody, guards nothing."""
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(8, 8)) * np.array([5, 5, 1, 1, 0.3, 0.3, 0.3, 0.3])[:, None]
    women = pd.DataFrame(rng.normal(size=(60, 8)) @ mixing, columns=[f"c{i}" for i in range(8)])
    alike = pd.DataFrame(rng.normal(size=(2000, 8)) @ mixing, columns=women.columns)
    cloud = cloud_of(women)
    assert (cloud.distance(alike) > cloud.limit).mean() < 0.02
    # As far out along every column as others, and unlike them in how the columns go together.
    odd = pd.DataFrame(rng.permuted(alike.to_numpy(), axis=0), columns=women.columns)
    assert (cloud.distance(odd) > cloud.limit).mean() > 0.5
    assert np.isnan(cloud.distance(alike.head(1) * np.nan)).all()
    assert cloud_of(women.head(5)) is None
    features = rng.normal(size=(40, 200)) @ np.diag(np.linspace(3, 0.1, 200))
    parts = axes_of(features[:30])
    limit = far_limit(axes_distance(features[30:], parts))
    assert (axes_distance(rng.normal(size=(500, 200)) @ np.diag(np.linspace(3, 0.1, 200)), parts) > limit).mean() < 0.05
    assert (axes_distance(features[30:] + 2.0, parts) > limit).all()


def drawn(folder: Path, *, site: str = "wrist", name: str = "", **how: float) -> Path:
    """A scan of the first virtual woman."""
    scan = dq.virtual.draw_scan(WOMAN, site=site, side="right", **SCAN | how)
    return write_aim(folder / (name or f"new_{site}_right.AIM"), scan)


def only(predictions: Predictions) -> str:
    """The reasons of the one woman, who must have no risk."""
    (row,) = predictions.table.to_dict("records")
    assert row["status"] == "abstained"
    assert np.isnan(row["risk"])
    assert np.isnan(row["low"])
    assert predictions.by_model.empty
    return str(row["reasons"])


def test_another_site_is_refused(bundle, tmp_path):
    """An ankle that was given as a wrist has two bones too, and would get a risk."""
    path = drawn(tmp_path, site="ankle", name="new_wrist_right.AIM")
    assert "given as wrist is one of the ankle by its header" in only(dq.predict(bundle, [path]))
    scan = dq.read_scan(drawn(tmp_path, site="ankle"))
    silent = write_aim(tmp_path / "other_wrist_right.AIM", replace(scan, site=None, side=None))
    assert "(another site?)" in only(dq.predict(bundle, [silent]))


def test_another_scanner_generation_is_refused(bundle, tmp_path):
    """Networks and indices know one size of voxel."""
    text = only(dq.predict(bundle, [drawn(tmp_path, voxel_mm=0.4)]))
    assert "has voxels of 0.4 mm, and the bundle's women 0.3 mm" in text
    networks = {
        bone: replace(one, recipe=replace(one.recipe, match_mm=0.4)) for bone, one in bundle.content.networks.items()
    }
    at_one_resolution = replace(bundle, content=replace(bundle.content, networks=networks))
    row = dq.predict(at_one_resolution, [drawn(tmp_path, voxel_mm=0.4)]).table.iloc[0]
    assert "has voxels" not in row["reasons"] and "networks see all at one resolution" in row["notes"]
    networks["radius"] = bundle.content.networks["radius"]
    only_tibia = replace(bundle, content=replace(bundle.content, networks=networks))
    assert "has voxels of 0.4 mm" in only(dq.predict(only_tibia, [drawn(tmp_path, voxel_mm=0.4)]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: np.random.default_rng(0).normal(0, 300, d.shape), "could not be curated"),
        (lambda d: np.zeros_like(d), "could not be curated"),
        (lambda d: d[:, : d.shape[1] // 2], "cut|could not be curated"),
    ],
)
def test_what_is_no_whole_bone_is_refused(bundle, tmp_path, change, says):
    """Noise, air, or half a limb is no reason to give a risk."""
    scan = dq.virtual.draw_scan(WOMAN, site="wrist", side="right", **SCAN)
    native = np.ascontiguousarray(np.clip(change(scan.native.astype(float)), -3000, 30000).astype(np.int16))
    path = write_aim(tmp_path / "new_wrist_right.AIM", replace(scan, native=native))
    assert re.search(says, only(dq.predict(bundle, [path])))


def test_motion_and_age_are_refused(bundle, tmp_path):
    """A blurred scan measures the movement, and a girl is no woman of seventy."""
    curated = replace(
        bundle.content.curated, motion_limit=1.0, voxel_mm={"wrist": (0.15,) * 4}, length_mm={"wrist": (0.9, 0.9)}
    )
    limit = replace(bundle, content=replace(bundle.content, curated=curated))
    assert re.search("shows motion: its score is .* over 1", only(dq.predict(limit, [drawn(tmp_path, voxel_mm=0.15)])))
    path = drawn(tmp_path)
    people = pd.DataFrame({"participant_id": ["new"], "age": [19.0]})
    assert "She is 19 years old, and the bundle's women were" in only(dq.predict(bundle, [path], participants=people))


def test_a_scan_of_the_other_scanner_is_put_on_the_scale_of_the_bundle(bundle):
    """By what was fitted in training; the sheet says so, and says where nobody knows the scanner."""
    taken = (column for one in bundle.content.models for column in one.model.columns)
    columns = tuple(dict.fromkeys(column for column in taken if column.endswith("Tt.vBMD")))
    scale = Scale("centre", "A", columns, {"B": tuple(12.0 for _ in columns)})
    scaled = replace(bundle, content=replace(bundle.content, scale=scale))
    scans = [dq.run.example_run().virtual / "cohort" / "scans" / "sub-0001_wrist.AIM"]

    def made(centre: str | None) -> Predictions:
        people = {"participant_id": ["sub-0001"]} | ({"centre": [centre]} if centre else {})
        return dq.predict(scaled, scans, participants=pd.DataFrame(people), workers=1)

    of_a, of_b, unknown = (made(centre) for centre in ("A", "B", None))
    values = [one.indices.set_index("index").loc["radius Tt.vBMD", "value"] for one in (of_a, of_b, unknown)]
    assert values[0] - values[1] == pytest.approx(12.0) and values[2] == values[0]
    assert "centre" not in of_a.table["notes"].item()
    assert of_b.table["notes"].item().startswith("centre B: what it adds beside A was taken off her indices")
    assert unknown.table["notes"].item().startswith("her centre is none that the bundle knows (A, B)")
    assert "what it adds beside A was taken off her indices" in woman_page(scaled, of_b.women[0])


def test_what_cannot_be_read_is_a_reason_and_names_no_file(bundle, tmp_path):
    """A file may be called after a patient; others must be predicted all the same."""
    secret = tmp_path / "Doe-Jane_wrist_right.AIM"
    secret.write_bytes(b"no scan at all" * 100)
    nobody = tmp_path / "Roe_wrist_right.AIM"
    found = dq.predict(bundle, [secret, nobody, drawn(tmp_path)])
    rows = found.table.set_index("participant_id")
    assert list(rows.index) == ["Doe-Jane", "Roe", "new"]
    assert rows["reasons"]["Doe-Jane"].startswith("The wrist scan cannot be read")
    assert str(tmp_path) not in " ".join(rows["reasons"])
    assert "does not exist" in rows["reasons"]["Roe"]
    assert {"Doe-Jane", "Roe"} <= set(rows.index[rows["status"] == "abstained"])


def test_a_scan_without_site_or_side_is_refused(bundle, tmp_path):
    """A left bone that is taken for a right one is mirrored; nothing is guessed."""
    scan = replace(dq.virtual.draw_scan(WOMAN, site="wrist", side="right", **SCAN), site=None, side=None)
    assert "neither header nor name says" in only(dq.predict(bundle, [write_aim(tmp_path / "new.AIM", scan)]))
    assert "does not say its side" in only(dq.predict(bundle, [write_aim(tmp_path / "new_wrist.AIM", scan)]))
    dense = Scan(scan.density.round().astype(np.int16), 1.0, 0.0, scan.voxel_mm)
    image = write_image(tmp_path / "new_wrist_left.mha", dense)
    assert "no density calibration" in only(dq.predict(bundle, [image]))


def test_two_scans_of_one_site_are_refused_also_where_only_the_header_tells_it(bundle, tmp_path):
    """By their names they are two of one woman; which bone is hers, nobody says."""
    for name in "ab":
        (tmp_path / name).mkdir()
    scans = [drawn(tmp_path / name, name="P1.AIM") for name in "ab"]
    found = dq.predict(bundle, scans)
    assert only(found) == "2 scans of her wrist are given; give one of them."


def test_words_in_place_of_numbers_are_one_sentence(bundle, tmp_path):
    """Of factors of the cohort's own, too, and before anything is curated."""
    factors = {**bundle.content.predictors, "vitamin_d": "clinical"}
    other = replace(bundle, content=replace(bundle.content, predictors=factors))
    for value in ("high", "inf"):
        people = pd.DataFrame({"participant_id": ["new"], "vitamin_d": [value]})
        with pytest.raises(ValueError, match=f"vitamin_d of new is {value}, no number; correct it or leave it empty"):
            dq.predict(other, [tmp_path / "new_wrist.AIM"], participants=people)


@pytest.fixture(scope="module")
def predictions(bundle, tmp_path_factory) -> Predictions:
    """One woman with a risk, and one without."""
    cohort = dq.run.example_run().virtual / "cohort"
    table = pd.read_csv(cohort / "scans.tsv", sep="\t")
    files = [cohort / file for file in table.loc[table["participant_id"].isin(["sub-0001", "sub-0002"]), "file"]]
    wide = replace(
        bundle.content,
        sizes={},
        clouds={bone: replace(cloud, limit=1e9) for bone, cloud in bundle.content.clouds.items()},
        networks={
            bone: replace(n, feature_limit=1e9, above_chance=True) for bone, n in bundle.content.networks.items()
        },
    )  # of twelve women, no range can be told
    noise = Scan(np.random.default_rng(0).integers(0, 3000, (6, 90, 90)).astype(np.int16), 0.2, -391.0, (0.3,) * 3)
    path = write_aim(tmp_path_factory.mktemp("noise") / "noise_wrist_left.AIM", noise)
    return dq.predict(replace(bundle, content=wide), [*files, path], participants=cohort / "participants.tsv")


def test_a_bone_that_was_not_scanned_has_no_share(predictions):
    """A bar of length 0 would say that her tibia is that of the mean woman."""
    cohort = dq.run.example_run().virtual / "cohort" / "scans"
    alone = dq.predict(predictions.bundle, [cohort / "sub-0002_wrist.AIM"]).women[0]
    assert list(alone.shares) == ["radius"]
    assert "the risk is without her tibia" in alone.notes
    assert "tibia</text>" not in woman_page(predictions.bundle, alone)


def test_whose_scans_they_are(tmp_path, make_cohort):
    """Files by themselves, a list of them, or a folder as a cohort has it."""
    found, people = scans_given([tmp_path / "P0042_ankle_left.AIM;1", tmp_path / "P0042_wrist_RIGHT.nii.gz"], None)
    assert [(s.participant_id, s.site, s.side) for s in found] == [
        ("P0042", "ankle", "left"),
        ("P0042", "wrist", "right"),
    ]
    assert people.empty
    folder = make_cohort()
    found, people = scans_given([folder], None)
    assert len(found) == 8
    assert people.loc["sub-0001", "age"] == 61.0
    rows = pd.read_csv(folder / "scans.tsv", sep="\t")
    moved = rows.assign(session=1, motion_grade=5, file=rows["file"].str.replace("scans/", "scans/moved_"))
    twice = pd.concat([moved, rows.assign(session=2, motion_grade=1)])
    (tmp_path / "sessions").mkdir()
    twice.to_csv(tmp_path / "sessions" / "scans.tsv", sep="\t", index=False)
    again, _ = scans_given([tmp_path / "sessions"], None)
    assert [scan.path.name for scan in again] == [scan.path.name for scan in found]
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    with pytest.raises(ValueError, match="are both the wrist of one woman"):
        scans_given([folder, other], None)
    for table in ("scans.tsv", "participants.tsv"):
        rows = (other / table).read_text(encoding="utf-8").replace("sub-", "new-")
        (other / table).write_text(rows, encoding="utf-8")
    found, people = scans_given([folder, other, other / "scans" / "x_wrist.AIM"], None)
    assert len(found) == 17 and people["age"][["sub-0001", "new-0001"]].tolist() == [61.0, 61.0]
    shutil.copy(folder / "participants.tsv", other / "participants.tsv")
    with pytest.raises(ValueError, match=r"sub-0000 has a row in the participants\.tsv of two folders"):
        scans_given([folder, other], None)
    with pytest.raises(ValueError, match="are both the wrist of one woman"):
        scans_given([tmp_path / "a_wrist.AIM", tmp_path / "a_wrist_left.AIM"], None)
    with pytest.raises(ValueError, match="No scan is given"):
        scans_given([], None)
    with pytest.raises(ValueError, match="age of a is 212, no number from 18 to 110"):
        scans_given([tmp_path / "a_wrist.AIM"], pd.DataFrame({"participant_id": ["a"], "age": [212]}))
    with pytest.raises(ValueError, match="does not exist"):
        scans_given([tmp_path / "a_wrist.AIM"], tmp_path / "nowhere.tsv")


def test_no_risk_is_given_on_a_scan_that_a_reader_rejects(predictions, tmp_path):
    """A run leaves it out; a risk on it would stand on a sheet and in the figures of an external validation."""
    folder = tmp_path / "cohort"
    shutil.copytree(dq.run.example_run().virtual / "cohort", folder)
    rows = pd.read_csv(folder / "scans.tsv", sep="\t")
    rows[rows["participant_id"].isin(["sub-0002", "sub-0003"])].to_csv(folder / "scans.tsv", sep="\t", index=False)
    for person, decision in (("sub-0002", "reject"), ("sub-0003", "reject"), ("sub-0003", "undo")):
        dq.cohort.decide(folder, reviewer="AB", participant_id=person, site="wrist", decision=decision)
    table = dq.predict(predictions.bundle, [folder]).table.set_index("participant_id")
    assert table["status"].to_dict() == {"sub-0002": "abstained", "sub-0003": "predicted"}
    assert table["reasons"]["sub-0002"] == "A reader rejected the wrist scan in review.csv."
    (folder / "review.csv").write_text("reviewer,decision\nAB,reject\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"review\.csv"):
        scans_given([folder], None)


def test_a_woman_with_a_risk_has_all_that_it_rests_on(predictions):
    """Risk, interval, networks' own risks, shares, group, indices, pictures with saliency."""
    rows = predictions.table.set_index("participant_id")
    assert rows["status"].to_dict() == {"noise": "abstained", "sub-0001": "predicted", "sub-0002": "predicted"}
    assert (rows["virtual"] == "deepqct-like").all()
    woman = next(woman for woman in predictions.women if woman.participant_id == "sub-0001")
    assert 0 < woman.row["low"] < woman.row["risk"] < woman.row["high"] < 1
    assert list(woman.each) == ["0", "1"]
    assert list(woman.shares) == ["radius", "tibia"]
    assert woman.row["group"] in (1, 2)
    assert set(woman.indices["index"].str.split(" ").str[0]) == {"radius", "ulna", "tibia", "fibula"}
    for looked in woman.looked.values():
        assert looked.heat.shape == looked.density.shape
        assert looked.heat.mean() == pytest.approx(1, abs=1e-3)
    assert set(predictions.by_model["participant_id"]) == {"sub-0001", "sub-0002"}
    primary = predictions.by_model.query("family == 'DeepQCT' and model == 'mean of radius + tibia'")
    assert primary.set_index("participant_id")["risk"].to_dict() == rows["risk"].dropna().to_dict()


def test_sheets_say_what_they_must(predictions):
    """Virtual, research, the interval's limits; and without a risk the reasons, and no figure that compares her."""
    pages = {w.participant_id: woman_page(predictions.bundle, w) for w in predictions.women}
    for page in pages.values():
        assert "VIRTUAL" in page
        assert page.count("Research, not a medical device") >= 2
        assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
        assert "<script" not in page
    assert "It leaves out other cohorts" in pages["sub-0001"]
    assert "No risk is given" in pages["noise"]
    assert not re.search(r"class=\"risk\"|percentile", pages["noise"])
    assert "of her age" in pages["sub-0001"]
    content = predictions.bundle.content
    ageless = replace(content, reference=replace(content.reference, age_low=np.nan, age_high=np.nan))
    page = woman_page(replace(predictions.bundle, content=ageless), predictions.women[1])
    assert "of her age" not in page and "of all ages" in page
    assert "the run's threshold" in pages["sub-0001"].replace("&#39;", "'")
    known = {"risk": 0.3, "low": 0.2, "high": 0.4, "score": -1.0, "threshold": np.nan}
    row = _row(predictions.bundle, "sub-0001", known, [], [])
    assert row["status"] == "predicted" and row["above_threshold"] is None
    page = woman_page(predictions.bundle, replace(predictions.women[1], row=predictions.women[1].row | row))
    assert "the run has no threshold" in page
    hostile = replace(predictions.women[1], participant_id="<script>alert(1)</script>")
    assert "<script" not in woman_page(predictions.bundle, hostile)


@pytest.mark.browser
def test_a_sheet_is_one_page_of_paper_and_asks_nobody(predictions, browser, tmp_path):
    """It is printed, and laid into a folder; nothing may leave the machine by it."""
    folder = dq.bundles.write_predictions(predictions, tmp_path / "out")
    sheets = sorted((folder / "sheets").iterdir())
    assert [path.stem for path in sheets] == ["noise", "sub-0001", "sub-0002"]
    asked: list[str] = []
    context = browser.new_context(offline=True)
    for path in [*sheets, predictions.bundle.source.path / "card.html"]:
        page = context.new_page()
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else asked.append(r.url))
        page.on("console", lambda message: asked.append(message.text))
        page.goto(path.as_uri(), wait_until="load")
        broken = page.evaluate("[...document.images].filter((image) => !image.naturalWidth).length")
        assert broken == 0
        printed = page.pdf(format="A4", prefer_css_page_size=True)
        if path.name != "card.html":
            assert len(re.findall(rb"/Type\s*/Page[^s]", printed)) == 1, path.stem
    context.close()
    assert not asked


def test_the_command_line_predicts_and_says_why_not(bundle, tmp_path):
    """Words that a script and a person can rely on; an error is for `main` to say in one sentence."""
    path, out = drawn(tmp_path, voxel_mm=0.4), tmp_path / "out"
    done = CliRunner().invoke(app, ["predict", str(bundle.source.path), str(path), "--out", str(out)])
    assert done.exit_code == 0, done.exception
    assert "0 of 1 women have a risk." in done.stdout
    assert "new: the wrist scan has voxels of 0.4 mm" in done.stdout
    assert "VIRTUAL" in done.stdout
    assert (out / "sheets" / "new.html").exists()
    done = CliRunner().invoke(app, ["predict", str(tmp_path), str(path), "--out", str(out)])
    assert isinstance(done.exception, BundleError)
    done = CliRunner().invoke(app, ["bundle", str(dq.run.example_run().folder), "--out", str(bundle.source.path)])
    assert "is there already" in str(done.exception)


def test_a_run_with_one_outcome_has_nothing_to_carry(tmp_path, monkeypatch):
    """No model was fitted on it, and none would be the one whose risk is told."""
    whole = make.tables
    monkeypatch.setattr(make, "tables", lambda *a, **how: replace(data := whole(*a, **how), outcome=0 * data.outcome))
    with pytest.raises(BundleError, match="All training women have the same fracture"):
        dq.bundle(dq.run.example_run(), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_scans_of_an_older_curation_are_curated_again_first(tmp_path):
    """A record that does not know a setting cannot say how new scans are to be curated."""
    run = dq.Run(Path(shutil.copytree(dq.run.example_run().folder, tmp_path / "run")))
    for path in run.bones.glob("*.json"):
        record = dq.folder.read_json(path)
        del record["made_from"]["strength"]
        dq.folder.write_json(path, record)
    with pytest.raises(BundleError, match="not all curated in one way; run 01_data_curation again"):
        dq.bundle(run, tmp_path / "bundle")
