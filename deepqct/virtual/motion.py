"""A limb that moves while it is scanned: double contours and streaks, as rigid movement in the sinogram makes them.

By the Fourier slice theorem a view of a slice is a line of its two-dimensional spectrum, and a share of the half turn is
a wedge. A limb that lies still between sudden movements is therefore reconstructed as the sum of its spectra in each
position, each cut to the wedge of the views that saw it so: parallel beams, movements within the slice only, the same for
all slices of a stack. Grades and their extent are our choice, after the manufacturer's scale of 1 (none) to 5 (severe).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from deepqct.work import each_slice

# Grade: movement in all (mm), turn in all (degrees), number of movements.
EXTENT = {1: (0.0, 0.0, 0), 2: (0.13, 0.3, 1), 3: (0.30, 0.8, 2), 4: (0.60, 1.6, 3), 5: (1.20, 3.0, 5)}


@dataclass(frozen=True)
class Pose:
    """Where the limb lies during a share of the half turn.

    Parameters
    ----------
    first, last : float
        Angles of the views, radians; 0 to pi.
    y_mm, x_mm, degrees : float
        Shift, and turn around the middle of the field.
    """

    first: float
    last: float
    y_mm: float
    x_mm: float
    degrees: float


def draw_poses(grade: int, *, rng: np.random.Generator) -> tuple[Pose, ...]:
    """The poses of a scan of a motion grade, 1 to 5; their mean over time is the resting pose.

    Raises
    ------
    ValueError
        If there is no such grade.
    """
    if grade not in EXTENT:
        raise ValueError(f"The motion grade is {grade!r}; use 1 to 5.")
    shift, turn, n = EXTENT[grade]
    times = np.sort(rng.uniform(0.08, 0.92, n))
    shares = rng.dirichlet(np.full(n, 2.0)) if n else np.zeros(0)
    towards = rng.uniform(0, 2 * np.pi, n)
    steps = np.stack([np.sin(towards) * shift, np.cos(towards) * shift, rng.choice([-1.0, 1.0], n) * turn], axis=1)
    places = np.vstack([np.zeros(3), np.cumsum(steps * shares[:, None], axis=0)])
    ends = np.concatenate([[0.0], times, [1.0]])
    places -= np.average(places, axis=0, weights=np.diff(ends))
    views = ends * np.pi
    return tuple(Pose(a, b, *map(float, place)) for a, b, place in zip(views[:-1], views[1:], places, strict=True))


def move(density: NDArray[np.float32], poses: tuple[Pose, ...], *, voxel_mm: float) -> NDArray[np.float32]:
    """The reconstruction of a limb that took these poses while it was scanned.

    Parameters
    ----------
    density : (z, y, x) float32, mgHA/cm³
        The limb at rest, with air all around: what leaves the field on one side would come back on the other.
    poses : tuple of Pose
        From the first view to the last.
    voxel_mm : float
        Edge of a voxel.

    Returns
    -------
    (z, y, x) float32, mgHA/cm³
    """
    if len(poses) == 1:
        return density
    shape = density.shape[1:]
    size = (fft.next_fast_len(shape[0]), fft.next_fast_len(shape[1], real=True))
    ky, kx = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    view = np.arctan2(ky, kx) % np.pi
    parts = [
        (_turn(pose.degrees, shape), ((view >= pose.first) & (view < pose.last))
         * np.exp(-2j * np.pi / voxel_mm * (ky * pose.y_mm + kx * pose.x_mm)).astype(np.complex64))
        for pose in poses
    ]  # fmt: skip
    air = float(density[0, 0, 0])

    def moved(one: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = np.zeros((size[0], size[1] // 2 + 1), np.complex64)
        for turn, wedge in parts:
            turned = ndimage.affine_transform(one, **turn, order=1, mode="nearest")
            spectrum += wedge * fft.rfft2(turned - air, size)
        return np.asarray(fft.irfft2(spectrum, size)[: shape[0], : shape[1]] + air, np.float32)

    return np.stack(each_slice(moved, density))


def _turn(degrees: float, shape: tuple[int, ...]) -> dict[str, NDArray[np.float64]]:
    """Arguments of `scipy.ndimage.affine_transform` for a turn around the middle."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.array([[c, -s], [s, c]])
    middle = (np.array(shape) - 1) / 2
    return {"matrix": matrix, "offset": middle - matrix @ middle}
