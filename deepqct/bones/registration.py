"""The same region of one bone in two scans: registered by masks and then by grey values, or matched by area.

No index is measured on resampled voxels: each scan keeps its own voxels, and what the other does not show is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepqct.bones.find import Bone, BoneError

# Our choices.
SMOOTHING_MM = 0.12  # of grey values, so that noise has no say
DENSITIES = (-100.0, 1000.0)  # mgHA/cm³, beyond which grey values are alike
SAMPLED = 30_000  # voxels that are compared at a time
# First steps in mm, by what is compared. Masks say nearly where a bone lies; from there a large step leads to a tilt under
# which another ring of the cortex fits.
STEP_MM = {"squares": 0.5, "correlation": 0.05}
WHOLE = 0.95  # share of a slice that must be common for it to count
MOST_SLICES = 5  # of a match by area
SEED = 7
_FEWEST = 4  # voxels along an axis, which smoothing needs


@dataclass(frozen=True)
class Registration:
    """Where the second scan of a bone lies on the first.

    Parameters
    ----------
    matrix : (3, 3) float
        Together with `offset`: place in the second box = matrix @ place in the first box + offset, both (z, y, x) in mm
        from the first voxel's centre.
    offset : (3,) float, mm
        As above.
    degrees : float
        The whole turn between the scans.
    shift_mm : (z, y, x)
        By how much the middle of the first bone moves.
    alike : float
        Correlation of the grey values where both have bone; below .5 or so, or NaN, do not trust it.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.bones.registration import Registration
    >>> one = Registration(np.eye(3), np.array([0.1, 0.0, 0.0]), 0.0, (0.1, 0.0, 0.0), 0.9)
    >>> one.to_second(np.array([[1.0, 2.0, 3.0]])).tolist()
    [[1.1, 2.0, 3.0]]
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    degrees: float
    shift_mm: tuple[float, float, float]
    alike: float

    def to_second(self, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """Places (n, 3) in the first box, in mm, as places in the second."""
        return np.asarray(places @ self.matrix.T + self.offset)

    def to_first(self, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """Places (n, 3) in the second box, in mm, as places in the first."""
        return np.asarray((places - self.offset) @ self.matrix)


def register(first: Bone, second: Bone) -> Registration:
    """Find the rigid movement in 3-D from the first scan of a bone to the second.

    Parameters
    ----------
    first, second : Bone
        The same bone of one person in two scans, of whatever voxel size.

    Returns
    -------
    Registration

    Raises
    ------
    BoneError
        If they are two bones, or one of them is mirrored and the other not: limbs of two sides; if a box has fewer than 4
        slices, no bone, or densities that are no numbers; if no movement can be found.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.virtual.twins import Laid
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> how = {"site": "wrist", "side": "right", "voxel_mm": 0.3, "slices": 8}
    >>> turned = [Laid(k, "xt2", "", 0.0, 0.0, degrees, 0, 1.0) for k, degrees in ((1, 0.0), (2, 5.0))]
    >>> scans = [dq.virtual.draw_scan(woman, seed=3, how=one, **how) for one in turned]
    >>> found = dq.bones.register(*(dq.find_bones(scan)["radius"] for scan in scans))
    >>> round(found.degrees)
    5
    """
    import SimpleITK

    if first.name != second.name or first.mirrored != second.mirrored:
        raise BoneError(
            f"A {first.name} and a {second.name}{' of the other side' if first.mirrored != second.mirrored else ''} cannot "
            "be registered; give two scans of one bone."
        )
    for bone in (first, second):
        if min(bone.density.shape) < _FEWEST:
            raise BoneError(
                f"A box of fewer than {_FEWEST} voxels along one axis cannot be registered; give more slices."
            )
        if not np.isfinite(bone.density).all():
            raise BoneError("Some densities are no finite numbers; mend the scan before it is registered.")
    outlines = [
        _image(bone.total.astype(np.float32), bone.voxel_mm, smooth_mm=4 * SMOOTHING_MM) for bone in (first, second)
    ]
    greys = [
        _image(np.clip(bone.density, *DENSITIES), bone.voxel_mm, smooth_mm=SMOOTHING_MM) for bone in (first, second)
    ]
    centres = [_centre(bone) for bone in (first, second)]
    move = SimpleITK.Euler3DTransform()
    move.SetCenter(centres[0][::-1].tolist())
    move.SetTranslation((centres[1] - centres[0])[::-1].tolist())
    around = SimpleITK.GetImageFromArray(_grown(first.total).astype(np.uint8))
    around.SetSpacing(first.voxel_mm[::-1])
    share = min(1.0, SAMPLED / max(int(first.total.sum()), 1))
    try:
        move = _step(outlines, move, around, share=share, shrink=(4, 2), by="squares")
        move = _step(greys, move, around, share=share, shrink=(2, 1), by="correlation")
    except RuntimeError as error:
        raise BoneError("The two scans could not be laid upon each other; look at both.") from error
    move = SimpleITK.Euler3DTransform(move)
    matrix = np.array(move.GetMatrix()).reshape(3, 3)[::-1, ::-1]
    middle, shift = np.array(move.GetCenter())[::-1], np.array(move.GetTranslation())[::-1]
    offset = middle + shift - matrix @ middle
    angle = float(np.rad2deg(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))))
    at = matrix @ centres[0] + offset - centres[0]
    found = Registration(matrix, offset, angle, (float(at[0]), float(at[1]), float(at[2])), float("nan"))
    return replace(found, alike=_alike(greys, move, first, found, second))


def common_region(first: Bone, second: Bone, found: Registration) -> tuple[Bone, Bone]:
    """Both bones with what the other scan shows too, each on its own voxels.

    Parameters
    ----------
    first, second : Bone
        As for `register`.
    found : Registration
        From `register`.

    Returns
    -------
    Bone, Bone
        Slices of which 95 % or more lie in the other scan, and of these what does.

    Raises
    ------
    BoneError
        If the scans have fewer than three slices in common.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> radius = dq.find_bones(scan)["radius"]
    >>> two_higher = dq.bones.Registration(np.eye(3), np.array([0.6, 0, 0]), 0.0, (0.6, 0.0, 0.0), 1.0)
    >>> [len(part.density) for part in dq.bones.common_region(radius, radius, two_higher)]
    [6, 6]
    """
    parts = []
    for bone, other, there in ((first, second, found.to_second), (second, first, found.to_first)):
        inside = _seen_by(bone, other, there)
        whole = (inside & bone.total).sum(axis=(1, 2)) >= WHOLE * np.maximum(bone.total.sum(axis=(1, 2)), 1)
        kept = np.flatnonzero(whole)
        if len(kept) < 3:
            raise BoneError("The two scans have fewer than 3 slices in common; scan the same region, or look at both.")
        parts.append(_part(bone, slice(int(kept[0]), int(kept[-1]) + 1), inside))
    return parts[0], parts[1]


def area_match(first: Bone, second: Bone) -> tuple[Bone, Bone]:
    """The older way: both bones with the slices whose areas are alike, without any turn.

    Parameters
    ----------
    first, second : Bone
        The same bone in two scans with slices of one thickness.

    Returns
    -------
    Bone, Bone
        Equally many slices, after the shift of up to 5 slices with the smallest mean difference in area.

    Raises
    ------
    BoneError
        If the slices are of two thicknesses, or too few.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> radius = dq.find_bones(scan)["radius"]
    >>> [len(part.density) for part in dq.bones.area_match(radius, radius)]
    [8, 8]
    """
    if abs(first.voxel_mm[0] / second.voxel_mm[0] - 1) > 0.01:
        raise BoneError("Areas can be matched between slices of one thickness only; use register.")
    areas = [bone.total.sum(axis=(1, 2)) * bone.voxel_mm[1] * bone.voxel_mm[2] for bone in (first, second)]
    n = [len(area) for area in areas]
    best: tuple[float, int] = (np.inf, 0)
    for shift in sorted(range(-MOST_SLICES, MOST_SLICES + 1), key=abs):
        a, b = max(0, shift), max(0, -shift)
        many = min(n[0] - a, n[1] - b)
        if many < 3:
            continue
        apart = float(np.abs(areas[0][a : a + many] - areas[1][b : b + many]).mean())
        best = min(best, (apart, shift), key=lambda one: one[0])
    if not np.isfinite(best[0]):
        raise BoneError("The two scans have fewer than 3 slices in common; scan the same region, or look at both.")
    a, b = max(0, best[1]), max(0, -best[1])
    many = min(n[0] - a, n[1] - b)
    everything = (np.ones(bone.total.shape, bool) for bone in (first, second))
    return tuple(
        _part(bone, slice(at, at + many), inside)
        for bone, at, inside in zip((first, second), (a, b), everything, strict=True)
    )  # type: ignore[return-value]


def _step(images: list[Any], move: Any, around: Any, *, share: float, shrink: tuple[int, ...], by: str) -> Any:
    """The movement after one more step of a registration, from coarse to fine."""
    import SimpleITK

    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # so that sums come in one order, and the result is the same everywhere
    if by == "squares":
        method.SetMetricAsMeanSquares()
    else:
        method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(around)
    method.SetMetricSamplingStrategy(method.RANDOM if share < 1 else method.NONE)
    method.SetMetricSamplingPercentage(share, SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=STEP_MM[by],
        minStep=1e-4,
        numberOfIterations=150,
        relaxationFactor=0.5,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel([0.0] * len(shrink))
    method.SetInitialTransform(SimpleITK.Euler3DTransform(move), inPlace=False)
    found = method.Execute(*images)
    return SimpleITK.Euler3DTransform(
        found.GetNthTransform(0) if isinstance(found, SimpleITK.CompositeTransform) else found
    )


def _image(values: NDArray[np.float32], voxel_mm: tuple[float, float, float], *, smooth_mm: float) -> Any:
    """A box as an image, its first voxel's centre at zero, smoothed."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values, np.float32))
    image.SetSpacing(voxel_mm[::-1])
    return SimpleITK.SmoothingRecursiveGaussian(image, smooth_mm)


def _centre(bone: Bone) -> NDArray[np.float64]:
    """The middle of a bone within its box, (z, y, x) in mm; along z that of the box."""
    if not bone.total.any():
        raise BoneError("A bone without voxels cannot be registered; look at its scan.")
    weights = [bone.total.sum(axis=axes) for axes in ((0, 2), (0, 1))]
    middle = [np.average(np.arange(len(weight)), weights=weight) for weight in weights]
    return np.array([(len(bone.total) - 1) / 2, *middle]) * np.array(bone.voxel_mm)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with its rim, in which the edge of the bone is seen."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, np.ones((1, 3, 3), bool), iterations=3))


def _seen_by(bone: Bone, other: Bone, there: Any) -> NDArray[np.bool_]:
    """Which voxels of a bone's box lie between the first and the last slice of the other scan."""
    edges, shape = np.array(bone.voxel_mm), bone.total.shape
    # The movement is linear, so that three numbers give the z of every voxel.
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * edges
    z = there(corners)[:, 0]
    along = [np.arange(n) for n in shape]
    at = z[0] + sum(
        step * places.reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (step, places) in enumerate(zip(z[1:] - z[0], along, strict=True))
    )
    half = other.voxel_mm[0] / 2
    return np.asarray((at >= -half) & (at <= (len(other.total) - 1) * other.voxel_mm[0] + half))


def _part(bone: Bone, slices: slice, inside: NDArray[np.bool_]) -> Bone:
    """Some slices of a bone, and of these what is inside."""
    z, y, x = bone.origin
    return replace(
        bone,
        density=bone.density[slices],
        total=bone.total[slices] & inside[slices],
        cortical=bone.cortical[slices] & inside[slices],
        trabecular=bone.trabecular[slices] & inside[slices],
        origin=(z + slices.start, y, x),
    )


def _alike(greys: list[Any], move: Any, first: Bone, found: Registration, second: Bone) -> float:
    """Correlation of the first bone's grey values with those of the second, laid upon them."""
    import SimpleITK

    laid = SimpleITK.GetArrayFromImage(SimpleITK.Resample(greys[1], greys[0], move, SimpleITK.sitkLinear, -1e6))
    seen = first.total & (laid > -1e5) & _seen_by(first, second, found.to_second)
    values = SimpleITK.GetArrayViewFromImage(greys[0])[seen], laid[seen]
    if seen.sum() < 100 or any(np.ptp(part) == 0 for part in values):
        return float("nan")
    return float(np.corrcoef(*values)[0, 1])
