"""The conjugate gradients of `multigrid` as a torch program, for a graphics card.

Levels, smoother and cycle are the same; what is left to solve is still computed in double precision on the processor, so
that the result is as exact. Forces are added corner by corner: no two bricks add to one node in the same step, and sums
have one order on a card, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from deepqct.bones.bricks import Vectors
from deepqct.bones.multigrid import DEGREE, SMOOTHED, Hierarchy, Inner, Level, two_steps

_BRICKS = 1 << 20  # whose forces are computed side by side


@dataclass(frozen=True)
class _Grid:
    """One level on the device.

    Parameters
    ----------
    corners : (8, bricks) int32
        Nodes of each brick, in C order of its corners.
    modulus : (bricks, 1) float32
        Modulus of each brick.
    stiffness : (24, 24) float32
        Of one brick, by corner and then by direction.
    inverse, free : (nodes, 3) float32
        One over the diagonal, 0 where a displacement is held; and 1 where it is free.
    largest : float
        A bound of the eigenvalues of the stiffness over its diagonal.
    above : (8, nodes) int32, optional
        The coarser nodes of which each node's displacement is the mean.
    below, shares : (most, coarser nodes) int32 and float32, optional
        The nodes that each coarser node gathers forces from, and the share of each; 0 fills up.
    """

    corners: torch.Tensor
    modulus: torch.Tensor
    stiffness: torch.Tensor
    inverse: torch.Tensor
    free: torch.Tensor
    largest: float
    above: torch.Tensor | None
    below: torch.Tensor | None
    shares: torch.Tensor | None


def torch_device(name: str) -> torch.device:
    """The device of that name, if this machine has it.

    Parameters
    ----------
    name : str
        As torch names it, such as ``cuda`` or ``mps``; ``torch`` for the processor, which is slower than the compiled steps
        and lets the program be tried where there is no card.

    Raises
    ------
    ValueError
        If this machine does not have the device.
    """
    there = {"torch": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind, colon, number = name.partition(":")
    cards = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, 0)
    if not there.get(kind, False) or (colon and not (number.isdecimal() and int(number) < cards)):
        raise ValueError(f"device is {name!r}; this machine has cpu, {', '.join(d for d, ok in there.items() if ok)}.")
    return torch.device("cpu" if name == "torch" else name)


def torch_gradients(grids: Hierarchy, *, place: torch.device) -> Inner:
    """Hand all levels to a device, and return what solves there in single precision.

    Parameters
    ----------
    grids : Hierarchy
        All levels.
    place : device
        From `torch_device`.

    Returns
    -------
    callable
        For `equilibrium`.
    """
    pairs = zip(grids.levels, (*grids.levels[1:], None), strict=True)
    levels = [_grid(level, coarser, place) for level, coarser in pairs]

    def inner(forced: Vectors, wanted: float, most: int) -> tuple[Vectors, int]:
        with torch.no_grad():
            moved, count = _conjugate(grids, levels, torch.from_numpy(forced).to(place), wanted, most)
        return moved.cpu().numpy(), count

    return inner


def _grid(level: Level, coarser: Level | None, place: torch.device) -> _Grid:
    """A level and its way to the next coarser one, on the device."""
    bricks = level.bricks
    by_corner = np.arange(24).reshape(3, 8).T.ravel()  # from direction and corner to corner and direction
    stiffness = bricks.stiffness[np.ix_(by_corner, by_corner)]
    ways = (None, None, None) if coarser is None else _ways(level, coarser)

    def there(values: NDArray[np.generic], kind: type[np.generic] = np.float32) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, kind)).to(place)

    return _Grid(
        there(bricks.corners.T, np.int32), there(bricks.modulus[:, None]), there(stiffness), there(level.inverse),
        there(level.inverse > 0), level.largest,
        *(None if way is None else there(way, way.dtype.type) for way in ways),
    )  # fmt: skip


def _ways(level: Level, coarser: Level) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """From each node to the eight coarser nodes whose mean it is, and from each coarser one to those that it serves."""
    fine, rough, home = level.bricks, coarser.bricks, level.home
    assert home is not None
    off = fine.node - 2 * rough.node[rough.corners[home, 0]]  # 0, 1 or 2 along each axis
    above = np.empty((8, fine.nodes), np.int32)
    for k, steps in enumerate(np.ndindex(2, 2, 2)):
        z, y, x = np.where(off == 1, steps, off >> 1).T.astype(np.intp)  # a node that lies on a coarser one is its mean
        above[k] = rough.corners[home, 4 * z + 2 * y + x]
    nodes = np.tile(np.arange(fine.nodes), 8)
    way = sparse.csr_matrix((np.full(above.size, 0.125), (above.ravel(), nodes)), shape=(rough.nodes, fine.nodes))
    way.sum_duplicates()
    lengths = np.diff(way.indptr)
    rows = np.repeat(np.arange(rough.nodes), lengths)
    rank = np.arange(way.nnz) - np.repeat(way.indptr[:-1], lengths)
    below, shares = np.zeros((lengths.max(), rough.nodes), np.int32), np.zeros((lengths.max(), rough.nodes), np.float32)
    below[rank, rows], shares[rank, rows] = way.indices, way.data
    return above, below, shares


def _forces(grid: _Grid, moved: torch.Tensor) -> torch.Tensor:
    """The forces at free displacements that hold given ones."""
    out = torch.zeros_like(moved)
    for first in range(0, len(grid.modulus), _BRICKS):
        some = slice(first, first + _BRICKS)
        corners = grid.corners[:, some]
        around = torch.stack([moved.index_select(0, nodes) for nodes in corners], dim=1)  # (bricks, 8, 3)
        pushed = (around.reshape(-1, 24) @ grid.stiffness * grid.modulus[some]).reshape(around.shape)
        for corner, nodes in enumerate(corners):
            out.index_add_(0, nodes, pushed[:, corner])
    return out.mul_(grid.free)


def _conjugate(
    grids: Hierarchy, levels: list[_Grid], r: torch.Tensor, wanted: float, most: int
) -> tuple[torch.Tensor, int]:
    """Conjugate gradients from no displacement on."""
    r = r * levels[0].free
    x, p = torch.zeros_like(r), torch.zeros_like(r)
    rho, alpha, count = 1.0, 0.0, 0
    q = torch.zeros_like(r)
    while True:
        z = _cycle(grids, levels, 0, r) if len(levels) > 1 else _solved(grids, levels, 0, r)
        turned = -alpha * _dot(z, q) / rho
        rho = _dot(r, z)
        p = z.add_(p * turned)
        q = _forces(levels[0], p)
        alpha = rho / _dot(p, q)
        x.add_(p * alpha)
        r.sub_(q * alpha)
        count += 1
        if _dot(r, r) ** 0.5 <= wanted or count >= most:
            return x, count


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    """The scalar product, summed piece by piece, since some cards have single precision only."""
    return float((a * b).sum())


def _solved(grids: Hierarchy, levels: list[_Grid], number: int, forced: torch.Tensor) -> torch.Tensor:
    """The displacements of a coarser level, as on the processor."""
    if number == len(levels) - 1:
        free, solved = grids.levels[-1].inverse > 0, np.zeros(forced.shape, np.float32)
        solved[free] = grids.factors.solve(forced.cpu().numpy()[free].astype(np.float64))
        return torch.from_numpy(solved).to(forced.device)
    return two_steps(
        forced,
        cycle=lambda left: _cycle(grids, levels, number, left),
        push=lambda moved: _forces(levels[number], moved),
        dot=_dot,
    )


def _cycle(grids: Hierarchy, levels: list[_Grid], number: int, forced: torch.Tensor) -> torch.Tensor:
    """Displacements that nearly hold the given forces; not of the coarsest level."""
    grid = levels[number]
    x, left = _smoothed(grid, forced)
    assert grid.above is not None and grid.below is not None and grid.shares is not None
    gathered = sum(
        left.index_select(0, nodes) * part[:, None] for nodes, part in zip(grid.below, grid.shares, strict=True)
    )
    gathered = gathered * levels[number + 1].free
    moved = _solved(grids, levels, number + 1, gathered)
    step = sum(moved.index_select(0, nodes) for nodes in grid.above) * grid.free / 8
    x.add_(step)
    more, _ = _smoothed(grid, left.sub_(_forces(grid, step)), last=True)
    return x.add_(more)


def _smoothed(grid: _Grid, forced: torch.Tensor, *, last: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Chebyshev's iteration for the stiffness over its diagonal: displacements, and forces left (not after the last)."""
    low = grid.largest / SMOOTHED
    middle, half = (grid.largest + low) / 2, (grid.largest - low) / 2
    rho = half / middle
    left, step = forced, grid.inverse * forced / middle
    x = step.clone()
    for _ in range(DEGREE - 1):
        left = left - _forces(grid, step)
        then = 1 / (2 * middle / half - rho)
        step = step * (then * rho) + grid.inverse * left * (2 * then / half)
        x.add_(step)
        rho = then
    return x, left if last else left - _forces(grid, step)
