"""A limb that moves while it is scanned: double contours and streaks, as rigid movement in the sinogram makes them.

By the Fourier slice theorem a view of a slice is a line of its two-dimensional spectrum, and a share of the half turn
is a wedge. A limb that lies still between sudden movements is therefore reconstructed as the sum of its spectra in each
position, each cut to the wedge of the views that saw the limb there. Beams are parallel, the limb moves within the
slice only, and alike in all slices of a stack. Grades and their extent are our choice, after the manufacturer's scale
of 1 (none) to 5 (severe).
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
        Angles of the first and the last view of this pose, radians, 0 to pi.
    y_mm, x_mm : float
        Shift of the limb, mm.
    degrees : float
        Turn of the limb around the middle of the field.
    """

    first: float
    last: float
    y_mm: float
    x_mm: float
    degrees: float


def draw_poses(grade: int, *, rng: np.random.Generator) -> tuple[Pose, ...]:
    """Return the poses that a limb takes during a scan of a motion grade; their mean over time is the resting pose.

    Parameters
    ----------
    grade : int
        Motion grade, 1 (none) to 5 (severe).
    rng : numpy Generator
        Random numbers of the movements.

    Returns
    -------
    tuple of Pose
        From the first view to the last; a single one for grade 1.

    Raises
    ------
    ValueError
        If there is no such grade.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.virtual.motion import draw_poses
    >>> [len(draw_poses(grade, rng=np.random.default_rng(1))) for grade in (1, 2, 3, 4, 5)]
    [1, 2, 3, 4, 6]
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
    """Return the image that is reconstructed of a limb that took these poses while it was scanned.

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
        The same densities where there is only one pose.
    """
    if len(poses) == 1:
        return density
    shape = density.shape[1:]
    size = (fft.next_fast_len(shape[0]), fft.next_fast_len(shape[1], real=True))
    ky, kx = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    view = np.arctan2(ky, kx) % np.pi
    wedges = [
        (_turn(pose.degrees, shape), ((view >= pose.first) & (view < pose.last))
         * np.exp(-2j * np.pi / voxel_mm * (ky * pose.y_mm + kx * pose.x_mm)).astype(np.complex64))
        for pose in poses
    ]  # fmt: skip
    air = float(density[0, 0, 0])

    def moved(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = np.zeros((size[0], size[1] // 2 + 1), np.complex64)
        for turn, wedge in wedges:
            turned = ndimage.affine_transform(plane, **turn, order=1, mode="nearest")
            spectrum += wedge * fft.rfft2(turned - air, size)
        return np.asarray(fft.irfft2(spectrum, size)[: shape[0], : shape[1]] + air, np.float32)

    return np.stack(each_slice(moved, density))


def _turn(degrees: float, shape: tuple[int, ...]) -> dict[str, NDArray[np.float64]]:
    """Arguments of `scipy.ndimage.affine_transform` for a turn around the middle."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.array([[c, -s], [s, c]])
    middle = (np.array(shape) - 1) / 2
    return {"matrix": matrix, "offset": middle - matrix @ middle}
