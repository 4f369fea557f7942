"""What a planned study can and cannot show: its figures as a table, and in words."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from deepqct.evaluation.discrimination import FEWEST
from deepqct.evaluation.planning import (
    ENOUGH,
    Study,
    above_chance,
    auc_width,
    difference_width,
    estimable_share,
    power,
    smallest_gain,
    usual_interval,
    women_needed,
)
from deepqct.evaluation.sizes import WIDTHS, most_predictors, sizes_to_develop, sizes_to_validate

_OURS = "normal scores, our choice"
_OFTEN = round(100 * ENOUGH)


def study_answers(study: Study, *, threshold: float | None = None) -> pd.DataFrame:
    """The figures of a planned study, one question a row.

    Parameters
    ----------
    study : Study
        The planned study.
    threshold : float, optional
        The risk from which one would treat, for the net benefit; by default the prevalence (our choice).

    Returns
    -------
    DataFrame
        part (AUC, two scores, new model, validation), question, value (a number), needed (women for a power of 0.8, or for
        the criterion; missing where nothing is asked), enough (True, False, or missing), answer (in words; of 100 is
        short for of 100 such studies), source.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.evaluation.study_answers(dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8))
    >>> table["answer"][0]
    '0.12 wide, as 0.73 to 0.85'
    >>> table.set_index("question").loc["not worse by 0.05", "answer"]
    '38 of 100 show it; 80 with 602 women'
    """
    rows = [*_precision(study), *_comparisons(study), *_development(study), *_validation(study, threshold)]
    table = pd.DataFrame(rows, columns=["part", "question", "value", "needed", "enough", "answer", "source"])
    return table.astype({"needed": "Int64", "enough": "boolean"})


def _precision(study: Study) -> list[tuple]:
    """Rows of the interval of one AUC."""
    width, (low, high) = auc_width(study), usual_interval(study)
    few, above = 1 - estimable_share(study), above_chance(study)
    return [
        ("AUC", "95 % interval", width, None, None, f"{width:.2f} wide, as {low:.2f} to {high:.2f}", _OURS),
        ("AUC", f"fewer than {FEWEST} events", few, None, few <= 0.01, f"in {_of_100(few)} of 100 cohorts", "binomial"),
        ("AUC", "better than chance", above, None, above >= ENOUGH, f"{_of_100(above)} of 100 show it", _OURS),
    ]


def _comparisons(study: Study) -> list[tuple]:
    """Rows of the comparison of two scores in the same women."""
    width, smallest = difference_width(study), smallest_gain(study)
    alike = f"{width:.2f} wide, at a correlation of {study.correlation:g}"
    least = f"{smallest:.3f}" if smallest == smallest else "there is none"
    part = "two scores"
    rows: list[tuple] = [(part, "interval of the difference", width, None, None, alike, _OURS)]
    for question, margin in ((f"better by {study.gain:g}", 0.0), *((f"not worse by {m:g}", m) for m in study.margins)):
        shown, women = power(study, margin=margin), women_needed(study, margin=margin)
        more = f"{_OFTEN} with {women:,} women" if women else "no number is enough"
        text = f"{_of_100(shown)} of 100 show it" + (f"; {more}" if shown < ENOUGH else "")
        rows.append((part, question, shown, women, shown >= ENOUGH, text, _OURS))
    return [*rows, (part, f"smallest gain that {_OFTEN} show", smallest, None, None, least, _OURS)]


def _development(study: Study) -> list[tuple]:
    """Rows of a model that would be developed in these women."""
    table = sizes_to_develop(study.predictors, prevalence=study.prevalence, auc=study.auc)
    most = most_predictors(study.n, prevalence=study.prevalence, auc=study.auc)
    rows = _criteria(table, study.n, "new model")
    text = f"{most} of {study.predictors} can be tried"
    return [*rows, ("new model", "candidate predictors", most, None, most >= study.predictors, text, "as above")]


def _validation(study: Study, threshold: float | None) -> list[tuple]:
    """Rows of a validation, in these women, of a model that exists."""
    chosen = study.prevalence if threshold is None else threshold
    return _criteria(sizes_to_validate(study.auc, prevalence=study.prevalence, threshold=chosen), study.n, "validation")


def _criteria(table: pd.DataFrame, n: int, part: str) -> list[tuple]:
    """Rows of criteria that ask for a number of women."""
    rows = []
    for name, women, source in table[["criterion", "needed", "source"]].itertuples(index=False):
        rows.append((part, name, women, women, n >= women, f"{women:,} women", source))
    return rows


def study_words(study: Study) -> dict[str, list[str]]:
    """What a planned study can and cannot show, in sentences.

    Parameters
    ----------
    study : Study
        The planned study.

    Returns
    -------
    dict of str to list of str
        Sentences under ``can`` and ``cannot``. Can means: 80 of 100 such studies show it, or a criterion is met.

    References
    ----------
    Riley RD et al. (2021), J Clin Epidemiol 132:88 (penalties do not make up for women); van der Ploeg T et al. (2014), BMC
    Med Res Methodol 14:137 (learning machines need more of them).

    Examples
    --------
    >>> import deepqct as dq
    >>> said = dq.evaluation.study_words(dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8))
    >>> said["can"][0]
    'Show that an AUC of 0.8 is better than chance: 100 of 100 such studies do.'
    >>> said["cannot"][0]
    'Pin the AUC down: its 95 % interval will be about 0.73 to 0.85; Riley asks for one 0.1 wide.'
    """
    said: dict[str, list[str]] = {"can": [], "cannot": []}

    def say(enough: bool, yes: str, no: str) -> None:
        said["can" if enough else "cannot"].append(yes if enough else no)

    sure, chance = estimable_share(study), above_chance(study)
    if sure < 0.99:
        said["cannot"].append(
            f"Count on an AUC at all: {_of_100(1 - sure)} of 100 such cohorts have fewer than {FEWEST} women with the "
            "outcome or without it, and nothing is estimated then."
        )
    say(
        chance >= ENOUGH,
        f"Show that an AUC of {study.auc:g} is better than chance: {_of_100(chance)} of 100 such studies do.",
        f"Be relied on to show that an AUC of {study.auc:g} is better than chance: {_of_100(chance)} of 100 do.",
    )
    (low, high), wide = usual_interval(study), WIDTHS["AUC"]
    say(
        auc_width(study) <= wide,
        f"Pin the AUC down: its 95 % interval will be about {low:.2f} to {high:.2f}, as narrow as Riley asks for.",
        f"Pin the AUC down: its 95 % interval will be about {low:.2f} to {high:.2f}; Riley asks for one {wide:g} wide.",
    )
    smallest = smallest_gain(study)
    say(
        smallest <= study.gain,
        f"Show that one score is better than another by {study.gain:g} in AUC.",
        f"Be relied on to show a gain of {study.gain:g} in AUC between two scores: {_of_100(power(study))} of 100 do"
        + (f", and {_OFTEN} only where the gain is {smallest:.3f}." if smallest == smallest else "."),
    )
    for margin in study.margins:
        shown, women = power(study, margin=margin), women_needed(study, margin=margin)
        more = f"{_OFTEN} need {women:,} women" if women else "no number of women is enough"
        say(
            shown >= ENOUGH,
            f"Show that a score as good as another is not worse by {margin:g}: {_of_100(shown)} of 100 do.",
            f"Be relied on to show that a score as good as another is not worse by {margin:g}: {_of_100(shown)} of 100 "
            f"do; {more}.",
        )
    _say_sizes(study, say)
    said["cannot"].append("Say how a score does in other clinics: every figure here is for women like these.")
    return said


def _say_sizes(study: Study, say: Callable[[bool, str, str], None]) -> None:
    """What Riley's sizes say of a new model and of a validation."""
    women = int(sizes_to_develop(study.predictors, prevalence=study.prevalence, auc=study.auc)["needed"].iloc[-1])
    most = most_predictors(study.n, prevalence=study.prevalence, auc=study.auc)
    say(
        study.n >= women,
        f"Carry a new model of {study.predictors} candidate predictors without much overfitting ({women:,} women needed).",
        f"Carry a new model of {study.predictors} candidate predictors: that takes {women:,} women, and {study.n:,} carry "
        f"{most}. Penalties do not make up for women, and networks need more of them.",
    )
    checks = sizes_to_validate(study.auc, prevalence=study.prevalence, threshold=study.prevalence)
    largest = int(checks["needed"].iloc[-1])
    short = [name for name, size in checks[["criterion", "needed"]].iloc[:-1].itertuples(index=False) if size > study.n]
    say(
        not short,
        f"Validate a model that exists, by Riley's criteria ({largest:,} women needed).",
        f"Validate a model that exists by all of Riley's criteria: {largest:,} women are needed; too few for "
        f"{', '.join(short)}.",
    )


def _of_100(share: float) -> str:
    """A share as a number of 100 studies, which is never rounded up to all, down to none, or up to enough."""
    if 1e-4 < share < 0.005:
        return "fewer than 1"
    if 0.995 <= share < 1 - 1e-4:
        return "more than 99"
    return f"fewer than {_OFTEN}" if ENOUGH - 0.005 <= share < ENOUGH else f"{100 * share:.0f}"
