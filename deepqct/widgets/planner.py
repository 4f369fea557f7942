"""A study planned by hand: sliders, a figure that follows at once, and what the study can and cannot show."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np

from deepqct import plots
from deepqct.evaluation.answers import study_words
from deepqct.evaluation.planning import Study
from deepqct.widgets.live import Figure
from deepqct.widgets.pictures import Faults, figure_bytes

_POINTS = 16  # of each curve; few, since it is drawn anew at each move
_LARGEST = 5000  # women, the end of the slider unless the study is larger


def study_planner(study: Study) -> widgets.VBox:
    """Return sliders for a planned study, with a figure and sentences that follow.

    Parameters
    ----------
    study : Study
        Where the sliders begin; its margins stay as they are.

    Returns
    -------
    ipywidgets.VBox
        The sliders, the figure of `deepqct.plots.planned_study`, and the sentences of `deepqct.evaluation.study_words`.

    Examples
    --------
    >>> import deepqct as dq
    >>> box = dq.widgets.study_planner(dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8))
    >>> [slider.description for slider in box.children[0].children][:3]
    ['women', 'outcome', 'AUC']
    """
    sliders: dict[str, Any] = {
        "n": _slider("women", study.n, 20, max(_LARGEST, study.n), 1),
        "prevalence": _slider("outcome", study.prevalence, 0.01, 0.99, 0.01),
        "auc": _slider("AUC", study.auc, 0.51, 0.99, 0.01),
        "predictors": _slider("predictors", study.predictors, 1, max(200, study.predictors), 1),
        "gain": _slider("gain", study.gain, 0.01, 0.3, 0.01),
        "correlation": _slider("correlation", study.correlation, 0.0, 0.99, 0.01),
        "networks": _slider("networks", study.networks, 0, 2, 1),
        "trainings": _slider("trainings", study.trainings, 1, 10, 1),
    }
    picture = Figure(alt="Width of the interval, and power, over the number of women")
    said, fault = widgets.HTML(), widgets.HTML()

    def follow(_: Any = None) -> None:
        now = replace(study, **{name: slider.value for name, slider in sliders.items()})
        least, most = max(20, min(30, now.n // 4)), 4 * now.n
        numbers = np.unique(np.geomspace(least, most, _POINTS).round().astype(int))
        picture.value = figure_bytes(plots.planned_study(now, numbers=numbers), virtual=False)
        said.value = "".join(
            f"<p><strong>{head}</strong></p><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
            for head, lines in zip(("Such a study can", "It cannot"), study_words(now).values(), strict=True)
            if lines
        )

    told = Faults(fault).told(follow)
    for slider in sliders.values():
        slider.observe(told, names="value")
    told()
    row = widgets.Layout(flex_flow="row wrap", width="auto")
    return widgets.VBox([widgets.HBox(list(sliders.values()), layout=row), fault, picture, said])


def _slider(name: str, value: float, least: float, most: float, step: float) -> widgets.Widget:
    """A slider with its name and its number, which can be typed in too."""
    kind = widgets.IntSlider if isinstance(step, int) else widgets.FloatSlider
    return kind(value=value, min=min(least, value), max=max(most, value), step=step, description=name)
