"""A run as planned: preset and overrides resolved into the parameters of every job."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepqct.cohort.pseudonyms import check_key
from deepqct.cohort.tsv import read_tsv
from deepqct.folder import PACKAGE, Job, Run, project_root, resolve
from deepqct.run.parameters import STAGES, ParameterError, declared_parameters, shown, unknown
from deepqct.run.preflight import check_values
from deepqct.terms import BONES, SITES

PRESETS = ("smoke", "quick", "null", "paper")
VIRTUAL = "virtual"
# Set by the runner, never by a preset or a person.
_RESERVED = {"run_dir": "--out", "cohort_dir": "the cohort's folder", "interactive": "the runner"}


@dataclass(frozen=True)
class Plan:
    """A run as planned before anything starts: its folder, its cohort, and the parameters of every job.

    Parameters
    ----------
    run : Run
        The run folder.
    cohort : str
        ``virtual``, or the cohort folder relative to the project root.
    preset : str
        The name of the preset.
    parameters : dict
        The parameters of each `Job`, in the order of the stages.
    cohort_at : list of str
        Hashes of where the cohort lies, by which a run folder knows its cohort again without naming a path: by its full
        path, and as seen from the run folder. Either will do, since the run folder may be moved, or both.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> plan = dq.run.plan_run("virtual", out=Path("reports/tried"), overrides=["bone=radius,tibia"])
    >>> [str(job) for job in plan.parameters][1:4]
    ['01_data_curation', '02_train_bone_radius', '02_train_bone_tibia']
    >>> plan.bones
    ['radius', 'tibia']
    >>> plan.cohort_at
    ['virtual']
    """

    run: Run
    cohort: str
    preset: str
    parameters: dict[Job, dict[str, Any]]
    cohort_at: list[str]

    @property
    def bones(self) -> list[str]:
        """The bones that get a network."""
        return [job.bone for job in self.parameters if job.bone]


def load_preset(name: str) -> dict[str, Any]:
    """The parameters of a preset, read from its YAML file.

    Parameters
    ----------
    name : str
        smoke, quick, null or paper, which come with deepqct, or the path of a YAML file.

    Returns
    -------
    dict
        Values by parameter, or mappings of such values by stage.

    Raises
    ------
    ParameterError
        If there is no such preset or file, or it is not a mapping.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.run.load_preset("quick")["01_data_curation"]["folds"]
    3
    """
    if name in PRESETS:
        text = (PACKAGE / "run" / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    elif Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        try:
            text = Path(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ParameterError(f"The preset {name!r} is no UTF-8 text; save it again as UTF-8.") from error
    else:
        raise ParameterError(f"There is no preset {name!r}; use {', '.join(PRESETS)} or the path of a YAML file.")
    try:
        content = yaml.safe_load(text)
    except RecursionError as error:
        raise ParameterError(
            f"The preset {name!r} is nested too deeply; see deepqct/run/presets/quick.yaml."
        ) from error
    except (yaml.YAMLError, ValueError, TypeError) as error:  # a date that is none, or a number of 5,000 digits
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f" near line {mark.line + 1}"
        why = " ".join(str(getattr(error, "problem", error)).split())
        raise ParameterError(f"The preset {name!r} is no YAML{line}: {why}.") from error
    if not isinstance(content, dict):
        raise ParameterError(f"The preset {name!r} is not a mapping of parameters; see deepqct/run/presets/quick.yaml.")
    return content


def plan_run(cohort: str, *, out: Path, preset: str = "quick", overrides: Iterable[str] = ()) -> Plan:
    """Resolve the notebooks' defaults, a preset and overrides into the parameters of every job; nothing is written.

    Parameters
    ----------
    cohort : str
        A cohort folder, or ``virtual``: the run makes its own virtual women first.
    out : Path
        The run folder.
    preset : str
        smoke, quick, null, paper, or a YAML file: parameters by name, or by stage and name.
    overrides : iterable of str
        ``name=value`` for every stage that has the parameter, or ``stage.name=value`` for one stage. ``bone`` takes one
        bone or several with commas between them; without it, each bone of the sites in scans.tsv is trained.

    Returns
    -------
    Plan
        What `execute` runs.

    Raises
    ------
    ParameterError
        If a parameter is unknown, has the wrong type, or has a value that no run can have.
    CohortError
        If the key file of pseudonyms lies in the run folder.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> plan = dq.run.plan_run("virtual", out=Path("reports/tried"), preset="smoke", overrides=["epochs=20"])
    >>> plan.parameters[dq.folder.Job("02_train_bone", "tibia")]["epochs"]
    20
    """
    root, run = project_root(), Run(resolve(out))
    if cohort != VIRTUAL:
        cohort = os.path.relpath(Path(cohort).expanduser().resolve(), root)
        cohort = os.path.join(os.curdir, cohort) if cohort == VIRTUAL else cohort  # noqa: PTH118, a folder of that name
    for folder in (run.folder, resolve(cohort), root):
        _check_name(folder)
    declared = {stage: declared_parameters(stage) for stage in STAGES}
    values = {stage: {name: p.default for name, p in parameters.items()} for stage, parameters in declared.items()}
    bones = ",".join(_bones_scanned(cohort))
    for key, value in _flatten(load_preset(preset), split=False) + _flatten(_pairs(overrides), split=True):
        stage, name = key
        stages = [stage] if stage else [s for s in STAGES if name in declared[s]]
        if name in _RESERVED:
            raise ParameterError(f"{name} is set by {_RESERVED[name]}; leave it out.")
        if stage and name not in declared[stage]:
            raise unknown(name, declared[stage], where=stage)
        if not stages:
            everywhere = {n: s for s in STAGES for n in declared[s] if n not in _RESERVED}
            raise unknown(name, everywhere, where="any stage")
        if name == "bone":
            bones = str(value)
            continue
        for s in stages:
            values[s][name] = declared[s][name].parse(value, stage=s)
    fixed = {
        "run_dir": os.path.relpath(run.folder, root),
        "cohort_dir": os.path.relpath(run.virtual / "cohort", root) if cohort == VIRTUAL else cohort,
        "interactive": False,
    }
    jobs: dict[Job, dict[str, Any]] = {}
    for stage in STAGES:
        if stage == "00_virtual_cohort" and cohort != VIRTUAL:
            continue
        filled = values[stage] | {name: value for name, value in fixed.items() if name in values[stage]}
        if "bone" not in filled:
            jobs[Job(stage)] = filled
            continue
        for name in bones.split(","):
            bone = declared[stage]["bone"].parse(name.strip(), stage=stage)
            jobs[Job(stage, bone)] = filled | {"bone": bone}
    check_values(jobs)
    check_key(jobs[Job("01_data_curation")]["pseudonyms"], run)
    return Plan(run, cohort, Path(preset).stem, jobs, _places(cohort, run))


def _check_name(folder: Path) -> None:
    """Raise an error for the name of a folder that files and programs of a run cannot carry."""
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in str(folder)):
        raise ParameterError(
            f"{str(folder)!r} has a line break, a tab or a letter that is no UTF-8 in its name; rename that folder."
        )


def _places(cohort: str, run: Run) -> list[str]:
    """Hashes of where the cohort lies, by its full path and as seen from the run folder."""
    if cohort == VIRTUAL:
        return [VIRTUAL]
    folder = resolve(cohort).resolve()
    places = (str(folder), os.path.relpath(folder, run.folder.resolve()))
    return [hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest() for place in places]


def _bones_scanned(cohort: str) -> list[str]:
    """The bones of the sites in scans.tsv; all four where that cannot be read, which `load_cohort` reports later."""
    path = resolve(cohort) / "scans.tsv"
    sites: set[Any] = set()
    if cohort != VIRTUAL and path.is_file():
        table = read_tsv(path, ("site",), [])
        sites = set() if table is None else set(table["site"])
    scanned = [bone for site, bones in SITES.items() if site in sites for bone in bones]
    return scanned or list(BONES)


def _pairs(overrides: Iterable[str]) -> dict[str, str]:
    """Texts of the form ``name=value`` as a mapping."""
    values = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"{text!r} is not of the form name=value; the run folder is given by --out.")
        values[name.strip()] = value.strip()
    return values


def _flatten(content: Mapping[str, Any], *, split: bool) -> list[tuple[tuple[str, str], Any]]:
    """((stage or "", name), value) for every parameter of a preset or of the overrides.

    With `split` a name such as ``02_train_bone.epochs`` is a parameter of one stage.
    """
    entries: list[tuple[tuple[str, str], Any]] = []
    for key, value in content.items():
        for given in (key, *(value if isinstance(value, Mapping) else ())):
            if not isinstance(given, str):
                raise ParameterError(f"{shown(given)} is no parameter's name; see deepqct/run/presets/quick.yaml.")
        stage, dot, name = key.partition(".") if split else (key, "", "")
        if dot and stage in STAGES:
            entries.append(((stage, name), value))
        elif isinstance(value, Mapping):
            if key not in STAGES:
                raise unknown(key, dict.fromkeys(STAGES), where="the preset's stages")
            entries += [((key, inner), each) for inner, each in value.items()]
        elif dot:
            raise unknown(stage, dict.fromkeys(STAGES), where="the stages")
        else:
            entries.append((("", key), value))
    # Values for all stages first, so that a value for one stage wins wherever it stands.
    return sorted(entries, key=lambda item: item[0][0] != "")
