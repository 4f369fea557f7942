"""Jumps between the stacks of a scan: long scans are made stack by stack, and the limb may move in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepqct.scans.scan import Scan, each_loaded

# Our choices: two slices that differ by this many times what the pairs before and after them do may lie at a seam, and
# a seam is told of if the limb moved by more than half a voxel there.
OUTLYING = 1.1
SMALLEST_JUMP = 0.5
_BLOCK = 4  # pixels along the edges of the squares whose means are compared, so that noise hides no small jump
_REACH_MM = 20.0  # from the axis of the turn to the skin: what a turn moves there is the jump
_FEWEST_SLICES = 5


@dataclass(frozen=True)
class Seam:
    """Two neighbouring slices between which the limb moved.

    Parameters
    ----------
    first : int
        The first slice of the second stack, counted from 0.
    y, x : float
        How far the limb moved, in voxels.
    degrees : float
        How far it turned around the middle of the picture.

    Examples
    --------
    >>> from deepqct.scans.seams import Seam
    >>> str(Seam(168, y=3.0, x=-4.0, degrees=0.52))
    'a jump of 5.0 voxels and 0.5° between slices 168 and 169 (two stacks?)'
    """

    first: int
    y: float
    x: float
    degrees: float

    def __str__(self) -> str:
        """Say the jump in words, with slices counted from 1 as viewers do."""
        shift = float(np.hypot(self.y, self.x))
        return (
            f"a jump of {shift:.1f} voxels and {abs(self.degrees):.1f}° between slices {self.first} and "
            f"{self.first + 1} (two stacks?)"
        )


def find_seams(scan: Scan) -> tuple[Seam, ...]:
    """Find where the limb moved between two stacks of a scan, and how far.

    Within a stack all slices are made at once, so that neighbours are alike. Where two differ more than neighbours
    usually do, they are laid over each other by a shift and a turn.

    Parameters
    ----------
    scan : Scan
        The whole scan; of one stack or more.

    Returns
    -------
    tuple of Seam
        In the order of the slices; empty for a scan of one stack, and for stacks between which nothing moved.

    Notes
    -----
    A measure of ours.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.15, slices=8, seed=1)
    >>> dq.scans.find_seams(scan)
    ()
    >>> moved = np.concatenate([scan.native[:4], np.roll(scan.native[4:], (3, -4), axis=(1, 2))])
    >>> from dataclasses import replace
    >>> print(*dq.scans.find_seams(replace(scan, native=moved)))
    a jump of 5.0 voxels and 0.0° between slices 4 and 5 (two stacks?)
    """
    if len(scan.native) < _FEWEST_SLICES:
        return ()
    differ = _differences(scan.native)
    # The outermost pairs lie beside air in some files, and no stack is so short.
    peaks = differ[1:-1] > OUTLYING * np.maximum(differ[:-2], differ[2:])
    seams = []
    for last in np.flatnonzero(peaks) + 1:
        before, after = (scan.density_of(int(z)) for z in (last, last + 1))
        seam = Seam(int(last) + 1, *_movement(before, after))
        turned = np.radians(abs(seam.degrees)) * _REACH_MM / scan.voxel_mm[1]
        if np.hypot(seam.y, seam.x) + turned > SMALLEST_JUMP:
            seams.append(seam)
    return tuple(seams)


def _differences(native: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float64]:
    """How much each slice differs from the next, as the mean over small squares."""
    differ = []
    before = None
    height, width = (n - n % _BLOCK for n in native.shape[1:])
    for plane in each_loaded(native):
        squares = plane[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
        here = squares.mean(axis=(1, 3), dtype=np.float32)
        if before is not None:
            differ.append(float(np.abs(here - before).mean()))
        before = here
    return np.array(differ)


def _movement(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[float, float, float]:
    """Shift (y, x) in voxels and turn in degrees that lay the first picture over the second."""
    import SimpleITK

    fixed, moving = (SimpleITK.GetImageFromArray(picture) for picture in (before, after))
    middle = SimpleITK.CenteredTransformInitializer(
        fixed, moving, SimpleITK.Euler2DTransform(), SimpleITK.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([8, 4, 2])
    method.SetSmoothingSigmasPerLevel([4, 2, 1])
    method.SetGlobalDefaultNumberOfThreads(1)
    method.SetInitialTransform(middle, inPlace=True)
    method.Execute(fixed, moving)
    turn, x, y = middle.GetParameters()
    return y, x, float(np.degrees(turn))
