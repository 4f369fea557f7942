"""Nothing about a patient leaves the cohort folder: planted words are looked for in every byte that is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapes
from files import SECRETS, name_the_patient, write_dicom, write_isq
from typer.testing import CliRunner

from deepqct import plots
from deepqct.cli import app
from deepqct.cohort import keep_cohort, load_cohort
from deepqct.curation import curate, example_stacks
from deepqct.curation.one_scan import without_scan
from deepqct.folder import Run
from deepqct.scans import Scan, ScanError, read_scan, write_aim, write_image
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE, to_native

VOXEL = 0.2


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three women: an AIM, an ISQ and a DICOM series, a broken AIM; each header says who they are."""
    folder = tmp_path_factory.mktemp("hospital")
    scans = folder / "scans"
    scans.mkdir()
    density, _ = shapes.two_bones("wrist", gap=20, angle=0.4, voxel_mm=VOXEL, slices=5, rng=np.random.default_rng(0))
    scan = Scan(to_native(density), SLOPE / MU_SCALING, INTERCEPT, (VOXEL,) * 3, "wrist", "left")
    name_the_patient(write_aim(scans / "a.AIM", scan))
    whole = name_the_patient(write_aim(scans / "d.AIM", scan)).read_bytes()
    (scans / "d.AIM").write_bytes(whole[: len(whole) // 2])
    numbers = np.rint(density).astype(np.int16)
    write_isq(scans / "b.ISQ", numbers, um=round(1000 * VOXEL), name=" ".join(SECRETS[:3]))
    write_dicom(scans / "c", numbers, voxel_mm=(VOXEL,) * 3)
    people = "".join(f"sub-{i}\t{60 + i}\t{i % 2}\t{' '.join(SECRETS)}\n" for i in range(4))
    (folder / "participants.tsv").write_text(f"participant_id\tage\tfracture\tname\n{people}", encoding="utf-8")
    files = zip(range(4), ("a.AIM", "b.ISQ", "c", "d.AIM"), ("", "density", "density", ""), strict=True)
    rows = "".join(f"sub-{i}\twrist\tleft\tscans/{file}\t{unit}\n" for i, file, unit in files)
    (folder / "scans.tsv").write_text(f"participant_id\tsite\tside\tfile\tunit\n{rows}", encoding="utf-8")
    return folder


def holds(path: Path) -> list[str]:
    """The planted words in a file."""
    content = path.read_bytes()
    return [word for word in SECRETS if word.encode() in content]


def test_the_headers_do_name_the_patient(cohort_folder):
    """Else the tests below could not fail."""
    assert holds(cohort_folder / "scans" / "a.AIM") == list(SECRETS)
    assert holds(cohort_folder / "scans" / "b.ISQ") == list(SECRETS[:3])
    assert holds(cohort_folder / "scans" / "c" / "0000.dcm") == list(SECRETS)


def test_no_planted_word_is_in_what_curation_writes(cohort_folder, tmp_path, capfd):
    cohort, run = load_cohort(cohort_folder), Run(tmp_path / "run")
    keep_cohort(cohort, run)
    table = curate(cohort, run, image_px=32)
    assert table["status"].tolist() == ["curated", "curated", "curated", "failed"]
    axes = plots.montage(example_stacks(run, bone="radius"))
    plots.save(axes, run.figures("a"), name="bones", title="Bones", caption="All.", order=0, virtual=False)
    written = [path for path in run.folder.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [(path.name, holds(path)) for path in written if holds(path)] == []
    printed = "".join(capfd.readouterr())
    assert [word for word in SECRETS if word in printed + table.to_csv()] == []


@pytest.mark.parametrize(("file", "unit"), [("a.AIM", None), ("b.ISQ", "density"), ("c", "density")])
def test_no_planted_word_is_shown_or_written_of_one_scan(cohort_folder, tmp_path, file, unit):
    path = cohort_folder / "scans" / file
    extra = ["--unit", unit] if unit else []
    shown = CliRunner().invoke(app, ["inspect", str(path), "--png", str(tmp_path / "a.png"), *extra])
    assert shown.exit_code == 0
    scan = read_scan(path, unit=unit)
    write_image(tmp_path / "b.nii", scan)
    if scan.native.dtype == np.int16:
        write_aim(tmp_path / "c.AIM", scan)
    words = shown.output + repr(scan) + "".join(str(value) for value in vars(scan).values())
    assert [word for word in SECRETS if word in words] == []
    assert [(p.name, holds(p)) for p in tmp_path.iterdir() if holds(p)] == []


def test_no_planted_word_is_in_an_error(cohort_folder):
    with pytest.raises(ScanError) as error:
        read_scan(cohort_folder / "scans" / "d.AIM")
    assert [word for word in SECRETS if word in str(error.value)] == []


@pytest.mark.parametrize("scan", ["Doe_Jane", "Doe_Jane/Doe_01.dcm", "Doe.AIM"])
def test_no_name_of_a_slice_that_has_just_gone_is_in_an_error(tmp_path, scan):
    (tmp_path / "Doe_Jane").mkdir()
    for name in ("Doe_02.dcm", "Doe_03"):
        gone = str(FileNotFoundError(2, "No such file or directory", str(tmp_path / "Doe_Jane" / name)))
        own = f"{tmp_path / scan} is empty. {gone}" if "Jane" in scan else f"{tmp_path / scan} is empty."
        said = without_scan(own, tmp_path / scan, words="the scan")
        assert "Doe" not in said
        assert said.startswith("the scan is empty.")


@pytest.mark.long
def test_no_planted_word_is_in_a_whole_run_its_caches_and_temporary_files(tmp_path):
    """A hospital's names of folders, files, columns and women, with pseudonyms, from the command to the report."""
    from deepqct.cohort import decide
    from deepqct.run.app import app_notebooks
    from deepqct.virtual import new_cohort

    clinic = tmp_path / "St-Elsewhere-Mustermann"
    made = new_cohort(clinic, n=16, voxel_mm=0.3, slices=4, workers=1)
    (made / "scans").rename(made / "Jane_Mustermann_scans")
    people, scans = (
        (made / name).read_text(encoding="utf-8").splitlines() for name in ("participants.tsv", "scans.tsv")
    )
    people = [f"{line}\t{'patient_group' if not k else f'MRN-{k // 2}'}\t{'name' if not k else SECRETS[0]}"
              for k, line in enumerate(people)]  # fmt: skip
    (made / "participants.tsv").write_text("\n".join(people).replace("sub-", "PID-778899-") + "\n", encoding="utf-8")
    scans = [
        scans[0],
        *(line.replace("sub-", "PID-778899-", 1).replace("scans/", "Jane_Mustermann_scans/") for line in scans[1:]),
    ]
    (made / "scans.tsv").write_text("\n".join(scans) + "\n", encoding="utf-8")
    (made / "participants.json").unlink()
    for path in (made / "Jane_Mustermann_scans").iterdir():
        name_the_patient(path)
    decide(made, reviewer="AB", participant_id="PID-778899-0001", site="wrist", decision="accept", remark=SECRETS[5])
    places = {name: tmp_path / name for name in ("out", "home", "temporary", "work")}
    for place in places.values():
        place.mkdir()
    own = {
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    run = Run(places["out"] / "run")
    command = [sys.executable, "-m", "deepqct", "run", str(made), "--preset", "smoke", "--out", str(run.folder),
               "--pseudonyms", str(tmp_path / "key.tsv"), "bone=radius", "protocols=all"]  # fmt: skip
    done = subprocess.run(
        command, cwd=places["work"], env=os.environ | own, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    words = [*SECRETS, "PID-778899", "MRN-", "Jane_Mustermann_scans", "St-Elsewhere"]
    seen = {
        (path.relative_to(tmp_path).as_posix(), word)
        for place in places.values()
        for path in place.rglob("*")
        for word in words
        if word in path.name or (path.is_file() and word.encode() in path.read_bytes())
    }
    assert [word for word in words if word in done.stdout + done.stderr] == []
    # The one place that leads back to the cohort, for deepqct app; deepqct report --zip leaves it out.
    kept = run.parameters("01_data_curation").relative_to(tmp_path).as_posix()
    assert {path for path, _ in seen} <= {kept}
    metadata = [path.read_text(encoding="utf-8") for path in (run.folder / ".snakemake" / "metadata").iterdir()]
    assert len(metadata) > 5
    assert [text for text in metadata if str(tmp_path) in text] == []
    app_notebooks(run, tmp_path / "pages")
