"""A planned study: published sizes to the digit, widths and powers as simulated cohorts have them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import papermill
import pytest
from conftest import ROOT
from scipy import special, stats
from studies import shown, widths
from typer.testing import CliRunner

from deepqct import evaluation
from deepqct.cli import app
from deepqct.evaluation import (
    Study,
    above_chance,
    auc_width,
    difference_width,
    estimable_share,
    most_predictors,
    net_benefit,
    over_numbers,
    power,
    sizes_to_develop,
    sizes_to_validate,
    smallest_gain,
    study_answers,
    study_words,
    usual_interval,
    women_needed,
)
from deepqct.folder import Run, read_table
from deepqct.run.parameters import notebook_source
from deepqct.widgets import study_planner

WOMEN = Study(n=216, prevalence=0.33, auc=0.8)
PARTS = (np.arange(200_000) + 0.5) / 200_000  # of a distribution, equally likely


def sizes(table: pd.DataFrame) -> list[int]:
    """The numbers of women of all criteria but the last."""
    return table["needed"].tolist()[:-1]


def test_sizes_to_develop_are_those_of_the_published_examples():
    """Chagas disease (Riley 2019) and pre-eclampsia (Riley 2020), to the digit."""
    assert sizes(sizes_to_develop(24, prevalence=0.174, r2=0.288))[:3] == [623, 662, 221]
    assert sizes_to_develop(30, prevalence=0.05, r2=0.05)["needed"].iloc[-1] == 5249
    assert sizes_to_develop(20, prevalence=0.05, r2=0.05)["needed"].iloc[-1] == 3500
    assert round(evaluation.largest_cox_snell(0.05), 2) == 0.33


def test_an_auc_in_place_of_r2_gives_the_sizes_of_the_published_example():
    """The example of pmsampsize for an AUC of 0.89; its R² is drawn, ours is an integral, and the sizes are the same."""
    assert sizes(sizes_to_develop(24, prevalence=0.174, auc=0.89))[:3] == [615, 660, 221]


def test_r2_from_an_auc_is_that_of_a_million_drawn_women():
    """As Riley et al. (2021) find it: normal scores, a logistic model, its likelihood."""
    rng, prevalence = np.random.default_rng(0), 0.2
    apart = np.sqrt(2) * special.ndtri(0.75)
    event = rng.random(1_000_000) < prevalence
    logit = special.logit(prevalence) + apart * (rng.normal(event * apart) - apart / 2)
    known = np.where(event, special.log_expit(logit), special.log_expit(-logit)).mean()
    blind = prevalence * np.log(prevalence) + (1 - prevalence) * np.log(1 - prevalence)
    found = evaluation.cox_snell(0.75, prevalence=prevalence)
    assert found == pytest.approx(1 - np.exp(2 * (blind - known)), abs=0.003)


def test_the_error_of_single_risks_follows_the_published_formula():
    """Four times the predictors take 4^(0.504 / 0.544) times the women (van Smeden 2019); rare and common are alike."""
    few, many = (sizes(sizes_to_develop(p, prevalence=0.2, auc=0.7))[3] for p in (10, 10 * 4))
    assert many / few == pytest.approx(4 ** (0.504 / 0.544), rel=0.01)
    assert sizes(sizes_to_develop(9, prevalence=0.2, auc=0.7)) == sizes(sizes_to_develop(9, prevalence=0.8, auc=0.7))


def test_sizes_to_validate_are_those_of_the_published_example():
    """The 4C Deterioration model (Riley 2024): beta distributed risks; O/E, slope and C-statistic to the digit."""
    logit = special.logit(stats.beta.ppf(PARTS, 1.33, 1.75))
    wide = {"O/E": 0.22, "calibration slope": 0.3}
    table = sizes_to_validate(0.77, prevalence=0.43, logit=logit, widths=wide)
    assert table["needed"].tolist() == [423, 949, 347, 949]


def test_sizes_to_validate_are_those_of_a_second_published_example():
    """Heart valves (Riley 2021, as pmvalsampsize has it); to the digit but where that program rounds or draws.

    It cuts the error of O/E to four digits and prints 905 for 905.1 women, which are 906; the normal slope it draws.
    """
    found = {}
    for name, logit in {
        "beta": special.logit(stats.beta.ppf(PARTS, 0.5, 0.5)),
        "normal": -5 + 2.5 * special.ndtri(PARTS),
    }.items():
        found[name] = sizes(sizes_to_validate(0.8, prevalence=0.018, logit=logit, widths={"O/E": 1.0}))
    assert found["beta"] == [906, 1644, 4252]
    assert found["normal"][1] == pytest.approx(4544, rel=0.003)


def test_the_size_for_the_slope_gives_the_slope_its_width():
    """At that size the calibration slope of simulated women has the standard error that was asked for."""
    study, apart = 0.8, np.sqrt(2) * special.ndtri(0.8)
    n = int(sizes_to_validate(study, prevalence=0.33, widths={"calibration slope": 0.4})["needed"].iloc[1])
    rng, slopes = np.random.default_rng(3), []
    for _ in range(200):
        event = rng.random(n) < 0.33
        logit = special.logit(0.33) + apart * (rng.normal(event * apart) - apart / 2)
        beta, design = np.array([0.0, 1.0]), np.column_stack([np.ones(n), logit])
        for _ in range(4):
            risk = special.expit(design @ beta)
            beta = beta + np.linalg.solve(design.T @ (design * (risk * (1 - risk))[:, None]), design.T @ (event - risk))
        slopes.append(beta[1])
    assert np.std(slopes) == pytest.approx(0.4 / 2 / 1.96, rel=0.15)


def test_the_size_for_the_net_benefit_gives_it_its_width():
    """The net benefit of simulated women at that size, over their own prevalence, varies as much as was asked for."""
    apart, prevalence, threshold = np.sqrt(2) * special.ndtri(0.8), 0.3, 0.25
    n = sizes(sizes_to_validate(0.8, prevalence=prevalence, threshold=threshold))[3]
    rng, found = np.random.default_rng(4), []
    for _ in range(400):
        event = rng.random(n) < prevalence
        risk = special.expit(special.logit(prevalence) + apart * (rng.normal(event * apart) - apart / 2))
        curve = net_benefit(event.astype(float), risk, thresholds=[threshold])
        found.append(curve["estimate"].iloc[0] / event.mean())
    assert np.std(found) == pytest.approx(0.2 / 2 / 1.96, rel=0.12)


def test_the_most_predictors_are_the_last_that_fit():
    """One more must break a criterion that depends on predictors."""
    for n in (60, 216, 900):
        most = most_predictors(n, prevalence=0.33, auc=0.75)
        fits = [
            max(value for k, value in enumerate(sizes(sizes_to_develop(p, prevalence=0.33, auc=0.75))) if k != 2) <= n
            for p in (max(most, 1), most + 1)
        ]
        assert fits == [most > 0, False]


@pytest.mark.parametrize(("n", "prevalence", "auc"), [(60, 0.33, 0.8), (216, 0.33, 0.7)])
def test_widths_are_those_of_simulated_cohorts(n, prevalence, auc):
    """What the package will compute must be what the planner promises."""
    study = Study(n=n, prevalence=prevalence, auc=auc)
    found = widths(study, number=100)
    assert auc_width(study) == pytest.approx(found["auc_width"], rel=0.05)
    assert difference_width(study) == pytest.approx(found["difference_width"], rel=0.05)
    assert above_chance(study) == pytest.approx(found["above_chance"], abs=0.12)


@pytest.mark.long
@pytest.mark.parametrize(
    ("n", "prevalence", "auc"),
    [
        (40, 0.33, 0.7),
        (40, 0.33, 0.9),
        (100, 0.1, 0.6),
        (100, 0.1, 0.8),
        (216, 0.33, 0.9),
        (216, 0.1, 0.8),
        (500, 0.2, 0.7),
    ],
)
def test_widths_are_within_a_tenth_of_simulated_cohorts(n, prevalence, auc):
    """The promise of the docstring, on fewer cohorts than `make bench-planning`."""
    study = Study(n=n, prevalence=prevalence, auc=auc)
    found = widths(study, number=600, seed=1)
    assert auc_width(study) == pytest.approx(found["auc_width"], rel=0.1)
    assert difference_width(study) == pytest.approx(found["difference_width"], rel=0.1)
    assert 1 - estimable_share(study) == pytest.approx(found["not_estimable"], abs=0.03)
    assert above_chance(study) == pytest.approx(found["above_chance"], abs=0.1)


@pytest.mark.long
@pytest.mark.parametrize("networks", [0, 1, 2])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_power_is_that_of_simulated_studies(networks, margin):
    """A study that is planned too small is wasted; the variance of training must count as it will."""
    study = replace(WOMEN, n=400, networks=networks, trainings=3)
    assert power(study, margin=margin) == pytest.approx(shown(study, margin=margin, number=300), abs=0.08)


def test_few_events_are_counted_as_studies_that_show_nothing():
    """A rare outcome in few women: most cohorts give no AUC, and no comparison either."""
    rare = Study(n=40, prevalence=0.05, auc=0.9, gain=0.3, correlation=0.9)
    exact = stats.binom.sf(4, 40, 0.05)
    assert estimable_share(rare) == pytest.approx(exact, abs=1e-9)
    assert power(rare) <= exact
    assert above_chance(rare) <= exact


def test_more_women_show_more():
    """Widths fall and powers rise with the number of women, and a wider margin is easier."""
    table = over_numbers(WOMEN)
    assert (np.diff(table["auc_width"]) < 0).all()
    assert (np.diff(table["difference_width"]) < 0).all()
    for column in ("superior", "non_inferior_0.03", "non_inferior_0.05"):
        assert (np.diff(table[column]) > 0).all()
    assert (table["non_inferior_0.05"] > table["non_inferior_0.03"]).all()


def test_networks_cost_power_and_trainings_win_it_back():
    """The variance of training widens the interval; the mean of more trainings narrows it."""
    alone, one, two = (power(replace(WOMEN, n=600, networks=k), margin=0.05) for k in (0, 1, 2))
    assert alone > one > two
    assert power(replace(WOMEN, n=600, networks=1, trainings=10), margin=0.05) > one
    wide = [difference_width(replace(WOMEN, networks=1, trainings=k)) for k in (1, 5, 50)]
    assert wide[0] > wide[1] > wide[2] > difference_width(WOMEN)


def test_the_number_that_is_named_is_the_first_that_suffices():
    """One woman fewer must be too few."""
    n = women_needed(WOMEN, margin=0.05)
    assert power(replace(WOMEN, n=n), margin=0.05) >= 0.8 > power(replace(WOMEN, n=n - 1), margin=0.05)
    gain = smallest_gain(WOMEN)
    assert power(WOMEN, gain=gain) == pytest.approx(0.8, abs=0.005)
    assert np.isnan(smallest_gain(replace(WOMEN, n=20, auc=0.6)))
    assert women_needed(replace(WOMEN, margins=(0.0001,)), margin=0.0001) is None


@pytest.mark.parametrize("prevalence", [1e-4, 0.33, 0.99])
@pytest.mark.parametrize("auc", [0.51, 0.99])
def test_odd_studies_have_figures_too(prevalence, auc):
    """Sliders go to their ends: no figure there may be missing, negative, or above one."""
    for n in (10, 1000, 1_000_000):
        study = Study(n=n, prevalence=prevalence, auc=auc, gain=0.01, correlation=0.99, networks=1)
        row = over_numbers(study, [n]).iloc[0].drop(["n", "events"])
        assert np.isfinite(row).all()
        assert row.between(0, 1.2).all()


def test_the_usual_interval_is_as_wide_as_expected():
    """It lies around the AUC, and further down than up, as intervals on the logit scale do."""
    low, high = usual_interval(WOMEN)
    assert high - low == pytest.approx(auc_width(WOMEN), abs=1e-6)
    assert 0.8 - low > high - 0.8 > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": 9}, "n is 9; a study has 10 to"),
        ({"prevalence": 0.0}, "prevalence is 0.0; a share"),
        ({"auc": 0.5}, "auc is 0.5; an expected AUC"),
        ({"gain": 0.4}, "gain is 0.4; it lies above 0"),
        ({"correlation": 1.0}, "correlation is 1.0; two scores"),
        ({"margins": (0.05, -0.1)}, "margins is"),
        ({"networks": 3}, "networks is 3; 0, 1 or 2"),
        ({"trainings": 0}, "trainings is 0; networks are"),
        ({"predictors": 0}, "predictors is 0; a model"),
    ],
)
def test_a_study_that_cannot_be_is_refused(change, said):
    """A slip of the keyboard must not become a plan."""
    with pytest.raises(ValueError, match=said):
        replace(WOMEN, **change)


def test_sizes_refuse_what_makes_no_sense():
    """Both an AUC and an R², an R² that no model has, a width of nothing."""
    for call, said in (
        (lambda: sizes_to_develop(5, prevalence=0.3), "either the expected auc or its r2"),
        (lambda: sizes_to_develop(5, prevalence=0.05, r2=0.4), "below 0.33"),
        (lambda: sizes_to_validate(0.8, prevalence=0.3, widths={"OE": 1}), "'OE'; use some of O/E"),
        (lambda: sizes_to_validate(0.8, prevalence=0.3, widths={"AUC": 0}), "wider than 0"),
        (lambda: sizes_to_validate(0.8, prevalence=0.3, threshold=1), "threshold is 1"),
        (lambda: power(WOMEN, margin=-0.1), "margin is -0.1"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_words_follow_the_figures():
    """What a small study cannot do, a large one can: no sentence may stay behind."""
    small, large = study_words(WOMEN), study_words(replace(WOMEN, n=5000))
    assert len(small["can"]) == 1
    assert len(large["cannot"]) == 1, "it is never known how a score does elsewhere"
    assert "17 of 100 do; 80 need 1,663 women" in small["cannot"][2]
    assert "fewer than 80 of 100 do; 80 need 602" in study_words(replace(WOMEN, n=600))["cannot"][2]
    rare = study_words(replace(WOMEN, n=40, prevalence=0.1))
    assert "63 of 100 such cohorts have fewer than 5 women" in rare["cannot"][0]
    for name, lines in (small | {"large": large["can"]}).items():
        assert all(line.endswith(".") and "nan" not in line for line in lines), name


def test_the_command_prints_the_plan_and_writes_its_figures(tmp_path):
    """The table on the screen and the file must say the same."""
    call = ["study", "--n", "216", "--prevalence", "0.33", "--auc", "0.8", "--csv", str(tmp_path / "plan.csv")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "216 women, 71 with the outcome, expected AUC 0.8" in said
    assert "Such a study cannot:" in said
    kept = read_table(tmp_path / "plan.csv")
    assert kept["answer"].tolist() == study_answers(WOMEN)["answer"].tolist()
    assert kept.set_index("question").loc["shrinkage 0.9", "needed"] == 654
    wrong = CliRunner().invoke(app, ["study", "--n", "216", "--prevalence", "33", "--auc", "0.8"])
    assert "prevalence is 33" in str(wrong.exception)


def test_sliders_redraw_at_once():
    """Whoever moves a slider should not have to wait; the time is that of the processor, whatever else runs."""
    box = study_planner(WOMEN)
    sliders = {slider.description: slider for slider in box.children[0].children}
    before = box.children[2].value, box.children[3].value
    start = time.process_time()
    sliders["women"].value = 400
    spent = time.process_time() - start
    assert (box.children[2].value, box.children[3].value) != before
    assert "400 carry" in box.children[3].value
    assert spent < 0.6, "0.25 s on a free processor"
    sliders["AUC"].value = 0.51  # leaves no room for a gain of 0.05
    assert "gain is 0.05; it lies above 0" in box.children[1].value
    sliders["AUC"].value = 0.7
    assert box.children[1].value == ""


@pytest.mark.long
def test_the_notebook_runs_headlessly_with_its_defaults(tmp_path):
    """It is no stage, and must not break unseen."""
    given = {"run_dir": str(tmp_path / "study"), "interactive": False}
    done = papermill.execute_notebook(
        notebook_source("08_study_planner"), tmp_path / "planner.ipynb", parameters=given, kernel_name="python3",
        cwd=str(ROOT), progress_bar=False,
    )  # fmt: skip
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")
    run = Run(tmp_path / "study")
    assert len(read_table(run.study)) == len(study_answers(WOMEN))
    drawn = (run.figures("08_study_planner") / "planned_study.svg").read_text(encoding="utf-8")
    assert "virtual" not in drawn
