"""The same virtual limbs scanned again: laid down anew, on another scanner, in another centre; what was done is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.work import each_slice

SCANNERS = ("xt2", "xt1")  # XtremeCT II and the first XtremeCT
# How differently a limb is laid down from one session to the next; our choice. The fixed offset from the reference line is
# hit within two slices.
SHIFT_MM, TURN_DEGREES, MOST_DEGREES, MOST_SLICES = 1.0, 3.0, 6.0, 2
# SD of a centre's density scale: that of 13 centres on one kind of phantom (0.9 %; Mikolajewicz 2021, Bone 147:115880).
CENTRE_SCALE = 0.009


@dataclass(frozen=True)
class Laid:
    """How a limb was laid down and scanned in one session.

    Parameters
    ----------
    session : int
        1 for the first.
    scanner : str
        xt2 or xt1.
    centre : str
        Empty where there is only one.
    y_mm, x_mm : float
        Shift within the slice.
    degrees : float
        Turn around the long axis.
    slices : int
        Shift along the long axis, in slices of the XtremeCT II.
    scale : float
        By which the centre's densities are too high.
    """

    session: int
    scanner: str
    centre: str
    y_mm: float
    x_mm: float
    degrees: float
    slices: int
    scale: float

    def row(self) -> dict[str, Any]:
        """The values as columns of a table, by their names."""
        return asdict(self)

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Laid:
        """The values in a row of such a table."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


def lay_down(
    session: int, *, home: int, scanners: tuple[str, ...], centres: int, seed: tuple[int, ...], cohort_seed: int
) -> Laid:
    """Draw how one limb is laid down and scanned in one session.

    Parameters
    ----------
    session : int
        1 for the first.
    home : int
        The number of the woman's own centre; each later session takes place in the next one.
    scanners : tuple of str
        The scanner of each session in turn, beginning anew at the end.
    centres : int
        How many centres there are; the first one's densities are right.
    seed : tuple of int
        Of this limb.
    cohort_seed : int
        Of the centres' scales.

    Returns
    -------
    Laid
    """
    rng = np.random.default_rng([*seed, 7000 + session])
    number = (home + session - 1) % centres
    scale = 1.0 if number == 0 else float(np.random.default_rng([cohort_seed, 71, number]).normal(1, CENTRE_SCALE))
    y_mm, x_mm = rng.normal(0, SHIFT_MM, 2).clip(-2.5 * SHIFT_MM, 2.5 * SHIFT_MM)
    degrees = float(np.clip(rng.normal(0, TURN_DEGREES), -MOST_DEGREES, MOST_DEGREES))
    slices = int(rng.integers(-MOST_SLICES, MOST_SLICES + 1))
    scanner = scanners[(session - 1) % len(scanners)]
    return Laid(
        session, scanner, _name(number) if centres > 1 else "", float(y_mm), float(x_mm), degrees, slices, scale
    )


def what_sessions_tell(sessions: int, *, scanners: Sequence[str], centres: int) -> str:
    """What the sessions of virtual women can be used for, in one sentence; empty where each is scanned once.

    Parameters
    ----------
    sessions : int
        Of each woman.
    scanners : sequence of str
        The scanner of each session in turn, beginning anew at the end.
    centres : int
        How many centres there are; each session takes place in the next one.

    Examples
    --------
    >>> from deepqct.virtual.twins import what_sessions_tell
    >>> print(what_sessions_tell(3, scanners=("xt2", "xt1"), centres=2))
    Sessions 1 and 3 of a woman are of one scanner and one centre: they tell precision; the others set scanners or centres
    beside each other.
    >>> what_sessions_tell(1, scanners=("xt2",), centres=3)
    ''
    """
    if sessions < 2:
        return ""
    places = [(scanners[k % len(scanners)], k % centres) for k in range(sessions)]
    pair = next(((a + 1, b + 1) for b in range(sessions) for a in range(b) if places[a] == places[b]), None)
    if pair is None:
        again = math.lcm(len(scanners), centres) + 1
        return (
            "No two sessions of a woman are of one scanner and one centre: they set scanners or centres beside each other, "
            f"and tell no precision; --sessions {again} would, or --sessions 2 with one scanner and one centre."
        )
    same = "" if len(set(places)) == 1 else "; the others set scanners or centres beside each other"
    return f"Sessions {pair[0]} and {pair[1]} of a woman are of one scanner and one centre: they tell precision{same}."


def laid(density: NDArray[np.float32], how: Laid, *, voxel_mm: float) -> NDArray[np.float32]:
    """Return a limb as it is laid down in a session, without the slices that are drawn for its shift.

    Parameters
    ----------
    density : (z, y, x) float32, mgHA/cm³
        The limb as drawn, with two slices more at each end.
    how : Laid
        Of this session.
    voxel_mm : float
        Edge of a voxel.

    Returns
    -------
    (z, y, x) float32, mgHA/cm³

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.virtual.twins import Laid, laid
    >>> limb = np.zeros((9, 5, 5), np.float32) + np.arange(9, dtype=np.float32)[:, None, None]
    >>> how = Laid(2, "xt2", "", 0.0, 0.0, 0.0, 1, 1.0)
    >>> laid(limb, how, voxel_mm=0.1)[:, 2, 2].tolist()
    [3.0, 4.0, 5.0, 6.0, 7.0]
    """
    first = MOST_SLICES + how.slices
    kept = density[first : len(density) - 2 * MOST_SLICES + first]
    c, s = np.cos(np.deg2rad(how.degrees)), np.sin(np.deg2rad(how.degrees))
    matrix, middle = np.array([[c, -s], [s, c]]), (np.array(density.shape[1:]) - 1) / 2
    offset = middle - matrix @ (middle + np.array([how.y_mm, how.x_mm]) / voxel_mm)

    def turned(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        # A spline keeps edges: the scanner's blur comes later, and every session is turned once.
        return ndimage.affine_transform(plane, matrix, offset=offset, order=3, mode="nearest")

    return np.stack(each_slice(turned, kept))


def _name(number: int) -> str:
    """A, B and on, for a centre; after Z come AA and on."""
    letters = ""
    while number >= 0:
        letters = chr(ord("A") + number % 26) + letters
        number = number // 26 - 1
    return letters
