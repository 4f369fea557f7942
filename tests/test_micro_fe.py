"""Voxels as bricks: against assembled matrices, closed forms, and published results of real bone."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.sparse import linalg

from deepqct.bones import Bone, find_bones, micro_fe, multigrid
from deepqct.bones.bricks import add_forces, brick_stiffness, coarser, lay_bricks, mirror_blocks
from deepqct.bones.failure_load import CRITICAL_STRAIN, critical_strain, load_to_strength, strain_energy, strength
from deepqct.bones.micro_fe import solve
from deepqct.bones.multigrid import equilibrium, hierarchy
from deepqct.terms import STRENGTH_UNITS
from deepqct.virtual import draw_scan, draw_women

REAL = Path(__file__).parents[2] / "shared" / "real"
EDGES = (0.06, 0.07, 0.08)


def porous(shape=(6, 5, 7), *, share=0.7, seed=0) -> np.ndarray:
    """Voxels of random moduli with holes between them, and a column that joins both ends."""
    rng = np.random.default_rng(seed)
    moduli = (rng.random(shape) < share) * rng.uniform(500, 2000, shape)
    moduli[:, 2, 2:4] = 1000
    return moduli


def assembled(bricks) -> sparse.csr_matrix:
    """The stiffness matrix, element by element."""
    rows, columns, values = [], [], []
    for corner, modulus in zip(bricks.corners, bricks.modulus, strict=True):
        place = np.concatenate([3 * corner + axis for axis in range(3)])
        rows += np.repeat(place, 24).tolist()
        columns += np.tile(place, 24).tolist()
        values += (modulus * bricks.stiffness).ravel().tolist()
    return sparse.csr_matrix((values, (rows, columns)), shape=(3 * bricks.nodes,) * 2)


def test_forces_are_those_of_the_assembled_matrix():
    """Sums and differences of corners are only another way to multiply."""
    bricks = lay_bricks(porous(), edges_mm=EDGES, poisson=0.3)
    displaced = np.random.default_rng(1).standard_normal((bricks.nodes, 3))
    out = np.zeros_like(displaced)
    add_forces(bricks, displaced, blocks=mirror_blocks(bricks.stiffness), out=out, sign=1, threads=2)
    np.testing.assert_allclose(out.ravel(), assembled(bricks) @ displaced.ravel(), atol=1e-9 * np.abs(out).max())


def test_a_brick_does_not_resist_being_moved_or_turned_and_resists_all_else():
    """Six rigid movements, and 18 others with positive energy."""
    energies = np.linalg.eigvalsh(brick_stiffness(edges_mm=EDGES, poisson=0.3))
    assert np.abs(energies[:6]).max() < 1e-12 * energies[-1] < energies[6]


def test_the_solution_is_that_of_a_direct_solver():
    """With several levels of coarser bricks above it."""
    moduli = porous((12, 14, 16), share=0.6)
    found = solve(moduli, voxel_mm=EDGES, tolerance=1e-8)
    joined, _ = micro_fe._joined(moduli > 0)
    bricks = lay_bricks(np.where(joined, moduli, 0), edges_mm=EDGES, poisson=0.3)
    assert bricks.nodes > 1500
    z = bricks.node[:, 0]
    held, top = np.repeat((z == 0) | (z == 12), 3), z == 12
    moved = np.zeros((bricks.nodes, 3))
    moved[top, 0] = -0.01 * 12 * EDGES[0]
    matrix, u = assembled(bricks), moved.ravel()
    u[~held] = linalg.spsolve(matrix[~held][:, ~held].tocsc(), -(matrix @ u)[~held])
    reaction = (matrix @ u).reshape(-1, 3)[top, 0].sum()
    assert found.reaction_n == pytest.approx(reaction, rel=1e-6)
    assert found.axial_stress[:, :, :].sum(axis=(1, 2)) * EDGES[1] * EDGES[2] == pytest.approx(reaction, rel=1e-4)


def test_parts_that_lie_apart_stay_apart_in_coarser_bricks():
    """Two plates with a voxel of air between them, and a bridge that joins them: no coarser brick joins what is apart."""
    moduli = np.zeros((8, 8, 8))
    moduli[:, :, 2] = moduli[:, :, 4] = 1000
    apart, home = coarser(lay_bricks(moduli, edges_mm=EDGES, poisson=0.3))
    assert (len(apart.place), apart.nodes) == (2 * 16, 2 * 2 * 25)
    assert np.bincount(apart.corners.ravel(), minlength=apart.nodes).min() >= 1
    again, _ = coarser(apart)  # both plates now lie in the same places of the grid
    assert (len(again.place), len(np.unique(again.place)), again.nodes) == (2 * 4, 4 + 4, 2 * 2 * 9)
    moduli[4, 4, 3] = 1000
    bridged, _ = coarser(lay_bricks(moduli, edges_mm=EDGES, poisson=0.3))
    assert len(bridged.place) == 2 * 16
    assert bridged.nodes < 2 * 2 * 25
    assert apart.modulus.sum() * 8 == pytest.approx(128 * 1000)
    assert (
        len(home)
        == lay_bricks(
            np.where(moduli * (np.indices(moduli.shape)[2] != 3), 1.0, 0.0), edges_mm=EDGES, poisson=0.3
        ).nodes
    )


def test_uniform_strain_is_exact():
    """A block between plates without friction is strained alike everywhere; its stiffness is its modulus times A over L."""
    found = solve(np.full((9, 5, 7), 1500.0), voxel_mm=EDGES, ends="free", poisson=0.3)
    area, height = 5 * EDGES[1] * 7 * EDGES[2], 9 * EDGES[0]
    assert found.stiffness_n_mm == pytest.approx(1500 * area / height, rel=1e-6)
    assert found.reaction_n == pytest.approx(-15 * area, rel=1e-6)
    np.testing.assert_allclose(found.effective_strain, 0.01, rtol=1e-5)
    np.testing.assert_allclose(found.energy_density, 1500 * 0.01**2 / 2, rtol=1e-5)
    np.testing.assert_allclose(found.axial_stress, -15, rtol=1e-5)


@pytest.mark.parametrize("strained", [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)])
def test_a_patch_whose_rim_is_strained_alike_is_strained_alike_within(strained):
    """The patch test: every uniform strain, given at the border, is the only solution inside, over several levels."""
    bricks = lay_bricks(np.full((10, 14, 12), 1.0), edges_mm=EDGES, poisson=0.3)
    slope = np.zeros((3, 3))
    slope[strained] = 0.01
    linear = bricks.node * np.array(EDGES) @ (slope + slope.T)
    rim = ((bricks.node == 0) | (bricks.node == bricks.shape)).any(axis=1)
    grids = hierarchy(bricks, held=np.repeat(rim[:, None], 3, axis=1), ends=(True, True, True))
    assert len(grids.levels) > 1
    found = equilibrium(grids, np.where(rim[:, None], linear, 0.0), reference=1e-4, tolerance=1e-8, most=200)
    np.testing.assert_allclose(found.displaced, linear, rtol=0, atol=1e-6 * np.abs(linear).max())


@pytest.mark.parametrize("poisson", [0.0, 0.3])
def test_held_ends_of_a_flat_plate_strain_it_alone_along_z(poisson):
    """All sides held: one row of voxels between plates, as wide as the plates, has the confined modulus in its middle."""
    found = solve(np.full((1, 40, 40), 1000.0), voxel_mm=(0.1,) * 3, poisson=poisson)
    confined = 1000 * (1 - poisson) / ((1 + poisson) * (1 - 2 * poisson))
    assert found.axial_stress[0, 20, 20] == pytest.approx(-0.01 * confined, rel=1e-5)


@pytest.mark.parametrize("axis", [0, 2])
def test_a_laminate_has_its_closed_form(axis):
    """Layers across the load share the stress, layers along it the strain."""
    moduli = np.full((8, 6, 8), 1000.0)
    moduli[(slice(None),) * axis + (slice(4, None),)] = 3000.0
    found = solve(moduli, voxel_mm=(0.1,) * 3, poisson=0.0, tolerance=1e-9)
    mixed = 2000.0 if axis == 2 else 1500.0
    assert found.stiffness_n_mm == pytest.approx(mixed * 0.48 / 0.8, rel=1e-6)


def test_a_bar_bends_as_beam_theory_says_the_better_the_finer():
    """A bar of 1 by 1 by 20 mm whose ends turn; the error falls with the square of the voxel."""
    errors = []
    for across in (2, 4, 8):
        bar = np.full((20 * across, across, across), 1000.0)
        found = solve(bar, voxel_mm=(1 / across,) * 3, poisson=0.0, load="bending_x", ends="free")
        errors.append(found.stiffness_n_mm / (1000 / 12 / 20) - 1)
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert errors[-1] < 0.02
    assert (orders >= 1.8).all()


def test_a_round_bar_twists_by_its_polar_moment():
    """G·J/L for a circle, less what its stepped rim does not carry; and a square bar is alike along both axes."""
    y, x = np.mgrid[-12:12, -12:12] + 0.5
    disc = np.hypot(y, x) < 12
    found = solve(np.repeat(disc[None], 24, axis=0) * 1000.0, voxel_mm=(0.1,) * 3, load="torsion")
    polar = (np.hypot(y, x)[disc] ** 2).sum() * 0.1**4
    assert found.stiffness_n_mm == pytest.approx(1000 / 2.6 * polar / 2.4, rel=0.03)
    square = np.full((8, 5, 5), 1000.0)
    for one, two in (("shear_x", "shear_y"), ("bending_x", "bending_y")):
        assert [solve(square, voxel_mm=(0.1,) * 3, load=load).stiffness_n_mm for load in (one, two)] == pytest.approx(
            [solve(square, voxel_mm=(0.1,) * 3, load=one).stiffness_n_mm] * 2
        )


def test_threads_do_not_change_a_bit():
    """Sums have one order, also where they are taken in several pieces."""
    moduli = porous((24, 40, 42))
    one, two = (solve(moduli, voxel_mm=EDGES, threads=threads) for threads in (1, 2))
    assert lay_bricks(moduli, edges_mm=EDGES, poisson=0.3).nodes > 2 * multigrid._PIECE
    assert one.reaction_n == two.reaction_n
    assert np.array_equal(one.energy_density, two.energy_density)


@pytest.mark.parametrize(("load", "ends"), [("compression", "fixed"), ("bending_x", "free"), ("torsion", "fixed")])
def test_a_card_would_find_the_same(load, ends):
    """The torch program on the processor, over several levels: the same cycle, so the same iterations."""
    moduli = porous((13, 20, 22))
    ours, card = (solve(moduli, voxel_mm=EDGES, load=load, ends=ends, device=device) for device in ("cpu", "torch"))
    assert card.stiffness_n_mm == pytest.approx(ours.stiffness_n_mm, rel=1e-6)
    assert abs(card.iterations - ours.iterations) <= 1
    for name in ("energy_density", "effective_strain", "axial_stress"):
        apart = np.abs(getattr(card, name) - getattr(ours, name)).max()
        assert apart < 1e-5 * np.abs(getattr(ours, name)).max(), name


def test_a_device_that_is_not_there_is_refused():
    """By the name that was given, with those that are there."""
    for name in ("abacus", "torch:1", "cuda:99"):
        with pytest.raises(ValueError, match=f"device is '{name}'; this machine has cpu"):
            solve(porous(), voxel_mm=EDGES, device=name)


def test_a_bone_that_the_field_cuts_is_solved_as_it_stands():
    """What lies at the border of the array is as free as beside air."""
    moduli = porous()
    cut, padded = solve(moduli, voxel_mm=EDGES), solve(np.pad(moduli, ((0, 0), (2, 2), (2, 2))), voxel_mm=EDGES)
    assert cut.reaction_n == pytest.approx(padded.reaction_n, rel=1e-9)


def test_what_does_not_join_both_ends_is_left_out_and_counted():
    """A piece that hangs by an edge would turn freely."""
    moduli = np.zeros((8, 8, 8))
    moduli[:, 2:4, 2:4] = 1000
    alone = solve(moduli, voxel_mm=EDGES)
    moduli[0:3, 6, 6] = 1000
    moduli[4, 4, 4] = 1000  # touches the column along an edge
    found = solve(moduli, voxel_mm=EDGES)
    assert (found.elements, found.left_out, found.reaction_n) == (32, 4, alone.reaction_n)
    assert not found.energy_density[0, 6, 6]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"moduli_mpa": np.zeros((4, 4, 4))}, "The model has no material"),
        ({"moduli_mpa": np.full((4, 4, 4), np.nan)}, "finite numbers"),
        ({"moduli_mpa": np.full((4, 4, 4), -1.0)}, "finite numbers"),
        ({"moduli_mpa": np.ones((4, 4))}, "finite numbers"),
        ({"moduli_mpa": np.ones((4, 1, 1)) * np.array([1, 1, 0, 1])[:, None, None]}, "No part of the model joins"),
        ({"moduli_mpa": np.broadcast_to(np.float32(1), (1000, 1000, 1000))}, "holds 1,000,000,000 voxels"),
        ({"moduli_mpa": np.broadcast_to(np.float32(1), (1, 2, 40000))}, "40,000 voxels long along one axis"),
        ({"load": "tension"}, "load is 'tension'"),
        ({"ends": "glued"}, "ends is 'glued'"),
        ({"load": "torsion", "ends": "free"}, "needs ends that do not slide"),
        ({"poisson": 0.5}, "poisson is 0.5"),
        ({"poisson": np.nan}, "poisson is nan"),
        ({"strain": 0}, "strain other than 0"),
        ({"strain": np.nan}, "strain other than 0"),
        ({"voxel_mm": (0.1, 0.0, 0.1)}, "three edges above 0 mm"),
        ({"voxel_mm": (0.1, np.nan, 0.1)}, "three edges above 0 mm"),
        ({"tolerance": 0.0}, "tolerance is 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_solved_is_one_sentence(change, said):
    """Before time or memory is spent on it."""
    settings = {"moduli_mpa": np.ones((4, 4, 4)), "voxel_mm": (0.1, 0.1, 0.1)} | change
    moduli = settings.pop("moduli_mpa")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=said):
            solve(moduli, **settings)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_the_critical_strain_is_that_of_the_most_strained_fiftieth_of_the_bone():
    """By volume: a voxel that is half bone counts half."""
    found = solve(porous(), voxel_mm=EDGES)
    strains = np.zeros((10, 10, 1), np.float32)
    strains.ravel()[:] = np.arange(100, 0, -1)
    fake = type(found)(**{**vars(found), "effective_strain": strains})
    assert critical_strain(fake, np.ones((10, 10, 1), np.float32)) == 98  # 100 and 99 are 2 of 100
    half = np.ones((10, 10, 1), np.float32)
    half.ravel()[:50] = 0.5
    assert critical_strain(fake, half) == 97  # the first three are 1.5 of 75


def test_strength_of_a_virtual_radius():
    """More bone bears more, both modes agree roughly, and a bone in two pieces is refused."""
    woman = draw_women(1, seed=1).iloc[0]
    radius = find_bones(draw_scan(woman, site="wrist", side="left", voxel_mm=0.3, slices=8, seed=1))["radius"]
    full, coarse = (strength(radius, mode=mode) for mode in ("full", "coarse"))
    assert set(STRENGTH_UNITS) < set(full.index)
    assert full["modulus_mpa"] == 6829
    assert coarse["F.Load"] == pytest.approx(full["F.Load"], rel=0.35)
    assert strength(radius, modulus_mpa=2 * 6829)["Stiffness"] == pytest.approx(2 * full["Stiffness"], rel=1e-4)
    assert all(0 < full[name] < 1 for name in ("Ct.Load.Dist", "Ct.Load.Mid", "Ct.Load.Prox"))
    with pytest.raises(ValueError, match="mode is 'fast'"):
        strength(radius, mode="fast")
    slice_ = {name: vars(radius)[name][:1] for name in ("density", "total", "cortical", "trabecular")}
    with pytest.raises(ValueError, match="The stack has one slice"):
        strength(type(radius)(**{**vars(radius), **slice_}), mode="coarse")
    gap = radius.density.copy()
    gap[3:5] = 0
    cut = type(radius)(**{**vars(radius), "density": gap})
    with pytest.raises(ValueError, match="No part of the model joins"):
        strength(cut)


def block(**changes) -> Bone:
    """A bone of 6 by 12 by 10 voxels of solid cortex, 1 mm long edges in z, with some things changed."""
    shape = (6, 12, 10)
    parts = {
        "density": np.full(shape, 1200, np.float32),
        "total": np.ones(shape, bool),
        "cortical": np.ones(shape, bool),
    }
    parts = parts | {"trabecular": np.zeros(shape, bool)} | changes
    return Bone("radius", voxel_mm=(0.061,) * 3, **parts)


def of_slices(*densities: float) -> np.ndarray:
    """Six slices of one density each."""
    return np.broadcast_to(np.array(densities, np.float32)[:, None, None], (6, 12, 10)).copy()


def test_a_bone_of_cortex_alone_is_a_block_of_its_modulus():
    """The cortex carries all; held by its ends, the block lies between a free and a confined one."""
    for mode in ("full", "coarse"):
        found = strength(block(), mode=mode)
        assert found[["Ct.Load.Dist", "Ct.Load.Mid", "Ct.Load.Prox"]].tolist() == [1, 1, 1]
        assert 1 < found["E.App"] / 8748 < 0.7 / (1.3 * 0.4)
        assert found["left_out"] == 0


@pytest.mark.parametrize(
    ("bone", "settings", "said"),
    [
        (block(density=np.full((6, 12, 10), np.nan, np.float32)), {}, "densities of the stack are no finite numbers"),
        (block(density=np.zeros((6, 12, 10), np.float32)), {}, "The model has no material"),
        (block(density=np.broadcast_to(np.float32(0), (1000, 1000, 1000))), {}, "The stack has 1,000,000,000 voxels"),
        (block(density=np.full((1, 12, 10), 1200, np.float32)), {}, "The stack has one slice"),
        (block(density=of_slices(0, 1200, 1200, 1200, 1200, 1200)), {}, "The first or the last slice .* has no bone"),
        (block(density=of_slices(1200, 1200, 1200, 1200, 0, 0)), {"mode": "coarse"}, "The first or the last slice"),
        (block(), {"modulus_mpa": 0.0}, "modulus_mpa is 0"),
        (block(), {"modulus_mpa": -8748.0}, "modulus_mpa is -8748"),
        (block(), {"modulus_mpa": np.nan}, "modulus_mpa is nan"),
    ],
)
def test_what_has_no_strength_is_one_sentence(bone, settings, said):
    """Whatever a scan or a hand brings."""
    with pytest.raises(ValueError, match=said):
        strength(bone, **settings)


def test_the_energy_is_that_of_the_load_at_which_the_bone_fails():
    """A fiftieth of the bone is strained beyond the critical strain then, and energy is half of E times strain squared."""
    woman = draw_women(1, seed=1).iloc[0]
    radius = find_bones(draw_scan(woman, site="wrist", side="left", voxel_mm=0.3, slices=9, seed=1))["radius"]
    full, coarse = (strain_energy(radius, mode=mode) for mode in ("full", "coarse"))
    critical = 6829 * CRITICAL_STRAIN**2 / 2
    assert (full > critical).sum() / (full > 0).sum() == pytest.approx(0.02, abs=0.005)
    assert coarse.shape == full.shape == radius.density.shape
    assert not coarse[8].any()  # an odd last slice is no brick of two by two by two
    inside = (full > 0) & (coarse > 0)
    assert coarse[inside].mean() == pytest.approx(full[inside].mean(), rel=0.3)
    for energy in (full, coarse):
        assert energy[inside & radius.cortical].mean() > energy[inside & radius.trabecular].mean()
    assert not coarse[~radius.total].any()


def test_a_fall_weighs_as_much_as_the_woman():
    """1.7 body weights: twice the failure load is half the ratio, and no weight is no ratio."""
    ratio = load_to_strength(pd.Series([1.0, 2.0, 2.0]), weight_kg=pd.Series([60.0, 60.0, np.nan]))
    assert ratio.tolist()[:2] == pytest.approx([1.7 * 9.81 * 60 / 1000, 1.7 * 9.81 * 60 / 2000])
    assert np.isnan(ratio[2])


@pytest.mark.long
@pytest.mark.skipif(not REAL.exists(), reason="the real bones are not there")
@pytest.mark.parametrize(
    ("folder", "modulus", "voxel_mm", "reaction", "stiffness", "failure"),
    [
        ("xtremect_tibia_mini", 8748.0, (0.060699,) * 3, -798.1, 16436.4, -420.24),  # FAIM
        ("xtremect_tibia_mini", 6829.0, (0.060699,) * 3, -623.0, 12830.3, -328.06),
        ("trab1240", 10000.0, (0.0606985, 0.0606997, 0.0606997), -71.5189, 935.13, -50.9328),  # ParOSol
    ],
)
def test_real_bone_gives_what_other_solvers_say(folder, modulus, voxel_mm, reaction, stiffness, failure):
    """A ring of tibia, and a cube of trabeculae: reaction within 0.1 %, failure load within 0.5 %."""
    labels = np.load(REAL / folder / "labels.npz")
    bone = labels["labels_zyx" if "labels_zyx" in labels else "labels"] > 0
    found = solve(bone * np.float32(modulus), voxel_mm=voxel_mm)
    assert found.reaction_n == pytest.approx(reaction, rel=1e-3)
    assert found.stiffness_n_mm == pytest.approx(stiffness, rel=1e-3)
    failed = found.reaction_n * 0.007 / critical_strain(found, bone.astype(np.float32))
    assert failed == pytest.approx(failure, rel=5e-3)
