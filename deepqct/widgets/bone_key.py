"""What the colours of a bone in 3D say: one list of colours paints the view and its picture, and writes the key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from deepqct.curation.stacks import CORTICAL, LABELS, TRABECULAR
from deepqct.widgets.slices import OUTLINES

# Where the classes of strain energy end, as shares of the bone: the failure load rests on the highest 2 %.
CLASSES = (0.5, 0.8, 0.98)
ENERGY_COLOURS = "plasma"  # as in the figure of the same quantity, `plots.strain_energy`
_STOPS = (0.05, 0.38, 0.70, 0.97)  # of them, one a class: told apart with any cones, and lighter step by step
_ROW = (
    '<tr><td style="padding:0 10px 0 0"><span style="display:block;width:30px;height:20px;background:{colour};'
    "border:1px solid #767676;box-sizing:border-box;forced-color-adjust:none;print-color-adjust:exact"
    '"></span></td>{words}</tr>'
)
_CELL = '<td style="padding:0 18px 0 0">{words}</td>'
_TABLE = (
    '<table class="dq-key" style="border-collapse:collapse;line-height:20px;margin:4px 0 8px">'
    '<caption style="caption-side:top;text-align:left;padding:0 0 4px;color:inherit">{title}</caption>{rows}</table>'
)


@dataclass(frozen=True)
class Key:
    """The colours of the labels 1, 2, … of a bone, and what each of them says.

    Parameters
    ----------
    title : str
        What is coloured, with its unit.
    colours : tuple of str
        The colour of each label, as #rrggbb.
    words : tuple of tuple of str
        What each label says, in one or more columns.
    rising : bool
        Whether the labels are ordered; the key then begins with the last one, as a bar of colours does.

    Examples
    --------
    >>> from deepqct.widgets.bone_key import COMPARTMENTS
    >>> COMPARTMENTS.lut
    'Custom #009e73 #e69f00'
    >>> COMPARTMENTS.names
    ('trabecular', 'cortical')
    """

    title: str
    colours: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    rising: bool = False

    @property
    def lut(self) -> str:
        """The colours in words that the viewer takes: its own begin otherwise, and remoteEntry.js reads these."""
        return " ".join(("Custom", *self.colours))

    @property
    def names(self) -> tuple[str, ...]:
        """What each label says, in the first of its columns."""
        return tuple(columns[0] for columns in self.words)

    def html(self, shown: Collection[int]) -> str:
        """The key as a table in HTML.

        Parameters
        ----------
        shown : collection of int
            The labels that occur; a colour that is nowhere would be looked for in vain.
        """
        labels = [label for label in range(1, len(self.colours) + 1) if label in shown]
        rows = [
            _ROW.format(
                colour=self.colours[label - 1],
                words="".join(_CELL.format(words=escape(column)) for column in self.words[label - 1]),
            )
            for label in (reversed(labels) if self.rising else labels)
        ]
        return _TABLE.format(title=escape(self.title), rows="".join(rows))


COMPARTMENTS = Key(
    "Compartments",
    tuple("#{:02x}{:02x}{:02x}".format(*OUTLINES[label - 1]) for label in (TRABECULAR, CORTICAL)),
    tuple((name,) for name, label in LABELS.items() if label in (TRABECULAR, CORTICAL)),
)


def energy_limits(energy: NDArray[np.floating]) -> tuple[float, ...]:
    """Where the classes of the strain energy of a bone end: below them lie 50, 80, 98 and 100 % of its voxels.

    Parameters
    ----------
    energy : (z, y, x), MPa
        Strain energy density; 0 where there is no bone.

    Returns
    -------
    tuple of float
        The upper limit of each class in MPa; zeros where nothing is loaded.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.widgets.bone_key import energy_limits
    >>> [round(end, 1) for end in energy_limits(np.arange(102.0).reshape(1, 1, 102))]
    [51.0, 81.0, 99.0, 101.0]
    """
    loaded = energy[energy > 0]
    if not loaded.size:
        return (0.0,) * (len(CLASSES) + 1)
    return tuple(float(end) for end in np.quantile(loaded, (*CLASSES, 1.0)))


def energy_classes(energy: NDArray[np.floating], *, limits: Sequence[float]) -> NDArray[np.uint8]:
    """Sort the voxels of a bone by their strain energy: 1 the lower half, 2 to 80 %, 3 to 98 %, 4 the highest 2 %.

    Parameters
    ----------
    energy : (z, y, x), MPa
        Strain energy density; 0 where there is no bone.
    limits : sequence of float
        The upper limit of each class in MPa, as `energy_limits` gives them; a voxel at a limit belongs below it.

    Returns
    -------
    (z, y, x) uint8
        0 where there is no bone.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.widgets.bone_key import energy_classes, energy_limits
    >>> energy = np.arange(102.0).reshape(1, 1, 102)
    >>> np.bincount(energy_classes(energy, limits=energy_limits(energy)).ravel()).tolist()
    [1, 51, 30, 18, 2]
    """
    classes = 1 + np.searchsorted(np.asarray(limits[:-1], energy.dtype), energy)
    return np.where(energy > 0, classes, 0).astype(np.uint8)


def energy_key(limits: Sequence[float], *, blocks_mm: Sequence[float] | None = None) -> Key:
    """Return the key of a bone that is coloured by its strain energy.

    Parameters
    ----------
    limits : sequence of float
        The upper limit of each class in MPa, as `energy_limits` gives them.
    blocks_mm : (z, y, x) mm, optional
        The edges of the blocks of voxels whose mean energies are coloured, where they are not the voxels themselves.

    Returns
    -------
    Key
        With the limits of each class in MPa and its share of the bone.

    Examples
    --------
    >>> from deepqct.widgets.bone_key import energy_key
    >>> for row in energy_key((0.011, 0.034, 0.117, 0.2)).words:
    ...     print(*row, sep=": ")
    up to 0.011 MPa: lower 50 %
    0.011 to 0.034 MPa: 50 to 80 %
    0.034 to 0.12 MPa: 80 to 98 %
    0.12 to 0.2 MPa: highest 2 % of the bone
    """
    ends, shares = [_short(end) for end in limits], [f"{100 * share:g}" for share in CLASSES]
    ranges = [f"up to {ends[0]} MPa", *(f"{low} to {high} MPa" for low, high in pairwise(ends))]
    parts = [
        f"lower {shares[0]} %",
        *(f"{low} to {high} %" for low, high in pairwise(shares)),
        f"highest {100 * (1 - CLASSES[-1]):.2g} % of the bone",
    ]
    title = "Strain energy density at the failure load"
    if blocks_mm is not None:
        edges = [_short(edge) for edge in blocks_mm]
        title += f", mean of the bone in blocks of {edges[0] if len(set(edges)) == 1 else ' × '.join(edges)} mm"
    stops = matplotlib.colormaps[ENERGY_COLOURS](_STOPS)
    return Key(title, tuple(to_hex(stop) for stop in stops), tuple(zip(ranges, parts, strict=True)), rising=True)


def _short(number: float) -> str:
    """A number to two digits, without an exponent."""
    return np.format_float_positional(number, precision=2, fractional=False, trim="-")
