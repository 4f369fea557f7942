"""One woman over her visits: what is called a change, in a figure, in the explorer, and in words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import synthetic

from deepqct import plots
from deepqct.curation import visits_of
from deepqct.evaluation import change_of, precision
from deepqct.exploration import models_of, reference_of, women
from deepqct.folder import read_table, write_table
from deepqct.widgets.woman import OneWoman

LSC = 1.959963984540054 * math.sqrt(2)


def run_with_visits(folder, *, noise: bool = True):
    """A run whose first two women came again after three years; the second lost bone, and then lay on another scanner."""
    run = synthetic.explored_run(folder)
    first = read_table(run.indices).query("bone == 'radius'")
    rows = [first.assign(session="1", side="right", years=0.0, scanner=0.061, centre="", analysed=True)]
    one, two = first["participant_id"].iloc[:2]
    for person, years, less, scanner in ((one, 3.0, 1.0, 0.061), (two, 3.0, 40.0, 0.061), (two, 4.0, 90.0, 0.082)):
        again = rows[0][rows[0]["participant_id"] == person]
        again = again.assign(**{"Tt.vBMD": again["Tt.vBMD"] - less})
        rows.append(again.assign(session=f"{years:g}", years=years, scanner=scanner, analysed=False))
    write_table(run.repeats, pd.concat(rows))
    if noise:
        known = precision(np.repeat(np.arange(30), 2), 250 + np.tile([-1.0, 1.0], 30) * 2.0)
        row = {"bone": "radius", "symbol": "Tt.vBMD", "unit": "mgHA/cm³", "mean": 250.0, **known.row()}
        write_table(run.precision, pd.DataFrame([row]))
    return run, one, two


def test_nothing_below_the_least_significant_change_is_called_one():
    """Also of many visits, whose line is known better than one difference: the difference itself must exceed it."""
    for difference, changed in ((LSC * 0.999, False), (LSC * 1.001, True), (-LSC * 1.001, True)):
        found = change_of([0.0, 3.0], [100.0, 100.0 + difference], sd=1.0)
        assert found.changed is changed and ("More than noise" in str(found)) is changed
        assert found.change == pytest.approx(difference / 3) and found.lsc == pytest.approx(LSC)
    many = np.linspace(0, 4, 9)
    found = change_of(many, 100 - 0.65 * many, sd=1.0)
    assert found.high < 0 and abs(found.difference) < found.lsc and not found.changed
    assert "Not a change" in str(found)
    scattered = change_of([0, 1.9, 2, 2.1, 2], [104.0, 100.0, 100, 100, 100], sd=1.0)
    assert scattered.changed and "a year (95 % −" in str(scattered)


def test_without_noise_or_with_one_visit_nothing_is_a_change():
    """The words say why."""
    assert str(change_of([1.0, 1.0], [5.0, 9.0], sd=1.0)) == "One visit: nothing to compare."
    unknown = change_of([0, 2], [300.0, 200.0], sd=float("nan"))
    assert not unknown.changed and "noise is not known" in str(unknown) and "−100 in 2 years" in str(unknown)
    with pytest.raises(ValueError, match="above 0"):
        change_of([0, 1], [1.0, 2.0], sd=0.0)
    with pytest.raises(ValueError, match="equally long"):
        change_of([0, 1], [1.0], sd=1.0)


def test_visits_are_read_from_the_run_with_its_noise(tmp_path):
    """A scan on another scanner is drawn, but is no sign of change."""
    run, one, two = run_with_visits(tmp_path)
    still, lost = (visits_of(run, person, bone="radius") for person in (one, two))
    assert not still.change.changed and still.words.startswith("Not a change: −1 mgHA/cm³ in 3 years")
    assert "30 women of this cohort scanned twice at one visit, 30 degrees of freedom" in still.words
    assert lost.change.changed and lost.change.difference == pytest.approx(-40)
    assert (
        lost.table["counted"].tolist() == [True, True, False]
        and "Not counted: 1 scan of the other side, on another" in lost.words
    )
    third = read_table(run.indices)["participant_id"].unique()[2]
    assert visits_of(run, third, bone="radius") is None and visits_of(run, one, bone="tibia") is None
    known = read_table(run.precision)
    own = [known.assign(scanner=scanner, rms_sd=sd) for scanner, sd in ((np.nan, 2.0), (0.061, 30.0), (0.082, 1.0))]
    write_table(run.precision, pd.concat(own))
    noisy = visits_of(run, two, bone="radius")
    assert noisy.sd == 30 and not noisy.change.changed and "at one visit on this scanner, 30 degrees" in noisy.words
    write_table(run.precision, pd.concat([own[0], own[2]]))
    unknown = visits_of(run, two, bone="radius")
    assert math.isnan(unknown.sd) and "nobody was scanned twice at one visit on this scanner." in unknown.words
    write_table(run.precision, known.assign(rms_sd=0.0, n=1))
    alike = visits_of(run, two, bone="radius").words
    assert alike.startswith("Nothing is called a change: the noise is not known.") and "nobody" not in alike
    assert "in 1 woman of this cohort scanned twice at one visit this index was the same each time" in alike
    write_table(run.precision, known.assign(degrees_of_freedom=1, rms_sd=5.0))
    few = visits_of(run, two, bone="radius")
    assert not few.change.changed and few.drawn()["degrees_of_freedom"] == 1 and "by 1 degree of freedom" in few.words
    rows = read_table(run.repeats)
    write_table(run.repeats, rows.assign(side=np.where(rows["session"] == "3", "left", "right")))
    assert visits_of(run, two, bone="radius").words.startswith("One visit: nothing to compare.")
    without, one, _ = run_with_visits(tmp_path / "without", noise=False)
    found = visits_of(without, one, bone="radius")
    assert math.isnan(found.sd) and found.words.startswith("Nothing is called a change")


def test_the_figure_has_the_band_around_the_first_visit_and_says_what_it_shows():
    """A value within the band is not called a change; without known noise there is no band."""
    axes = plots.change_over_visits([0, 2], [300.0, 297.0], sd=1.5, label="Tt.vBMD", unit="mgHA/cm³", title="P1")
    (band,) = [patch for patch in axes.patches if patch.get_label().startswith("first visit")]
    low, high = np.sort(band.get_extents().transformed(axes.transData.inverted()).intervaly)
    assert (low, high) == pytest.approx((300 - 1.5 * LSC, 300 + 1.5 * LSC))
    (text,) = axes.texts
    assert text.get_text().startswith("Not a change") and text.get_fontweight() == "normal"
    axes.get_figure().clear()
    axes = plots.change_over_visits([0, 2, 3], [300.0, 280.0, 250.0], sd=1.5, counted=[True, True, False])
    assert (
        axes.texts[0].get_text().startswith("More than noise: −20 in 2 years")
        and axes.texts[0].get_fontweight() == "bold"
    )
    assert any("not counted" in text.get_text() for text in axes.get_legend().get_texts())
    axes.get_figure().clear()
    later = plots.change_over_visits([2019.5, 2021.5], [300.0, 280.0], sd=1.5)
    assert later.lines[-1].get_xdata().tolist() == [0, 2]  # as its axis says, also of years by the calendar
    axes = plots.change_over_visits([0, 2], [300.0, 280.0])
    assert not axes.patches and axes.texts[0].get_text().startswith("Nothing is called a change")
    axes.get_figure().clear()
    axes = plots.change_over_visits([0, 2, np.nan], [300.0, 280.0, 250.0], sd=1.5)
    assert np.isfinite(axes.get_xlim()).all() and "n 2" in axes.texts[0].get_text()
    with pytest.raises(ValueError, match="No measurement with a year counts"):
        plots.change_over_visits([0, np.nan], [np.nan, 280.0], sd=1.5)


def test_the_explorer_shows_visits_where_there_are_any(tmp_path):
    """A tab of the woman's panel; of a run without visits there is none."""
    run, one, two = run_with_visits(tmp_path / "visits")
    plain = synthetic.explored_run(tmp_path / "plain")
    for each, tabs in ((run, 4), (plain, 3)):
        table = women(each, family=models_of(each)[0][0], model=models_of(each)[0][1])
        woman = OneWoman(each, reference=reference_of(each), virtual=True, size=60)
        assert len(woman.parts.children) == tabs
        woman.show(table, two, bone="radius")
        assert bool(woman.visits.value) == (tabs == 4)
    woman = OneWoman(run, reference=reference_of(run), virtual=True, size=60)
    woman.show(table, two, bone="radius")
    assert "More than noise" in woman.visits.alt and "another scanner" in woman.change.value
    woman.show(table, one, bone="radius")
    assert "Not a change" in woman.visits.alt
    woman.index.value = "Tt.Ar"
    assert woman.visits.alt.startswith(f"Tt.Ar of the radius of {one}") and "noise is not known" in woman.visits.alt
    woman.show_bone(one, bone="tibia")
    assert not woman.visits.value and "one visit" in woman.change.value
