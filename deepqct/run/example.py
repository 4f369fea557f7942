"""A small finished run of virtual women, to try things out on; the examples in the docstrings use it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

from deepqct.cohort.check import load_cohort
from deepqct.cohort.keep import keep_cohort
from deepqct.cohort.splits import keep_splits
from deepqct.curation.curation import curate
from deepqct.exploration import keep_thresholds, models_of, women
from deepqct.folder import Run, read_table
from deepqct.groups.comparison import beside_preprint, keep_comparison
from deepqct.groups.embedding import embed
from deepqct.groups.find import find_groups, keep_groups
from deepqct.models.comparison import compare_run
from deepqct.models.predict import predict_run
from deepqct.networks.cross_validation import cross_validate
from deepqct.networks.explained import keep_explained
from deepqct.networks.recipe import Recipe
from deepqct.networks.saliency import explain
from deepqct.run_tables import wide_indices
from deepqct.virtual.cohort import new_cohort

WOMEN, EVENTS = 12, 5  # the smallest number of events from which anything is estimated is 5
RECIPE = Recipe(arch="resnet18", epochs=1, images=1, batch_size=4)


@cache
def example_run() -> Run:
    """A finished run of 12 virtual women with networks of radius and tibia, made in about half a minute.

    It lies in a temporary folder that is removed when the process ends. With so few women its figures mean nothing.

    Returns
    -------
    Run
        The run with its cohort in ``virtual/cohort``, its stacks, indices, scores, predictions, groups and tables.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> dq.run_tables.run_outcome(run).value_counts().to_dict()
    {0: 7, 1: 5}
    """
    folder = Path(tempfile.mkdtemp(prefix="deepqct-example-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run = Run(folder / "run")
    with redirect_stdout(StringIO()):
        _make(run)
    return run


def _make(run: Run) -> None:
    """Call the stages one after the other, as the notebooks do."""
    new_cohort(
        run.virtual, scenario="deepqct-like", n=WOMEN, voxel_mm=0.3, slices=6, prevalence=EVENTS / WOMEN, motion=False
    )
    cohort = load_cohort(run.virtual / "cohort")
    keep_cohort(cohort, run)
    keep_splits(cohort, run, protocols="all", folds=2, repeats=1, test_fraction=0.1, seed=7)
    curate(cohort, run, image_px=32)
    for bone in ("radius", "tibia"):
        cross_validate(run, bone=bone, recipe=RECIPE)
        explained = explain(run, bone=bone, protocol="all", repeat=0, recipe=RECIPE)
        keep_explained(run, explained, bone=bone)
    compare_run(run, predict_run(run), permutations=0, bootstraps=0)
    features = wide_indices(read_table(run.indices))
    groups = find_groups(features, groups=2, draws=19, bootstraps=10)
    picture = embed(groups.space.standardise(features), neighbours=5)
    table = keep_groups(run, groups, picture, features)
    keep_comparison(run, table, features)
    beside_preprint(run, table, features)
    family, model = models_of(run)[0]
    keep_thresholds(run, women(run, family=family, model=model))
