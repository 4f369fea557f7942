"""Figures: what they claim about units, numbers and colours, and how they are kept."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.figure import Figure

from deepqct import networks as dq_networks
from deepqct import plots
from deepqct.folder import read_json, write_json, write_table
from deepqct.models import comparison
from deepqct.plots.women import map_points
from deepqct.run_tables import bone_scores
from deepqct.terms import BONES


@pytest.fixture(autouse=True)
def no_figure_left():
    """A figure left open would show twice in a notebook, and the next test would find it."""
    yield
    plt.close("all")


def texts(axes) -> str:
    """Every word on the figure of these axes."""
    figure = np.ravel(np.asarray(axes, dtype=object))[0].get_figure()
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text))


def keep(axes, folder, *, virtual=False):
    """`save` with the usual words."""
    return plots.save(axes, folder, name="figure", title="A title", caption="A caption.", order=3, virtual=virtual)


def test_the_four_bones_have_four_colours_everywhere():
    """Two bones in one colour could not be told apart; a missing one would fail only for that bone."""
    assert set(plots.BONE_COLOURS) == set(BONES)
    assert len(set(plots.BONE_COLOURS.values())) == 4


def test_the_style_ends_with_the_function():
    """A figure function that changed the style of a person's own figures would be a nuisance."""
    before = dict(plt.rcParams)
    axes = plots.numbers_of_groups(synthetic.numbers_of_groups(), chosen=2)[0]
    assert dict(plt.rcParams) == before
    assert min(text.get_fontsize() for text in axes.get_figure().findobj(plt.Text) if text.get_text()) >= 10


def test_montage_has_one_density_window_and_takes_any_shapes():
    """Slices scaled each by itself would hide the very differences in density that are looked for."""
    stacks = {"a": np.zeros((3, 8, 8)), "b": np.full((1, 6, 9), 900), "c": np.full((5, 8, 8), 4000)}
    axes = plots.montage(stacks, columns=2)
    assert [panel.get_title() for panel in axes] == ["a", "b", "c"]
    assert {panel.images[0].get_clim() for panel in axes} == {(-400, 1400)}
    assert "mgHA/cm³" in texts(axes)
    assert "no stacks" in texts(plots.montage({}))


def test_compartments_scale_bar_is_as_long_as_it_says():
    """A scale bar in voxels instead of mm would be off by a factor of the voxel size."""
    density, mask = synthetic.bone_stack()
    axes = plots.compartments(density, mask, voxel_mm=(0.1, 0.25, 0.25))
    (bar,) = axes.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(5)
    assert "5 mm" in texts(axes)
    assert axes.images[0].get_extent() == [0, 24, 24, 0]


def test_indices_carry_units_and_counts():
    """An axis without a unit, or counts of bones instead of women, would mislead."""
    axes = plots.index_distributions(synthetic.indices(), outcome=synthetic.outcome())
    words = texts(axes)
    assert "Tt.vBMD (mgHA/cm³)" in words
    assert "Tb.BV/TV (fraction)" in words
    assert "fracture (20 of 60)" in words
    assert "no fracture (40 of 60)" in words
    assert len(plots.index_distributions(synthetic.indices(), names=["Ct.Th"])) == 1


def test_a_missing_value_leaves_its_dot_out():
    """One NaN must not empty a panel or move a median."""
    table = synthetic.indices()
    table.loc[0, "Ct.Th"] = np.nan
    (axes,) = plots.index_distributions(table, names=["Ct.Th"])
    assert len(axes.collections[0].get_offsets()) == synthetic.WOMEN - 1


def test_scores_show_one_dot_a_woman():
    """Repeats drawn as women would make the cohort look larger than it is."""
    scores = synthetic.predictions().query("family == 'DeepQCT' and model == 'radius' and protocol == 'all'")
    axes = plots.score_distribution(pd.concat([scores, scores.assign(repeat=1)]), bone="radius")
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == synthetic.WOMEN
    assert "event (20 of 60)" in texts(axes)


def test_loss_curves_of_one_epoch_are_visible():
    """A line of one point draws nothing without a marker."""
    axes = plots.loss_curves(synthetic.history(protocols=("all", "as-published"), epochs=1))
    assert len(axes) == 2
    assert all(line.get_marker() == "o" for line in axes[0].lines if line.get_linewidth() < 2)


def test_roc_says_auc_interval_n_and_events():
    """The figure's number must be the table's."""
    table = synthetic.predictions()
    axes = plots.roc(table, family="BMD", models=["femoral neck"])
    row = (
        synthetic.performance(table).query("protocol == 'all' and model == 'femoral neck' and measure == 'AUC'").iloc[0]
    )
    assert f"AUC {row['estimate']:.2f} ({row['low']:.2f}–{row['high']:.2f})" in texts(axes)
    assert "60 women, 20 events" in texts(axes)


def test_roc_of_several_repeats_shows_the_mean_of_their_aucs():
    """The mean score is of an ensemble; its AUC is better than any that the table gives."""
    table = synthetic.predictions().query("family == 'BMD' and protocol == 'all'")
    rng = np.random.default_rng(0)
    again = pd.concat([table.assign(repeat=r, score=table["score"] + rng.normal(size=len(table))) for r in range(6)])
    row = synthetic.performance(again).query("model == 'femoral neck' and measure == 'AUC'").iloc[0]
    axes = plots.roc(again, family="BMD", models=["femoral neck"])
    assert f"AUC {row['estimate']:.2f} ({row['low']:.2f}–{row['high']:.2f})" in texts(axes)


def test_too_few_events_are_never_a_number():
    """A test set of 6 women with 2 events has no AUC to show."""
    table = synthetic.predictions()
    words = texts(plots.roc(table, family="DeepQCT", protocol="as-published", split="test", models=["radius"]))
    assert "not estimable" in words
    assert "AUC 0" not in words
    words = texts(plots.performance(synthetic.performance(table), protocol="as-published", split="test"))
    assert "not estimable for any of 22 models (6 women, 2 events)" in words


def test_forest_names_every_model_its_numbers_and_the_attainable_auc():
    """A model dropped from the figure, or n of another one beside it, would go unseen."""
    auc = synthetic.performance(synthetic.predictions()).query("measure == 'AUC'").reset_index(drop=True)
    auc.loc[0, ["estimate", "low", "high"]] = np.nan
    auc.loc[1, "n"] = 58
    axes = plots.performance(auc, protocol="all", split="out-of-fold", attainable=0.75)
    assert len(axes.get_yticks()) == 22
    words = texts(axes)
    assert "not estimable, n 60, 20 events" in words
    assert ", n 58, 20 events" in words
    assert "58–60 women" in words
    assert "attainable 0.75" in words
    assert "attainable" not in texts(plots.performance(auc, protocol="all", split="out-of-fold"))


def test_embedding_tells_groups_from_scales_and_shows_the_missing():
    """Groups on a colour scale would look ordered; women without a group must not vanish."""
    table = synthetic.embedding()
    words = texts(plots.embedding(table, colour="group", label="group"))
    assert "group missing (n = 1)" in words
    assert plots.embedding(table, colour="group", label="group").get_legend() is not None
    assert plots.embedding(table, colour="risk", label="risk").get_legend() is None
    assert "bone radius (n = 60)" in texts(plots.embedding(table.assign(bone="radius"), colour="bone", label="bone"))


def test_heatmap_has_one_panel_a_bone_and_zero_in_the_middle():
    """A scale that is not symmetric would colour the mean."""
    axes = plots.group_heatmap(synthetic.z_means())
    assert [panel.get_title() for panel in axes] == list(BONES)
    low, high = axes[0].collections[0].get_clim()
    assert low == -high
    assert len(plots.group_heatmap(synthetic.z_means().filter(like="tibia"))) == 1


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    """A time stamp or a random id would make every rerun look like a change."""
    for folder in ("a", "b"):
        keep(plots.score_distribution(synthetic.predictions().query("model == 'ulna'"), bone="ulna"), tmp_path / folder)
    for ending in ("png", "svg", "json"):
        first, second = ((tmp_path / folder / f"figure.{ending}").read_bytes() for folder in ("a", "b"))
        assert first == second, ending
    assert read_json(tmp_path / "a" / "figure.json") == {"title": "A title", "caption": "A caption.", "order": 3}


def test_a_figure_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """A PNG without its SVG and words is half a figure."""
    savefig = Figure.savefig

    def no_svg(self, path, **kwargs):
        if getattr(path, "suffix", "") == ".svg":
            raise OSError("The disk is full.")
        savefig(self, path, **kwargs)

    monkeypatch.setattr(Figure, "savefig", no_svg)
    with pytest.raises(OSError, match="disk is full"):
        keep(plots.numbers_of_groups(synthetic.numbers_of_groups(), chosen=2), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_virtual_data_are_marked_and_figures_closed(tmp_path):
    """A virtual figure without its mark could pass for a real one; an open one would show twice in a notebook."""
    axes = plots.numbers_of_groups(synthetic.numbers_of_groups(), chosen=2)[0]
    keep(axes, tmp_path, virtual=True)
    assert "virtual cohort" in texts(axes)
    assert plt.get_fignums() == []
    axes = plots.montage({"a": np.zeros((1, 4, 4))})
    keep(axes, tmp_path)
    assert "virtual" not in texts(axes)


@pytest.fixture(scope="module")
def compared() -> dict[str, pd.DataFrame]:
    """The tables of the comparison, out of fold, protocol all."""
    predictions = synthetic.predictions()
    tables = {
        "performance": synthetic.performance(predictions),
        "comparisons": comparison.planned(predictions, models=synthetic.models()),
    }
    tables = {name: t.query("protocol == 'all' and split == 'out-of-fold'") for name, t in tables.items()}
    return tables | {"curves": comparison.curves(predictions, models=synthetic.models())}


def test_every_bone_has_its_network_and_its_indices(compared):
    """A bone without its interval, or weight-bearing ones on the wrong side, would turn the message round."""
    axes = plots.bones_compared(compared["performance"], models=synthetic.models(), attainable={"DeepQCT radius": 0.72})
    words = texts(axes)
    assert "radius\nnon-weight-bearing" in words
    assert "fibula\nweight-bearing" in words
    assert "60 women, 20 events" in words
    assert sum(line.get_marker() == "o" for line in axes.lines) == 8
    assert "attainable" in texts(axes.get_figure())


def test_a_difference_shows_its_margin_where_one_was_set(compared):
    """A margin on a comparison that had none would be one chosen afterwards."""
    axes = plots.differences(compared["comparisons"])
    asked = compared["comparisons"]["with_margin"].sum()
    assert sum(line.get_color() == "#B00020" for line in axes.lines) == 2 * asked
    assert "margins of non-inferiority: 0.03, 0.05" in texts(axes)
    row = compared["comparisons"].set_index("question").loc["DeepQCT − pQCT-index"]
    assert "standard stacking: not tested" in texts(axes)
    assert "no planned comparison" in texts(plots.differences(compared["comparisons"].iloc[:0]))
    figures = f"{row['estimate']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
    assert figures.replace("-", "−") in texts(axes)


def test_calibration_says_intercept_and_slope(compared):
    """A curve that looks straight on a few women needs its numbers."""
    axes = plots.calibration(compared["curves"], compared["performance"])
    assert len(axes) == 3
    slope = (
        compared["performance"]
        .query("family == 'DeepQCT' and model == 'mean of all four bones' and measure == 'slope'")
        .iloc[0]
    )
    assert f"slope {slope['estimate']:.2f} ({slope['low']:.2f} to {slope['high']:.2f})" in texts(axes[2])


def test_decision_curves_stand_beside_all_and_none(compared):
    """Without the two, every curve looks useful."""
    axes = plots.decision_curves(compared["curves"])
    assert {line.get_label() for line in axes[0].lines} == {"treat all", "treat none", "treat by this risk"}


def test_curves_of_too_few_say_so():
    """Five women have no calibration."""
    empty = comparison.curves(synthetic.predictions(), models=synthetic.models()).iloc[:0]
    assert "not estimable" in texts(plots.calibration(empty, pd.DataFrame())[0])
    assert "not estimable" in texts(plots.decision_curves(empty)[0])


def test_the_score_sheet_adds_up_to_the_model():
    """Points that do not give the model's risk would be another model."""
    terms = [("radius score", 0.8, -2.0, 2.0), ("age", 0.05, 60.0, 90.0), ("smoking", -0.4, 0.0, 1.0)]
    sheet = pd.DataFrame([*terms, ("intercept", -4.5, np.nan, np.nan)], columns=["term", "coefficient", "low", "high"])
    axes = plots.nomogram(sheet)
    marks = [(round(t.get_position()[0], 6), t.get_position()[1], t.get_text()) for t in axes.texts]
    points = {(y, text): x for x, y, text in marks if x >= 0}
    woman = points[1.16, "2"] + points[2.16, "80"] + points[3.16, "0"]
    logit = 0.8 * 2 + 0.05 * 80 - 4.5
    total = points[4.16, "100"] / 100  # the place of 100 points on the line of sums
    risk = points[5.16, "0.7"]
    reach = 0.8 * 4 / 100
    base = -4.5 - 1.6 + 3.0 - 0.4
    assert woman * reach + base == pytest.approx(logit)
    assert risk / total * reach + base == pytest.approx(np.log(0.7 / 0.3))


def test_the_score_sheet_of_a_model_that_found_nothing_still_has_a_risk():
    """A line of risks without one number on it is no sheet; yes and no lie at 0 and 1, never between."""
    terms = [
        ("radius score", 0.05, -2.0, 2.0),
        ("rheumatoid_arthritis", -0.1, 0.0, 1.0),
        ("intercept", -0.7, np.nan, np.nan),
    ]
    axes = plots.nomogram(pd.DataFrame(terms, columns=["term", "coefficient", "low", "high"]))
    rows = {t.get_text(): t.get_position()[1] for t in axes.texts if t.get_position()[0] < 0}
    assert {"radius score (logit)", "rheumatoid arthritis"} <= set(rows)
    marks = {name: [t.get_text() for t in axes.texts if 0 < t.get_position()[1] - y < 0.5] for name, y in rows.items()}
    assert sorted(marks["rheumatoid arthritis"]) == ["0", "1"]
    assert len(marks["risk"]) > 2
    assert all(0.29 < float(risk) < 0.36 for risk in marks["risk"])


def test_the_score_sheet_keeps_what_its_short_lines_add():
    """A factor whose line is too short to draw still lies in everybody's risk."""
    columns = ["term", "coefficient", "low", "high"]
    long, end = ("radius score", 1.0, -2.0, 2.0), ("intercept", -1.0, np.nan, np.nan)
    short = pd.DataFrame([long, ("age", 0.0005, 60.0, 90.0), end], columns=columns)
    moved = pd.DataFrame([long, ("intercept", -1.0 + 0.0005 * 75, np.nan, np.nan)], columns=columns)
    places = [
        [t.get_position()[0] for t in plots.nomogram(sheet).texts if t.get_text() == "0.5"] for sheet in (short, moved)
    ]
    assert places[0] == pytest.approx(places[1])


def controls_table(*, leak: bool) -> pd.DataFrame:
    """The bone, noise, and the outline; with `leak` noise is well above chance."""
    noise = 0.66 if leak else 0.51
    table = pd.DataFrame(
        {
            "bone": "radius",
            "control": ["none", "noise", "silhouette"],
            "shown": ["the bone itself", "images of noise", "outline only"],
            "estimate": [0.8, noise, 0.66],
            "n": 60,
            "events": 20,
            "must_fail": [False, True, False],
            "at_chance": [False, not leak, False],
        }
    )
    return table.assign(low=table["estimate"] - 0.1, high=table["estimate"] + 0.1)


def test_only_a_control_that_must_fail_is_red():
    """An outline that scores is a finding; noise that scores is a leak."""
    for leak in (False, True):
        texts = [text.get_text() for text in plots.controls(controls_table(leak=leak)).texts]
        assert [("not at chance" in text) for text in texts] == [False, leak, False]


def test_pictures_of_saliency_name_the_women_and_their_outcomes():
    """A map without its woman, her outcome and her score cannot be judged."""
    rng = np.random.default_rng(0)
    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    women = [
        SimpleNamespace(participant_id=f"sub-{i}", outcome=i % 2, score=float(i - 3), inside=inside,
                        density=rng.normal(300, 100, (32, 32)), heat=rng.random((32, 32)) / 512)
        for i in range(6)
    ]  # fmt: skip
    grid = plots.saliency(women, most=2)
    titles = [axes.get_title() for axes in grid if axes.get_title()]
    assert titles == [
        "sub-5\nevent, logit 2.0",
        "sub-4\nno event, logit 1.0",
        "sub-0\nno event, logit −3.0",
        "sub-1\nevent, logit −2.0",
    ]
    maps = plots.mean_saliency({0: np.ones((72, 24)), 1: np.ones((72, 24))}, counts={0: 4, 1: 2})
    assert [axes.get_title() for axes in maps] == ["no event (4 women)", "event (2 women)"]


def test_the_map_of_women_counts_who_is_called_and_marks_who_is_meant():
    """The legend has n and events; a ring around somebody else would show the wrong woman."""
    table = synthetic.embedding().set_index("participant_id").assign(age=70.0, outcome=synthetic.outcome())
    table.index = table.index.astype("string")  # as from a file
    axes = plots.cohort_map(table, threshold=0.5, outcome="fracture", chosen="sub-0003", selection=["sub-0001"])
    called = int((table["risk"] >= 0.5).sum())
    said = texts(axes)
    assert f"risk ≥ 0.50 ({called} of 60)" in said
    assert "fracture (20 of 60)" in said
    for panel, points in zip(axes, map_points(table), strict=True):
        ring = panel.collections[-1].get_offsets()
        np.testing.assert_allclose(ring, points[[2]])
        assert panel.get_title() == ""
    nobody = plots.cohort_map(
        table.assign(age=np.nan, umap_1=table["umap_1"].where(table["group"] == 1)), threshold=0.5
    )
    assert nobody[1].get_xlabel() == "woman"
    assert len(nobody[0].collections[-1].get_offsets()) == 0
    drawn = int((table["group"] == 1).sum())
    assert nobody[0].get_title() == f"{drawn} of 60 women; the others have no place here"


def test_the_calibration_of_a_small_number_is_not_zero(compared):
    """A density in g/cm² is missed by hundredths, and steps by thousands: two decimals suit neither."""
    told = compared["performance"].query("measure == 'slope'")
    off = told.assign(measure="mean difference", estimate=0.0041, low=-0.0032, high=0.0114)
    points = compared["curves"].query("curve == 'calibration'").assign(strategy="group", events=np.nan)
    figure = told.assign(measure="R²")
    axes = plots.calibration(points, pd.concat([figure, off, told]))
    assert "difference 0.0041 (−0.0032 to 0.0114)" in texts(axes)
    in_cm = texts(plots.calibration(points, pd.concat([figure, off, told]), unit="g/cm²"))
    assert "predicted (g/cm²)" in in_cm
    assert "observed mean (g/cm²), 95 % interval" in in_cm
    large = off.assign(estimate=1234.5, low=-80.2, high=2000)
    assert "difference 1234 (−80 to 2000)" in texts(plots.calibration(points, pd.concat([figure, large, told])))


def test_scores_are_those_of_the_bones_that_were_asked_for(tmp_path):
    """Networks of an earlier run in the same folder are left out of all tables, and of the picture too."""
    run = synthetic.explored_run(tmp_path)
    scores = synthetic.predictions().query("model == 'radius'")[["participant_id", "protocol", "split", "score"]]
    for bone in ("radius", "ulna"):
        write_table(run.scores(bone), scores)
    write_json(run.settings, {"bones": ["radius"]})
    assert list(bone_scores(run)) == ["radius"]
    assert "no bone has scores" in texts(plots.scores_by_bone({}))


def test_an_odds_ratio_says_of_how_many_events_it_is():
    """Of 60 women two may have it."""
    row = {"kind": "odds ratio", "effect": 2.4, "low": 1.1, "high": 5.2, "n": 60, "variable": "hip_fracture"}
    table = pd.DataFrame([row | {"group 1": "3/40 (8 %)", "group 2": "9/20 (45 %)"}])
    (label,) = plots.group_differences(table)[0].get_yticklabels()
    assert label.get_text() == "hip fracture (n = 60, 12 with it)"


def test_two_thousand_new_women_are_a_picture_that_can_be_saved():
    """With a line for each name it would be 12 m high, and no file takes it."""
    risks = {"participant_id": [f"P{i}" for i in range(2000)], "risk": np.linspace(0, 1, 2000), "low": 0.2, "high": 0.4}
    axes = plots.new_women(pd.DataFrame(risks), prior=0.3)
    assert axes.get_figure().get_size_inches()[1] < 20
    assert list(axes.get_yticks()) == []
    assert "2000 of 2000 women with a risk" in axes.get_title()


def test_more_groups_than_markers_are_drawn_and_told_apart():
    """`max_groups` has no end, and two groups with one colour and one marker would be one to a reader."""
    groups = list(range(1, 13))
    pictures = pd.DataFrame({"participant_id": groups, "umap_1": groups, "umap_2": groups, "seed": 0, "neighbours": 5})
    (axes,) = plots.several_embeddings(pictures, pd.Series(groups, index=groups))
    handles, labels = axes.get_legend_handles_labels()
    looks = {(str(one.get_facecolor()), one.get_paths()[0].vertices.tobytes()) for one in handles}
    assert (len(labels), len(looks)) == (12, 12)
    z = pd.DataFrame({"radius Tt.vBMD": 0.1, "radius Tb.N": 0.2, "radius Ct.Th": 0.3}, index=groups)
    assert len(plots.radar(z)[0].lines) == 13


def test_a_woman_whose_outcome_is_not_known_is_none_without_it():
    """Of a time, whoever left before the horizon would be drawn and counted as free of the event."""
    table = (
        synthetic.embedding().set_index("participant_id").assign(age=70.0, outcome=synthetic.outcome().astype(float))
    )
    table.iloc[:6, table.columns.get_loc("outcome")] = np.nan
    axes = plots.cohort_map(table, threshold=0.5, outcome="fracture")
    for said in ("fracture (18 of 54)", "no fracture (36 of 54)", "not known (6 of 60)"):
        assert said in texts(axes)
    assert [len(drawn.get_offsets()) for drawn in axes[1].collections[:3]] == [36, 18, 6]
    ranked = plots.cohort_map(table.assign(predicted=1.0), threshold=0.5, outcome="above 70")
    assert "rank ≥ 0.50" in texts(ranked)
    assert "risk" not in texts(ranked)


def test_a_profile_shows_every_bone_in_its_colour_and_outliers_within_the_picture():
    """A value beyond the axis is not seen by anybody."""
    z = pd.Series({"radius Tt.vBMD": -6.5, "tibia Tt.vBMD": 1.0, "tibia Tb.N": np.nan, "ulna Tb.Th": 0.2})
    axes = plots.profile(z, participant_id="sub-0001", reference="40 women without fracture")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Tt.vBMD", "Tb.Th"]
    assert axes.get_xlim()[0] < -6.5
    assert {line.get_label(): line.get_color() for line in axes.lines} == {
        bone: plots.BONE_COLOURS[bone] for bone in ("radius", "ulna", "tibia")
    }
    assert axes.get_xlabel() == "SD from 40 women without fracture"
    assert "could be compared" in texts(plots.profile(z * np.nan, participant_id="sub-0001", reference="40 women"))


def test_thresholds_that_nobody_can_estimate_say_so():
    """An empty picture would look like a mistake."""
    row = {"threshold": 0.5, "estimate": np.nan, "low": np.nan, "high": np.nan}
    sizes = {"sensitivity": 4, "specificity": 8, "net benefit": 12}
    table = pd.DataFrame([row | {"measure": name, "n": n} for name, n in sizes.items()])
    said = texts(plots.thresholds(table, threshold=0.5))
    assert said.count("not estimable") == 2
    assert "12 women, 4 events" in said
    assert "not estimable" not in texts(plots.thresholds(table.assign(estimate=0.4, low=0.1, high=0.7), threshold=0.5))


def test_the_headline_figure_has_one_model_a_family_and_its_numbers(compared):
    """A second model of a family, or another one than the table's, would be chosen by its result."""
    axes = plots.headlines(compared["performance"], models=synthetic.models(), attainable=0.75, event="fracture")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["BMD", "pQCT-index", "DeepQCT"]
    row = compared["performance"].query("model == 'mean of all four bones' and measure == 'AUC'").iloc[0]
    words = texts(axes)
    assert f"{row['estimate']:.2f} ({row['low']:.2f}–{row['high']:.2f})" in words
    for said in ("chance", "attainable 0.75", "60 women, 20 with fracture"):
        assert said in words
    few = compared["performance"].assign(estimate=np.nan, low=np.nan, high=np.nan)
    assert texts(plots.headlines(few, models=synthetic.models())).count("not estimable") == 3


def test_risks_that_are_alike_have_no_calibration_curve(compared):
    """Among risks from 0.33 to 0.34 a curve shows noise, and a family without one must say so."""
    curves = compared["curves"].copy()
    bmd = (curves["family"] == "BMD") & (curves["curve"] == "calibration")
    curves.loc[bmd, "x"] = np.linspace(0.33, 0.34, bmd.sum())
    gone = (curves["family"] == "pQCT-index") & (curves["curve"] == "calibration")
    axes = plots.calibration(curves[~gone], compared["performance"])
    panels = {panel.get_title().splitlines()[0]: panel for panel in axes}
    assert "too alike" in "".join(text.get_text() for text in panels["BMD"].texts)
    assert "predicted risk, 0.33 to 0.34" in panels["BMD"].get_xlabel()
    assert len(panels["BMD"].lines) == 1  # the diagonal
    assert [text.get_text() for text in panels["pQCT-index"].texts] == ["not estimable"]
    line = panels["DeepQCT"].lines[1].get_xdata()
    known = curves.query("family == 'DeepQCT' and curve == 'calibration'")["x"]
    assert (line.min(), line.max()) == (known.min(), known.max())


def test_saliency_stands_beside_its_image_at_the_same_scale():
    """A map larger than its image cannot be laid over it by eye."""
    inside = np.pad(np.ones((20, 30), bool), 3)
    women = [dq_networks.Explained(f"sub-{i}", i % 2, 1.0 * i, 800.0 * inside, inside, inside / 600) for i in range(6)]
    for axes in (plots.saliency(women), plots.one_saliency(women[0])):
        figure = axes[0].get_figure()
        figure.draw_without_rendering()
        for image, heat in zip(axes[::2], axes[1::2], strict=True):
            assert image.get_window_extent().size == pytest.approx(heat.get_window_extent().size)
            assert image.get_xlim() == heat.get_xlim()
            assert image.get_window_extent().y0 == pytest.approx(heat.get_window_extent().y0)
        plt.close(figure)


def test_what_covering_and_controls_cost_is_drawn_of_a_number_too():
    """A number has no events, and its chance is 0: a line at 0.5 would make a good control of a bad network."""
    rows = {"n": 60, "events": np.nan, "measure": "R²"}
    parts = pd.DataFrame({"part": ["nothing", "cortex"], "area": [0, 0.3], "moved": [0, 0.4], "lost": [0, 0.1]} | rows)
    loses, _ = plots.occlusion(parts.assign(lost_low=0.02, lost_high=0.18), bone="radius")
    assert loses.get_xlabel() == "R² lost, 95 % interval (60 women)"
    axes = plots.controls(controls_table(leak=False).assign(estimate=0.1, low=-0.35, high=0.5, **rows))
    assert axes.get_xlabel() == "out-of-fold R² with 95 % interval (60 women)"
    assert axes.get_lines()[-1].get_xdata()[0] == 0
    assert axes.get_xlim()[0] <= -0.35
    assert "0.10 (−0.35 to 0.50)" in texts(axes)


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.3), (1.1, 5.2), (0.5, 30.0), (0.02, 41.0), (0.001, 900.0)])
def test_odds_ratios_can_be_read_off_their_axis(low, high):
    """Between wide labels an axis is short, and the ticks of every multiple were one black line."""
    rows = [
        (f"rheumatoid arthritis {k}", "odds ratio", np.sqrt(low * high), low, high, 60, "12/20 (60 %)") for k in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["variable", "kind", "effect", "low", "high", "n", "group 1"])
    axes = plots.group_differences(table)[0]
    axes.figure.canvas.draw()
    ends = axes.get_xlim()
    shown = [tick for tick in axes.get_xticklabels() if ends[0] <= tick.get_position()[0] <= ends[1]]
    boxes = sorted((tick.get_window_extent() for tick in shown), key=lambda box: box.x0)
    assert len(boxes) >= 1 and not axes.get_xticks(minor=True).size
    assert all(one.x1 + 2 < other.x0 for one, other in pairwise(boxes))


@pytest.mark.parametrize(
    ("kind", "loss", "score", "sides"),
    [
        ("yes or no", "cross-entropy (nats)", "logit", ("no event", "event")),
        ("number", "squared error (SD²)", "SD of the number", ("lower half", "upper half")),
        ("time", "minus the log partial likelihood (nats)", "log hazard", ("no event", "event")),
    ],
)
def test_networks_of_numbers_and_times_have_neither_logits_nor_cross_entropy(kind, loss, score, sides):
    """An axis in nats of a squared error, or a woman with the event of being tall, would be wrong in words and unit."""
    assert plots.loss_curves(synthetic.history(epochs=1), kind=kind)[0].get_ylabel() == loss
    table = synthetic.predictions().query("model == 'ulna' and protocol == 'all'")
    drawn = plots.score_distribution(table, bone="ulna", kind=kind), plots.scores_by_bone({"ulna": table}, kind=kind)
    inside = np.pad(np.ones((6, 6), bool), 1)
    women = [dq_networks.Explained(f"sub-{i}", i % 2, 1.0 * i, 800.0 * inside, inside, inside / 36) for i in (0, 1)]
    pictures = (
        plots.saliency(women, kind=kind),
        plots.one_saliency(women[1], kind=kind),
        plots.saliency_by_bone({"ulna": women}, kind=kind),
        plots.mean_saliency({0: np.ones((8, 3)), 1: np.ones((8, 3))}, counts={0: 4, 1: 2}, kind=kind),
    )
    for axes in (*drawn, *pictures):
        assert sides[1] in texts(axes)
        assert ("event" in texts(axes)) == (sides[1] == "event")
    assert f"({score})" in texts(drawn[0])
    assert f"({score})" in texts(drawn[1])
