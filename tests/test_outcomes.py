"""Outcomes by parameter alone: their kinds, what may not predict them, folds, fits, and what cannot be done."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import test_fusion
import torch
from files import edit
from tiny import finish, words

import deepqct as dq
from deepqct.bundles.source import BundleError
from deepqct.cohort import check_cohort, load_cohort
from deepqct.cohort.keep import keep_cohort, table_one
from deepqct.cohort.splits import keep_splits, make_splits
from deepqct.evaluation.judging import as_judged, judged, other_measures, value_of
from deepqct.evaluation.maps import map_out_of_fold
from deepqct.folder import Run, read_json, read_table, write_json, write_table
from deepqct.models import comparison
from deepqct.models.families import models_table
from deepqct.models.optimism import optimism
from deepqct.models.predict import models_of, predict_all
from deepqct.models.regressions import cross_fit
from deepqct.networks.losses import CoxLoss, OutcomeAndIndices, SquaredError
from deepqct.run.parameters import ParameterError
from deepqct.run.plan import plan_run
from deepqct.run_tables import outcome_of
from deepqct.terms import Outcome, barred, columns_of

PAIR = "time_to_fracture, fracture_after"


def told(folder, name: str, **columns: list) -> None:
    """Put columns of their own into a cohort's participants."""
    table = pd.read_csv(folder / "participants.tsv", sep="\t")
    table.assign(**columns).to_csv(folder / "participants.tsv", sep="\t", index=False)
    assert name in columns


@pytest.fixture
def followed(make_cohort):
    """A cohort folder with a time and an event, two kinds of numbers, and osteoporosis."""
    folder = make_cohort()
    n = len(pd.read_csv(folder / "participants.tsv", sep="\t"))
    event = [0, 1, 2] * n
    years = [1.5 + k for k in range(n)]
    told(
        folder,
        "t",
        t=years,
        e=event[:n],
        osteoporosis=[k % 2 for k in range(n)],
        steps=[1000 + 7 * k for k in range(n)],
    )
    return folder


def test_the_kind_follows_from_the_parameter_and_the_columns(followed):
    """Nobody has to say that an age is a number, or that a pair is a time and an event."""
    kinds = {"fracture": "yes or no", "osteoporosis": "yes or no", "age": "number", "steps": "number", "t, e": "time"}
    for name, kind in kinds.items():
        cohort = load_cohort(followed, outcome=name, horizon=4)
        assert cohort.target.kind == kind
        assert cohort.target.name == name
    assert cohort.target.horizon == 4
    assert cohort.target.counted.split(",")[0] == f"{cohort.target.events} with e"


def test_a_slip_among_zeros_and_ones_does_not_make_a_number_of_them(followed):
    """Two would otherwise turn a question of yes or no into a regression, without a word."""
    edit(followed / "participants.tsv", 2, "osteoporosis", "2")
    assert "osteoporosis is '2', not one of 0, 1" in check_cohort(followed, outcome="osteoporosis")[1][0]


@pytest.mark.parametrize(
    ("outcome", "row", "column", "value", "said"),
    [
        ("t, e", 2, "t", "0", "t is '0'; it must be years above 0; correct it."),
        ("t, e", 2, "e", "3", "e is '3', not one of 0, 1, 2; correct it."),
        ("t, e", 2, "t", "", "t is missing; enter years, or remove the patient."),
        ("t, f", 2, "e", "1", "participants.tsv has no outcome column 'f'"),
        (
            "t, e, age",
            2,
            "e",
            "1",
            "outcome is 't, e, age'; name one column of participants.tsv, or two, 'time, event'",
        ),
    ],
)
def test_every_fault_of_an_outcome_is_a_sentence(followed, outcome, row, column, value, said):
    """A time of 0 or an event of 3 would end deep inside of a fit."""
    edit(followed / "participants.tsv", row, column, value)
    assert any(said in fault for fault in check_cohort(followed, outcome=outcome, horizon=4)[1])


def test_a_horizon_beyond_every_follow_up_is_refused(followed):
    """No risk by then could be judged."""
    (fault,) = check_cohort(followed, outcome="t, e", horizon=99)[1]
    assert "horizon is 99 and the longest t is" in fault
    assert columns_of(PAIR) == PAIR.split(", ")
    with pytest.raises(ParameterError, match="horizon is 0; it is years, above 0"):
        plan_run("virtual", out=Run(followed / "run").folder, overrides=["horizon=0"])
    with pytest.raises(ParameterError, match="outcome is 'a,'; name one column"):
        plan_run("virtual", out=Run(followed / "run").folder, overrides=["outcome=a,"])


def test_a_column_that_the_outcome_is_made_from_is_no_predictor_of_it(followed, capsys):
    """Bone density tells osteoporosis perfectly, which says nothing of anybody's bones."""
    assert set(barred("bmd_total_hip", {}, ["age", "bmd_femoral_neck", "t_total_hip", "frax_hip"])) == {
        "bmd_femoral_neck", "t_total_hip", "frax_hip",
    }  # fmt: skip
    assert barred("age", {}, ["bmi", "frax_hip", "age"]) == {"frax_hip": "age"}
    assert barred("fracture", {}, ["age", "bmd_total_hip", "frax_hip"]) == {}
    assert barred("score", {"score": {"Made from": ["grip"]}}, ["grip", "age"]) == {"grip": "grip"}
    cohort = load_cohort(followed, outcome="osteoporosis")
    assert cohort.dictionary["bmd_total_hip"]["Role"] == "other"
    assert cohort.dictionary["age"]["Role"] == "clinical"
    keep_cohort(cohort, Run(followed / "run"))
    said = "Not among the predictors of osteoporosis, since they are made from the same: bmd_total_hip (made from bone"
    assert said in capsys.readouterr().out
    write_json(followed / "participants.json", {"bmd_total_hip": {"Role": "clinical"}})
    (fault,) = check_cohort(followed, outcome="osteoporosis")[1]
    assert fault.startswith(
        "participants.json: the Role of 'bmd_total_hip' is 'clinical', and it may not predict osteoporosis"
    )


def test_neither_column_of_a_pair_predicts_anything(followed):
    """An event that a model is told is not predicted; nor may it predict a fracture in the past."""
    write_json(followed / "participants.json", {"t": {"Role": "clinical"}, "e": {"Role": "outcome"}})
    cohort = load_cohort(followed, outcome="t, e", horizon=4)
    assert [cohort.dictionary[name]["Role"] for name in ("t", "e")] == ["outcome", "outcome"]
    assert load_cohort(followed).dictionary["e"]["Role"] == "other"


def test_women_without_the_number_are_left_out_everywhere_and_counted(followed, capsys):
    """A scan of a woman who is no longer a participant would fail in the curation."""
    edit(followed / "participants.tsv", 2, "bmd_total_hip", "")
    cohort = load_cohort(followed, outcome="bmd_total_hip")
    gone = "sub-0000"
    assert gone not in set(cohort.participants["participant_id"]) | set(cohort.scans["participant_id"])
    assert "1 women are left out, since their bmd_total_hip is not known." in capsys.readouterr().out


def test_a_score_that_is_full_in_most_women_still_parts_them():
    """Nobody lies above such a median, and tables and pictures would have a group of nobody."""
    score = Outcome("score", "number", pd.Series([10.0] * 7 + [3, 4, 5]))
    assert (score.event, int(score.groups.sum())) == ("score of 10 or more", 7)
    falls = Outcome("falls", "number", pd.Series([0.0] * 7 + [3, 4, 5]))
    assert (falls.event, int(falls.groups.sum())) == ("falls above 0", 3)


def test_large_and_negative_numbers_are_said_as_people_write_them():
    """The report's first line would have 2.2e+04 steps, SD 1.6e+04."""
    steps = Outcome("steps", "number", pd.Series([11234.0] * 5 + [3e4, 4e4, 5e4]), unit="a day")
    assert (steps.event, steps.counted) == ("steps above 11234", "steps 22021 (SD 15818) a day")
    assert Outcome("z", "number", pd.Series([-1.234, -2.5, -3.0])).counted == "z −2.24 (SD 0.91)"


def test_folds_of_a_number_have_like_numbers_and_of_a_time_like_events():
    """Without strata a fold of the oldest women is judged by a model of the others."""
    people = pd.Index([f"sub-{i:04d}" for i in range(60)])
    rng = np.random.default_rng(0)
    age = Outcome("age", "number", pd.Series(rng.normal(70, 8, 60), people))
    strata = age.strata(3)
    assert strata.nunique() == 5
    assert age.values.groupby(strata).mean().is_monotonic_increasing
    splits = make_splits(strata, protocols=("all", "as-published"), folds=3, seed=1)
    folds = splits.query("protocol == 'all'").set_index("participant_id")["fold"]
    assert pd.crosstab(folds, strata).to_numpy().tolist() == [[4] * 5] * 3
    assert (splits.query("protocol == 'as-published' and fold == 'test'")["participant_id"].map(strata).nunique()) == 5
    time = Outcome("t, e", "time", pd.Series(np.tile([0, 1, 2], 20), people), pd.Series(1.0, people), 2.0)
    assert time.strata(3).value_counts().to_dict() == {0: 40, 1: 20}


def test_tables_by_outcome_part_a_number_at_its_median_and_say_so(followed):
    """A column called after the number alone would read as if some women had it and others not."""
    table = table_one(load_cohort(followed, outcome="age"))
    name = next(column for column in table if column.startswith("age above"))
    assert f"no {name}" in table
    counted = keep_splits(
        load_cohort(followed, outcome="age"), Run(followed / "run"), protocols="all", folds=2, repeats=1,
        test_fraction=0.1, seed=0,
    )  # fmt: skip
    assert list(counted) == ["protocol", "repeat", "fold", "patients", "mean"]


def planted(kind: str):
    """Tables of 60 women with a number or a time that rests on their indices, and their outcome."""
    tables = test_fusion.assembled(test_fusion.data(60, seed=3))
    rng, people = np.random.default_rng(4), tables.features.index
    risk = ((250 - tables.features["radius Tt.vBMD"]) / 20).to_numpy()
    if kind == "number":
        target = Outcome("steps", "number", pd.Series(5000 - 800 * risk + rng.normal(0, 300, 60), people))
    else:
        time, death, end = rng.exponential(6 / np.exp(1.2 * risk)), rng.exponential(25, 60), rng.uniform(2, 9, 60)
        first = np.minimum(np.minimum(time, death), end)
        event = np.select([first == time, first == death], [1, 2], 0)
        target = Outcome(
            "t, e", "time", pd.Series(event, people), pd.Series(first.round(1) + 0.1, people), 3.0, "years"
        )
    return replace(tables, target=target, outcome=target.groups), target


@pytest.mark.parametrize("kind", ["number", "time"])
def test_every_family_predicts_a_number_and_a_time_and_is_judged_by_its_own_figure(kind):
    """The same models, folds and tables, whatever is predicted."""
    data, target = planted(kind)
    predictions, models = predict_all(data), models_table(models_of(data))
    assert set(predictions["family"]) == {"Clinical", "BMD", "pQCT-index", "Texture", "DeepQCT"}
    table = comparison.summarise(predictions, models=models, target=target)
    own = table.query("measure == @target.figure and split == 'out-of-fold'").set_index(["family", "model"])
    indices = own.loc[("pQCT-index", "all four bones")]
    assert indices["low"] > target.chance
    assert indices["p"] < 0.01
    assert (
        own["events"].isna().all()
        if kind == "number"
        else own["events"].between(target.events - 1, target.events).all()
    )
    planned = comparison.planned(predictions, models=models, target=target)
    assert set(planned["measure"]) == {target.figure}
    assert "DeepQCT − pQCT-index" in set(planned["question"])
    curves = comparison.curves(predictions, models=models, target=target)
    assert set(curves["curve"]) == {"calibration"}
    assert comparison.reclassified(predictions, models=models).empty
    (row,) = optimism(data, predictions, models=models, permutations=19, bootstraps=0).to_dict("records")
    assert row["p"] == 0.05
    assert row["expected"] < target.chance + 0.15


@pytest.mark.parametrize("kind", ["number", "time"])
def test_a_held_out_outcome_has_no_say_in_its_own_prediction(kind):
    """A penalty, a mean or a baseline hazard that is fitted on everybody would leak."""
    data, target = planted(kind)
    columns = data.features[data.indices].astype(float)
    fold = (
        data.splits.query("protocol == 'all' and repeat == 0")
        .set_index("participant_id")["fold"]
        .reindex(columns.index)
    )
    before = cross_fit(columns, outcome=target, fold=fold)
    mine = fold == "0"
    values = target.values.where(~mine, 9999.0 if kind == "number" else 1 - (target.values == 1).astype(int))
    times = None if target.times is None else target.times.where(~mine, 2.5)
    after = cross_fit(columns, outcome=replace(target, values=values, times=times), fold=fold)
    pd.testing.assert_frame_equal(before[mine], after[mine])
    assert not np.allclose(before[~mine]["score"], after[~mine]["score"])


@pytest.mark.parametrize("kind", ["number", "time"])
def test_a_held_out_outcome_has_no_say_in_what_its_network_is_mapped_to(kind):
    """The line or the hazard by which a score becomes a prediction is fitted on the other folds alone."""
    data, target = planted(kind)
    scores = data.scores["radius"].query("protocol == 'all' and repeat == 0")
    mine = scores.set_index("participant_id")["fold"].reindex(target.values.index) == "1"
    values = target.values.where(~mine, 9999.0 if kind == "number" else 1 - (target.values == 1).astype(int))
    before, after = (
        map_out_of_fold(scores.drop(columns="risk"), outcome=one).set_index("participant_id")
        for one in (target, replace(target, values=values))
    )
    own = mine.index[mine]
    pd.testing.assert_frame_equal(before.loc[own], after.loc[own])
    name = value_of(target)
    assert not np.allclose(before[name].drop(own), after[name].drop(own))


def test_permuting_times_keeps_each_time_with_its_event():
    """An event that is given another woman's follow-up makes a cohort that nobody could have."""
    _, target = planted("time")
    turned = target.put_in_order(np.arange(60)[::-1])
    pairs = [set(zip(one.times, one.values, strict=True)) for one in (target, turned)]
    assert pairs[0] == pairs[1]
    assert judged(turned, np.arange(60.0)).n == 60


def test_a_network_of_times_is_pulled_towards_the_order_of_events():
    """The loss of a batch by hand, with a censored woman, a death, and images of one woman that share her time."""
    outputs = torch.tensor([[0.3], [0.1], [-0.2], [0.5]], requires_grad=True)
    outcome = torch.tensor([[2.0, 1.0], [2.0, 1.0], [1.0, 0.0], [3.0, 2.0]])
    loss = CoxLoss()(outputs, outcome)
    o = outputs.detach().reshape(-1)
    at_risk = torch.logsumexp(o[[0, 1, 3]], 0)  # the censored woman left before; the one who died is still there
    assert loss.item() == pytest.approx(float((at_risk - o[0] + at_risk - o[1]) / 2), abs=1e-6)
    loss.backward()
    assert outputs.grad[2] == 0
    assert (outputs.grad[:2] < 0).all()  # their hazard is to rise
    assert outputs.grad[3] > 0
    nobody = CoxLoss()(outputs, torch.tensor([[1.0, 0.0]] * 4))
    nobody.backward()
    assert nobody.item() == 0


def test_a_network_of_numbers_learns_them_in_sds_of_its_own_training_women():
    """Ages of 70 against outputs around 0 would take epochs to find their mean."""
    loss = SquaredError(70.0, 8.0)
    assert loss(torch.tensor([[0.0], [1.0]]), torch.tensor([70.0, 78.0])).item() == 0
    both = OutcomeAndIndices(0.5, loss)
    outputs, indices = torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0]])
    assert both(outputs, torch.tensor([70.0]), indices).item() == pytest.approx(0.5 * 4)


@pytest.mark.parametrize("outcome", ["age", PAIR])
def test_networks_learn_a_number_and_a_time_and_no_bundle_is_made_of_them(tmp_path, outcome):
    """From the curated bones to scores, by parameter alone; a bundle says in one sentence that it takes neither."""
    example = dq.run.example_run()
    run = Run(tmp_path / "run")
    for name in ("bones", "indices.csv", "texture.csv"):
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).symlink_to(example.folder / name)
    cohort = load_cohort(example.virtual / "cohort", outcome=outcome, horizon=2.0)
    keep_cohort(cohort, run)
    write_table(run.splits, make_splits(outcome_of(run).strata(2), protocols=("all",), folds=2, seed=7))
    recipe = replace(dq.run.example.RECIPE, images=2)
    dls = dq.networks.bone_dataloaders(run, bone="radius", fold=0, recipe=recipe)
    batch = dls.one_batch()[1]
    assert tuple(batch.shape) == ((4,) if outcome == "age" else (12, 2))
    assert len(dls.valid.one_batch()[1]) == (4 if outcome == "age" else 12)
    with warnings.catch_warnings(action="ignore"):  # NumPy's, of how matplotlib reads a tensor
        assert len(dq.networks.show_images(dls, most=2)) == 2
    scores = dq.cross_validate(run, bone="radius", recipe=recipe)
    assert ("predicted" if outcome == "age" else "risk") in scores
    assert scores["score"].nunique() == 12
    learned = read_table(run.training("radius"))
    assert set(learned["measure"]) == {"R²" if outcome == "age" else "C-index"}
    assert dq.networks.out_of_fold(run, scores)["n"] == 12
    assert len(dq.networks.top_losses(run, bone="radius", scores=scores, most=3)) == 3
    assert {
        one.outcome for one in dq.networks.explain(run, bone="radius", protocol="all", repeat=0, recipe=recipe)
    } <= {0, 1}
    predictions = dq.predict_run(run)
    assert (
        "age" not in str(read_table(run.models_table).query("family == 'Clinical'")["columns"].tolist())
        or outcome != "age"
    )
    assert len(predictions)
    with pytest.raises(BundleError, match="bundles are made of runs whose outcome is 0 or 1"):
        dq.bundle(run, tmp_path / "bundle")


def test_a_virtual_cohort_says_what_is_attainable_for_each_of_its_outcomes():
    """The line in a picture must not be that of another outcome."""
    run = dq.run.example_run()
    told_by = read_json(run.dictionary)["virtual"]["attainable"]
    assert set(told_by) == {"osteoporosis", "phenotype", "age", "bmd_total_hip", PAIR}
    assert "BMD" not in told_by["osteoporosis"]
    assert "clinical" not in told_by["age"]
    assert (
        told_by[PAIR]["clinical"]
        < told_by[PAIR]["pQCT-index all"]
        < told_by[PAIR]["DeepQCT all"]
        < told_by[PAIR]["all"]
    )
    nothing = dq.virtual.attainable_of_others("null")
    assert set(nothing[PAIR].values()) == {0.5}


def test_virtual_women_fracture_die_and_leave_after_the_scan_as_they_were_drawn():
    """The rates are the truth that every figure of a time is held against."""
    women = dq.virtual.draw_women(4000, scenario="deepqct-like", seed=11)
    times = dq.evaluation.Times.of(women["time_to_fracture"], women["fracture_after"])
    alone = dq.evaluation.Times.of(women["time_to_fracture"], (women["fracture_after"] == 1).astype(int))
    assert dq.evaluation.incidence(alone, 5)[0, 0] == pytest.approx(0.2, abs=0.025)  # as if nobody died
    assert times.deaths > 200
    best = dq.virtual.attainable_of_others("deepqct-like")[PAIR]["all"]
    assert dq.evaluation.concordance(times.time, times.event, women["latent_risk"]).value == pytest.approx(
        best, abs=0.03
    )
    lowest = women[["t_lumbar_spine", "t_femoral_neck", "t_total_hip"]].min(axis=1)
    known = lowest.notna() & women.filter(like="t_").notna().all(axis=1)
    assert (women["osteoporosis"] == (lowest <= -2.5))[known].all()


@pytest.mark.parametrize("name", ["age", PAIR])
def test_with_the_drawn_structure_models_reach_what_is_attainable_and_are_calibrated(name):
    """A ceiling that nobody can reach, or a model that stays far below it, would mislead whoever compares the two."""
    women = dq.virtual.draw_women(300, scenario="deepqct-like", seed=7).set_index("participant_id")
    values, times = (women["age"], None) if name == "age" else (women["fracture_after"], women["time_to_fracture"])
    target = Outcome(name, "number" if name == "age" else "time", values, times, 5.0)
    drawn = women[dq.virtual.targets.columns()]
    splits = make_splits(target.strata(5), protocols=("all",), folds=5, seed=1).set_index("participant_id")
    found = cross_fit(drawn, outcome=target, fold=splits["fold"].reindex(drawn.index))
    reached = judged(target, found["predicted" if name == "age" else "score"].to_numpy())
    best = dq.virtual.attainable_of_others("deepqct-like")[name]["all" if name == "age" else "pQCT-index all"]
    assert reached.low < best < reached.high + 0.03
    rows = found.assign(participant_id=found.index, repeat=0)
    measures = other_measures(target, rows)[0].set_index("measure")
    assert measures.loc["slope", "low"] < 1 < measures.loc["slope", "high"]
    centre = ("mean difference", 0) if name == "age" else ("observed / predicted", 1)
    assert measures.loc[centre[0], "low"] < centre[1] < measures.loc[centre[0], "high"]


def test_a_column_that_is_called_as_what_is_measured_is_a_fault(followed):
    """Two columns of one name ended the stage of the models."""
    for name, role, faults in (
        ("radius Tt.vBMD", "clinical", 1),
        ("tibia Stiffness", "bmd", 1),
        ("ulna Tb.Band.0.12", "frax", 1),
        ("radius Tt.vBMD", "other", 0),
        ("radius", "bmd", 0),
        ("tibia length", "clinical", 0),
    ):
        table = pd.read_csv(followed / "participants.tsv", sep="\t")
        table.assign(**{name: 1.5}).to_csv(followed / "participants.tsv", sep="\t", index=False)
        write_json(followed / "participants.json", {name: {"Description": "by hand", "Role": role}})
        found = [said for said in check_cohort(followed, outcome="osteoporosis")[1] if repr(name) in said]
        assert len(found) == faults, found
        assert all("is called as what deepqct measures of a bone; rename the column" in said for said in found)


def test_scores_of_networks_that_go_against_a_number_know_nothing_of_it():
    """The square of a correlation of -0.9 is no knowledge."""
    numbers = pd.Series(np.arange(40.0), [f"P{k}" for k in range(40)])
    target, noise = Outcome("steps", "number", numbers), np.random.default_rng(0).normal(0, 5, 40)
    for sign, low, high in ((1, 0.7, 1.0), (-1, -0.2, 0.0)):
        scores = pd.DataFrame({"participant_id": numbers.index, "score": sign * numbers.to_numpy() + noise})
        assert low <= as_judged(target, scores)["estimate"] <= high


@pytest.mark.long
@pytest.mark.parametrize("name", ["osteoporosis", "phenotype", "age", "bmd_total_hip", PAIR])
def test_each_outcome_of_virtual_women_goes_from_scans_to_report_by_one_parameter(tmp_path, name):
    """Every stage has texts and tables of the outcome; one that only fractures ever reached breaks here."""
    out, said = tmp_path / "run", tmp_path / "said"
    done = finish(out, "n=36", "--cores", "2", f"outcome={name}", "00_virtual_cohort.workers=2", said=said)
    assert done == 0, words(said)[-3000:]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert {"number": "R²", "time": "C-index"}.get(outcome_of(Run(out)).kind, "AUC") in page
    assert read_table(Run(out).group_comparison)["variable"].is_unique
