"""A scan that was made in two or three stacks, one after the other: where each begins, and the indices of each.

A limb may move between two stacks. No sphere and no pore should reach over such a seam, so that each stack is measured
by itself, or one is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from deepqct.bones.find import Bone
from deepqct.bones.indices import measure
from deepqct.scans.scan import Scan
from deepqct.scans.seams import Seam
from deepqct.scans.stored import GENERATIONS, ScanError

CHOICES = ("each", "1", "2", "3")
SLICES = {"XtremeCT": 110, "XtremeCT II": 168}  # of one stack, by the scanners' standard protocols
Span = tuple[int, int]


def stacks_of(scan: Scan, seams: Sequence[Seam]) -> list[Span]:
    """Find the first slice of each stack of a scan, and the one after its last.

    Parameters
    ----------
    scan : Scan
        The whole scan.
    seams : sequence of Seam
        Jumps that were found in it, from `find_seams`.

    Returns
    -------
    list of (int, int)
        One pair for a scan of one stack. A scan whose slices are a multiple of its scanner's stack begins a new one
        after each, also where nothing moved.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.zeros((336, 2, 2), np.int16), 0.25, -391.0, (0.0607, 0.0607, 0.0607))
    >>> dq.curation.stacks_of(scan, [])
    [(0, 168), (168, 336)]
    """
    n, firsts = len(scan.native), {seam.first for seam in seams}
    for name, ((low, high), _, _) in GENERATIONS.items():
        if low <= scan.voxel_mm[0] <= high and n % SLICES[name] == 0:
            firsts |= set(range(SLICES[name], n, SLICES[name]))
    edges = [0, *sorted(firsts), n]
    return list(pairwise(edges))


def chosen_stack(spans: Sequence[Span], choice: str) -> Span:
    """Choose one stack of a scan, or all slices.

    Parameters
    ----------
    spans : sequence of (int, int)
        The stacks, from `stacks_of`.
    choice : str
        ``each`` for all slices, or the number of one stack, counted from 1.

    Raises
    ------
    ScanError
        If the scan has fewer stacks. A scan of one stack is taken as it is, whatever is chosen.
    """
    if choice == "each" or len(spans) == 1:
        return spans[0][0], spans[-1][1]
    if int(choice) > len(spans):
        raise ScanError(f"the scan has {len(spans)} stacks, and stack {choice} is wanted; choose scan_stack=each.")
    return spans[int(choice) - 1]


def part_of(bone: Bone, span: Span) -> Bone | None:
    """Cut the slices of one stack out of a bone; its place in the scan is counted from the stack's first slice.

    Parameters
    ----------
    bone : Bone
        Found in the whole scan.
    span : (int, int)
        First slice of the stack in the scan, and the one after its last.

    Returns
    -------
    Bone or None
        None if the bone has no voxel there.
    """
    start = bone.origin[0]
    first, last = max(span[0] - start, 0), min(span[1] - start, len(bone.total))
    if first >= last or not bone.total[first:last].any():
        return None
    here = slice(first, last)
    return replace(
        bone,
        density=bone.density[here],
        total=bone.total[here],
        cortical=bone.cortical[here],
        trabecular=bone.trabecular[here],
        origin=(start + first - span[0], *bone.origin[1:]),
    )


def measure_stacks(bone: Bone, spans: Sequence[Span], *, by: Callable[[Bone], pd.Series] = measure) -> pd.Series:
    """Measure a bone stack by stack, and average each value over its stacks, weighted by their slices.

    Parameters
    ----------
    bone : Bone
        Found in the scan.
    spans : sequence of (int, int)
        The stacks of the scan, from `stacks_of`.
    by : callable
        What measures: `measure`, or `deepqct.bones.measure_texture`.

    Returns
    -------
    Series
        The values as `by` gives them; of a single stack just those.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.15, slices=8, seed=1)
    >>> radius = dq.find_bones(scan)["radius"]
    >>> whole, by_stack = dq.measure(radius), dq.curation.measure_stacks(radius, [(0, 4), (4, 8)])
    >>> bool(abs(by_stack["Tt.Ar"] - whole["Tt.Ar"]) < 1e-9)
    True
    """
    parts = [part for span in spans if (part := part_of(bone, span)) is not None]
    if len(parts) < 2:
        return by(bone)
    slices = np.array([len(part.total) for part in parts])
    measured = [by(part) for part in parts]
    mean = np.column_stack(measured) @ (slices / slices.sum())
    return pd.Series(mean, index=measured[0].index, name=measured[0].name)
