"""Cross-sections of the four bones at the standard distal site: closed curves through a few points, of a wanted area.

The points are drawn after anatomy: the radius with its flat volar face, Lister's tubercle and ulnar notch, the round
ulna with its styloid, the tibia with its fibular notch, the fibula with its flat medial face. Right limbs seen from
distal; dorsal or anterior is up. The drawing is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

Points = NDArray[np.float64]

# (x to the right, y up); any scale.
_SHAPES: dict[str, list[tuple[float, float]]] = {
    "radius": [
        (-1.00, 0.05), (-0.91, 0.40), (-0.64, 0.58), (-0.37, 0.59), (-0.14, 0.68), (0.07, 0.62), (0.42, 0.64),
        (0.77, 0.52), (0.91, 0.26), (0.88, 0.00), (0.91, -0.27), (0.81, -0.49), (0.45, -0.56), (0.00, -0.53),
        (-0.45, -0.51), (-0.84, -0.32),
    ],
    "ulna": [
        (-1.00, 0.02), (-0.80, 0.60), (-0.27, 0.93), (0.18, 0.89), (0.50, 0.98), (0.84, 0.70), (0.98, 0.12),
        (0.85, -0.50), (0.40, -0.90), (-0.20, -0.98), (-0.74, -0.66),
    ],
    "tibia": [
        (-1.00, 0.02), (-0.87, 0.48), (-0.47, 0.82), (0.08, 0.91), (0.55, 0.78), (0.83, 0.46), (0.80, 0.08),
        (0.86, -0.34), (0.63, -0.70), (0.15, -0.83), (-0.40, -0.79), (-0.83, -0.46),
    ],
    "fibula": [
        (-0.76, 0.02), (-0.68, 0.54), (-0.26, 0.96), (0.28, 0.82), (0.68, 0.28), (0.78, -0.34), (0.46, -0.86),
        (-0.12, -0.99), (-0.60, -0.62),
    ],
}  # fmt: skip
# How one woman's outline differs from the next one's; ours.
_STRETCH, _TURN_DEGREES, _ROUGHNESS = 0.05, 6.0, 0.012
WIDER_A_MM = 0.004  # relative growth for each mm towards the hand or foot


@dataclass(frozen=True)
class Outline:
    """A closed curve around the origin, as points with their outward normals.

    Parameters
    ----------
    points : (n, 2) mm
        Points (y, x), at even distances along the curve; y points down as in images.
    normals : (n, 2)
        Vectors (y, x) of length 1 that point outwards at each point.
    """

    points: Points
    normals: Points

    def depth(
        self, y: NDArray[np.floating], x: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return how deep each point of a grid lies inside the curve, and where along it the nearest point is.

        Parameters
        ----------
        y, x : (rows,) and (columns,), mm
            Coordinates of the grid.

        Returns
        -------
        tuple of two (rows, columns) float32
            Depth in mm, negative outside, and the place along the curve, 0 to 1.
        """
        grid = np.stack(np.broadcast_arrays(y[:, None], x[None]), axis=-1).reshape(-1, 2)
        away, nearest = cKDTree(self.points).query(grid, workers=-1)
        outwards = np.einsum("ij,ij->i", grid - self.points[nearest], self.normals[nearest])
        shape = (len(y), len(x))
        depth = np.where(outwards > 0, -away, away).astype(np.float32).reshape(shape)
        return depth, (nearest / len(self.points)).astype(np.float32).reshape(shape)


def draw_outline(bone: str, *, area_mm2: float, rng: np.random.Generator) -> Outline:
    """Return the outline of one woman's bone.

    Parameters
    ----------
    bone : str
        radius, ulna, tibia or fibula.
    area_mm2 : float
        The area that the outline encloses.
    rng : numpy Generator
        Random numbers of the limb; they decide how this outline differs from other women's.

    Returns
    -------
    Outline
        1600 points around the origin.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.virtual.outlines import draw_outline
    >>> outline = draw_outline("radius", area_mm2=235, rng=np.random.default_rng(1))
    >>> outline.points.shape, np.ptp(outline.points, axis=0).round(1).tolist()
    ((1600, 2), [13.6, 20.5])
    """
    corners = np.array(_SHAPES[bone]) * np.exp(rng.normal(0, _STRETCH, 2))
    angle = np.arctan2(corners[:, 1], corners[:, 0])
    size = np.hypot(*corners.T).mean()
    bumps = sum(rng.normal(0, _ROUGHNESS) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4, 5))
    corners *= (1 + bumps * size / np.hypot(*corners.T))[:, None]
    turn = np.deg2rad(rng.normal(0, _TURN_DEGREES))
    corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    closed = np.vstack([corners, corners[:1]])
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    curve = CubicSpline(along, closed, bc_type="periodic")
    fine = curve(np.linspace(0, along[-1], 4001))
    even = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(fine, axis=0).T))])
    place = np.interp(np.linspace(0, even[-1], 1600, endpoint=False), even, np.linspace(0, along[-1], 4001))
    points, tangent = curve(place), curve(place, 1)
    x, y = points.T
    area = 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
    points *= np.sqrt(area_mm2 / abs(area))
    normals = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) * np.sign(area)
    normals /= np.hypot(*normals.T)[:, None]
    return Outline(points[:, ::-1] * [-1, 1], normals[:, ::-1] * [-1, 1])


def widened(outline: Outline, along_mm: float) -> Outline:
    """Return the outline of the same bone further towards the hand or foot, where it is wider.

    Parameters
    ----------
    outline : Outline
        The outline in the middle of the scan.
    along_mm : float
        Distance towards the hand or foot; negative towards the body.

    Returns
    -------
    Outline
    """
    return Outline(outline.points * (1 + WIDER_A_MM * along_mm), outline.normals)
