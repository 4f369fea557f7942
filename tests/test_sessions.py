"""Women scanned several times: which scan is analysed, what the others say about noise, and virtual twins."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from deepqct.cli import app
from deepqct.cohort import (
    CohortError,
    check_cohort,
    check_heads,
    keep_protocol,
    load_cohort,
    make_splits,
    protocol_table,
    scanner_and_outcome,
)
from deepqct.cohort.keep import kept
from deepqct.cohort.scan_files import both_sides
from deepqct.cohort.scanners import scanner_warnings
from deepqct.cohort.sessions import analysed_and_others
from deepqct.curation import curate, curate_repeats, precision_table
from deepqct.curation.registered import registered_indices
from deepqct.curation.repeats import _registered_precision, repeated_indices
from deepqct.evaluation import precision
from deepqct.folder import Run, read_json, read_table, write_json
from deepqct.report.tables import noise
from deepqct.scans import read_scan
from deepqct.terms import UNITS
from deepqct.virtual import draw_women, new_cohort
from deepqct.virtual.cohort import _plan_sessions, draw_scan
from deepqct.virtual.twins import Laid, what_sessions_tell


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> Path:
    """Five virtual women, scanned twice on one scanner."""
    return new_cohort(tmp_path_factory.mktemp("twins"), n=5, voxel_mm=0.35, slices=4, seed=4, sessions=2, motion=False)


def edited(folder: Path, target: Path, change) -> Path:
    """A copy of a cohort folder with another scans.tsv."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    table = change(pd.read_csv(target / "scans.tsv", sep="\t", dtype=str))
    table.to_csv(target / "scans.tsv", sep="\t", index=False)
    return target


def twice(people: pd.DataFrame) -> pd.DataFrame:
    """Women, and as many more without a scan: of five alone, nothing is more than chance."""
    return pd.concat([people, people.assign(participant_id=people["participant_id"] + "b")], ignore_index=True)


def test_the_first_acceptable_scan_is_analysed_and_the_rest_serves_precision():
    """By the stated rule: order of names with 2 before 10, motion 4 and 5 last, no grade counts as acceptable."""
    scans = pd.DataFrame(
        [("A", "wrist", "10", 1), ("A", "wrist", "2", 3), ("A", "ankle", "2", 4), ("A", "ankle", "10", np.nan),
         ("B", "wrist", "2", 5), ("B", "wrist", "10", 4)],
        columns=["participant_id", "site", "session", "motion_grade"],
    )  # fmt: skip
    analysed, others = analysed_and_others(scans)
    chosen = analysed.set_index(["participant_id", "site"])["session"].to_dict()
    assert chosen == {("A", "wrist"): "2", ("A", "ankle"): "10", ("B", "wrist"): "2"}
    assert sorted([*analysed.index, *others.index]) == [0, 1, 2, 3, 4, 5]
    without = scans.drop(columns="session")
    assert analysed_and_others(without)[1] is None and analysed_and_others(without)[0] is without


def test_a_cohort_with_sessions_is_curated_once_and_its_repeats_beside_it(twins, tmp_path):
    """Networks and models see one scan a woman and site; precision comes from both."""
    cohort, run = load_cohort(twins), Run(tmp_path)
    assert len(cohort.scans) == len(cohort.repeats) == 10
    assert len(curate(cohort, run, image_px=32)) == 10
    assert (curate_repeats(cohort, run, image_px=32)["status"] == "curated").all()
    assert len(list(run.bones.glob("*.json"))) == 20 == len(read_table(run.indices))
    both = repeated_indices(cohort, run)
    assert set(both.groupby(["participant_id", "bone"])["session"].agg("+".join)) == {"1+2"}
    table = precision_table(cohort, run).set_index(["bone", "symbol"])
    radius = both[both["bone"] == "radius"]
    assert table.loc[("radius", "Tt.Ar"), "rms_sd"] == precision(radius["participant_id"], radius["Tt.Ar"]).rms_sd > 0
    assert (
        table.loc[("tibia", "Tt.vBMD"), "rms_cv"] < 0.05 and table.loc[("tibia", "Tt.vBMD"), "degrees_of_freedom"] == 5
    )
    pd.testing.assert_frame_equal(read_table(run.precision), table.reset_index(), check_dtype=False)

    # The same scans as two visits, three years apart: no repeats, so that nothing is known of the noise; all is kept.
    visits = load_cohort(
        edited(twins, tmp_path / "visits", lambda t: t.assign(years=t["session"].map({"1": "0", "2": "3.0"})))
    )
    assert precision_table(visits, run).empty and not run.precision.exists()
    assert read_table(run.repeats).groupby("session")["years"].unique().explode().to_dict() == {"1": 0.0, "2": 3.0}

    # The second sessions as those of the other limb: known to the check, and of no use to tell the noise.
    turn = {"left": "right", "right": "left"}
    limbs = load_cohort(
        edited(
            twins,
            tmp_path / "limbs",
            lambda t: t.assign(side=t["side"].where(t["session"] == "1", t["side"].map(turn))),
        )
    )
    assert precision_table(limbs, run).empty
    assert read_table(run.repeats).groupby(["participant_id", "bone"])["side"].nunique().eq(2).all()
    assert registered_indices(limbs, run, repeated_indices(limbs, run)).empty
    assert [line[:30] for line in both_sides(limbs)] == ["Warning: sessions of 5 women s"] * 2 and both_sides(
        cohort
    ) == []


@pytest.mark.long
def test_what_registration_takes_away_is_of_the_same_women():
    """An index that one common region is too small for: her scans as they were are not compared with nothing."""
    rows = [
        {"participant_id": person, "bone": "radius", "way": way, **dict.fromkeys(UNITS, value)}
        for person, way, values in (
            ("A", "as scanned", (1.0, 3.0)), ("A", "registered", (1.5, 2.5)),
            ("B", "as scanned", (1.0, 9.0)), ("B", "registered", (np.nan, 5.0)),
        )
        for value in values
    ]  # fmt: skip
    table = _registered_precision(pd.DataFrame(rows))
    assert len(table) == len(UNITS) and (table["registered_n"] == 1).all()
    np.testing.assert_allclose(table["gone"], 0.75)


def test_registered_scans_stand_beside_those_as_scanned(tmp_path):
    """What the shift of a scan does to an area goes; a pair that was measured is not measured again."""
    folder = new_cohort(tmp_path / "cohort", n=4, voxel_mm=0.3, slices=9, seed=6, sessions=2, motion=False)
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str).query("site == 'ankle'")
    scans.to_csv(folder / "scans.tsv", sep="\t", index=False)
    cohort, run = load_cohort(folder), Run(tmp_path / "run")
    curate(cohort, run, image_px=32)
    curate_repeats(cohort, run, image_px=32)
    plain = precision_table(cohort, run)
    table = precision_table(cohort, run, registered=True)
    pd.testing.assert_frame_equal(table[list(plain)], plain)
    tibia = table[table["bone"] == "tibia"].set_index("symbol")
    assert (tibia.loc[["Tt.vBMD", "Tt.Ar", "Ct.Th"], "registered_n"] == 4).all() and tibia.loc["Tt.Ar", "gone"] > 0.5
    both = registered_indices(cohort, run, repeated_indices(cohort, run))
    assert both.groupby(["participant_id", "bone", "way"]).size().eq(2).all() and (both["alike"] > 0.5).all()
    alone = both.query("bone == 'tibia' and way == 'registered'")
    assert tibia.loc["Tt.Ar", "registered_rms_sd"] == precision(alone["participant_id"], alone["Tt.Ar"]).rms_sd
    shown = noise(table)
    names = [row[0] for row in shown["rows"]]
    assert shown["registered"] and names[:4] == ["Tt.vBMD", "Tt.vBMD, registered", "Tb.vBMD", "Tb.vBMD, registered"]
    assert not noise(plain)["registered"]
    record = next((run.folder / "sessions" / "registered").glob("*.json"))
    kept = read_json(record)
    write_json(record, kept | {"rows": kept["rows"][:0]})
    assert len(registered_indices(cohort, run, repeated_indices(cohort, run))) == len(both) - len(kept["rows"])


@pytest.mark.long
def test_a_woman_who_lacks_a_session_counts_where_she_has_one(twins, tmp_path):
    """Her analysis goes on; she is no pair for the precision. Without the first session, the second is analysed."""

    def change(scans: pd.DataFrame) -> pd.DataFrame:
        scans, lacking = scans[scans["site"] == "wrist"], {("sub-0001", "2"), ("sub-0002", "1")}
        return scans[[pair not in lacking for pair in zip(scans["participant_id"], scans["session"], strict=True)]]

    cohort, run = load_cohort(edited(twins, tmp_path / "cohort", change)), Run(tmp_path / "run")
    assert cohort.scans.query("participant_id == 'sub-0002'")["session"].unique().tolist() == ["2"]
    curate(cohort, run, image_px=32)
    curate_repeats(cohort, run, image_px=32)
    assert set(precision_table(cohort, run).query("symbol == 'Tt.vBMD'")["n"]) == {3}


def test_a_cohort_without_sessions_is_what_it_was(twins, tmp_path):
    """No folder of sessions, no table, and the precision of an earlier state goes."""

    def change(scans: pd.DataFrame) -> pd.DataFrame:
        return scans[scans["session"] == "1"].drop(columns="session")

    cohort, run = load_cohort(edited(twins, tmp_path / "cohort", change)), Run(tmp_path / "run")
    run.folder.mkdir()
    run.precision.write_text("old")
    assert cohort.repeats is None and curate_repeats(cohort, run).empty
    assert precision_table(cohort, run).empty and not run.precision.exists() and not (run.folder / "sessions").exists()


@pytest.mark.long
def test_a_scan_that_moved_serves_no_precision(twins, tmp_path):
    """What no lab would accept would make the noise look larger than it is."""

    def change(scans: pd.DataFrame) -> pd.DataFrame:
        scans = scans[scans["site"] == "wrist"]
        moved = (scans["participant_id"] == "sub-0003") & (scans["session"] == "1")
        return scans.assign(motion_grade=np.where(moved, "5", "1"))

    cohort, run = load_cohort(edited(twins, tmp_path / "cohort", change)), Run(tmp_path / "run")
    assert cohort.repeats["session"].tolist().count("1") == 1
    curate(cohort, run, image_px=32)
    curate_repeats(cohort, run, image_px=32)
    assert set(precision_table(cohort, run).query("symbol == 'Tt.vBMD'")["n"]) == {4}


def test_both_scans_of_a_woman_are_on_one_side_of_every_split(twins):
    """Splits are drawn over women, and her sessions carry her id."""
    cohort = load_cohort(twins)
    outcome = cohort.participants.set_index("participant_id")["fracture"]
    splits = make_splits(outcome, protocols=["all"], folds=2)
    folds = cohort.every_scan.merge(splits, on="participant_id").groupby("participant_id")["fold"].nunique()
    assert (folds == 1).all() and len(folds) == 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.assign(session="1"), "row 12 (sub-0001): a second wrist scan of session 1; keep one scan a site and"),
        (lambda t: t.drop(columns="session"), "a second wrist scan; keep one, or give each a session."),
        (lambda t: t.assign(session=t["session"].where(t.index > 0)), "row 2 (sub-0001): session is missing; fill it in."),
        (lambda t: t.assign(session="2024-03-0" + t["session"]), "row 2: session '2024-03-01' looks like a date"),
        (lambda t: t.assign(years="2024-03-01"), "row 2 (sub-0001): years is '2024-03-01', not a number; correct it."),
        (lambda t: t.assign(years="-1"), "row 2 (sub-0001): years is '-1'; it must be years since her first visit"),
        (lambda t: t.assign(session=t["session"].replace("2", "NA")), "'NA' has characters other than letters, digits and "
         "hyphens, or stands for a missing value; correct it."),
        (lambda t: t.assign(session=t["session"].replace("2", "null")), "session 'null' has characters other than letters"),
        (lambda t: t.assign(session=t["session"] + "/"), "session '1/' has characters other than letters, digits and"),
    ],
)  # fmt: skip
def test_sessions_that_cannot_be_are_named_by_row(twins, tmp_path, change, says):
    """One sentence each, with what to do."""
    with pytest.raises(CohortError) as error:
        load_cohort(edited(twins, tmp_path / "cohort", change))
    assert says in str(error.value)


def test_faults_of_repeats_are_found_with_the_row_of_the_file(twins, tmp_path):
    """The check of headers counts rows as scans.tsv does, whichever session is analysed."""
    folder = edited(twins, tmp_path / "cohort", lambda table: table)
    row = int(np.flatnonzero(pd.read_csv(folder / "scans.tsv", sep="\t")["session"] == 2)[0])
    scan = folder / pd.read_csv(folder / "scans.tsv", sep="\t")["file"][row]
    scan.write_bytes(scan.read_bytes()[:5000])
    (fault,) = check_heads(load_cohort(folder))
    assert fault.startswith(f"scans.tsv, row {row + 2} (")


def test_a_twin_is_the_same_bone_laid_down_as_the_truth_says():
    """Undone by what was kept, the second scan lies on the first; only noise is left between them."""
    woman = draw_women(1, seed=1).iloc[0]
    how = {"site": "wrist", "side": "right", "voxel_mm": 0.25, "slices": 9, "seed": 3}
    still = Laid(1, "xt2", "", 0.0, 0.0, 0.0, 0, 1.0)
    moved = Laid(2, "xt2", "", 0.5, -1.0, 4.0, 2, 1.0)
    first, second = (draw_scan(woman, **how, how=one).density for one in (still, moved))
    # Done: scan(p) = limb(R (p − middle − shift) + middle). Undone: limb(q) = scan(Rᵀ (q − middle) + middle + shift).
    c, s = np.cos(np.deg2rad(4.0)), np.sin(np.deg2rad(4.0))
    back, middle = np.array([[c, s], [-s, c]]), (np.array(second.shape[1:]) - 1) / 2
    offset = middle + np.array([0.5, -1.0]) / 0.25 - back @ middle
    undone = np.stack(
        [ndimage.affine_transform(plane, back, offset=offset, order=1, mode="nearest") for plane in second]
    )
    inside = (slice(None), slice(20, -20), slice(20, -20))
    alike = np.corrcoef(first[2:][inside].ravel(), undone[:-2][inside].ravel())[0, 1]
    other_slice = np.corrcoef(first[:-2][inside].ravel(), undone[2:][inside].ravel())[0, 1]
    as_scanned = np.corrcoef(first[2:][inside].ravel(), second[:-2][inside].ravel())[0, 1]
    assert alike > 0.95 and alike > other_slice and alike > as_scanned


def test_twins_are_the_same_for_the_same_seed_and_a_plain_cohort_is_what_it_was(tmp_path):
    """Sessions are drawn from numbers of their own."""
    size = {"n": 2, "voxel_mm": 0.35, "slices": 4, "seed": 9}
    plain = new_cohort(tmp_path / "plain", **size)
    assert "session" not in pd.read_csv(plain / "scans.tsv", sep="\t")
    several = {"sessions": 2, "scanners": ("xt2", "xt1"), "centres": 3}
    one, two = (new_cohort(tmp_path / name, **size, **several) for name in ("one", "two"))
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)
    truth = pd.read_csv(tmp_path / "one" / "truth" / "sessions.csv")
    assert set(truth["scanner"]) == {"xt2", "xt1"} and truth["slices"].abs().max() <= 2
    scans = pd.read_csv(one / "scans.tsv", sep="\t")
    coarse = read_scan(one / scans.loc[scans["session"] == 2, "file"].iloc[0])
    assert coarse.voxel_mm[1] == pytest.approx(0.35 * 82 / 60.7, abs=1e-3)
    with pytest.raises(ValueError, match="scanners are xt2, xt1"):
        new_cohort(tmp_path / "three", **size, scanners=("xt3",))


@pytest.mark.parametrize("scanners", [("xt2",), ("xt2", "xt1")])
@pytest.mark.parametrize(("sessions", "centres"), [(1, 1), (2, 1), (2, 2), (2, 3), (3, 2), (3, 1), (7, 3)])
def test_what_sessions_tell_is_what_was_planned(sessions, centres, scanners):
    """The sentence names a pair of one scanner and one centre just where each limb has one, whatever its home."""
    _, how = _plan_sessions(
        draw_women(6, seed=7),
        motion=False,
        file_format="aim",
        seed=7,
        sessions=sessions,
        scanners=scanners,
        centres=centres,
    )
    said = what_sessions_tell(sessions, scanners=scanners, centres=centres)
    pairs = how.groupby(["participant_id", "site", "scanner", "centre"])["session"].agg(list)
    assert said.startswith("Sessions ") == bool((pairs.map(len) > 1).any())
    if said.startswith("Sessions "):
        first, second = (int(word) for word in said.split() if word.isdigit())
        assert any({first, second} <= set(of) for of in pairs)
    assert (said == "") == (sessions == 1)
    if said.startswith("No two"):
        more = int(said.partition("--sessions ")[2].split()[0])
        assert what_sessions_tell(more, scanners=scanners, centres=centres).startswith("Sessions ")
        assert what_sessions_tell(more - 1, scanners=scanners, centres=centres).startswith("No two")


def test_protocols_and_scanners_are_read_from_headers_and_hold_no_date_and_no_name(twins):
    """A table of what differs; a centre that goes with the outcome is warned of, one that does not is not."""
    cohort, _ = check_cohort(twins)
    table = protocol_table(cohort)
    assert not table["differs"].any() and "slices" in set(table["what"])
    people = twice(cohort.participants)
    by_outcome = people.assign(centre=people["fracture"].map({0.0: "A", 1.0: "B"}), scanner="one")
    found = scanner_and_outcome(
        type(cohort)(cohort.folder, by_outcome, cohort.scans, cohort.dictionary, cohort.outcome)
    )
    assert found["by"].tolist() == ["centre"] and found["warn"].all()
    (warning,) = scanner_warnings(found, outcome="fracture")
    assert warning.startswith("Warning: the centre goes with fracture (Cramér's V 1.00; A: ")


def test_many_small_centres_are_no_alarm_by_chance(twins):
    """60 women in 12 centres: a V of .2 is reached in 1 of 5 cohorts without association, and warned of in 1 of 20."""
    cohort, _ = check_cohort(twins)
    rng, high, warned = np.random.default_rng(1), 0, 0
    for _ in range(100):
        people = pd.DataFrame({"participant_id": [f"P{i}" for i in range(60)], "fracture": np.repeat([0.0, 1.0], 30)})
        people["centre"] = rng.integers(0, 12, 60).astype(str)
        found = scanner_and_outcome(replace(cohort, participants=people), {}).iloc[0]
        high, warned = high + (found["v"] >= 0.2), warned + found["warn"]
    assert high > 10 and warned < 12
    own = people.assign(centre=people["participant_id"])
    assert not scanner_and_outcome(replace(cohort, participants=own), {}).iloc[0]["warn"]


def test_the_centre_of_the_analysed_scan_counts(twins, tmp_path):
    """A woman who moved: the warning, and the table that cross-calibration reads, have her where her scan was made."""
    moved, torn = "sub-0001", "sub-0002"

    def placed(table: pd.DataFrame) -> pd.DataFrame:
        table["centre"] = np.where(table["participant_id"].isin([moved, torn]) & (table["session"] == "2"), "B", "A")
        first = table["session"] == "1"
        table.loc[first & (table["participant_id"] == moved), "motion_grade"] = "5"
        table.loc[first & (table["participant_id"] == torn) & (table["site"] == "wrist"), "motion_grade"] = "5"
        return table

    folder = edited(twins, tmp_path / "cohort", placed)
    people = pd.read_csv(folder / "participants.tsv", sep="\t").assign(centre="A")
    people.to_csv(folder / "participants.tsv", sep="\t", index=False)
    described = read_json(folder / "participants.json")
    write_json(folder / "participants.json", described | {"centre": {"Role": "other"}})
    cohort = load_cohort(folder)
    centre = kept(cohort).set_index("participant_id")["centre"]
    assert centre[moved] == "B" and centre[torn] == "A and B" and (centre.drop([moved, torn]) == "A").all()
    (found,) = scanner_and_outcome(cohort, {}).to_dict("records")
    assert found["by"] == "centre" and "A and B: 1, " in found["groups"] and "B: 1, " in found["groups"]
    people.drop(columns="centre").to_csv(folder / "participants.tsv", sep="\t", index=False)
    assert load_cohort(folder).participants["centre"].tolist() == centre.tolist()


def test_a_run_keeps_the_protocols_without_the_names_of_centres(twins, tmp_path):
    """Whether a centre goes with the outcome is told; which one it is stays in the cohort folder."""
    folder = edited(twins, tmp_path / "cohort", lambda table: table)
    people = twice(pd.read_csv(folder / "participants.tsv", sep="\t"))
    people.assign(centre=people["fracture"].map({0: "Lyon", 1: "Bern"})).to_csv(
        folder / "participants.tsv", sep="\t", index=False
    )
    run = Run(tmp_path / "run")
    table = keep_protocol(load_cohort(folder), run)
    assert table.set_index("what").loc["software version", "values"].tolist() == ["AIM 030 (10)"] * 2
    pd.testing.assert_frame_equal(read_table(run.protocol), table)
    written = run.protocol.read_text() + run.scanners.read_text()
    assert "centre 1: " in written and "Lyon" not in written and "Bern" not in written
    assert read_table(run.scanners)["warn"].tolist() == [True]


def test_check_says_what_differs_and_warns_of_a_centre_that_tells_the_outcome(twins, tmp_path):
    """On the command line, before any long work; without such a centre there is no warning."""
    folder = edited(twins, tmp_path / "cohort", lambda table: table)
    assert "Warning" not in CliRunner().invoke(app, ["check", str(folder)]).stdout
    people = twice(pd.read_csv(folder / "participants.tsv", sep="\t"))
    people.assign(centre=people["fracture"].map({0: "A", 1: "B"})).to_csv(
        folder / "participants.tsv", sep="\t", index=False
    )
    said = CliRunner().invoke(app, ["check", str(folder)]).stdout
    assert "Warning: the centre goes with fracture" in said and "of other sessions" in said
    assert "No faults." in said
