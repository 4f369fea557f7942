"""What a planned study promises beside simulated cohorts: widths of intervals, cohorts without any, power.

`make bench-planning`; some minutes.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

from measure import table

sys.path.insert(0, str(Path(__file__).parents[1]))

from studies import shown, widths

from deepqct.evaluation import Study, above_chance, auc_width, difference_width, estimable_share, power

SIZES = ((40, 0.33), (60, 0.33), (100, 0.1), (216, 0.33), (216, 0.1), (500, 0.2))
AUCS = (0.6, 0.7, 0.8, 0.9)


def off(ours: float, theirs: float) -> str:
    """How far a planned width is from a simulated one."""
    return f"{100 * (ours / theirs - 1):+.1f} %"


def of_widths(number: int) -> None:
    """Widths by numbers of women, prevalence and AUC."""
    rows: list[list[object]] = []
    for (n, prevalence), auc in product(SIZES, AUCS):
        study = Study(n=n, prevalence=prevalence, auc=auc)
        found = widths(study, number=number)
        planned, apart = auc_width(study), difference_width(study)
        pairs = [(planned, found["auc_width"]), (apart, found["difference_width"])]
        cells = [text for ours, theirs in pairs for text in (f"{ours:.3f}", f"{theirs:.3f}", off(ours, theirs))]
        few = [f"{1 - estimable_share(study):.3f}", f"{found['not_estimable']:.3f}"]
        above = [f"{above_chance(study):.2f}", f"{found['above_chance']:.2f}"]
        rows.append([n, prevalence, auc, *cells, *few, *above])
    header = ["n", "prevalence", "AUC", "width planned", "simulated", "off", "difference planned", "simulated", "off",
              "not estimable planned", "simulated", "above 0.5 planned", "simulated"]  # fmt: skip
    table(f"{number} cohorts a row; normal scores, correlated at 0.6.", header, rows)


def of_power(number: int) -> None:
    """Power of superiority and of non-inferiority, without and with networks."""
    rows: list[list[object]] = []
    for n, auc, correlation in ((100, 0.75, 0.6), (216, 0.8, 0.6), (216, 0.8, 0.9), (600, 0.8, 0.6)):
        for networks, trainings in ((0, 1), (1, 1), (1, 3), (1, 5), (2, 3)):
            study = Study(
                n=n, prevalence=0.33, auc=auc, correlation=correlation, networks=networks, trainings=trainings
            )
            cells = [
                f"{power(study, margin=m):.2f} ({shown(study, margin=m, number=number):.2f})" for m in (0, 0.03, 0.05)
            ]
            rows.append([n, auc, correlation, networks, trainings, *cells])
    header = [
        "n",
        "AUC",
        "correlation",
        "networks",
        "trainings",
        "better by 0.05",
        "not worse by 0.03",
        "not worse by 0.05",
    ]
    table(f"Power as planned (share of {number} simulated studies); prevalence 0.33.", header, rows)


def main() -> None:
    """Both parts, or one."""
    parts = {"widths": of_widths, "power": of_power}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=parts)
    parser.add_argument("--cohorts", type=int, default=1000)
    asked = parser.parse_args()
    for name, part in parts.items():
        if asked.part in (None, name):
            part(asked.cohorts)


if __name__ == "__main__":
    main()
