"""Checks before a run begins: values out of range, what the cohort cannot give, what the machine lacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from deepqct.cohort.cohort import Cohort
from deepqct.cohort.keep import kept
from deepqct.cohort.splits import FEWEST_FOLDS
from deepqct.folder import Job
from deepqct.networks.recipe import Recipe
from deepqct.run.parameters import ParameterError
from deepqct.run_tables import margins_of
from deepqct.terms import SAME_PATIENT, SITES, columns_of

# The lowest value that a parameter may have, in every stage that has it; those of the networks are checked by `Recipe`.
LOWEST = {
    "folds": FEWEST_FOLDS, "repeats": 1, "image_px": 16, "workers": 1, "threads": 1, "network_repeats": 1,
    "permutations": 0, "bootstraps": 0, "draws": 1, "neighbours": 2,
}  # fmt: skip
Jobs = Mapping[Job, Mapping[str, Any]]


def check_values(jobs: Jobs) -> None:
    """Raise an error for values that no cohort could be run with.

    Parameters
    ----------
    jobs : mapping
        The parameters of each job.

    Raises
    ------
    ParameterError
        If a value is out of range; the message names the parameter, its value and what it may be.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> from deepqct.run.preflight import check_values
    >>> jobs = dq.run.plan_run("virtual", out=Path("reports/tried")).parameters
    >>> jobs[dq.folder.Job("01_data_curation")]["folds"] = 1
    >>> try:
    ...     check_values(jobs)
    ... except dq.run.ParameterError as error:
    ...     print(error)
    folds of 01_data_curation is 1; it must be 2 or more.
    """
    for job, values in jobs.items():
        for name, lowest in LOWEST.items():
            if name in values and values[name] < lowest:
                raise ParameterError(f"{name} of {job} is {values[name]}; it must be {lowest} or more.")
    curation = jobs[Job("01_data_curation")]
    try:
        columns_of(curation["outcome"])
    except ValueError as error:
        raise ParameterError(str(error)) from error
    if curation["horizon"] <= 0:
        raise ParameterError(f"horizon is {curation['horizon']:g}; it is years, above 0.")
    if not 0 < curation["test_fraction"] < 1:
        raise ParameterError(f"test_fraction is {curation['test_fraction']}; it must lie between 0 and 1.")
    if Job("03_fusion_and_baselines") in jobs:
        try:
            margins_of(jobs[Job("03_fusion_and_baselines")]["margins"])
        except ValueError as error:
            raise ParameterError(f"03_fusion_and_baselines: {error}") from error
    for bone, values in ((job.bone, values) for job, values in jobs.items() if job.bone):
        if values["stacking"] == "strict" and curation["folds"] < 3:
            raise ParameterError(f"Strict stacking needs at least 3 folds, and folds is {curation['folds']}.")
        try:
            recipe, size = Recipe.of(values), curation["image_px"]
            if recipe.patches or recipe.arch != Recipe.arch:
                from deepqct.curation.stacks import FIELD_MM
                from deepqct.networks.backbones import try_network

                pixel_mm = FIELD_MM[bone] / size
                pixels = recipe.patch_px(pixel_mm) or recipe.view.pixels(bone, size=size, pixel_mm=pixel_mm)
                try_network(arch=recipe.arch, channels=recipe.channels, pixels=pixels)
        except ValueError as error:
            raise ParameterError(f"02_train_bone: {error}") from error


def check_cohort_for(jobs: Jobs, cohort: Cohort) -> None:
    """Raise an error for what this cohort cannot give: too few women, more folds than events, missing contours or columns.

    Parameters
    ----------
    jobs : mapping
        The parameters of each job.
    cohort : Cohort
        The cohort that is to be run; only its tables are looked at, no scan.

    Raises
    ------
    ParameterError
        If the cohort lacks something; the message says what.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> from deepqct.run.preflight import check_cohort_for
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> plan = dq.run.plan_run("virtual", out=Path("reports/tried"), overrides=["folds=6"])
    >>> try:
    ...     check_cohort_for(plan.parameters, cohort)
    ... except dq.run.ParameterError as error:
    ...     print(error)
    6 folds need at least 6 patients of each outcome, and the rarer one has 5; set folds=5 or lower.
    """
    from deepqct.cohort.splits import make_splits
    from deepqct.curation.beside_scanner import check_sources

    curation, people = jobs[Job("01_data_curation")], kept(cohort).set_index("participant_id")
    _check_women(jobs, cohort)
    try:
        check_sources(cohort, contours=curation["contours"], indices=curation["indices"])
        make_splits(
            cohort.target.strata(curation["folds"]),
            patients=people.get(SAME_PATIENT),
            protocols=[name.strip() for name in curation["protocols"].split(",")],
            folds=curation["folds"],
            test_fraction=curation["test_fraction"],
            seed=curation["seed"],
        )
    except ValueError as error:
        raise ParameterError(str(error)) from error
    for name in jobs[Job("04_clustering")]["adjust_for"].split(","):
        if name.strip() not in ("", "none", *people):
            raise ParameterError(
                f"adjust_for names {name.strip()!r}, which the run does not take along; use a known column of "
                "participants.tsv, or describe it in participants.json."
            )


def _check_women(jobs: Jobs, cohort: Cohort) -> None:
    """Raise an error if too few women have a scan that counts for the patient groups, or for the network of a bone."""
    from deepqct.groups.find import FEWEST

    pairs = cohort.scans[["participant_id", "site"]].itertuples(index=False, name=None)
    scanned = pd.DataFrame([pair for pair in pairs if pair not in cohort.rejected], columns=["participant_id", "site"])
    outcome, event = cohort.target.groups, cohort.target.event
    women, wanted = scanned["participant_id"].nunique(), jobs[Job("04_clustering")]["groups"]
    who = f"{women} of {len(outcome)} women have a scan" + (" that no reader rejected" if cohort.rejected else "")
    if women < FEWEST:
        raise ParameterError(f"{who}, and a run looks for patient groups in {FEWEST} or more; add women to the cohort.")
    if wanted >= women:
        raise ParameterError(
            f"{who}, too few for groups={wanted}; set fewer groups, or groups=0 to let the data choose."
        )
    site_of = {bone: site for site, bones in SITES.items() for bone in bones}
    for bone in (job.bone for job in jobs if job.bone):
        site = site_of[bone]
        seen = outcome[scanned.loc[scanned["site"] == site, "participant_id"].unique()].astype(int)
        if seen.nunique() < 2:
            others = ",".join(other.bone for other in jobs if other.bone and site_of[other.bone] != site)
            mend = f"set bone={others}" if others else "add women"
            raise ParameterError(
                f"{len(seen)} women have a scan of the {site}, {int(seen.sum())} of them with {event}, and a "
                f"network learns from both outcomes; {mend}."
            )


def check_machine(jobs: Jobs) -> None:
    """Raise an error if this machine lacks the device or the weights that the networks ask for.

    ImageNet's weights are fetched now if they are not on the machine. On a cluster, where SNAKEMAKE_PROFILE is set, the
    device belongs to another machine and is not checked.

    Parameters
    ----------
    jobs : mapping
        The parameters of each job.

    Raises
    ------
    ParameterError
        If the device is not there or the weights cannot be fetched; the message says which.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> from deepqct.run.preflight import check_machine
    >>> jobs = dq.run.plan_run("virtual", out=Path("reports/tried"), overrides=["bone=tibia"]).parameters
    >>> jobs[dq.folder.Job("02_train_bone", "tibia")]["device"] = "a large one"
    >>> try:
    ...     check_machine(jobs)
    ... except dq.run.ParameterError as error:
    ...     print(str(error).partition(";")[0])
    device is 'a large one'
    """
    networks = [values for job, values in jobs.items() if job.bone]
    try:
        for arch, channels in {(r.arch, r.channels) for r in map(Recipe.of, networks) if r.weights == "imagenet"}:
            from deepqct.networks.backbones import network

            network(arch=arch, channels=channels, weights="imagenet")
        if any(values["device"] != "auto" for values in networks) and "SNAKEMAKE_PROFILE" not in os.environ:
            from deepqct.networks.training import use_device

            for values in networks:
                use_device(values["device"])
    except (RuntimeError, ValueError) as error:
        raise ParameterError(str(error)) from error
