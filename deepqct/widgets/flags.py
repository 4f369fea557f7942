"""What the program thinks of each scan: its flags, which weigh more, and small pictures of the flagged scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from deepqct.curation.looking import to_look_at
from deepqct.curation.stacks import load_stack
from deepqct.folder import Run, read_table
from deepqct.terms import BONES, SITES
from deepqct.widgets.live import Figure
from deepqct.widgets.pictures import picture_bytes

MOST = 60  # small pictures at most; our choice
_EDGE = 108  # pixels
_WINDOW = (-400.0, 1400.0)  # mgHA/cm³, as the bone window of the viewer
Pair = tuple[str, str]  # participant_id and site


@dataclass(frozen=True)
class Flags:
    """The automatic flags of a run's scans.

    Parameters
    ----------
    rows : dict
        By participant_id and site the scan's ``status``, ``reason``, ``flags`` and ``motion_score``, as curation.csv has
        them; empty before a curation.
    heaviest : tuple of (participant_id, site)
        The scans to look at, the heaviest first, as `curation.to_look_at` has them.

    Examples
    --------
    >>> from deepqct.widgets.flags import Flags
    >>> row = {"status": "curated", "reason": "", "flags": "ulna: cut by the field of view", "motion_score": 30.9}
    >>> flags = Flags({("P1", "wrist"): row})
    >>> flags.of(("P1", "wrist")), flags.words(("P2", "wrist"))
    ('ulna: cut by the field of view', 'not curated yet')
    """

    rows: dict[Pair, dict[str, Any]] = field(default_factory=dict)
    heaviest: tuple[Pair, ...] = ()

    def of(self, pair: Pair) -> str:
        """The flags of one scan, or why its curation failed; nothing for a scan without any.

        Parameters
        ----------
        pair : (participant_id, site)
            The scan.

        Returns
        -------
        str
        """
        row = self.rows.get(pair)
        if row is None:
            return ""
        return f"failed: {row['reason']}" if row["status"] == "failed" else str(row["flags"])

    def words(self, pair: Pair) -> str:
        """The flags of one scan for a reader: also that there are none.

        Parameters
        ----------
        pair : (participant_id, site)
            The scan.

        Returns
        -------
        str
        """
        return (self.of(pair) or "none") if pair in self.rows else "not curated yet"

    def weight(self, pair: Pair) -> int:
        """What scans are sorted by; `curation.to_look_at` says which weigh more.

        Parameters
        ----------
        pair : (participant_id, site)
            The scan.

        Returns
        -------
        int
            The larger, the heavier; 0 for a scan without flags and notes.
        """
        return len(self.heaviest) - self.heaviest.index(pair) if pair in self.heaviest else 0


def read_flags(run: Run) -> Flags:
    """Read the flags of a run's scans from curation.csv.

    Parameters
    ----------
    run : Run
        A run; before its curation nothing is flagged.

    Returns
    -------
    Flags

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.widgets.flags import read_flags
    >>> read_flags(dq.Run(dq.run.example_run().folder / "nowhere")).rows
    {}
    """
    if not run.curation.exists():
        return Flags()
    table = read_table(run.curation)
    words = table[["status", "reason", "flags"]].fillna("").assign(motion_score=table["motion_score"].fillna(0))
    pairs = table[["participant_id", "site"]].astype(str).itertuples(index=False, name=None)
    rows = ({str(name): value for name, value in row.items()} for row in words.to_dict("records"))
    heaviest = to_look_at(table)[["participant_id", "site"]].astype(str).itertuples(index=False, name=None)
    return Flags(dict(zip(pairs, rows, strict=True)), heaviest=tuple(heaviest))


class FlaggedScans(widgets.VBox):
    """Small pictures of the flagged scans, the heaviest first; a click on one goes to its scan.

    They are drawn from the bones that the run cut out, when somebody presses `button`, which is placed elsewhere.

    Parameters
    ----------
    run : Run
        The run.
    flags : Flags
        From `read_flags`.
    pick : callable
        Called with participant_id and site of the scan that was clicked.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.widgets.flags import FlaggedScans, Flags
    >>> row = {"status": "curated", "reason": "", "flags": "radius: cut", "motion_score": 30.9}
    >>> scans = FlaggedScans(dq.run.example_run(), Flags({("sub-0001", "wrist"): row}), pick=print)
    >>> scans.button.value = True
    >>> scans.button.description, len(scans.place.children)
    ('Flagged scans (1)', 1)
    """

    def __init__(self, run: Run, flags: Flags, *, pick: Callable[[Pair], None]) -> None:
        self._run, self._flags, self._pick = run, flags, pick
        flagged = sorted((pair for pair in flags.rows if flags.of(pair)), key=flags.weight, reverse=True)
        self._shown, left_out = flagged[:MOST], len(flagged[MOST:])
        self.button = widgets.ToggleButton(
            description=f"Flagged scans ({len(flagged)})", tooltip="Small pictures; then you know which are flagged",
            disabled=not flagged, layout=widgets.Layout(width="11em"),
        )  # fmt: skip
        self.place = widgets.HBox(
            layout=widgets.Layout(flex_flow="row nowrap", overflow="auto", align_items="flex-start")
        )
        self._more = widgets.HTML(f"<p>{left_out} more are not shown here.</p>" if left_out else "")
        self.button.observe(self._opened, names="value")
        super().__init__([self.place])

    def _opened(self, change: dict[str, Any]) -> None:
        if not change["new"]:
            self.place.children = ()
            return
        self.place.children = [*map(self._tile, self._shown), *([self._more] if self._more.value else [])]

    def _tile(self, pair: Pair) -> widgets.Widget:
        """A small picture with a button of the scan's name, and its flags as words."""
        go = widgets.Button(
            description=", ".join(pair), tooltip="Go to this scan", layout=widgets.Layout(width="150px")
        )
        go.on_click(lambda _: self._pick(pair))
        words = self._flags.of(pair)
        score = self._flags.rows[pair]["motion_score"]
        shown = f"motion score {score:.0f}<br>{escape(words)}"
        small = "font-size:11px;line-height:1.25;width:150px"
        text = widgets.HTML(f'<div style="{small}" title="{escape(words)}">{shown}</div>')
        picture = Figure(alt=f"Middle slice of a bone of {', '.join(pair)}: {words}")
        if (drawn := self._slice(pair)) is not None:
            picture.value = picture_bytes(drawn)
        layout = widgets.Layout(width="158px", margin="2px", align_items="center")
        return widgets.VBox([picture, go, text] if picture.value else [go, text], layout=layout)

    def _slice(self, pair: Pair) -> Image.Image | None:
        """The middle slice of the bone that its flags name first, or of the larger one; None if it was not cut out."""
        person, site = pair
        named = [bone for bone in BONES if f"{bone}:" in self._flags.of(pair)]
        for bone in [*named, *SITES[site]]:
            if self._run.stack(person, bone).exists():
                density, _, _ = load_stack(self._run, person, bone)
                middle = np.asarray(density[density.shape[0] // 2], np.float32)
                low, high = _WINDOW
                grey = np.clip((middle - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
                larger = max(1, round(_EDGE / max(grey.shape)))
                size = (grey.shape[1] * larger, grey.shape[0] * larger)
                return Image.fromarray(grey).resize(size, Image.Resampling.NEAREST)
        return None
