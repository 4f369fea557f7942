"""What people get: an installed package without a checkout, a folder to work in, and a repository that can be taken in."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import yaml
from conftest import ROOT

import deepqct as dq
from deepqct.run import init

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOTEBOOKS = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
# The layout that people know, and what tools look for at the top level alone.
KNOWN = {"notebooks", "deepqct", "docs", "environment.yml", "tests", "reports", "README.md"}
TOOLS = {
    ".ci", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile",
    "pyproject.toml", "requirements.lock",
}  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a wheel fills it: the package, and what the build takes into it from elsewhere in the checkout."""
    wheel, site = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"], tmp_path_factory.mktemp("site")
    named = {name: name for name in wheel["packages"]} | wheel["force-include"]
    for source, target in named.items():
        shutil.copytree(ROOT / source, site / target, ignore=shutil.ignore_patterns("__pycache__"))
    return site


def python(*words: str, cwd: Path, site: Path = ROOT) -> str:
    """What a Python process prints in a folder, with deepqct from a certain place."""
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": str(site)}, cwd=cwd, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """The module that writes the bill of materials."""
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_of_materials_is_what_the_specification_demands(sbom, tmp_path, monkeypatch):
    """A hospital's tools read it, and look every package up: CycloneDX 1.5, the fields that it requires and their forms."""
    monkeypatch.setattr("sys.argv", ["sbom.py", str(tmp_path)])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    sbom.main()
    (path,) = tmp_path.glob(f"deepqct-{dq.__version__}.cdx.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["bomFormat"], content["specVersion"], content["version"]) == ("CycloneDX", "1.5", 1)
    uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    assert re.fullmatch(rf"urn:uuid:{uuid}", content["serialNumber"])
    assert content["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    own = content["metadata"]["component"]
    assert (own["type"], own["name"], own["version"]) == ("application", "deepqct", dq.__version__)
    assert own["licenses"] == [{"license": {"id": PYPROJECT["project"]["license"]}}]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)", lock, flags=re.MULTILINE)
    assert len(pinned) > 300
    assert [(one["name"], one["version"]) for one in content["components"]] == pinned
    refs = [own["bom-ref"], *(one["bom-ref"] for one in content["components"])]
    assert len(set(refs)) == len(refs)
    hashes = 0
    for one in content["components"]:
        assert one["type"] == "library"
        assert re.fullmatch(r"pkg:pypi/[a-z0-9-]+@[^\s@]+", one["purl"])
        assert one["hashes"]
        assert len({each["content"] for each in one["hashes"]}) == len(one["hashes"])
        assert all(each["alg"] == "SHA-256" for each in one["hashes"])
        assert all(re.fullmatch(r"[0-9a-f]{64}", each["content"]) for each in one["hashes"])
        hashes += len(one["hashes"])
        for licence in one.get("licenses", []):
            assert set(licence) in ({"expression"}, {"license"})
    assert hashes == lock.count("--hash=sha256:")
    assert sum("licenses" in one for one in content["components"]) > 250
    asked = {entry["ref"]: entry["dependsOn"] for entry in content["dependencies"]}
    assert set(asked) == set(refs)
    assert {ref for others in asked.values() for ref in others} <= set(refs)
    declared = {re.split(r"[^\w.-]", text)[0].lower() for text in PYPROJECT["project"]["dependencies"]}
    assert declared <= {ref.removeprefix("pkg:pypi/").partition("@")[0] for ref in asked[own["bom-ref"]]}
    again = sbom.bill(lock, name="deepqct", version="0.1.0", licence="Apache-2.0", made=dt.datetime.now(dt.UTC))
    assert again["serialNumber"] == content["serialNumber"]
    other = sbom.bill(f"{lock}#", name="deepqct", version="0.1.0", licence="Apache-2.0", made=dt.datetime.now(dt.UTC))
    assert other["serialNumber"] != content["serialNumber"]


SAYS_WHERE = "from deepqct.run.parameters import notebook_source; print(notebook_source('05_explore'))"


def test_an_installed_package_brings_its_notebooks(installed, tmp_path):
    """In an empty folder there is no checkout from which a run could take them."""
    assert python("-c", SAYS_WHERE, cwd=tmp_path, site=installed).strip() == str(
        installed / "deepqct" / "notebooks" / "05_explore.ipynb"
    )
    code = (
        "import deepqct as dq; from pathlib import Path; from deepqct.run.jobs import write_jobs\n"
        "plan = dq.run.plan_run('virtual', out=Path('reports/tried'), preset='smoke'); write_jobs(plan)\n"
        "print(len(plan.parameters), plan.run.settings.exists())"
    )
    assert python("-c", code, cwd=tmp_path, site=installed).strip() == "9 True"
    assert (tmp_path / "reports" / "tried" / "settings.json").exists()


def test_nothing_that_a_wheel_needs_is_ignored_by_git():
    """The build leaves out what git ignores, and would do so without a word."""
    for place in ("deepqct", "notebooks"):
        listed = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--directory", place]
        names = subprocess.check_output(listed, cwd=ROOT, encoding="utf-8").splitlines()
        assert not [name for name in names if "cache" not in name and "checkpoints" not in name]


@pytest.mark.parametrize("place", ["checkout", "wheel"])
def test_a_folder_to_work_in_is_complete(place, installed, tmp_path):
    """An analyst starts with the notebooks, a page to read, and places for what she brings and what she gets."""
    site = ROOT if place == "checkout" else installed
    said = python("-m", "deepqct", "init", "hip study", cwd=tmp_path, site=site)
    assert said.strip() == "Folder: hip study; its README.md says how to begin."
    folder = tmp_path / "hip study"
    assert {path.name for path in (folder / "notebooks").iterdir()} == NOTEBOOKS
    for name in NOTEBOOKS:
        assert (folder / "notebooks" / name).read_bytes() == (ROOT / "notebooks" / name).read_bytes()
    assert (folder / "cohort" / "scans").is_dir()
    assert (folder / "reports").is_dir()
    shipped = ROOT / "deepqct" / "run" / "profiles" / "slurm" / "config.yaml"
    assert (folder / "profiles" / "slurm" / "config.yaml").read_bytes() == shipped.read_bytes()
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 12
    for word in ("jupyter lab", "deepqct run cohort", "deepqct check cohort", "reports/ours/index.html"):
        assert any(word in line for line in lines)


def test_the_runs_of_a_folder_take_its_own_notebooks(installed, tmp_path):
    """A cell that an analyst changed must be the one that runs, from anywhere within the folder."""
    dq.run.init_folder(tmp_path / "study")
    for cwd in (tmp_path / "study", tmp_path / "study" / "notebooks", tmp_path / "study" / "cohort" / "scans"):
        said = python("-c", SAYS_WHERE, cwd=cwd, site=installed)
        assert said.strip() == str(tmp_path / "study" / "notebooks" / "05_explore.ipynb")


def test_a_folder_that_lies_within_a_checkout_is_still_its_own(tmp_path, monkeypatch):
    """Her notebooks count, not the changed ones of the folder above; and those that are copied are deepqct's own."""
    outer = dq.run.init_folder(tmp_path / "outer")
    (outer / "notebooks" / "05_explore.ipynb").write_text("changed", encoding="utf-8")
    monkeypatch.chdir(outer)
    inner = dq.run.init_folder("inner")
    assert (inner / "notebooks" / "05_explore.ipynb").read_text(encoding="utf-8") != "changed"
    monkeypatch.chdir(inner)
    assert dq.folder.project_root() == outer / "inner"


@pytest.mark.parametrize("name", ["notebooks", "README.md", "profiles", "cohort", "reports"])
def test_init_never_overwrites(name, tmp_path):
    """What somebody wrote is hers; nothing is written beside it either."""
    (tmp_path / name).write_text("mine", encoding="utf-8")
    said = python("-m", "deepqct", "init", str(tmp_path), cwd=tmp_path)
    assert said.strip() == f"Error: {tmp_path} holds {name} already, which init never overwrites; give a new folder."
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_init_takes_a_folder_that_holds_a_cohort_already(tmp_path):
    """Scans are often there before anything else is."""
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "participants.tsv").write_text("participant_id", encoding="utf-8")
    dq.run.init_folder(tmp_path)
    assert (tmp_path / "cohort" / "participants.tsv").read_text(encoding="utf-8") == "participant_id"
    assert (tmp_path / "notebooks" / "review.ipynb").exists()


def test_init_says_in_one_sentence_why_it_cannot_write(tmp_path):
    """A file stands where the folder should be made."""
    (tmp_path / "study").touch()
    with pytest.raises(OSError, match=r"study is a file; give a new folder\.$"):
        dq.run.init_folder(tmp_path / "study")
    with pytest.raises(OSError, match=r"cannot be written \(.*\); free space on its disk, or take a folder"):
        dq.run.init_folder(tmp_path / "study" / "within")


def test_init_can_be_tried_again_after_a_full_disk(tmp_path, monkeypatch):
    """What a first try left behind must not stand in the way of the second."""
    whole = init.write_text

    def full(path: Path, text: str) -> Path:
        if path.name in ("05_explore.ipynb", "README.md"):
            raise OSError(f"{path} cannot be written (No space left on device); free space on its disk.")
        return whole(path, text)

    monkeypatch.setattr(init, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        dq.run.init_folder(tmp_path / "study")
    monkeypatch.undo()
    dq.run.init_folder(tmp_path / "study")
    assert {path.name for path in (tmp_path / "study" / "notebooks").iterdir()} == NOTEBOOKS


def test_a_changed_cell_of_a_folder_is_what_runs(installed, tmp_path):
    """Finding a notebook is not yet running it."""
    folder = dq.run.init_folder(tmp_path / "study")
    path = folder / "notebooks" / "05_explore.ipynb"
    notebook = nbformat.read(path, as_version=4)
    start = next(cell for cell in notebook.cells if "dq.start" in cell.source)
    start.source = "raise ValueError('the cell that the analyst wrote')"
    nbformat.write(notebook, path)
    run, job = dq.Run(folder / "reports" / "tried"), dq.folder.Job("05_explore")
    dq.folder.write_json(run.parameters(job), {"parameters": {}})
    said = python("-m", "deepqct", "job", str(run.folder), job.stage, cwd=folder, site=installed)
    assert "05_explore: failed in cell 2" in said
    assert dq.folder.read_json(run.status(job))["error"] == "ValueError: the cell that the analyst wrote"


def test_the_top_level_holds_the_known_layout_and_what_tools_demand_there():
    """Whoever opens the repository sees six things and the few files that tools look for."""
    names = subprocess.check_output(["git", "ls-files"], cwd=ROOT, encoding="utf-8").splitlines()
    assert {name.split("/")[0] for name in names} == KNOWN | TOOLS


def test_the_citation_is_of_this_version():
    """A citation of another version sends readers to other numbers."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == dq.__version__
    assert citation["license"] == PYPROJECT["project"]["license"]
    assert citation["keywords"] == PYPROJECT["project"]["keywords"]


def test_every_form_for_an_issue_asks_for_no_patient_data():
    """Issues are public, and people paste what they have on their screen."""
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert {path.stem for path in forms} == {"bug", "question", "scanner_format"}
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        first = form["body"][0]
        assert first["attributes"]["label"] == "No patient data"
        assert first["attributes"]["options"][0]["required"] is True
        assert len({part["id"] for part in form["body"]}) == len(form["body"])
