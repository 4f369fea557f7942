"""The report's sentences, made from the tables' numbers; they never say more than those."""

from __future__ import annotations

import pandas as pd

from deepqct.evaluation.discrimination import (
    FEWEST,
    FEWEST_TRAININGS,
    NETWORKS_VARY,
    NOT_ESTIMABLE,
    Estimate,
    interval,
    plain,
    signed,
)
from deepqct.evaluation.numbers import FEWEST_NUMBERS
from deepqct.run_tables import figure_of, headlines, main_rows, margins_in
from deepqct.terms import CHANCE

# Words for the ends of a wide interval; our choice, after the usual rules of thumb.
_WORDS = ((0.5, "no better than chance"), (0.7, "weak"), (0.8, "fair"), (0.9, "good"), (1.01, "excellent"))
_SPOKEN = (
    "DeepQCT − pQCT-index", "DeepQCT − Texture", "pQCT-index − BMD", "DeepQCT − BMD", "pQCT-index + strength − pQCT-index",
    "non-weight-bearing − weight-bearing", "late fusion − pQCT-index",
)  # fmt: skip


def result(
    performance: pd.DataFrame, *, models: pd.DataFrame, virtual: bool, outcome: str, attainable: float | None
) -> list[str]:
    """The result in words: the DeepQCT score of each protocol with its interval, n and events.

    Parameters
    ----------
    performance : DataFrame
        The content of performance.csv; empty if the comparison did not finish.
    models : DataFrame
        The content of models.csv; it says which model speaks for its family.
    virtual : bool
        True if the women are virtual.
    outcome : str
        The name of the outcome, such as ``fracture``.
    attainable : float or None
        The highest AUC that anybody can reach on such virtual women on average; None for patients.

    Returns
    -------
    list of str
        One paragraph for each protocol.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.findings import result
    >>> run = dq.run.example_run()
    >>> performance, models = (dq.folder.read_table(path) for path in (run.performance, run.models_table))
    >>> (said,) = result(performance, models=models, virtual=True, outcome="fracture", attainable=0.75)
    >>> said.partition(" reached")[0]
    'In 12 virtual women (5 with fracture; protocol “all”), the DeepQCT score (mean of radius + tibia)'
    """
    if performance.empty:
        return ["There is no result yet: the comparison of the model families did not finish."]
    measure = figure_of(performance)
    auc = headlines(performance[performance["measure"] == measure], models)
    women = "virtual women" if virtual else "women"
    lines = []
    for protocol, rows in auc.groupby("protocol", sort=False):
        held_out = _of_family(rows[rows["split"] == "out-of-fold"], "DeepQCT")
        if held_out is None:
            continue
        name, e = held_out
        of = f"{outcome}" if e.events < 0 else f"{e.events} with {outcome}"
        line = f"In {e.n} {women} ({of}; protocol “{protocol}”), the DeepQCT score ({name}) "
        if e.estimable:
            line += f"reached an out-of-fold {measure} of {figure(e)}"
            if attainable is not None:  # of the population: a cohort may lie above it by chance
                what = "the drawn risks" if measure == "AUC" and outcome == "fracture" else "what was drawn"
                line += f"; a reader who knew {what} would reach {attainable:.2f} on average over such cohorts"
            line += "."
        else:
            few = f"{FEWEST_NUMBERS} women" if e.events < 0 else f"{FEWEST} women of one outcome"
            line += f"has no {measure}: {NOT_ESTIMABLE} from fewer than {few}."
        for family in ("pQCT-index", "Strength", "Texture", "BMD"):
            reference = _of_family(rows[rows["split"] == "out-of-fold"], family)
            if reference is not None and e.estimable:
                of_other_women = (reference[1].n, reference[1].events) != (e.n, e.events)
                line += f" {family}, {reference[0]}: {reference[1] if of_other_women else figure(reference[1])}."
        test = _of_family(rows[rows["split"] == "test"], "DeepQCT")
        lines.append(line + ("" if test is None else _test_set(test[1], str(protocol), measure=measure)))
    return lines or ["No network was scored; the table below shows the other model families."]


def learned(table: pd.DataFrame) -> dict[str, str]:
    """What the networks of one bone know of the women of their training, beside what they tell of held-out women.

    Parameters
    ----------
    table : DataFrame
        The content of training_<bone>.csv; the first protocol and repeat in it count.

    Returns
    -------
    dict of str to str
        ``training`` and ``out-of-fold``: the mean AUC over the folds, its range, n and events; empty where the bone was
        not trained.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.report.findings import learned
    >>> place = {"protocol": "all", "repeat": 0, "fold": ["0", "1"]}
    >>> seen = pd.DataFrame(place | {"split": "training", "estimate": [0.95, 0.93], "n": 40, "events": [13, 14]})
    >>> unseen = pd.DataFrame(place | {"split": "out-of-fold", "estimate": [0.7, 0.6], "n": 20, "events": [7, 6]})
    >>> learned(pd.concat([seen, unseen]))["training"]
    '0.94 (mean of 2 folds, 0.93 to 0.95; 40 women, 13 to 14 events each)'
    """
    if table.empty:
        return {}
    first = table[(table["protocol"] == table["protocol"].iloc[0]) & (table["repeat"] == table["repeat"].iloc[0])]
    said = {}
    for split in ("training", "out-of-fold"):
        rows = first[first["split"] == split]
        known = rows["estimate"].dropna()
        women = f"{_span(rows['n'])} women"
        basis = f"{women}, {_span(rows['events'])} events each" if rows["events"].notna().all() else f"{women} each"
        if len(known) < len(rows) or known.empty:
            said[split] = f"{NOT_ESTIMABLE} ({basis})"
            continue
        ends = f"{known.min():.2f} to {known.max():.2f}"
        said[split] = f"{known.mean():.2f} (mean of {len(known)} folds, {ends}; {basis})"
    return said


def _span(counts: pd.Series) -> str:
    """A count, or the lowest and the highest of them."""
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def spokesman(models: pd.DataFrame) -> str:
    """Which model speaks for DeepQCT, and why, in words; nothing where there is no choice.

    Parameters
    ----------
    models : DataFrame
        The content of models.csv.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.findings import spokesman
    >>> spokesman(dq.run_tables.read_models(dq.run.example_run())).partition(",")[0]
    'DeepQCT is represented by the mean of the bones with equal weights'
    """
    chosen = models[(models["family"] == "DeepQCT") & models["headline"]]
    if chosen.empty or not (chosen["bones"].str.contains(",")).any():
        return ""
    if chosen["fused"].any():
        return (
            "DeepQCT is represented by the late fusion of all bones, as was fixed beforehand for strict stacking: it is "
            "fitted on scores of networks that saw neither the women whom they scored nor those whom the fusion scores."
        )
    return (
        "DeepQCT is represented by the mean of the bones with equal weights, as was fixed beforehand for standard "
        "stacking: outcomes do not influence its weights. The late fusion, as in the preprint, is shown beside it but not "
        "tested: in standard stacking it looks better than chance even if there is nothing to find."
    )


def differences(comparisons: pd.DataFrame) -> list[str]:
    """The planned comparisons of the main protocol in words, each with interval, adjusted p, n and events.

    Parameters
    ----------
    comparisons : DataFrame
        The content of comparisons.csv; it may be empty.

    Returns
    -------
    list of str
        One sentence for each comparison that the report puts into words, and one on the variance of training.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.findings import differences
    >>> sentences = differences(dq.folder.read_table(dq.run.example_run().comparisons))
    >>> [sentence.partition(":")[0] for sentence in sentences[:-1]]
    ['DeepQCT − pQCT-index', 'pQCT-index − BMD', 'DeepQCT − BMD', 'DeepQCT − Texture', 'late fusion − pQCT-index']
    """
    if comparisons.empty:
        return []
    main = main_rows(comparisons)
    lines = []
    for row in main[main["question"].isin(_SPOKEN)].to_dict("records"):
        difference = Estimate.of(row)
        if not difference.estimable:
            lines.append(f"{row['question']}: {difference}.")
            continue
        line = f"{row['question']}: difference in {row.get('measure', 'AUC')} {signed(difference.estimate)} "
        line += f"(95 % {signed(difference.low)} to "
        line += f"{signed(difference.high)}; {difference.basis})"
        if not pd.isna(row["caveat"]) and row["caveat"]:
            lines.append(f"{line}. Standard stacking favours the late fusion, so that this is not tested.")
            continue
        line += f", p {row['p_holm']:.2g} after Holm: "
        if row["p_holm"] < 0.05:
            line += f"{'higher' if difference.estimate > 0 else 'lower'}."
        else:
            line += "no difference is shown, which does not show that there is none."
        if str(row["with_margin"]) == "True":
            verdicts = [
                f"with a margin of {margin:g} {'is' if str(row[f'non_inferior_{margin:g}']) == 'True' else 'is not'} shown"
                for margin in margins_in(main)
            ]
            line += f" Non-inferiority {', '.join(verdicts)} (one-sided, after Holm)."
        lines.append(line)
    return lines + _training(main)


def _training(main: pd.DataFrame) -> list[str]:
    """A sentence on what the intervals of differences with networks hold of the variance of training."""
    with_networks = main[main["training"].notna() & (main["training"] != "")]
    if with_networks.empty:
        return []
    begin = (
        "Intervals and p of differences with networks are of the expected difference over trainings on these women; "
    )
    if (with_networks["training"] == "measured").all():
        return [f"{begin}the variance between the {with_networks['repeats'].min()} trainings is in them."]
    return [
        f"{begin}with fewer than {FEWEST_TRAININGS} trainings, as here, how much these vary is not measured, and is "
        f"assumed to make the networks' own error {NETWORKS_VARY:g} times DeLong's. network_repeats={FEWEST_TRAININGS} "
        "measures it."
    ]


def cautions(
    optimism: pd.DataFrame, performance: pd.DataFrame, sample_size: pd.DataFrame, *, models: pd.DataFrame
) -> list[str]:
    """The reasons to read the result with care, in words: chance, calibration, and the size of the study.

    Parameters
    ----------
    optimism : DataFrame
        The content of optimism.csv; it may be empty.
    performance : DataFrame
        The content of performance.csv.
    sample_size : DataFrame
        The content of sample_size.csv; it may be empty.
    models : DataFrame
        The content of models.csv; it says which model speaks for its family.

    Returns
    -------
    list of str
        One paragraph for each reason.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.findings import cautions
    >>> run = dq.run.example_run()
    >>> paths = (run.optimism, run.performance, run.sample_size, run.models_table)
    >>> optimism, performance, sample_size, models = (dq.folder.read_table(path) for path in paths)
    >>> cautions(optimism, performance, sample_size, models=models)[-1].partition(";")[0]
    'Criteria of Riley et al. (2020) ask for more women than there are for 18 of 18 models fitted on tables'
    """
    lines = []
    for row in optimism.to_dict("records"):
        basis = f"n {row['n']:.0f}" + ("" if pd.isna(row["events"]) else f", {row['events']:.0f} events")
        if pd.isna(row["observed"]):
            continue
        if row["what"].startswith("best of"):
            lines.append(
                f"In the first repeat the best of the {row['what'].removeprefix('best of ')} reached "
                f"{row['observed']:.2f} ({basis}); as many models, as similar to each other, reach {row['expected']:.2f} "
                f"by chance alone, and {row['upper']:.2f} one time in twenty."
            )
        elif row["what"].startswith("permuted"):
            lines.append(
                f"{row['family']}, {row['model']}: with {row['what']} in the first repeat, p {row['p']:.2g} "
                f"(mean {figure_of(performance)} of those {row['expected']:.2f}; {basis})."
            )
    lines += _below_chance(performance)
    slopes = headlines(main_rows(performance[performance["measure"] == "slope"]), models)
    slope = _of_family(slopes, "DeepQCT")
    if slope is not None and slope[1].estimable:
        e = slope[1]
        lines.append(
            f"Calibration slope of DeepQCT, {slope[0]}: {plain(e.estimate)} (95 % {plain(e.low)} to {plain(e.high)}; "
            f"{e.basis}); 1 is ideal, below 1 what it predicts is too extreme."
        )
    if len(sample_size):
        short = int((~sample_size["enough"].astype(bool)).sum())
        lines.append(
            f"Criteria of Riley et al. (2020) ask for more women than there are for {short} of {len(sample_size)} "
            "models fitted on tables; the networks are beyond such criteria."
        )
    return lines


def _below_chance(performance: pd.DataFrame) -> list[str]:
    """A sentence on the models whose whole interval lies below chance (Jamalabadi 2016, Human Brain Mapping 37:1842)."""
    measure = figure_of(performance)
    main = main_rows(performance[performance["measure"] == measure])
    low = main[main["high"] < CHANCE[measure]]
    if low.empty:
        return []
    worst = low.sort_values("estimate").iloc[0]
    return [
        f"Models whose whole interval lies below {CHANCE[measure]:g}: {len(low)} of {len(main)}, the lowest "
        f"{worst['family']}, {worst['model']}: {Estimate.of(worst)}. What is held out is missing from the training, so "
        "that a model that finds nothing often comes out below chance. It means that nothing was found, not the opposite "
        "of a finding."
    ]


def _of_family(headline_rows: pd.DataFrame, family: str) -> tuple[str, Estimate] | None:
    """The name of a family's headline model and its figure; None if the family was not scored."""
    rows = headline_rows[headline_rows["family"] == family]
    return None if rows.empty else (str(rows["model"].iloc[0]), Estimate.of(rows.iloc[0]))


def _test_set(estimate: Estimate, protocol: str, *, measure: str) -> str:
    """A sentence on a test set, and how much its interval leaves open."""
    events = "" if estimate.events < 0 else f" ({estimate.events} events)"
    what = f" The {estimate.n}-woman test set of “{protocol}”{events}"
    if not estimate.estimable:
        return f"{what} is too small: its {measure} is {NOT_ESTIMABLE}."
    if measure == "R²":
        return f"{what} gave {figure(estimate)}."
    low, high = (next(word for limit, word in _WORDS if end <= limit) for end in (estimate.low, estimate.high))
    return f"{what} gave {figure(estimate)}" + (f", which fits anything from {low} to {high}." if low != high else ".")


def figure(estimate: Estimate) -> str:
    """The figure and its interval in words, for a place that already says n and events.

    Parameters
    ----------
    estimate : Estimate
        A measure with its interval.

    Returns
    -------
    str
        Such as ``0.71 (95 % 0.64–0.78)``.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.findings import figure
    >>> figure(dq.evaluation.Estimate(0.714, 0.642, 0.781, n=216, events=71))
    '0.71 (95 % 0.64–0.78)'
    """
    if not estimate.estimable:
        return NOT_ESTIMABLE
    return f"{plain(estimate.estimate)} (95 % {interval(estimate.low, estimate.high)})"
