"""Which files a run wrote, which job each is of, their hashes until the job runs again, and what of them is missing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deepqct.folder import FileError, Job, Run, file_hash, read_json
from deepqct.terms import BONES

SEAL = "sha256_of_this_file"  # of run.json, without this line
_OF_RUN = "run"  # what no job writes: settings.json, index.html
_CURATION, _TRAINING = "01_data_curation", "02_train_bone"
# A file of a network, below the folder of its bone or control.
_NETWORK = re.compile(
    r"(?P<protocol>[^/]+)/repeat(?P<repeat>\d+)/(member(?P<member>\d+)/)?fold(?P<first>\d+)(-(?P<second>\d+))?[._][^/]+"
)


def job_of(run: Run, path: Path) -> str:
    """The name of the job that writes a file of a run folder, ``run`` for the run itself; empty for any other file.

    Parameters
    ----------
    run : Run
        The run folder.
    path : Path
        A file in it; one that lies elsewhere is of no job.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.written import job_of
    >>> run = dq.Run(Path("reports/quick"))
    >>> job_of(run, run.scores("ulna")), job_of(run, run.performance), job_of(run, run.selection)
    ('02_train_bone_ulna', '03_fusion_and_baselines', '')
    """
    parts = path.relative_to(run.folder).parts if path.is_relative_to(run.folder) else ("..",)
    # Unfinished files, what programs keep for themselves, and places outside of the folder.
    if any(part.startswith(".") for part in parts):
        return ""
    if len(parts) <= 1:
        return _tables(run).get(path, "")
    match parts[0]:
        case "figures":
            return parts[1]
        case "notebooks":
            return path.stem
        case "bones" | "sessions":
            return _CURATION
        case "models" if parts[1] in BONES:
            return str(Job(_TRAINING, parts[1]))
        case "virtual" if parts[1] == "truth":
            return "00_virtual_cohort"
    return ""


def is_within(run: Run, name: str) -> bool:
    """Whether a name of a record, which anybody may have written, leads to a place in the run folder, links followed.

    Parameters
    ----------
    run : Run
        The run folder, which may be reached by a link itself.
    name : str
        As run.json has it: the path of a file in the folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.written import is_within
    >>> run = dq.Run(Path("reports/quick"))
    >>> is_within(run, "bones/P1_radius.npy"), is_within(run, "../other/bones/P1_radius.npy")
    (True, False)
    """
    try:
        return (run.folder / name).resolve().is_relative_to(run.folder.resolve())
    except (OSError, ValueError, RuntimeError):  # no name that a file can have, or links that lead round in a circle
        return False


def written_files(run: Run) -> dict[str, str]:
    """Every file in a run folder that a job or the run itself wrote, by its path in the folder, with that job's name.

    Parameters
    ----------
    run : Run
        The run folder.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.written import written_files
    >>> written_files(dq.run.example_run())["splits.csv"]
    '01_data_curation'
    """
    found = {path: job_of(run, path) for path in sorted(run.folder.rglob("*")) if path.is_file()}
    return {path.relative_to(run.folder).as_posix(): job for path, job in found.items() if job}


def is_asked(run: Run, path: Path, parameters: Mapping[Job, Mapping[str, Any]]) -> bool:
    """Whether a file is of a job that a run has now, and of a place that its parameters ask for.

    A bone that is no longer asked for, or a second training, leaves files of an earlier setting, which are not the run's.

    Parameters
    ----------
    run : Run
        The run folder.
    path : Path
        A file in it.
    parameters : mapping
        The parameters of each job as planned.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.written import is_asked
    >>> plan = dq.run.plan_run("virtual", out=Path("reports/tried"), overrides=["bone=radius", "network_repeats=1"])
    >>> first, second = (plan.run.models("radius") / "all" / f"repeat{n}" / "fold0.safetensors" for n in (0, 1))
    >>> [is_asked(plan.run, path, plan.parameters) for path in (first, second, plan.run.scores("ulna"))]
    [True, False, False]
    """
    job = job_of(run, path)
    if job == _OF_RUN:
        return True
    asked = {str(one): values for one, values in parameters.items()}
    if job not in asked:
        return False
    parts = path.relative_to(run.folder).parts
    if parts[:2] == ("sessions", "registered"):
        return bool(asked[job].get("registered"))
    return parts[0] != "models" or _is_trained(list(parts[2:]), asked[job], asked[_CURATION])


def _is_trained(parts: list[str], asked: Mapping[str, Any], curation: Mapping[str, Any]) -> bool:
    """Whether a file below the networks of a bone belongs to a network that is trained with these parameters."""
    protocols, controls = (
        [name.strip() for name in str(names).split(",")] for names in (curation["protocols"], asked["controls"])
    )
    repeats = min(asked["network_repeats"], curation["repeats"])
    if parts[:1] == ["controls"]:
        if len(parts) < 2 or parts[1] not in controls:
            return False
        # A control has the folds of the first protocol, once.
        parts, protocols, repeats = parts[2:], [min(protocols)], 1
    found = _NETWORK.fullmatch("/".join(parts))
    if found is None:
        return True
    repeat, first, second = (int(found[name] or 0) for name in ("repeat", "first", "second"))
    return (
        found["protocol"] in protocols
        and repeat < (repeats if found["protocol"] == "all" else 1)
        and max(first, second) < curation["folds"]
        and (found["second"] is None or asked["stacking"] == "strict")
        and (found["member"] is None or int(found["member"]) < asked["ensemble"] > 1)
    )


def set_aside(run: Run, *, before: Mapping[str, Any], finished: Mapping[str, Any]) -> dict[str, Any]:
    """When the jobs ended that a run no longer has, and the hashes of what they wrote: they may be asked for again.

    Parameters
    ----------
    run, before, finished
        As in `hashes`.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.written import set_aside
    >>> ulna = {"02_train_bone_ulna": {"finished": "2026-01-05"}}
    >>> set_aside(dq.Run(Path("ours")), before={"stages": ulna, "files": {"scores_ulna.csv": "12"}}, finished={})
    {'02_train_bone_ulna': {'finished': '2026-01-05', 'files': {'scores_ulna.csv': '12'}}}
    """
    kept = {name: one for name, one in before.get("set_aside", {}).items() if name not in finished}
    for name, stage in before.get("stages", {}).items():
        if name not in finished and stage.get("finished"):
            files = {
                file: value for file, value in before.get("files", {}).items() if job_of(run, run.folder / file) == name
            }
            kept[name] = {"finished": stage["finished"], "files": files}
    return dict(sorted(kept.items()))


def hashes(
    run: Run,
    *,
    before: Mapping[str, Any],
    finished: Mapping[str, Any],
    parameters: Mapping[Job, Mapping[str, Any]] | None = None,
) -> dict[str, str]:
    """The SHA-256 of every file that a run wrote; of jobs that did not run again, what the last record says.

    A file that somebody changed since is so never taken for what the job wrote.

    Parameters
    ----------
    run : Run
        The run folder.
    before : mapping
        The last record; empty if there is none.
    finished : mapping
        When each job ended, by its name.
    parameters : mapping, optional
        The parameters of each job as planned, which leave out what `is_asked` does not know; by default every file counts.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.written import hashes
    >>> run = dq.run.example_run()
    >>> first = hashes(run, before={}, finished={})
    >>> first["splits.csv"] == dq.folder.file_hash(run.splits)
    True
    """
    ended = {name: stage.get("finished") for name, stage in before.get("stages", {}).items()}
    known: dict[str, str] = dict(before.get("files", {}))
    for name, one in before.get("set_aside", {}).items():
        ended[name] = one["finished"]
        known |= one["files"]
    same = {name for name, when in finished.items() if when is not None and ended.get(name) == when} if known else set()
    kept = {name: value for name, value in known.items() if job_of(run, run.folder / name) in same}
    new = [name for name, job in written_files(run).items() if name not in kept and job not in same]
    found = kept | {name: file_hash(run.folder / name) for name in new if run.folder / name != run.report}
    if parameters is not None:
        found = {name: value for name, value in found.items() if is_asked(run, run.folder / name, parameters)}
    return dict(sorted(found.items()))


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with a hash of its own content, by which a change of it is noticed.

    Parameters
    ----------
    record : mapping
        The content of run.json.

    Examples
    --------
    >>> from deepqct.run.written import SEAL, sealed
    >>> record = sealed({"preset": "quick"})
    >>> sealed(record | {"preset": "paper"})[SEAL] == record[SEAL]
    False
    """
    content = {name: value for name, value in record.items() if name != SEAL}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return content | {SEAL: hashlib.sha256(text.encode()).hexdigest()}


def missing_parts(run: Run) -> dict[str, list[str]]:
    """The stacks and weights that the record lists and that are not there, by the job that makes them anew.

    Parameters
    ----------
    run : Run
        The run folder.

    Returns
    -------
    dict of str to list of str
        Paths in the run folder; empty if nothing is missing, or the run has no record.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.written import missing_parts
    >>> missing_parts(dq.run.example_run())
    {}
    """
    try:
        listed: Iterable[str] = read_json(run.record).get("files", {}) if run.record.exists() else ()
    except FileError:
        return {}
    found: dict[str, list[str]] = {}
    for name in listed:
        job = job_of(run, run.folder / name)
        part = job and name.endswith((".npy", ".safetensors")) and is_within(run, name)
        if part and not (run.folder / name).exists():
            found.setdefault(job, []).append(name)
    return dict(sorted(found.items()))


def _tables(run: Run) -> dict[Path, str]:
    """The job of each file that lies in the run folder itself."""
    of_stage: dict[str, tuple[Path, ...]] = {
        _OF_RUN: (run.settings, run.report),
        _CURATION: (
            run.participants, run.dictionary, run.table_one, run.protocol, run.scanners, run.curation, run.indices,
            run.texture, run.scanner_indices, run.agreement, run.repeats, run.precision, run.splits,
        ),
        "03_fusion_and_baselines": (
            run.models_table, run.predictions, run.performance, run.comparisons, run.curves, run.reclassification,
            run.subgroups, run.optimism, run.sample_size, run.classifiers, run.repeat_risks, run.noise_costs,
        ),
        "04_clustering": (
            run.phenotypes, run.phenotypes_record, run.groups_beside_preprint, run.group_comparison,
        ),
        "05_explore": (run.thresholds,),
    }  # fmt: skip
    for bone in BONES:
        of_stage[str(Job(_TRAINING, bone))] = (
            run.scores(bone), run.inner_scores(bone), run.training(bone), run.saliency(bone), run.controls(bone),
            run.repeat_scores(bone),
        )  # fmt: skip
    return {path: job for job, paths in of_stage.items() for path in paths}
