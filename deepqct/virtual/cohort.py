"""The folder of a virtual cohort, in the form of a hospital's, and beside it the truth, which no stage reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.folder import read_json, write_json, write_table
from deepqct.reach import code_hash
from deepqct.scans.scan import Scan
from deepqct.scans.write import write_aim, write_dicom, write_isq
from deepqct.terms import SITES
from deepqct.virtual import years as after
from deepqct.virtual.anatomy import draw_limb
from deepqct.virtual.attainable import attainable_auc, attainable_of_others
from deepqct.virtual.motion import draw_poses, move
from deepqct.virtual.population import HIDDEN_SHARE, MOTION, draw_women
from deepqct.virtual.scanner import scan_limb
from deepqct.virtual.twins import MOST_SLICES, SCANNERS, Laid, laid, lay_down
from deepqct.work import Progress, side_by_side

AIR_MARGIN_MM = 7.0  # air around the usual field, so that a moving limb stays within it
_ENDINGS = {"aim": ".AIM", "isq": ".ISQ", "dicom": ""}
_CODE = "from deepqct.virtual.cohort import draw_scan\ndraw_scan"  # what a scan depends on
_NOT_SCANNED = 0.02  # share of limbs without a scan: a cast, pain, no time; our choice
_OF_THE_TRUTH = ("latent_risk", *(f"{bone} " for bones in SITES.values() for bone in bones))


def draw_scan(
    woman: Mapping[str, Any],
    *,
    site: str,
    side: str,
    voxel_mm: float,
    slices: int,
    seed: int,
    motion_grade: int = 1,
    how: Laid | None = None,
) -> Scan:
    """Return a scan of one virtual woman's wrist or ankle.

    Parameters
    ----------
    woman : mapping
        A row of `draw_women`.
    site : str
        wrist or ankle.
    side : str
        left or right.
    voxel_mm : float
        Edge of a voxel.
    slices : int
        Number of slices along z.
    seed : int
        Together with her id, the site and the motion grade it decides every voxel, whoever is scanned before her.
    motion_grade : int
        1 (none) to 5 (severe).
    how : Laid, optional
        How the limb is laid down and scanned in one of several sessions (twins.py); its anatomy does not depend on it.

    Returns
    -------
    Scan

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> scan.native.shape, scan.voxel_mm, list(dq.find_bones(scan))
    ((8, 120, 187), (0.3, 0.3, 0.3), ['radius', 'ulna'])
    """
    number = int(str(woman["participant_id"]).removeprefix("sub-"))
    limb = [seed, number, list(SITES).index(site)]
    rng = np.random.default_rng(limb)
    again = [] if how is None else [7000 + how.session]
    poses = draw_poses(motion_grade, rng=np.random.default_rng([*limb, motion_grade, *again]))
    margin = round(AIR_MARGIN_MM / voxel_mm) if motion_grade > 1 or how is not None else 0
    drawn = slices if how is None else slices + 2 * MOST_SLICES
    density = draw_limb(woman, site=site, voxel_mm=voxel_mm, slices=drawn, rng=rng, margin=margin)
    if how is not None:
        density, rng = laid(density, how, voxel_mm=voxel_mm), np.random.default_rng([*limb, *again])
    density = move(density, poses, voxel_mm=voxel_mm)
    if margin:
        density = density[:, margin:-margin, margin:-margin]
    scanner, scale = ("xt2", 1.0) if how is None else (how.scanner, how.scale)
    return scan_limb(density, voxel_mm=voxel_mm, site=site, side=side, rng=rng, scanner=scanner, scale=scale)


def scan_in_steps(
    woman: Mapping[str, Any], *, site: str, voxel_mm: float, seed: int, motion_grade: int = 4
) -> dict[str, NDArray[np.float32]]:
    """Return three slices of a virtual scan after each step in which it is made, for a picture of these steps.

    Parameters
    ----------
    woman : mapping
        A row of `draw_women`.
    site : str
        wrist or ankle.
    voxel_mm : float
        Edge of a voxel.
    seed : int
        Decides the limb, its movements and the noise.
    motion_grade : int
        1 (none) to 5 (severe), of the last step.

    Returns
    -------
    dict of str to (3, y, x) float32
        Densities in mgHA/cm³ by the name of the step.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> steps = dq.virtual.scan_in_steps(woman, site="wrist", voxel_mm=0.3, seed=1)
    >>> list(steps), steps["scanned at rest"].shape
    (['tissues as drawn', 'scanned at rest', 'moved, grade 4'], (3, 120, 187))
    """
    rng = np.random.default_rng([seed, motion_grade])
    margin = round(AIR_MARGIN_MM / voxel_mm)
    drawn = draw_limb(woman, site=site, voxel_mm=voxel_mm, slices=3, rng=rng, margin=margin)
    moved = move(drawn, draw_poses(motion_grade, rng=rng), voxel_mm=voxel_mm)
    within = np.s_[:, margin:-margin, margin:-margin]

    def scanned(density: NDArray[np.float32]) -> NDArray[np.float32]:
        same = np.random.default_rng(seed)
        return scan_limb(density[within], voxel_mm=voxel_mm, site=site, side="right", rng=same).density

    steps = {"tissues as drawn": drawn[within], "scanned at rest": scanned(drawn)}
    return steps | {f"moved, grade {motion_grade}": scanned(moved)}


def new_cohort(
    out: Path,
    *,
    scenario: str = "literature",
    n: int = 60,
    voxel_mm: float = 0.12,
    slices: int = 24,
    prevalence: float = 0.33,
    hidden_share: float = HIDDEN_SHARE,
    risk_form: str = "linear",
    phenotype_separation: float | None = None,
    motion: bool = True,
    file_format: str = "aim",
    sessions: int = 1,
    scanners: Sequence[str] = ("xt2",),
    centres: int = 1,
    seed: int = 7,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Make the folder of a cohort of virtual women, and return it; scans that the same code made already are kept.

    Parameters
    ----------
    out : Path
        The folder that receives ``cohort/`` and ``truth/``.
    scenario : str
        null, literature or deepqct-like: how well the best possible model can do.
    n : int
        Number of women, at least 2.
    voxel_mm : float
        Edge of a voxel.
    slices : int
        Number of slices along z, at least 3.
    prevalence, hidden_share : float
        Share with a fragility fracture, and share of the risk that no index sees, as in `draw_women`.
    risk_form : str
        linear or weakest: how the risk depends on structure, as in `draw_women`.
    phenotype_separation : float, optional
        Distance between two phenotypes in SDs, the `separation` of `draw_women`; by default that of the scenario.
    motion : bool
        Whether limbs move, with grades 1 to 5 as often as in real scans; else all lie still.
    file_format : str
        aim, isq or dicom.
    sessions : int
        How often each woman is scanned; her bones stay what they are, and each time she is laid down anew: turned by up to
        6°, shifted by some mm and up to 2 slices, with other noise and motion (``truth/sessions.csv``).
    scanners : sequence of str
        The scanner of each session in turn: xt2, or xt1, the first XtremeCT.
    centres : int
        How many centres there are, each with densities of its own scale (SD 0.9 %); a later session is in the next.
    seed : int
        The same seed makes the same files.
    workers : int
        Number of processes that make scans at the same time; the files do not depend on it.
    progress : callable, optional
        Called with the number of scans done and their total.

    Returns
    -------
    Path
        The cohort folder.

    Raises
    ------
    ValueError
        If `out` holds a cohort that was made otherwise or that a hospital made, or if a parameter is out of range.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> folder = dq.virtual.new_cohort(Path(tempfile.mkdtemp()), n=3, voxel_mm=0.5, slices=3)
    >>> sorted(path.name for path in folder.iterdir())
    ['participants.json', 'participants.tsv', 'scans', 'scans.tsv']
    """
    if n < 2 or voxel_mm <= 0 or slices < 3:
        raise ValueError(
            f"n is {n}, voxel_mm {voxel_mm}, slices {slices}; at least 2, above 0 and at least 3 are needed."
        )
    if file_format not in _ENDINGS:
        raise ValueError(f"The format is {file_format!r}; use {', '.join(_ENDINGS)}.")
    if sessions < 1 or centres < 1 or not scanners or set(scanners) - set(SCANNERS):
        raise ValueError(
            f"sessions is {sessions}, centres {centres}, scanners {', '.join(scanners) or 'none'}; at least one of each is "
            f"needed, and scanners are {', '.join(SCANNERS)}."
        )
    cohort, truth = out / "cohort", out / "truth"
    asked = {
        "scenario": scenario, "prevalence": prevalence, "hidden_share": hidden_share,
        "risk_form": risk_form, "separation": phenotype_separation,
        "n": n, "voxel_mm": voxel_mm, "slices": slices, "motion": motion, "format": file_format, "seed": seed,
    }  # fmt: skip
    repeated = sessions > 1 or centres > 1 or tuple(scanners) != ("xt2",)
    if repeated:
        asked |= {"sessions": sessions, "scanners": list(scanners), "centres": centres}
    women = draw_women(
        n,
        scenario=scenario,
        prevalence=prevalence,
        hidden_share=hidden_share,
        risk_form=risk_form,
        separation=phenotype_separation,
        seed=seed,
    )
    attainable = attainable_auc(
        scenario,
        prevalence=prevalence,
        hidden_share=hidden_share,
        risk_form=risk_form,
        separation=phenotype_separation,
    )
    record = truth / "truth.json"
    known = read_json(record) if record.exists() else {}
    content = {"asked": asked, "attainable_auc": attainable, "code": code_hash(_CODE)}
    if known and known["asked"] != asked:
        raise ValueError(f"{out} holds a virtual cohort that was made otherwise; choose another folder or remove it.")
    if cohort.is_dir() and any(cohort.iterdir()) and not record.exists():
        raise ValueError(f"{cohort} was not made by deepqct and would be written over; choose another folder.")
    if repeated:
        scans, how = _plan_sessions(
            women, motion=motion, file_format=file_format, seed=seed, sessions=sessions, scanners=tuple(scanners),
            centres=centres,
        )  # fmt: skip
        home = scans.drop_duplicates("participant_id").set_index("participant_id")
        women = women.assign(centre=women["participant_id"].map(home["centre"])) if centres > 1 else women
        write_table(truth / "sessions.csv", how)
        first = scans[scans["session"] == "1"]
    else:
        scans = first = _plan_scans(women, motion=motion, file_format=file_format, seed=seed)
        how = None
    write_json(record, content)
    write_table(truth / "women.csv", women.merge(_true_motion(first), on="participant_id", how="left"))
    rows = women.set_index("participant_id", drop=False).to_dict("index")
    anew = known.get("code", content["code"]) != content["code"]
    todo = [
        (rows[s["participant_id"]], s, None if how is None else Laid.of(how.iloc[row].to_dict()))
        for row, s in enumerate(scans.to_dict("records"))
        if anew or not (cohort / s["file"]).exists()
    ]
    write = partial(_write_scan, cohort=cohort, voxel_mm=voxel_mm, slices=slices, seed=seed)
    there = len(scans) - len(todo)
    for made, _ in enumerate(side_by_side(write, todo, workers=workers if workers > 1 else 0), start=1):
        if progress is not None:
            progress(there + made, len(scans))
    shown = [name for name in women.columns if not name.startswith(_OF_THE_TRUTH)]
    of_others = attainable_of_others(
        scenario,
        prevalence=prevalence,
        hidden_share=hidden_share,
        risk_form=risk_form,
        separation=phenotype_separation,
    )
    described = {"centre": {"Description": "centre of the first session", "Role": "other"}} if centres > 1 else {}
    write_json(cohort / "participants.json", _dictionary(scenario, attainable, of_others) | described)
    write_table(cohort / "participants.tsv", women[shown])
    write_table(cohort / "scans.tsv", scans)
    return cohort


def _plan_sessions(
    women: pd.DataFrame,
    *,
    motion: bool,
    file_format: str,
    seed: int,
    sessions: int,
    scanners: tuple[str, ...],
    centres: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table scans.tsv of several sessions, and how each limb was laid down, row by row."""
    home = np.random.default_rng([seed, 70]).integers(0, centres, len(women))
    homes, scans, truth = dict(zip(women["participant_id"], home, strict=True)), [], []
    first = _plan_scans(women, motion=motion, file_format=file_format, seed=seed)
    side = first.set_index(["participant_id", "site"])["side"]
    for session in range(1, sessions + 1):
        own = (
            first
            if session == 1
            else _plan_scans(women, motion=motion, file_format=file_format, seed=seed + 7000 * session)
        )
        for row in own.to_dict("records"):
            place = (row["participant_id"], row["site"])
            limb = (seed, int(str(place[0]).removeprefix("sub-")), list(SITES).index(place[1]))
            how = lay_down(
                session, home=int(homes[place[0]]), scanners=scanners, centres=centres, seed=limb, cohort_seed=seed
            )  # fmt: skip
            ending = _ENDINGS[file_format]
            file = f"scans/{place[0]}_{place[1]}_ses-{session}{ending}"
            more = {"session": str(session), "file": file, "side": side.get(place, row["side"])}
            scans.append(row | more | ({"centre": how.centre} if centres > 1 else {}))
            truth.append(
                {"participant_id": place[0], "site": place[1], "motion_grade": row["motion_grade"], **how.row()}
            )
    return pd.DataFrame(scans), pd.DataFrame(truth)


def _plan_scans(women: pd.DataFrame, *, motion: bool, file_format: str, seed: int) -> pd.DataFrame:
    """The table scans.tsv: which limbs of each woman are scanned, on which side, with which motion grade."""
    n = len(women)
    rng = np.random.default_rng([seed, 20])
    left = rng.random((n, len(SITES))) < 0.5
    grade = _dealt(MOTION, rng.random((n, len(SITES)))) + 1
    lost = rng.random((n, len(SITES))) < _NOT_SCANNED
    lost &= np.cumsum(lost, axis=1) < len(SITES)  # everybody has one scan
    return pd.DataFrame(
        [
            {
                "participant_id": person,
                "site": site,
                "side": "left" if left[i, j] else "right",
                "file": f"scans/{person}_{site}{_ENDINGS[file_format]}",
                **({"unit": "density"} if file_format == "dicom" else {}),
                "motion_grade": int(grade[i, j]) if motion else 1,
            }
            for i, person in enumerate(women["participant_id"])
            for j, site in enumerate(SITES)
            if not lost[i, j]
        ]
    )


def _dealt(shares: Sequence[float], drawn: NDArray[np.float64]) -> NDArray[np.intp]:
    """Random numbers turned into 0, 1 and on by their rank, each as often as its share says: no small cohort is odd."""
    rank = drawn.ravel().argsort().argsort().reshape(drawn.shape)
    return np.searchsorted(np.cumsum(shares), (rank + 0.5) / drawn.size, side="right")


def _true_motion(scans: pd.DataFrame) -> pd.DataFrame:
    """The motion grades of each woman, in one column for each site."""
    wide = scans.pivot(index="participant_id", columns="site", values="motion_grade")
    return wide.add_prefix("motion ").reset_index()


def _write_scan(
    task: tuple[Mapping[str, Any], Mapping[str, Any], Laid | None],
    *,
    cohort: Path,
    voxel_mm: float,
    slices: int,
    seed: int,
) -> None:
    """Make and write one scan."""
    woman, row, how = task
    scan = draw_scan(
        woman, site=row["site"], side=row["side"], voxel_mm=voxel_mm, slices=slices, seed=seed,
        motion_grade=int(row["motion_grade"]), how=how,
    )  # fmt: skip
    path = cohort / row["file"]
    write = {".AIM": write_aim, ".ISQ": write_isq, "": write_dicom}[path.suffix]
    write(path, scan)


def _dictionary(scenario: str, attainable: dict[str, float], of_others: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The content of participants.json: that the cohort is virtual, and what its outcomes mean."""
    yes_no = {"0": "no", "1": "yes"}
    return {
        "virtual": {"scenario": scenario, "attainable_auc": attainable, "attainable": of_others},
        "fracture": {
            "Description": "fragility fracture in the past",
            "Levels": {"0": "none", "1": "one or more"},
            "Role": "outcome",
        },
        # Other questions that one may ask of the same women; none of these columns predicts another.
        "osteoporosis": {
            "Description": "osteoporosis, a lowest T-score of −2.5 or less",
            "Levels": yes_no,
            "Role": "outcome",
        },
        "phenotype": {
            "Description": "drawn from the phenotype of poorer bone, which no hospital would know",
            "Levels": yes_no,
            "Role": "outcome",
        },
        after.TIME: {
            "Description": "time to a fracture after the scan, to death, or to the end of follow-up",
            "Units": "years",
            "Role": "outcome",
        },
        after.EVENT: {
            "Description": "what ended the time to a fracture",
            "Levels": {"0": "end of follow-up", "1": "fracture", "2": "death before a fracture"},
            "Role": "outcome",
        },
    }
