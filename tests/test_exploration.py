"""One woman beside the others: the right rows, the right reference, and thresholds that say what they do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic

from deepqct import exploration
from deepqct.exploration import summary, women
from deepqct.folder import Run, read_table, write_json, write_table
from deepqct.models.families import models_for, models_table
from deepqct.networks import Explained, keep_explained, load_explained
from deepqct.run_tables import headlines, run_outcome
from deepqct.widgets import Explorer

HEADLINE = ("DeepQCT", "mean of all four bones")


@pytest.fixture
def run(tmp_path) -> Run:
    """A run of 60 women."""
    return synthetic.explored_run(tmp_path / "run")


@pytest.fixture
def table() -> pd.DataFrame:
    """Ten women, the five of highest risk with the outcome but for one."""
    risk = np.arange(10) / 10 + 0.05
    outcome = (np.arange(10) >= 5).astype(float)
    outcome[[4, 9]] = 1, 0
    people = pd.Index([f"sub-{i:04d}" for i in range(10)], name="participant_id")
    return pd.DataFrame({"risk": risk, "outcome": outcome, "group": 1, "age": 70.0}, index=people)


def test_every_woman_once_with_the_risk_of_the_main_protocol(run):
    """Another protocol scores the same women by other networks: a mean of both would be nobody's risk."""
    assert exploration.models_of(run)[0] == HEADLINE
    found = exploration.women(run, family="DeepQCT", model=HEADLINE[1])
    assert len(found) == synthetic.WOMEN
    assert found.index.is_unique
    own = synthetic.predictions().query("protocol == 'all' and family == @HEADLINE[0] and model == @HEADLINE[1]")
    np.testing.assert_allclose(found["risk"], own.set_index("participant_id")["risk"][found.index], rtol=1e-9)
    assert found["outcome"].sum() == 20
    assert pd.isna(found["group"].iloc[7])
    with pytest.raises(ValueError, match="no model 'x' of the family 'BMD'"):
        exploration.women(run, family="BMD", model="x")


def test_the_widest_network_comes_first_also_of_two_bones(run):
    """Otherwise a run of radius and ulna would show the risk by clinical factors, unasked."""
    table = synthetic.predictions()
    pair = "mean of wrist, non-weight-bearing (radius + ulna)"
    two = table[(table["family"] != "DeepQCT") | table["model"].isin(["radius", "ulna", pair])]
    write_table(run.predictions, two)
    columns = pd.DataFrame(columns=["radius Tt.vBMD", "ulna Tt.vBMD"])
    write_table(run.models_table, models_table(models_for({}, indices=columns, bones=["radius", "ulna"])))
    assert exploration.models_of(run)[0] == ("DeepQCT", pair)
    write_table(run.predictions, two[two["family"] != "DeepQCT"])
    assert exploration.models_of(run)[0][0] == "BMD"


def test_a_woman_without_indices_or_age_is_shown_without_them(run):
    """Scans of some women fail: their page must still open, and say what there is."""
    indices = read_table(run.indices)
    write_table(run.indices, indices[indices["participant_id"] != "sub-0005"])
    reference = exploration.reference_of(run)
    assert reference.words == "39 women without fracture"
    assert reference.of("sub-0005").isna().all()
    assert reference.of("sub-0006").notna().all()
    people = read_table(run.participants).assign(age=np.linspace(60, 80, synthetic.WOMEN))
    people.loc[5, "age"] = np.nan
    write_table(run.participants, people)
    aged = exploration.reference_of(run)
    assert aged.words == "39 women without fracture for their age"
    assert aged.of("sub-0006").notna().all()
    table = exploration.women(run, family=HEADLINE[0], model=HEADLINE[1])
    assert "not known" in exploration.summary(table, "sub-0006")["value"].tolist()


def test_z_is_for_her_age_and_from_the_reference_alone():
    """Whoever is old and like the old must not look ill; and the ill must not widen the reference."""
    rng = np.random.default_rng(0)
    people = pd.Index([f"sub-{i:04d}" for i in range(300)])
    age = pd.Series(rng.uniform(50, 90, 300), people)
    values = 300 - 2 * age + rng.normal(scale=10, size=300)
    reference = pd.Series(np.arange(300) < 200, people)
    values[~reference] -= 500
    values.iloc[-1] = 300 - 2 * age.iloc[-1] + 20
    table = pd.DataFrame({"a": values, "constant": 1.0, "rare": values.where(np.arange(300) < 8)})
    z = exploration.z_for_age(table, age=age, reference=reference)
    assert z["a"].iloc[-1] == pytest.approx(2, abs=0.25)
    assert z["a"][reference].std() == pytest.approx(1, abs=0.01)
    assert abs(np.corrcoef(z["a"][reference], age[reference])[0, 1]) < 1e-9
    assert z["a"][~reference].iloc[:-1].max() < -40
    assert z[["constant", "rare"]].isna().all(axis=None)
    without = exploration.z_for_age(table, age=age * np.nan, reference=reference)
    assert without["a"][reference].mean() == pytest.approx(0, abs=1e-9)


def test_women_of_like_risk_are_the_others(table):
    """She herself must not count among those who tell what becomes of her."""
    found = exploration.like_her(table, "sub-0009", nearest=5)
    assert (found.n, found.events) == (5, 5)
    assert exploration.like_her(table, "sub-0000", nearest=5).events == 2
    assert np.isnan(exploration.like_her(table, "sub-0000", nearest=4).estimate)


def test_a_threshold_does_what_can_be_counted_by_hand(table):
    """At 0.5 five are called, four of them with the outcome."""
    found = exploration.at_threshold(table, threshold=0.5).set_index("measure")
    assert found.loc["sensitivity", ["estimate", "events", "n"]].tolist() == [0.8, 4, 5]
    assert found.loc["specificity", "estimate"] == 0.8
    assert found.loc["net benefit", "estimate"] == pytest.approx((4 - 1) / 10)
    moved = exploration.who_changes(table, before=0.5, after=0.7)
    assert moved.index.tolist() == ["sub-0006", "sub-0005"]
    few = exploration.at_threshold(table.iloc[:6], threshold=0.5)
    assert few["estimate"].isna().all()


def test_thresholds_are_kept(run):
    """thresholds.csv is the twin of the slider that is moved by hand."""
    table = exploration.women(run, family=HEADLINE[0], model=HEADLINE[1])
    exploration.keep_thresholds(run, table)
    kept = read_table(run.thresholds)
    row = kept.query("threshold == 0.3 and measure == 'sensitivity'").iloc[0]
    assert row["estimate"] == pytest.approx((table.query("outcome == 1")["risk"] >= 0.3).mean())
    assert (set(kept["family"]), set(kept["model"])) == ({HEADLINE[0]}, {HEADLINE[1]})
    assert set(kept["measure"]) == {"sensitivity", "specificity", "PPV", "NPV", "net benefit"}


def test_a_woman_is_found_by_name_or_by_risk(table):
    """A misspelt name gets the nearest one, not a traceback of pandas."""
    assert exploration.chosen(table, "highest") == "sub-0009"
    assert exploration.chosen(table, "sub-0003") == "sub-0003"
    with pytest.raises(ValueError, match="did you mean 'sub-0003'"):
        exploration.chosen(table, "sub-003")
    said = exploration.summary(table, "sub-0009").set_index("what")["value"]
    assert said["risk, out of fold"] == "0.95"
    assert "n 9, 5 events" in said["outcome among others of like risk"]


def test_what_was_explained_comes_back(tmp_path):
    """Saliency at half precision must still sum to 1, and an even spread must not vanish."""
    rng = np.random.default_rng(1)
    heat = rng.uniform(size=(224, 224)).astype(np.float32)
    inside = rng.uniform(size=(224, 224)) > 0.5
    density = rng.uniform(-400, 1400, (224, 224)).astype(np.float32)
    one = Explained("sub-0001", 1, -0.25, density, inside, heat / heat.sum())
    other = Explained("sub-0002", 0, 0.5, -density, ~inside, one.heat[::-1])
    keep_explained(Run(tmp_path), [other, one], bone="tibia")
    back = load_explained(Run(tmp_path), bone="tibia", participant_id="sub-0001")
    assert back is not None
    assert (back.participant_id, back.outcome, back.score) == ("sub-0001", 1, -0.25)
    np.testing.assert_array_equal(back.inside, inside)
    np.testing.assert_allclose(back.density, density, atol=1)
    assert back.heat.sum() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(back.heat, one.heat, rtol=1e-3, atol=1e-9)
    assert load_explained(Run(tmp_path), bone="tibia", participant_id="sub-0003") is None
    assert load_explained(Run(tmp_path), bone="radius", participant_id="sub-0001") is None


@pytest.fixture(scope="module")
def of_a_number(tmp_path_factory):
    """A run whose outcome is a number; one of its models knows half of the women."""
    run = synthetic.explored_run(tmp_path_factory.mktemp("number") / "run")
    people, predictions = read_table(run.participants), read_table(run.predictions)
    steps = np.random.default_rng(0).normal(7000, 900, len(people))
    write_table(run.participants, people.assign(steps=steps).drop(columns="fracture"))
    write_json(run.dictionary, {"steps": {"Role": "outcome", "Kind": "number"}})
    told = predictions.assign(predicted=7000 + 100 * predictions["score"]).drop(columns="risk")
    few = (told["model"] == "femoral neck") & told["participant_id"].isin(people["participant_id"].head(30))
    write_table(run.predictions, told[~few])
    return run


def test_the_halves_of_a_number_are_those_of_all_women(of_a_number):
    """The name of the upper half says the median of all; a model of some women must not move it."""
    table = women(of_a_number, family="BMD", model="femoral neck")
    assert len(table) == 30
    assert (table["outcome"] == run_outcome(of_a_number).reindex(table.index)).all()
    said = summary(table, table.index[0]).set_index("what")["value"]
    assert said["predicted, out of fold"].isdigit()
    assert said["upper half among others of like rank"].endswith(" of 29)")
    assert not said.index.str.contains("risk").any()
    assert "events" not in " ".join(said)


def test_a_table_without_rows_keeps_its_columns():
    """A run without a slope, or without networks, has no row to speak for a family; its report needs the columns."""
    table = synthetic.predictions().head(0)
    assert list(headlines(table, synthetic.models())) == list(table)


def test_nobody_is_called_by_a_number(of_a_number):
    """The notebook says that there are no thresholds; the widget above it would have shown their sensitivity."""
    explorer = Explorer(of_a_number, size=60)
    explorer.threshold.value = 0.7
    assert "nobody is called" in explorer.figures.value
    assert "sensitivity" not in explorer.figures.value
    assert explorer.pictures.image.names[0].startswith("sub-0001, rank 0.")
