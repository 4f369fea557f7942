"""pyproject.toml, requirements.lock and environment.yml must agree."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DECLARED = [
    Requirement(text)
    for text in PYPROJECT["project"]["dependencies"] + PYPROJECT["project"]["optional-dependencies"]["dev"]
]


LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def entries() -> list[tuple[Requirement, set[str]]]:
    """Every pinned line of the lock, with the hashes of the files that pip may take."""
    lines = (line.strip() for line in LOCK.replace("\\\n", " ").splitlines())
    parts = [line.split(" --hash=") for line in lines if line and not line.startswith("#")]
    return [(Requirement(pin), {one.strip() for one in hashes}) for pin, *hashes in parts]


def locked() -> list[Requirement]:
    """Every pinned line of the lock, without its hashes."""
    return [requirement for requirement, _ in entries()]


def test_every_locked_package_has_its_hashes():
    """Pip then takes the files that were looked at, and no others; one package without any would be an error of pip."""
    assert len(entries()) > 300
    for requirement, hashes in entries():
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement


def test_the_lock_pins_exact_versions_that_pyproject_admits():
    """A lock that is older than pyproject would install another toolkit than the one declared."""
    pins = {}
    for requirement in locked():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        pins.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)
    for requirement in DECLARED:
        versions = pins.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement.name} is not in requirements.lock; run make lock"
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_lock_serves_every_admitted_python_on_linux_and_macos():
    """A marker that leaves torch out on macOS, or pandas out on 3.13, would only show on a user's machine."""
    for python in ("3.11", "3.12", "3.13"):
        assert SpecifierSet(PYPROJECT["project"]["requires-python"]).contains(python)
        for platform in ("linux", "darwin"):
            system = default_environment() | {
                "python_version": python,
                "python_full_version": f"{python}.0",
                "sys_platform": platform,
                "platform_system": {"linux": "Linux", "darwin": "Darwin"}[platform],
            }
            served = {canonicalize_name(r.name) for r in locked() if r.marker is None or r.marker.evaluate(system)}
            missing = {canonicalize_name(r.name) for r in DECLARED} - served
            assert not missing, (python, platform, missing)


def test_torch_and_torchvision_are_the_agreed_pair():
    """These two are built for each other; another torchvision fails at import."""
    pins = {r.name: str(r.specifier) for r in locked()}
    assert (pins["torch"], pins["torchvision"]) == ("==2.14.1", "==0.29.1")


def test_conda_takes_python_and_system_things_and_leaves_the_rest_to_the_lock():
    """A package from conda beside the lock could be a second, different version of it."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    assert pip == ["-r requirements.lock"], "deepqct itself has no hash: pip would refuse it beside the lock"
    conda = {
        Requirement(e.replace("=", "==", 1) if "==" not in e and ">=" not in e else e)
        for e in dependencies
        if isinstance(e, str)
    }
    assert {r.name for r in conda} == {"python", "pip", "git"}
    (python,) = (r for r in conda if r.name == "python")
    (specifier,) = python.specifier
    assert SpecifierSet(PYPROJECT["project"]["requires-python"]).contains(specifier.version)


PACKAGE = ROOT / "deepqct"


def imported(path: Path) -> Iterator[str]:
    """What a file of the package imports from the package, such as bones.find."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "deepqct":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deepqct."):
            place = node.module.removeprefix("deepqct.")
            yield from (f"{place}.{alias.name}" for alias in node.names)


def test_wings_are_listed_in_the_order_of_their_imports():
    """The developers' page says that a module imports only from those above it; a reader goes through in that order."""
    text = (ROOT / "docs" / "developers.md").read_text(encoding="utf-8")
    listed = re.findall(r"^  ([a-z_]+)(?:\.py|/) ", text, flags=re.MULTILINE)
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(listed) == there - {"__init__", "__main__"}
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own in listed:
            below = [name for name in imported(path) if name.split(".")[0] in listed[listed.index(own) + 1 :]]
            assert not below, f"{path.name} imports {below}, which docs/developers.md lists below it"


@pytest.mark.parametrize("wing", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_the_files_of_a_wing_are_listed_in_the_order_of_their_imports(wing):
    """Who opens a wing reads in its docstring which file does what, from the ground up."""
    docstring = ast.get_docstring(ast.parse((PACKAGE / wing / "__init__.py").read_text(encoding="utf-8"))) or ""
    listed = re.findall(r"^([a-z_]+)\.py", docstring, flags=re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in (PACKAGE / wing).glob("*.py") if path.stem != "__init__")
    for number, name in enumerate(listed):
        used = [
            place.split(".")[1] for place in imported(PACKAGE / wing / f"{name}.py") if place.startswith(f"{wing}.")
        ]
        below = sorted(set(used) & set(listed[number + 1 :]))
        assert not below, f"{wing}/{name}.py imports {below}, which the wing lists below it"


def test_the_first_level_of_the_package_can_be_taken_in_at_a_glance():
    """A hallway of fifty files tells nobody where anything is."""
    names = subprocess.check_output(["git", "ls-files", "deepqct"], cwd=ROOT, encoding="utf-8").splitlines()
    assert len({name.split("/")[1] for name in names}) <= 25
