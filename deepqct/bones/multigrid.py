"""Displacements of bricks in equilibrium: conjugate gradients, preconditioned by ever coarser bricks.

Each coarser level is itself solved by up to two steps of conjugate gradients, preconditioned by the next (a K-cycle: Notay
and Vassilevski (2008), Numer Linear Algebra Appl 15:473): coarse bricks are too stiff where trabeculae bend, and the
length of a step makes up for it. A coarser level joins two by two by two bricks into one with their mean modulus, where
they touch: parts that lie apart stay apart (`coarser`). Vectors are in single precision; what is left to solve is computed
in double precision, so that the result is as exact as asked for. Sums are taken in pieces of fixed size: the result does
not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

from deepqct.bones.bricks import Bricks, Vectors, add_forces, coarser, mirror_blocks, solve_step
from deepqct.work import compiled

if TYPE_CHECKING:
    import torch

# All our choices, by the time that a tibia takes.
DEGREE = 3  # of the Chebyshev polynomial that smooths before and after each coarser level
SMOOTHED = 10.0  # by which the largest eigenvalue exceeds the smallest that is smoothed
_COARSEST = 1000  # nodes that are solved directly
_INNER = 1e-4  # what single precision is asked for at a time
_PIECE = 1 << 14  # nodes whose sum is taken in one go
_LIFT = 1e-6  # of the coarsest level's diagonal, added to it, since parts of it may float
_ENOUGH = 0.25  # share of the forces on a coarser level that one step may leave, so that there is no second
_ALONE = 20_000  # nodes of a level up to which starting threads takes longer than they save


Array = TypeVar("Array", Vectors, "torch.Tensor")
# Displacements that nearly hold given forces in single precision, and how many iterations they took. It is called with
# (nodes, 3) forces of norm 1, which it may use up, the norm that may be left of them, and how many iterations there may be.
Inner = Callable[[Vectors, float, int], tuple[Vectors, int]]


@dataclass(frozen=True)
class Level:
    """One level: its bricks, and which of its nodes are free.

    Parameters
    ----------
    bricks : Bricks
        The elements.
    blocks : (8, 3, 3) float32
        From `mirror_blocks`.
    inverse : (nodes, 3) float32
        One over the diagonal of the stiffness; 0 where a displacement is held.
    largest : float
        A bound of the eigenvalues of the stiffness over its diagonal: that of a single brick.
    home : (nodes,) int32, optional
        A brick of the next coarser level that each node lies in; not of the coarsest.
    """

    bricks: Bricks
    blocks: NDArray[np.float32]
    inverse: NDArray[np.float32]
    largest: float
    home: NDArray[np.int32] | None


@dataclass(frozen=True)
class Hierarchy:
    """All levels, the finest first, and the factors of the coarsest.

    Parameters
    ----------
    levels : tuple of Level
        Each half as fine as the one before.
    factors : SuperLU
        Solves the free displacements of the coarsest.
    """

    levels: tuple[Level, ...]
    factors: linalg.SuperLU


@dataclass(frozen=True)
class Equilibrium:
    """Displacements at which no force is left over.

    Parameters
    ----------
    displaced : (nodes, 3) float64, mm
        The displacements.
    iterations : int
        Of conjugate gradients, in all.
    residual : float
        Forces left over at free nodes, as a share of the reference: root of the sum of squares.
    """

    displaced: NDArray[np.float64]
    iterations: int
    residual: float


def hierarchy(bricks: Bricks, *, held: NDArray[np.bool_], ends: tuple[bool, bool, bool]) -> Hierarchy:
    """All levels, down to one that is solved directly.

    Parameters
    ----------
    bricks : Bricks
        The finest.
    held : (nodes, 3) bool
        Displacements of the finest that are held.
    ends : (z, y, x) bool
        Which displacements are held at both ends of the grid along z; it is what coarser levels hold.
    """
    levels, top = [], bricks.shape[0]
    while bricks.nodes > _COARSEST and max(bricks.shape) > 1:
        joined, home = coarser(bricks)
        levels.append(_level(bricks, held=held, home=home))
        bricks, z = joined, joined.node[:, 0].astype(np.int64) << len(levels)
        held = ((z == 0) | (z >= top))[:, None] & np.array(ends)
    levels.append(_level(bricks, held=held, home=None))
    last, free = levels[-1], (levels[-1].inverse > 0).ravel()
    matrix = _assembled(last.bricks)[free][:, free]
    matrix = matrix + sparse.diags(matrix.diagonal() * _LIFT)
    return Hierarchy(tuple(levels), linalg.splu(matrix.tocsc()))


def equilibrium(
    grids: Hierarchy,
    first: NDArray[np.float64],
    *,
    reference: float,
    tolerance: float,
    most: int,
    inner: Inner | None = None,
    threads: int | None = None,
) -> Equilibrium:
    """Let the free nodes move until no force is left at them.

    Parameters
    ----------
    grids : Hierarchy
        All levels.
    first : (nodes, 3) float64, mm
        Displacements to begin with, those of held nodes among them; they are used up.
    reference : float, N
        Forces of which `tolerance` is a share.
    tolerance : float
        Of the residual.
    most : int
        Iterations at most.
    inner : callable, optional
        What solves in single precision; without it conjugate gradients on this machine's processor.
    threads : int, optional
        How many threads share the work.
    """
    finest = grids.levels[0]
    blocks = mirror_blocks(finest.bricks.stiffness)
    displaced, done = first, 0  # as large as several other vectors: not copied
    while True:
        left = np.zeros_like(displaced)
        add_forces(finest.bricks, displaced, blocks=blocks, out=left, sign=-1, threads=threads)
        size = _dot(finest, left, left, threads) ** 0.5
        residual = size / reference
        if residual <= tolerance or done >= most:
            return Equilibrium(displaced, done, residual)
        r = (left / size).astype(np.float32)
        del left
        wanted = max(_INNER, 0.5 * tolerance / residual)
        if inner is None:
            moved, count = _conjugate(grids, r, wanted=wanted, most=most - done, threads=threads)
        else:
            moved, count = inner(r, wanted, most - done)
        done += count
        displaced += size * moved


def forces(bricks: Bricks, displaced: Vectors, *, threads: int | None = None) -> Vectors:
    """The forces at all nodes, in double precision.

    Parameters
    ----------
    bricks : Bricks
        The elements.
    displaced : (nodes, 3) float64, mm
        Displacements.
    threads : int, optional
        How many threads share the work.
    """
    out = np.zeros(displaced.shape)
    add_forces(bricks, displaced, blocks=mirror_blocks(bricks.stiffness), out=out, sign=1, threads=threads)
    return out


def _level(bricks: Bricks, *, held: NDArray[np.bool_], home: NDArray[np.int32] | None) -> Level:
    """A level, with its way to the next coarser one."""
    around = np.zeros(bricks.nodes)
    for corner in range(8):
        around += np.bincount(bricks.corners[:, corner], bricks.modulus, minlength=bricks.nodes)
    diagonal = bricks.stiffness.diagonal()
    inverse = np.where(held, 0.0, 1 / (around[:, None] * diagonal[::8])).astype(np.float32)
    scale = diagonal**-0.5
    largest = float(np.linalg.eigvalsh(bricks.stiffness * scale * scale[:, None]).max())
    return Level(bricks, mirror_blocks(bricks.stiffness).astype(np.float32), inverse, largest, home)


def _assembled(bricks: Bricks) -> sparse.csr_matrix:
    """The stiffness matrix of a few bricks."""
    place = np.concatenate([3 * bricks.corners + axis for axis in range(3)], axis=1)  # (bricks, 24)
    rows, columns = np.repeat(place, 24, axis=1).ravel(), np.tile(place, (1, 24)).ravel()
    values = (bricks.modulus[:, None].astype(float) * bricks.stiffness.ravel()).ravel()
    return sparse.csr_matrix((values, (rows, columns)), shape=(3 * bricks.nodes,) * 2)


def _conjugate(grids: Hierarchy, r: Vectors, *, wanted: float, most: int, threads: int | None) -> tuple[Vectors, int]:
    """Conjugate gradients in single precision, from no displacement on; `r` is used up.

    The cycle is not the same linear map every time, so a direction is made conjugate to the last by what they share.
    """
    finest = grids.levels[0]
    x, p, q = (np.zeros_like(r) for _ in range(3))
    rho, alpha, count = 1.0, 0.0, 0
    while True:
        z = _cycle(grids, 0, r, threads) if len(grids.levels) > 1 else _solved(grids, 0, r, threads)
        turned = -alpha * _dot(finest, z, q, threads) / rho
        rho = _dot(finest, r, z, threads)
        solve_step(_turn, len(r), np.float32(turned), z, p, threads=threads)
        del z
        q[:] = 0
        add_forces(finest.bricks, p, blocks=finest.blocks, out=q, sign=1, threads=threads)
        alpha = rho / _dot(finest, p, q, threads)
        solve_step(_step, len(r), np.float32(alpha), p, q, x, r, threads=threads)
        count += 1
        if _dot(finest, r, r, threads) ** 0.5 <= wanted or count >= most:
            return x, count


def two_steps(
    forced: Array,
    *,
    cycle: Callable[[Array], Array],
    push: Callable[[Array], Array],
    dot: Callable[[Array, Array], float],
) -> Array:
    """Solve a level by one or two steps of conjugate gradients; the second is left out where the first does enough.

    Parameters
    ----------
    forced : (nodes, 3) array or tensor
        Forces.
    cycle : callable
        The preconditioner: displacements that nearly hold given forces.
    push : callable
        The forces at free nodes that hold given displacements.
    dot : callable
        The scalar product.

    Returns
    -------
    (nodes, 3) array or tensor
        Displacements.
    """
    first = cycle(forced)
    pushed = push(first)
    energy = dot(first, pushed)
    if energy <= 0:  # nothing pushes
        return first
    length = dot(first, forced) / energy
    left = forced - length * pushed
    if dot(left, left) <= _ENOUGH**2 * dot(forced, forced):
        return length * first
    second = cycle(left)
    shared = dot(second, pushed)
    alone = dot(second, push(second)) - shared**2 / energy
    if alone <= 0:  # along the first, up to rounding
        return length * first
    more = dot(second, left) / alone
    return (length - more * shared / energy) * first + more * second


def _solved(grids: Hierarchy, number: int, forced: Vectors, threads: int | None) -> Vectors:
    """The displacements of a coarser level: of the coarsest exactly, of others nearly."""
    level = grids.levels[number]
    if number == len(grids.levels) - 1:
        x, free = np.zeros_like(forced), level.inverse > 0
        x[free] = grids.factors.solve(forced[free].astype(np.float64))
        return x

    def push(moved: Vectors) -> Vectors:
        out = np.zeros_like(moved)
        add_forces(level.bricks, moved, blocks=level.blocks, out=out, sign=1, threads=threads)
        out[level.inverse == 0] = 0
        return out

    return two_steps(
        forced,
        cycle=lambda left: _cycle(grids, number, left, threads),
        push=push,
        dot=lambda a, b: _dot(level, a, b, threads),
    )


def _cycle(grids: Hierarchy, number: int, forced: Vectors, threads: int | None) -> Vectors:
    """Displacements that nearly hold the given forces, which stay as they are; not of the coarsest level."""
    level = grids.levels[number]
    threads = 1 if len(forced) <= _ALONE else threads
    x, left, step = np.zeros_like(forced), forced.copy(), np.zeros_like(forced)
    below = grids.levels[number + 1]
    fine, rough = level.bricks, below.bricks
    _smooth(level, x, left, step, threads)
    add_forces(fine, step, blocks=level.blocks, out=left, sign=-1, threads=threads)
    gathered = np.zeros((rough.nodes, 3), np.float32)
    way = (fine.planes, fine.node, level.home, rough.corners, rough.node, level.inverse)
    solve_step(_restrict, rough.shape[0] + 1, *way, left, gathered, threads=threads)
    gathered[below.inverse == 0] = 0
    moved = _solved(grids, number + 1, gathered, threads)
    solve_step(_prolong, fine.shape[0] + 1, *way, moved, step, threads=threads)
    solve_step(_add, len(x), step, x, threads=threads)
    add_forces(fine, step, blocks=level.blocks, out=left, sign=-1, threads=threads)
    _smooth(level, x, left, step, threads)
    return x


def _smooth(level: Level, x: Vectors, left: Vectors, step: Vectors, threads: int | None) -> None:
    """Chebyshev's iteration for the stiffness over its diagonal; the last `step` is not yet taken off what is `left`."""
    low = level.largest / SMOOTHED
    middle, half = (level.largest + low) / 2, (level.largest - low) / 2
    rho = half / middle
    solve_step(_chebyshev, len(x), np.float32(0), np.float32(1 / middle), level.inverse, left, step, x, threads=threads)
    for _ in range(DEGREE - 1):
        add_forces(level.bricks, step, blocks=level.blocks, out=left, sign=-1, threads=threads)
        then = 1 / (2 * middle / half - rho)
        solve_step(
            _chebyshev, len(x), np.float32(then * rho), np.float32(2 * then / half), level.inverse, left, step, x,
            threads=threads,
        )  # fmt: skip
        rho = then


def _dot(level: Level, a: Vectors, b: Vectors, threads: int | None) -> float:
    """The scalar product over free displacements; its order of summing is fixed."""
    sums = np.zeros(-(-len(a) // _PIECE))
    solve_step(_products, len(sums), level.inverse, a, b, sums, threads=threads)
    return float(sums.sum())


@compiled(fastmath=True)
def _products(first, last, inverse, a, b, sums):  # type: ignore[no-untyped-def]
    for piece in range(first, last):
        total = 0.0
        for node in range(piece * _PIECE, min((piece + 1) * _PIECE, len(a))):
            for c in range(3):
                if inverse[node, c] > 0:
                    total += np.float64(a[node, c]) * np.float64(b[node, c])
        sums[piece] = total


@compiled()
def _turn(first, last, beta, z, p):  # type: ignore[no-untyped-def]
    for node in range(first, last):
        for c in range(3):
            p[node, c] = z[node, c] + beta * p[node, c]


@compiled()
def _step(first, last, alpha, p, q, x, r):  # type: ignore[no-untyped-def]
    for node in range(first, last):
        for c in range(3):
            x[node, c] += alpha * p[node, c]
            r[node, c] -= alpha * q[node, c]


@compiled()
def _add(first, last, step, x):  # type: ignore[no-untyped-def]
    for node in range(first, last):
        for c in range(3):
            x[node, c] += step[node, c]


@compiled()
def _chebyshev(first, last, keep, take, inverse, left, step, x):  # type: ignore[no-untyped-def]
    for node in range(first, last):
        for c in range(3):
            step[node, c] = keep * step[node, c] + take * inverse[node, c] * left[node, c]
            x[node, c] += step[node, c]


@compiled()
def _restrict(first, last, planes, node, home, corners, place, inverse, left, gathered):  # type: ignore[no-untyped-def]
    for coarse in range(first, last):  # a coarse plane gathers from the three fine ones around it
        for z in range(max(2 * coarse - 1, 0), min(2 * coarse + 2, len(planes) - 1)):
            along = np.float32(1.0 if z == 2 * coarse else 0.5)
            for n in range(planes[z], planes[z + 1]):
                brick = home[n]
                low = place[corners[brick, 0]]
                up, y, x = 4 * (coarse - low[0]), node[n, 1] - 2 * low[1], node[n, 2] - 2 * low[2]
                for k in range(4):
                    yy, xx = k >> 1, k & 1
                    part = along * np.float32(0.25 * ((y if yy else 2 - y) * (x if xx else 2 - x)))
                    if part > 0:
                        m = corners[brick, up + k]
                        for c in range(3):
                            if inverse[n, c] > 0:
                                gathered[m, c] += part * left[n, c]


@compiled()
def _prolong(first, last, planes, node, home, corners, place, inverse, moved, step):  # type: ignore[no-untyped-def]
    for plane in range(first, last):
        for n in range(planes[plane], planes[plane + 1]):
            brick = home[n]
            low = place[corners[brick, 0]]
            z, y, x = node[n, 0] - 2 * low[0], node[n, 1] - 2 * low[1], node[n, 2] - 2 * low[2]
            for c in range(3):
                step[n, c] = 0
            for k in range(8):
                zz, yy, xx = k >> 2, (k >> 1) & 1, k & 1
                part = np.float32(0.125 * ((z if zz else 2 - z) * (y if yy else 2 - y) * (x if xx else 2 - x)))
                if part > 0:
                    m = corners[brick, k]
                    for c in range(3):
                        if inverse[n, c] > 0:
                            step[n, c] += part * moved[m, c]
