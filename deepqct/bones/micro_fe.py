"""Micro-finite elements: how a bone gives way under a load, with every voxel of bone an elastic brick.

A voxel has 8 nodes and is linear and isotropic; voxels differ by their modulus alone. Bottom and top planes of the model
are moved as the load asks for. Only the parts that join both ends carry; the rest is left out and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones.bricks import Bricks, lay_bricks, material_matrix, strain_matrix
from deepqct.bones.multigrid import equilibrium, forces, hierarchy

LOADS = ("compression", "shear_x", "shear_y", "torsion", "bending_x", "bending_y")
ENDS = ("fixed", "free")
_FREE = ("compression", "bending_x", "bending_y")  # loads that need no friction at the ends
MOST_VOXELS = 2**29  # several times the largest scan of a tibia
MOST_EDGE = 2**14  # voxels along an edge; places are kept as 16-bit numbers
TOLERANCE, MOST = 1e-6, 2000


@dataclass(frozen=True)
class Solution:
    """A bone under load.

    Parameters
    ----------
    reaction_n : float, N
        Force with which the top is moved, along the movement: negative in compression. NaN in torsion and bending.
    moment_n_mm : float, N·mm
        Moment with which the top is turned, in torsion and bending; NaN otherwise.
    stiffness_n_mm : float, N/mm
        Force over displacement; in torsion and bending N·mm over radians.
    energy_density : (z, y, x) float32, MPa
        Strain energy density of each voxel's mean strain; 0 outside of the model.
    effective_strain : (z, y, x) float32
        √(2U/E) of each voxel, with U its energy density and E its modulus; 0 outside of the model.
    axial_stress : (z, y, x) float32, MPa
        Mean stress along z of each voxel; 0 outside of the model.
    iterations : int
        Of conjugate gradients.
    residual : float
        Forces left over at free nodes, as a share of those of the moved ends alone.
    elements, left_out : int
        Voxels of the model, and of the parts that do not join both ends.

    References
    ----------
    Pistoia W et al. (2002), Bone 30:842, for the effective strain.
    """

    reaction_n: float
    moment_n_mm: float
    stiffness_n_mm: float
    energy_density: NDArray[np.float32]
    effective_strain: NDArray[np.float32]
    axial_stress: NDArray[np.float32]
    iterations: int
    residual: float
    elements: int
    left_out: int

    def __repr__(self) -> str:
        """The figures in one line; no array is shown."""
        turned = np.isnan(self.reaction_n)
        by = f"{self.moment_n_mm:.4g} N·mm" if turned else f"{self.reaction_n:.4g} N"
        return (
            f"Solution({by}, {self.elements} elements, {self.left_out} left out, {self.iterations} iterations, residual "
            f"{self.residual:.1e})"
        )


def solve(
    moduli_mpa: NDArray[np.floating],
    *,
    voxel_mm: tuple[float, float, float],
    poisson: float = 0.3,
    load: str = "compression",
    strain: float = 0.01,
    ends: str = "fixed",
    tolerance: float = TOLERANCE,
    device: str = "cpu",
    threads: int | None = None,
) -> Solution:
    """Load a model of voxels, and tell its reaction and its strains.

    The model reaches from the first slice with material to the last. Its bottom stays where it is and its top moves:

    - ``compression``: by ``strain`` times its height along z;
    - ``shear_x``, ``shear_y``: as far along x or y;
    - ``torsion``: around z and the centre of its top, until the outermost node has moved as far;
    - ``bending_x``, ``bending_y``: around x or y through that centre, until the outermost node has moved as far along z.

    Parameters
    ----------
    moduli_mpa : (z, y, x) float, MPa
        Young's modulus of each voxel; 0 where there is no bone.
    voxel_mm : (z, y, x) mm
        Edges of a voxel.
    poisson : float
        Poisson's ratio.
    load : str
        One of `LOADS`.
    strain : float
        Movement over height.
    ends : str
        ``fixed``: end planes do not slide, as under a plate with friction; ``free``: they slide sideways, which needs
        compression or bending.
    tolerance : float
        Of the forces left over.
    device : str
        ``cpu``, this machine's processor; ``cuda`` or ``mps``, a graphics card by torch; ``torch``, the card's program on
        the processor, to try it. Forces left over are computed on the processor in double precision, so that devices agree.
    threads : int, optional
        How many threads share the work; all processors by default. The result does not depend on it.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If a value is none of those that are asked for; if this machine does not have the device; if nothing joins both
        ends; if it does not come to rest.

    References
    ----------
    van Rietbergen B et al. (1995), J Biomech 28:69, for voxels as elements. Arbenz P et al. (2008), Int J Numer Methods Eng
    73:927, for multigrid on them.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> block = np.full((8, 4, 4), 1000.0)  # MPa
    >>> found = dq.bones.micro_fe.solve(block, voxel_mm=(0.1, 0.1, 0.1), ends="free")
    >>> round(found.reaction_n, 4)  # 1 % of 1,000 MPa on 0.16 mm²
    -1.6
    """
    if load not in LOADS or ends not in ENDS:
        raise ValueError(
            f"load is {load!r} and ends is {ends!r}; use one of {', '.join(LOADS)}, and {' or '.join(ENDS)}."
        )
    if ends == "free" and load not in _FREE:
        raise ValueError(f"load is {load!r}, which needs ends that do not slide; set ends=fixed.")
    moduli = np.asarray(moduli_mpa)
    if moduli.size > MOST_VOXELS:
        raise ValueError(
            f"moduli_mpa holds {moduli.size:,} voxels, more than {MOST_VOXELS:,}; cut it to the bone, or join its voxels "
            "two by two."
        )
    if max(moduli.shape, default=0) > MOST_EDGE:
        raise ValueError(
            f"moduli_mpa is {max(moduli.shape):,} voxels long along one axis, more than {MOST_EDGE:,}; cut it to the bone."
        )
    if moduli.ndim != 3 or not np.isfinite(moduli).all() or (moduli < 0).any():
        raise ValueError(
            "moduli_mpa must be a (z, y, x) array of finite numbers, 0 where there is no bone and above 0 elsewhere."
        )
    if len(voxel_mm) != 3 or not all(0 < edge < np.inf for edge in voxel_mm) or not (strain and np.isfinite(strain)):
        raise ValueError(
            f"voxel_mm is {voxel_mm} and strain {strain:g}; give three edges above 0 mm, and a strain other than 0."
        )
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance:g}; give a share of the forces, above 0 and below 1.")
    place = None
    if device != "cpu":
        from deepqct.bones.multigrid_torch import torch_device, torch_gradients  # here, since torch takes a while

        place = torch_device(device)
    joined, left_out = _joined(moduli > 0)
    box = _box(joined)
    unit = float(moduli.max())
    within = np.where(joined[box], moduli[box] / unit, 0).astype(np.float32)
    bricks = lay_bricks(within, edges_mm=voxel_mm, poisson=poisson)
    del within
    top, bottom = bricks.node[:, 0] == bricks.shape[0], bricks.node[:, 0] == 0
    moved = _movement(bricks, load=load, strain=strain, top=top)
    holds = (True, True, True) if ends == "fixed" else (True, False, False)
    held = (top | bottom)[:, None] & np.array(holds)
    alone = forces(bricks, np.where(held & top[:, None], moved, 0.0), threads=threads)
    reference = float(np.sqrt((alone[~held] ** 2).sum())) or 1.0
    del alone
    arm, first = moved[top], moved * (bricks.node[:, :1] / bricks.shape[0])
    del moved
    grids = hierarchy(bricks, held=held, ends=holds)
    inner = None if place is None else torch_gradients(grids, place=place)
    found = equilibrium(grids, first, reference=reference, tolerance=tolerance, most=MOST, inner=inner, threads=threads)
    del grids, inner, first
    if not found.residual <= tolerance:
        raise ValueError(
            f"The model did not come to rest in {MOST} iterations, residual {found.residual:.1e}; look for parts that hang "
            "by an edge or a corner."
        )
    at_top = forces(bricks, found.displaced, threads=threads)[top] * unit
    energy, axial = _by_voxel(bricks, found.displaced)
    shape, filled = moduli.shape, np.flatnonzero(joined)
    effective = np.sqrt(2 * energy / bricks.modulus)
    density, strains, stress = (_spread(part, shape, filled) for part in (energy * unit, effective, axial * unit))
    centre = _centre(bricks, top)
    reaction, moment, size = np.nan, np.nan, strain * bricks.shape[0] * voxel_mm[0]
    if load in ("torsion", "bending_x", "bending_y"):
        turn, moment = _turned(bricks, top, centre=centre, load=load, moved=arm, pushed=at_top)
        stiffness = moment / turn
    else:
        along, towards = {"compression": (0, -1), "shear_y": (1, 1), "shear_x": (2, 1)}[load]
        reaction = float(at_top[:, along].sum())
        stiffness = reaction / (towards * size)
    return Solution(
        reaction, moment, stiffness, density, strains, stress, found.iterations, found.residual, len(filled), left_out
    )  # fmt: skip


def _joined(solid: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """The parts, face to face, that join the first slice with material to the last; and how many voxels they are not."""
    if not solid.any():
        raise ValueError("The model has no material; its moduli are 0 everywhere.")
    present = np.flatnonzero(solid.any(axis=(1, 2)))
    label, _ = ndimage.label(solid)
    both = np.intersect1d(label[present[0]], label[present[-1]])
    both = both[both > 0]
    if not len(both):
        raise ValueError(
            "No part of the model joins its bottom to its top, face to face; give a bone that is in one piece."
        )
    joined = np.isin(label, both)
    return joined, int(np.count_nonzero(solid) - np.count_nonzero(joined))


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The box around what is True."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return (found[0], found[1], found[2])


def _centre(bricks: Bricks, top: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean place of the nodes at the top, (y, x) in mm."""
    return np.asarray((bricks.node[top, 1:] * np.array(bricks.edges_mm[1:])).mean(axis=0))


def _movement(bricks: Bricks, *, load: str, strain: float, top: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where each node would move if it were one of the top's, mm."""
    size = strain * bricks.shape[0] * bricks.edges_mm[0]
    moved = np.zeros((bricks.nodes, 3))
    y, x = ((bricks.node[:, 1:] * np.array(bricks.edges_mm[1:])) - _centre(bricks, top)).T
    if load == "compression":
        moved[:, 0] = -size
    elif load in ("shear_x", "shear_y"):
        moved[:, 2 if load == "shear_x" else 1] = size
    elif load == "torsion":
        turn = size / np.hypot(y, x)[top].max()
        moved[:, 1], moved[:, 2] = turn * x, -turn * y
    else:
        arm = y if load == "bending_x" else x
        moved[:, 0] = size / np.abs(arm[top]).max() * arm
    return moved


def _turned(
    bricks: Bricks,
    top: NDArray[np.bool_],
    *,
    centre: NDArray[np.float64],
    load: str,
    moved: NDArray[np.float64],
    pushed: NDArray[np.float64],
) -> tuple[float, float]:
    """How far the top is turned, in radians, and the moment that turns it."""
    y, x = ((bricks.node[top, 1:] * np.array(bricks.edges_mm[1:])) - centre).T
    if load == "torsion":
        far = int(np.hypot(y, x).argmax())
        turn = float(np.hypot(moved[far, 1], moved[far, 2]) / np.hypot(y[far], x[far]))
        return turn, float((x * pushed[:, 1] - y * pushed[:, 2]).sum())
    arm = y if load == "bending_x" else x
    far = int(np.abs(arm).argmax())
    return float(moved[far, 0] / arm[far]), float((arm * pushed[:, 0]).sum())


def _by_voxel(bricks: Bricks, displaced: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Strain energy density and stress along z of each brick, of its mean strain, in units of the largest modulus."""
    slopes = strain_matrix(np.zeros(3), edges_mm=bricks.edges_mm)  # a brick's mean strain is that in its middle
    material = material_matrix(bricks.poisson)
    stiffness, axial = slopes.T @ material @ slopes, material[0] @ slopes
    energy, stress = np.empty(len(bricks.place)), np.empty(len(bricks.place))
    for first, last in zip(bricks.layers[:-1], bricks.layers[1:], strict=True):
        u = displaced[bricks.corners[first:last]].transpose(0, 2, 1).reshape(-1, 24)
        scale = bricks.modulus[first:last].astype(float)
        energy[first:last] = np.einsum("ij,ij->i", u @ stiffness, u) / 2 * scale
        stress[first:last] = u @ axial * scale
    return energy, stress


def _spread(values: NDArray[np.float64], shape: tuple[int, ...], filled: NDArray[np.intp]) -> NDArray[np.float32]:
    """Values of the model's voxels in the array that they came from."""
    out = np.zeros(int(np.prod(shape)), np.float32)
    out[filled] = values
    return out.reshape(shape)
