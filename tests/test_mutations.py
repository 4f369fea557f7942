"""The guards against leaks guard: with a leak put into a copy of the package, the test that should notice must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.long

# What is fitted on everybody instead: file, what stands there, what the leak makes of it, the test that must notice.
LEAKS = {
    "imputer and scaler": (
        "models/classifiers.py",
        "    model = make_pipeline(*_prepared(), _logistic(C_GRID[best])).fit(x, y)\n",
        "    model = make_pipeline(*_prepared(), _logistic(C_GRID[best])).fit(x, y)\n"
        "    for step in model[:-1]:\n        step.fit(EVERYBODY[list(columns)].to_numpy(float))\n",
        "test_fusion.py::test_imputing_and_scaling_never_see_the_held_out_fold",
    ),
    "choice of columns": (
        "models/classifiers.py",
        "features.columns[features.notna().any()])",
        "features.columns[EVERYBODY.notna().any()])",
        "test_classifiers.py::test_the_choice_of_columns_is_made_in_the_training_folds",
    ),
    "regression": (
        "models/classifiers.py",
        '        trainable = fold.index[(fold != held_out) & (fold != "test")]\n',
        "        trainable = fold.index\n",
        "test_fusion.py::test_regression_never_sees_the_held_out_outcomes",
    ),
    "models of numbers and times": (
        "models/regressions.py",
        '        trainable = fold.index[(fold != held_out) & (fold != "test")]\n',
        "        trainable = fold.index\n",
        "test_outcomes.py::test_a_held_out_outcome_has_no_say_in_its_own_prediction[time]",
    ),
    "maps of numbers and times": (
        "evaluation/maps.py",
        'known[known["fold"] != fold]',
        "known",
        "test_outcomes.py::test_a_held_out_outcome_has_no_say_in_what_its_network_is_mapped_to[number]",
    ),
    "threshold": (
        "models/classifiers.py",
        "threshold_for(outcome[train], model.inner, sensitivity=sensitivity)",
        'threshold_for(outcome, table["score"], sensitivity=sensitivity)',
        "test_classifiers.py::test_the_threshold_never_sees_the_held_out_fold",
    ),
    "calibration": (
        "evaluation/calibration.py",
        'fitted_on = known[known["fold"] != fold]',
        "fitted_on = known",
        "test_evaluation.py::test_calibration_never_sees_the_patients_it_is_applied_to",
    ),
    "levels of folds": (
        "models/levels.py",
        '        level = levels(score[fold != "test"], fold[fold != "test"])\n',
        '        without = (fold != "test") & (data.outcome.reindex(fold.index) == 0)\n'
        "        level = levels(score[without], fold[without])\n",
        "test_levels.py::test_no_outcome_of_the_held_out_fold_reaches_its_score_or_risk[ulna]",
    ),
    "networks, test set": (
        "networks/data.py",
        'items = items[~items["fold"].isin(["test", str(without)])]',
        'items = items[~items["fold"].isin([str(without)])]',
        "test_learner.py::test_no_patient_is_on_both_sides_of_a_fold",
    ),
    "networks of strict stacking": (
        "networks/data.py",
        'items = items[~items["fold"].isin(["test", str(without)])]',
        'items = items[~items["fold"].isin(["test"])]',
        "test_learner.py::test_strict_stacking_scores_by_networks_that_saw_neither_fold",
    ),
    "usual woman and cover of the saliency": (
        "networks/folds.py",
        'isin(["test", *items["fold"].unique()])]',
        'isin(["test"])]',
        "test_controls.py::test_saliency_compares_with_women_of_the_other_folds",
    ),
    "late fusion": (
        "models/classifiers.py",
        '(fold != held_out) & (fold != "test")]\n        known',
        'fold != "nobody"]\n        known',
        "test_fusion.py::test_late_fusion_never_sees_the_held_out_fold_or_the_test_set",
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_makes_its_guard_fail(leak, tmp_path):
    """A guard that passes with the leak in place guards nothing."""
    file, before, after, guard = LEAKS[leak]
    for name in ("deepqct", "tests", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "bench"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{guard}"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def passes() -> bool:
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
        assert "1 passed" in done.stdout or "1 failed" in done.stdout, done.stdout + done.stderr
        return done.returncode == 0

    assert passes(), "without the leak the guard passes"
    source = tmp_path / "deepqct" / file
    text = source.read_text(encoding="utf-8")
    assert text.count(before) == 1, "the line that this leak replaces has moved"
    leaked = text.replace(before, after)
    if "EVERYBODY" in after:
        leaked = leaked.replace(
            '    table = pd.DataFrame({"score"',
            '    global EVERYBODY\n    EVERYBODY = features\n    table = pd.DataFrame({"score"',
        )
    source.write_text(leaked, encoding="utf-8")
    assert not passes()


def test_the_package_under_test_is_the_copy(tmp_path):
    """Else every mutation would leave the installed package as it is, and every guard would seem to sleep."""
    shutil.copytree(ROOT / "deepqct", tmp_path / "deepqct")
    command = [sys.executable, "-c", "import deepqct; print(deepqct.__file__)"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
