"""Voxels as elastic bricks: the stiffness of one, and the forces that displaced nodes exert on many.

Every element is the same brick, scaled by its modulus, so that nothing larger than a few numbers a voxel is stored. A box
of isotropic material is the same when it is mirrored along any of its axes. In sums and differences of the displacements of
its corners, which behave alike under these mirrorings, the 24 by 24 stiffness matrix falls into eight blocks of 3 by 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from deepqct.work import compiled, share

Vectors = NDArray[np.floating]  # (nodes, 3): along z, y and x

_BATCH = 16  # elements whose forces are computed side by side
_GAUSS = 1 / np.sqrt(3)

# A step of the solver is short, and its ranges take alike: few are handed out.
solve_step = partial(share, ranges=2)


def brick_stiffness(*, edges_mm: tuple[float, float, float], poisson: float) -> NDArray[np.float64]:
    """The stiffness matrix of a brick with a modulus of 1 MPa, by two Gauss points along each axis.

    Parameters
    ----------
    edges_mm : (z, y, x) mm
        Edges of the brick.
    poisson : float
        Poisson's ratio.

    Returns
    -------
    (24, 24) float, N/mm
        Of displacements along z, y, x, each at the eight corners in C order.

    Raises
    ------
    ValueError
        If Poisson's ratio is not that of a solid.

    References
    ----------
    Zienkiewicz OC, Taylor RL (2000), The Finite Element Method, 5th edition, volume 1.

    Examples
    --------
    >>> stiffness = brick_stiffness(edges_mm=(0.06, 0.06, 0.06), poisson=0.3)
    >>> stiffness.shape, bool(abs(stiffness[:8, :8].sum()) < 1e-12)  # no force when all corners move alike
    ((24, 24), True)
    """
    material = material_matrix(poisson)
    signs = np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    total = np.zeros((24, 24))
    for point in signs * _GAUSS:
        slope = strain_matrix(point, edges_mm=edges_mm)
        total += slope.T @ material @ slope * np.prod(edges_mm) / 8
    return total


def material_matrix(poisson: float) -> NDArray[np.float64]:
    """The stresses zz, yy, xx, yx, zx, zy of the strains of the same names, for a modulus of 1 MPa.

    Parameters
    ----------
    poisson : float
        Poisson's ratio.

    Returns
    -------
    (6, 6) float

    Raises
    ------
    ValueError
        If it is not that of a solid.
    """
    if not -1 < poisson < 0.5:
        raise ValueError(f"poisson is {poisson:g}; give Poisson's ratio, above -1 and below 0.5.")
    lame, shear = poisson / ((1 + poisson) * (1 - 2 * poisson)), 1 / (2 * (1 + poisson))
    matrix = np.diag([lame + 2 * shear] * 3 + [shear] * 3)
    matrix[:3, :3] += lame * (1 - np.eye(3))
    return np.asarray(matrix)


def strain_matrix(point: NDArray[np.float64], *, edges_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """The strains zz, yy, xx, yx, zx, zy at a point of a brick, from the displacements of its corners.

    Parameters
    ----------
    point : (3,) float
        From -1 to 1 along z, y and x.
    edges_mm : (z, y, x) mm
        Edges of the brick.

    Returns
    -------
    (6, 24) float
    """
    signs = np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    share_of = (1 + signs * point) / 2
    slopes = np.empty((3, 8))
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        slopes[axis] = signs[:, axis] / edges_mm[axis] * share_of[:, others].prod(axis=1)
    matrix = np.zeros((6, 24))
    for axis in range(3):
        matrix[axis, 8 * axis : 8 * axis + 8] = slopes[axis]
    for row, (one, two) in enumerate([(1, 2), (0, 2), (0, 1)], start=3):
        matrix[row, 8 * one : 8 * one + 8] = slopes[two]
        matrix[row, 8 * two : 8 * two + 8] = slopes[one]
    return matrix


def mirror_blocks(stiffness: NDArray[np.float64]) -> NDArray[np.float64]:
    """The blocks into which a brick's stiffness falls in sums and differences of its corners.

    Parameters
    ----------
    stiffness : (24, 24) float
        From `brick_stiffness`.

    Returns
    -------
    (8, 3, 3) float
        Block p holds the sum or difference p with bit 4 changed for z, bit 2 for y, and bit 1 for x.

    Raises
    ------
    ValueError
        If the matrix is not that of a brick.
    """
    one = np.array([[1.0, 1.0], [-1.0, 1.0]])
    sums = np.kron(np.kron(one, one), one)
    every = np.kron(np.eye(3), sums) / 8
    turned = every @ stiffness @ every.T
    blocks = np.empty((8, 3, 3))
    rest = turned.copy()
    for p in range(8):
        rows = [p ^ 4, 8 + (p ^ 2), 16 + (p ^ 1)]
        blocks[p] = turned[np.ix_(rows, rows)]
        rest[np.ix_(rows, rows)] = 0
    if np.abs(rest).max() > 1e-9 * np.abs(turned).max():
        raise ValueError("The matrix is not that of a brick of isotropic material.")
    return blocks


@dataclass(frozen=True)
class Bricks:
    """Bricks of one size on a grid, and the nodes at their corners; only those of material are kept.

    Parameters
    ----------
    shape : (z, y, x)
        Bricks along each axis of the grid.
    edges_mm : (z, y, x) mm
        Edges of a brick.
    place : (bricks,) int64
        Place of each brick in the grid, in C order.
    modulus : (bricks,) float32
        Modulus of each brick, as a share of the unit in which forces are wanted.
    layers : (z + 1,) int64
        The first brick of each layer, and the end.
    corners : (bricks, 8) int32
        The nodes at the corners of each brick, in C order.
    node : (nodes, 3) int16
        Place of each node, from 0 to `shape`.
    planes : (z + 2,) int64
        The first node of each plane of nodes, and the end.
    poisson : float
        Poisson's ratio.
    stiffness : (24, 24) float64, N/mm for 1 MPa
        Of one brick.
    """

    shape: tuple[int, int, int]
    edges_mm: tuple[float, float, float]
    place: NDArray[np.int64]
    modulus: NDArray[np.float32]
    layers: NDArray[np.int64]
    corners: NDArray[np.int32]
    node: NDArray[np.int16]
    planes: NDArray[np.int64]
    poisson: float
    stiffness: NDArray[np.float64]

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.node)


def lay_bricks(moduli: NDArray[np.floating], *, edges_mm: tuple[float, float, float], poisson: float) -> Bricks:
    """Lay a brick wherever there is material.

    Parameters
    ----------
    moduli : (z, y, x) float
        Modulus of each voxel; 0 for none.
    edges_mm : (z, y, x) mm
        Edges of a voxel.
    poisson : float
        Poisson's ratio.
    """
    solid = moduli > 0
    place = np.flatnonzero(solid)
    layers = np.concatenate([[0], np.cumsum(solid.sum(axis=(1, 2)))])
    touched = np.zeros(tuple(n + 1 for n in moduli.shape), bool)
    nz, ny, nx = moduli.shape
    for dz in (0, 1):
        for dy in (0, 1):
            for dx in (0, 1):
                touched[dz : nz + dz, dy : ny + dy, dx : nx + dx] |= solid
    planes = np.concatenate([[0], np.cumsum(touched.sum(axis=(1, 2)))])
    node = np.stack(np.nonzero(touched), axis=1).astype(np.int16)
    corners = np.empty((len(place), 8), np.int32)
    for z in range(nz):  # two planes of numbers at a time
        both = np.cumsum(touched[z : z + 2].ravel()).reshape(2, ny + 1, nx + 1) - 1 + planes[z]
        inside = place[layers[z] : layers[z + 1]] - z * ny * nx
        y, x = inside // nx, inside % nx
        for row, (dz, dy) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            first = both[dz, y + dy, x]  # the node at x + 1 is the next one
            corners[layers[z] : layers[z + 1], 2 * row] = first
            corners[layers[z] : layers[z + 1], 2 * row + 1] = first + 1
    modulus = moduli.ravel()[place].astype(np.float32)
    stiffness = brick_stiffness(edges_mm=edges_mm, poisson=poisson)
    return Bricks((nz, ny, nx), edges_mm, place, modulus, layers, corners, node, planes, poisson, stiffness)


def add_forces(
    bricks: Bricks, displaced: Vectors, *, blocks: NDArray[np.floating], out: Vectors, sign: float, threads: int | None
) -> None:
    """Add the forces at the nodes that hold given displacements, in N for moduli in MPa and displacements in mm.

    Layers of bricks that do not touch are taken side by side, so that sums have one order whatever the number of threads.

    Parameters
    ----------
    bricks : Bricks
        The elements.
    displaced : (nodes, 3) float
        Displacements, mm.
    blocks : (8, 3, 3) float
        From `mirror_blocks`, in the precision of the displacements.
    out : (nodes, 3) float
        To which `sign` times the forces are added.
    sign : float
        1 or -1.
    threads : int, optional
        How many threads share the work.
    """
    for parity in (0, 1):
        pairs = (bricks.shape[0] - parity + 1) // 2
        if pairs:
            solve_step(
                _add_forces, pairs, parity, bricks.layers, bricks.corners, bricks.modulus, blocks,
                displaced.dtype.type(sign), displaced, out, threads=threads,
            )  # fmt: skip


@compiled(fastmath=True)
def _add_forces(first, last, parity, layers, corners, modulus, blocks, sign, u, out):  # type: ignore[no-untyped-def]
    v = np.zeros((24, _BATCH), u.dtype)
    for pair in range(first, last):
        layer = 2 * pair + parity
        end = layers[layer + 1]
        for start in range(layers[layer], end, _BATCH):
            n = min(_BATCH, end - start)
            for b in range(n):
                for corner in range(8):
                    node = corners[start + b, corner]
                    for c in range(3):
                        v[8 * c + corner, b] = u[node, c]
            for c in range(3):  # sums and differences of the corners
                for axis in range(3):
                    bit = 1 << axis
                    for i in range(8):
                        if not i & bit:
                            low, high = 8 * c + i, 8 * c + i + bit
                            for b in range(_BATCH):
                                one, two = v[low, b], v[high, b]
                                v[low, b], v[high, b] = one + two, two - one
            for p in range(8):
                i, j, k = p ^ 4, 8 + (p ^ 2), 16 + (p ^ 1)
                ii, ij, ik = blocks[p, 0, 0], blocks[p, 0, 1], blocks[p, 0, 2]
                jj, jk, kk = blocks[p, 1, 1], blocks[p, 1, 2], blocks[p, 2, 2]
                for b in range(_BATCH):
                    one, two, three = v[i, b], v[j, b], v[k, b]
                    v[i, b] = ii * one + ij * two + ik * three
                    v[j, b] = ij * one + jj * two + jk * three
                    v[k, b] = ik * one + jk * two + kk * three
            for c in range(3):
                for axis in range(3):
                    bit = 1 << axis
                    for i in range(8):
                        if not i & bit:
                            low, high = 8 * c + i, 8 * c + i + bit
                            for b in range(_BATCH):
                                one, two = v[low, b], v[high, b]
                                v[low, b], v[high, b] = one - two, one + two
            for b in range(n):
                scale = sign * modulus[start + b]
                for corner in range(8):
                    node = corners[start + b, corner]
                    for c in range(3):
                        out[node, c] += scale * v[8 * c + corner, b]


def coarser(bricks: Bricks) -> tuple[Bricks, NDArray[np.int32]]:
    """Join two by two by two bricks into one of twice the edges, with their mean modulus, voids counted as 0.

    Only bricks that touch are joined: where parts of a bone lie apart in the same place of the coarser grid, each has a
    brick and nodes of its own there, so that they move apart as the fine ones do.

    Parameters
    ----------
    bricks : Bricks
        The finer ones.

    Returns
    -------
    Bricks
        The coarser ones.
    (nodes,) int32
        A coarser brick that each finer node lies in; all of them give it the same displacement.

    References
    ----------
    Dick C, Georgii J, Westermann R (2011), IEEE Trans Vis Comput Graph 17:1663, for bricks of their own beside a cut.
    """
    shape = (-(-bricks.shape[0] // 2), -(-bricks.shape[1] // 2), -(-bricks.shape[2] // 2))
    z, y, x = np.unravel_index(bricks.place, bricks.shape)
    cell = np.ravel_multi_index((z // 2, y // 2, x // 2), shape).astype(np.int64)
    part = _parts(bricks.corners, bricks.node, cell, np.stack([z // 2, y // 2, x // 2], axis=1).astype(np.int16))
    roots = np.flatnonzero(part == np.arange(len(part)))
    roots = roots[np.argsort(cell[roots], kind="stable")]
    number = np.empty(len(part), np.int32)
    number[roots] = np.arange(len(roots), dtype=np.int32)
    within, place = number[part], cell[roots]
    modulus = (np.bincount(within, bricks.modulus, minlength=len(roots)) / 8).astype(np.float32)
    at = np.stack(np.unravel_index(place, shape), axis=1).astype(np.int16)
    slots, home = _slots(bricks.corners, bricks.node, within, at)
    ends = np.flatnonzero(slots == np.arange(len(slots)))
    steps = np.stack(np.meshgrid(*[(0, 1)] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    node = at[ends // 8] + steps[ends % 8].astype(np.int16)
    order = np.lexsort((ends, node[:, 2], node[:, 1], node[:, 0]))
    renamed = np.empty(len(slots), np.int32)
    renamed[ends[order]] = np.arange(len(ends), dtype=np.int32)
    node = node[order]
    edges = (2 * bricks.edges_mm[0], 2 * bricks.edges_mm[1], 2 * bricks.edges_mm[2])
    layers = np.searchsorted(at[:, 0], np.arange(shape[0] + 1)).astype(np.int64)
    planes = np.searchsorted(node[:, 0], np.arange(shape[0] + 2)).astype(np.int64)
    stiffness = brick_stiffness(edges_mm=edges, poisson=bricks.poisson)
    corners = renamed[slots].reshape(-1, 8)
    return Bricks(shape, edges, place, modulus, layers, corners, node, planes, bricks.poisson, stiffness), home


@compiled()
def _root(parent, one):  # type: ignore[no-untyped-def]
    while parent[one] != one:
        parent[one] = parent[parent[one]]
        one = parent[one]
    return one


@compiled()
def _join(parent, one, two):  # type: ignore[no-untyped-def]
    one, two = _root(parent, one), _root(parent, two)
    if one < two:
        parent[two] = one
    else:
        parent[one] = two


@compiled()
def _parts(corners, node, cell, at):  # type: ignore[no-untyped-def]
    # The first brick of the part that each brick belongs to: bricks of one cell that share a node, and so on.
    parent = np.arange(len(corners), dtype=np.int32)
    first = np.full((len(node), 8), -1, np.int32)  # by node, and by the cell beside it
    for brick in range(len(corners)):
        for corner in range(8):
            n, beside = corners[brick, corner], 0
            for axis in range(3):
                if not node[n, axis] & 1 and 2 * at[brick, axis] == node[n, axis]:
                    beside |= 1 << axis
            if first[n, beside] < 0:
                first[n, beside] = brick
            else:
                _join(parent, first[n, beside], brick)
    for brick in range(len(corners)):
        parent[brick] = _root(parent, brick)
    return parent


@compiled()
def _slots(corners, node, within, at):  # type: ignore[no-untyped-def]
    # Corners of coarser bricks, the same where a finer node that lies in both needs them; and a brick of each finer node.
    parent = np.arange(8 * len(at), dtype=np.int32)
    home = np.full(len(node), -1, np.int32)
    for brick in range(len(corners)):
        mine = within[brick]
        for corner in range(8):
            n = corners[brick, corner]
            if home[n] < 0:
                home[n] = mine
            theirs = home[n]
            if theirs == mine:
                continue
            for k in range(8):  # coarser nodes around this finer one, by their place
                one, two, there = 0, 0, True
                for axis in range(3):
                    low = node[n, axis] >> 1
                    step = (k >> (2 - axis)) & 1
                    if step and not node[n, axis] & 1:
                        there = False  # the finer node lies on the lower one: no second one along this axis
                    one |= (low + step - at[mine, axis]) << (2 - axis)
                    two |= (low + step - at[theirs, axis]) << (2 - axis)
                if there:
                    _join(parent, 8 * mine + one, 8 * theirs + two)
    for slot in range(len(parent)):
        parent[slot] = _root(parent, slot)
    return parent, home
