"""Networks that read a bone in different ways, on the same women and folds, beside a ridge regression on its indices.

`python tests/bench/readers.py OUT RUN [RUN ...] --bone radius --reader plain --reader spread --common epochs=20,images=4`

Each run is curated, with one set of folds (repeat 0 of protocol all). Everything is resumable: a reader whose scores are in
OUT/scores.csv is not trained again, and of one that was interrupted the folds that were trained are kept. A reader may be
given by name (see `READERS`) or as NAME:setting=value,setting=value. Uses CUDA if there is one.

With `--null 20` the outcomes of each run are permuted 20 times within its folds, so that no reader can find anything, and
the mean AUC of each reader over these cohorts is told.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from measure import table

from deepqct.evaluation import auc, compare_auc, within_folds
from deepqct.folder import Run, read_table, write_table
from deepqct.models.classifiers import cross_predict
from deepqct.networks import Recipe, cross_validate, use_device
from deepqct.run_tables import main_rows, run_outcome, wide_indices
from deepqct.terms import BONES
from deepqct.work import say

READERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fine": {"first": "fine"},
    "spread": {"pooling": "spread"},
    "patches": {"patches": 16},
    "patches-spread": {"patches": 16, "bag": "spread"},
    "auxiliary": {"auxiliary": 0.3},
    "auxiliary-both": {"auxiliary": 0.3, "told": "both"},
    "spread-auxiliary": {"pooling": "spread", "auxiliary": 0.3},
    "patches-auxiliary": {"patches": 16, "bag": "spread", "auxiliary": 0.3},
    "ensemble": {"ensemble": 5},
    "spread-auxiliary-ensemble": {"pooling": "spread", "auxiliary": 0.3, "ensemble": 5},
}
RIDGE = "ridge on indices"
_TABLES = ("participants", "dictionary", "splits", "indices", "texture")


def settings(text: str) -> dict[str, Any]:
    """Settings of a recipe from name=value, separated by commas; a value that is no number or truth is a word."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name.strip()] = value
    return found


def reader(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the settings of a reader."""
    name, own, given = text.partition(":")
    if not own and name not in READERS:
        raise argparse.ArgumentTypeError(
            f"{name!r} is no reader; use one of {', '.join(READERS)}, or NAME:setting=value."
        )
    return name, settings(given) if own else READERS[name]


def beside(run: Run, folder: Path) -> Run:
    """A run folder of its own for one reader, with links to the stacks and tables of the curated run."""
    own = Run(folder)
    own.folder.mkdir(parents=True, exist_ok=True)
    for name in ("bones", *_TABLES):
        target, link = Path(getattr(run, name)).resolve(), Path(getattr(own, name))
        if not link.exists():
            link.symlink_to(target, target_is_directory=target.is_dir())
    return own


def permuted(run: Run, folder: Path, *, seed: int) -> Run:
    """The same bones with outcomes that are permuted among the women of each fold."""
    own, rng = beside(run, folder), np.random.default_rng(seed)
    people, outcome = read_table(run.participants), run_outcome(run)
    splits = read_table(run.splits).query("protocol == 'all' and repeat == 0").set_index("participant_id")
    fold = splits["fold"].reindex(people["participant_id"]).to_numpy()
    values = people[str(outcome.name)].to_numpy(copy=True)
    for part in np.unique(fold.astype(str)):
        among = np.flatnonzero(fold.astype(str) == part)
        values[among] = values[rng.permutation(among)]
    Path(own.participants).unlink()
    write_table(own.participants, people.assign(**{str(outcome.name): values}))
    return own


def ridge_scores(run: Run, bone: str) -> pd.DataFrame:
    """Out-of-fold scores of the nested ridge on a bone's indices: participant_id, fold, score."""
    splits = read_table(run.splits).query("protocol == 'all' and repeat == 0").set_index("participant_id")
    wide = wide_indices(read_table(run.indices))
    values = wide[[column for column in wide if column.startswith(f"{bone} ")]].astype(float)
    people = splits.index.intersection(values.dropna(how="all").index)
    found = cross_predict(values.loc[people], outcome=run_outcome(run)[people], fold=splits.loc[people, "fold"])
    return (
        pd.DataFrame({"fold": splits.loc[people, "fold"], "score": found["score"]})
        .rename_axis("participant_id")
        .reset_index()
    )


def network_scores(run: Run, bone: str, recipe: Recipe) -> tuple[pd.DataFrame, float]:
    """Out-of-fold scores of the networks, participant_id, fold, score; and their mean AUC in the women of the training."""
    scores = main_rows(cross_validate(run, bone=bone, recipe=recipe, repeats=1))
    learned = read_table(run.training(bone)).query("split == 'training'")
    return scores[["participant_id", "fold", "score"]], float(learned["estimate"].mean())


def scored(out: Path, run: Run, bone: str, name: str, recipe: Recipe | None) -> pd.DataFrame:
    """The rows of one reader, from the file if they are there, else made and appended to it."""
    path, cohort = out / "scores.csv", run.folder.name
    how = "" if recipe is None else str(recipe)
    if path.exists():
        kept = read_table(path)
        rows = kept[(kept["cohort"] == cohort) & (kept["bone"] == bone) & (kept["reader"] == name)]
        if len(rows):
            if set(rows["settings"].fillna("")) != {how}:
                raise ValueError(
                    f"{path} holds {name} of {cohort} with other settings; give the reader another name, or take another "
                    "folder."
                )
            return rows
    begun, learned = time.perf_counter(), float("nan")
    if recipe is None:
        found = ridge_scores(run, bone)
    else:
        found, learned = network_scores(beside(run, out / "runs" / cohort / name), bone, recipe)
    outcome = run_outcome(run)[found["participant_id"]].to_numpy()
    rows = found.assign(cohort=cohort, bone=bone, reader=name, outcome=outcome, training_auc=learned)
    rows = rows.assign(seconds=round(time.perf_counter() - begun, 1), settings=how)
    rows = rows[
        [
            "cohort",
            "bone",
            "reader",
            "participant_id",
            "fold",
            "outcome",
            "score",
            "training_auc",
            "seconds",
            "settings",
        ]
    ]
    write_table(path, pd.concat([read_table(path), rows]) if path.exists() else rows)
    return rows


def null(
    out: Path, run: Run, bone: str, readers: list[tuple[str, dict[str, Any]]], *, common: dict[str, Any], times: int
) -> None:
    """The mean AUC of each reader over cohorts whose outcomes are permuted."""
    found = []
    for number in range(times):
        cohort = permuted(run, out / "permuted" / f"{run.folder.name}-{number:02d}", seed=number)
        for name, own in [(RIDGE, None), *readers]:
            recipe = None if own is None else Recipe(**(common | own))
            rows = scored(out, cohort, bone, name, recipe)
            estimate, within = (
                auc(rows["outcome"], rows["score"]).estimate,
                within_folds(rows["outcome"], rows["score"], rows["fold"]),
            )
            found.append({"reader": name, "AUC": estimate, "in folds": within, "n": len(rows)})
    table_of = pd.DataFrame(found).groupby("reader", sort=False)
    shown = [[name, len(rows), int(rows["n"].iloc[0]),
              *(f"{rows[key].mean():.3f} ± {1.96 * rows[key].sem():.3f}" for key in ("AUC", "in folds"))]
             for name, rows in table_of]  # fmt: skip
    table(
        f"{run.folder.name}, {bone}: outcomes permuted within folds; mean AUC over cohorts, 95 % interval.",
        ["reader", "cohorts", "n", "AUC", "in folds"],
        shown,
    )


def summary(rows: pd.DataFrame, ridge: pd.DataFrame) -> dict[str, Any]:
    """AUC of one reader, and its paired difference to the ridge in the women whom both scored."""
    both = rows.merge(ridge[["participant_id", "score"]], on="participant_id", suffixes=("", "_ridge"))
    own, apart = (
        auc(rows["outcome"], rows["score"]).row(),
        compare_auc(both["outcome"], both["score"], both["score_ridge"]).row(),
    )
    figures = {name: own[name] for name in ("n", "events", "estimate", "low", "high")}
    figures |= {"in_folds": within_folds(rows["outcome"], rows["score"], rows["fold"])}
    figures |= {"training_auc": rows["training_auc"].iloc[0]}
    figures |= {
        f"minus_ridge{ending}": apart[name] for name, ending in (("estimate", ""), ("low", "_low"), ("high", "_high"))
    }
    return figures | {"seconds": rows["seconds"].iloc[0]}


def main() -> None:
    """Every reader on every bone of every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--bone", action="append", choices=BONES)
    parser.add_argument("--reader", action="append", type=reader)
    parser.add_argument(
        "--common", type=settings, default={}, help="settings of all readers, such as epochs=20,field=bone"
    )
    parser.add_argument(
        "--null", type=int, default=0, help="so many cohorts with permuted outcomes, in place of the runs"
    )
    given = parser.parse_args()
    say(f"on {use_device()}")
    if not torch.cuda.is_available():
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    summaries: list[dict[str, Any]] = []
    for run in map(Run, given.run):
        for bone in given.bone or BONES:
            if given.null:
                null(given.out, run, bone, given.reader or list(READERS.items()), common=given.common, times=given.null)
                continue
            ridge = scored(given.out, run, bone, RIDGE, None)
            for name, own in [(RIDGE, None), *(given.reader or READERS.items())]:
                rows = ridge if own is None else scored(given.out, run, bone, name, Recipe(**(given.common | own)))
                summaries.append({"cohort": run.folder.name, "bone": bone, "reader": name} | summary(rows, ridge))
                write_table(given.out / "summary.csv", pd.DataFrame(summaries))
    if not summaries:
        return
    shown = [_line(row) for row in summaries]
    header = ["cohort", "bone", "reader", "n/events", "AUC", "in folds", "training AUC", "minus ridge", "s"]
    table("Out of fold, paired with the ridge on the same women.", header, shown)


def _line(row: dict[str, Any]) -> list[object]:
    apart = "" if row["reader"] == RIDGE else _figure(row, "minus_ridge", "minus_ridge_")
    basis, inner = f"{row['n']:.0f}/{row['events']:.0f}", (f"{row[name]:.3f}" for name in ("in_folds", "training_auc"))
    return [row["cohort"], row["bone"], row["reader"], basis, _figure(row), *inner, apart, f"{row['seconds']:.0f}"]


def _figure(row: dict[str, Any], name: str = "estimate", ends: str = "") -> str:
    values = [row[name], row[f"{ends}low"], row[f"{ends}high"]]
    return "not estimable" if np.isnan(values[0]) else "{:.3f} ({:.3f} to {:.3f})".format(*values)


if __name__ == "__main__":
    sys.exit(main())
