"""What a run will take is said before it begins, from measured rates or an earlier run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from finished import finished_run
from typer.testing import CliRunner

from deepqct.cli import app
from deepqct.folder import write_json, write_text
from deepqct.run import Plan, estimate, plan_run
from deepqct.run.cost import SLICES, Workload


@pytest.fixture(autouse=True)
def one_code(monkeypatch):
    """Take the code of every stage as the same: to hash it all takes seconds."""
    monkeypatch.setattr("deepqct.run.jobs.stage_hash", lambda stage: "c" * 64)


@pytest.fixture
def finished(make_cohort, tmp_path) -> Plan:
    """A run of a cohort folder that looks finished, with its record and report."""
    return finished_run(make_cohort(), tmp_path / "run")


# Seconds by stage of two whole runs of the preset quick, then without strength, on 2 cores of an AMD EPYC, at a load of 3
# to 8: other work was done beside them. Networks: the longest way through the four jobs, two at a time.
MEASURED = (
    {"00": 61.3, "01": 143.6, "02": 814.2, "03": 102.4, "04": 42.4, "05": 8.4, "all": 1170.0, "gb": 1.7},
    {"00": 88.7, "01": 142.0, "02": 713.3, "03": 44.5, "04": 29.2, "05": 9.0, "all": 1024.3, "gb": 1.7},
)


def test_what_is_predicted_is_what_was_measured_within_a_factor_of_1_5():
    """Whoever plans a night must not wait a week."""
    made = plan_run("virtual", out=Path("reports/none"), preset="quick", overrides=["strength=none"])
    found = estimate(made, scale=1.0)
    for run in MEASURED:
        assert 1 / 1.5 < found["seconds"].sum() / run["all"] < 1.5
        assert 1 / 1.5 < found["disk_mb"].sum() / 1000 / run["gb"] < 1.5
        networks = found.set_index("stage").loc["02_train_bone", "seconds"]
        assert 1 / 1.5 < networks / run["02"] < 1.5
    assert estimate(made, scale=2.0)["seconds"].sum() == pytest.approx(2 * found["seconds"].sum(), rel=0.01)


@pytest.mark.parametrize(
    ("more", "stage", "factor"),
    [
        ("n=120", "01_data_curation", 1.8),
        ("epochs=32", "02_train_bone", 1.8),
        ("network_repeats=3", "02_train_bone", 2.5),
        ("controls=permuted, noise", "02_train_bone", 2.5),
        ("permutations=2000", "03_fusion_and_baselines", 2.0),
        ("draws=1999", "04_clustering", 1.5),
        ("tta=32", "02_train_bone", 1.3),
    ],
)
def test_more_work_takes_longer(more, stage, factor):
    """In the stage that does it."""
    plain, larger = (
        estimate(plan_run("virtual", out=Path("reports/none"), overrides=asked), scale=1.0).set_index("stage")
        for asked in ([], [more])
    )
    assert larger.loc[stage, "seconds"] / plain.loc[stage, "seconds"] > factor
    assert set(plain.index[larger["seconds"] < 0.999 * plain["seconds"]]) == set()


def test_rates_are_learned_from_an_earlier_run(finished):
    """A machine with a graphics card is known by what it did."""
    again = estimate(finished, like=finished.run, cores=1).set_index("stage")
    assert again.loc["01_data_curation", "seconds"] == pytest.approx(10.0)
    assert again.loc["02_train_bone", "seconds"] == pytest.approx(20.0)
    assert again.loc["02_train_bone", "peak_mb"] == pytest.approx(500, rel=0.01)  # the bones differ a little
    assert again.loc["01_data_curation", "rates"] == "learned from run"
    longer = plan_run(finished.cohort, out=Path("reports/none"), preset="smoke", overrides=["epochs=100"])
    assert estimate(longer, like=finished.run)["seconds"].sum() > again["seconds"].sum()
    write_json(finished.run.record, {"stages": {}})
    with pytest.raises(ValueError, match="does not say how much its cohort gave to do"):
        estimate(finished, like=finished.run)


def test_the_plan_is_printed_and_starts_nothing(tmp_path, monkeypatch, make_cohort):
    """The command is for before the run."""
    folder = make_cohort()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plan", str(folder), "--preset", "smoke"])
    assert done.exit_code == 0, done.exception
    assert re.match(r"\s*About \d+ (s|min), .* of memory, .* on the disk", done.stdout)
    assert "Rates: kept with deepqct" in done.stdout
    assert not (tmp_path / "reports").exists()
    monkeypatch.setattr("deepqct.run.commands.shutil.disk_usage", lambda _: SimpleNamespace(free=5e6))
    done = CliRunner().invoke(app, ["plan", "virtual"])
    assert "has 5 MB left, less than that; take another by --out." in done.stdout


def test_a_graphics_card_trains_one_bone_at_a_time(monkeypatch):
    """Side by side they would be foreseen in half the time."""

    def hours(*asked: str) -> float:
        made = plan_run("virtual", out=Path("reports/none"), overrides=["bone=radius,ulna", *asked])
        return float(estimate(made, cores=2, scale=1.0).set_index("stage").loc["02_train_bone", "seconds"])

    side_by_side = hours("device=cpu")
    monkeypatch.setattr("deepqct.run.cost.cards", lambda: 1)
    assert hours("device=auto") == pytest.approx(2 * side_by_side, rel=0.2)
    assert hours("device=cpu") == side_by_side
    monkeypatch.setattr("deepqct.run.cost.cards", lambda: 2)
    assert hours("device=auto") == side_by_side


def test_pairs_of_scans_are_registered_in_time_of_their_own(make_cohort):
    """Minutes a pair in scans of full size."""
    folder = make_cohort()
    rows = (folder / "scans.tsv").read_text(encoding="utf-8").splitlines()
    again = [f"{row}\t{session}" for row in rows[1:] for session in (1, 2)]
    for row in rows[1:]:
        scan = folder / row.split("\t")[3]
        content = bytearray(scan.read_bytes())
        content[-2] ^= 1
        scan.with_stem(f"{scan.stem}_2").write_bytes(content)
    again[1::2] = [row.replace("_wrist.AIM", "_wrist_2.AIM") for row in again[1::2]]
    write_text(folder / "scans.tsv", "\n".join([f"{rows[0]}\tsession", *again]) + "\n")
    plans = [
        plan_run(
            str(folder), out=Path("reports/none"), preset="smoke", overrides=["outcome=fracture", f"registered={asked}"]
        )
        for asked in (False, True)
    ]
    assert Workload.of(plans[0]).pairs == 8
    plain, registered = (estimate(made, scale=1.0).set_index("stage")["seconds"] for made in plans)
    assert registered["01_data_curation"] > 1.2 * plain["01_data_curation"]
    assert registered.drop("01_data_curation").equals(plain.drop("01_data_curation"))


def test_a_file_that_cannot_be_read_stops_no_plan(make_cohort):
    """A run makes it a row with its reason; the others say how many slices there are."""
    folder = make_cohort()
    made = plan_run(str(folder), out=Path("reports/none"), preset="smoke", overrides=["outcome=fracture"])
    known = Workload.of(made).slices
    scans = sorted((folder / "scans").iterdir())
    scans[0].write_bytes(scans[0].read_bytes()[:100])
    assert Workload.of(made).slices == known != SLICES
    for scan in scans[1:]:
        scan.write_bytes(b"")
    assert Workload.of(made).slices == SLICES


def test_the_memory_of_a_container_is_what_there_is(monkeypatch):
    """More than its limit ends a job, whatever the machine around it has."""
    monkeypatch.setattr("deepqct.run.shares.memory_mb", lambda: 500)
    done = CliRunner().invoke(app, ["plan", "virtual"])
    assert "This machine has 500 MB of memory, less than that; lower workers, batch_size or --cores." in done.stdout
