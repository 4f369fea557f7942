"""What the compartments and cortical indices make of bones whose geometry is known, at the scanner's resolution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.ndimage import distance_transform_edt as edt
from scipy.spatial import cKDTree

from deepqct.bones import Bone, find_bones, measure
from deepqct.scans import Scan
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE, to_native

XCT2, XCT1 = 0.0607, 0.082
FINE = 4  # times finer than the voxels the limb is drawn


def scanned(density: np.ndarray, *, voxel_mm: float, seed: int = 0, noise: float = 75.0) -> Scan:
    """A drawn limb as a scanner sees it."""
    rng = np.random.default_rng(seed)
    grain = ndimage.gaussian_filter(rng.standard_normal(density.shape, dtype=np.float32), 0.87)
    seen = ndimage.gaussian_filter(density.astype(np.float32), 0.065 / voxel_mm) + noise * grain / grain.std()
    return Scan(to_native(seen), SLOPE / MU_SCALING, INTERCEPT, (voxel_mm,) * 3, "wrist", "right")


def wrist(
    *,
    voxel_mm: float,
    shell_mm: float = 1.0,
    slices: int = 4,
    canals_mm: float = 0.0,
    porosity: float = 0.0,
    plates: bool = True,
) -> np.ndarray:
    """An elliptic radius and a round ulna, drawn finer than the voxels and averaged; canals run along z."""
    fine = voxel_mm / FINE
    ny, nx = (FINE * round(edge / voxel_mm) for edge in (20.0, 34.0))
    y, x = (np.arange(ny)[:, None] - ny / 2) * fine, (np.arange(nx)[None] - nx / 2) * fine
    image = np.full((ny, nx), 20.0, np.float32)
    for centre, a, b in ((-6.0, 9.5, 7.0), (10.5, 4.6, 4.6)):
        u = x - centre
        depth = edt((u / a) ** 2 + (y / b) ** 2 <= 1) * fine - fine / 2
        image[depth > 0] = 1000
        core = depth > shell_mm
        image[core] = -30
        if plates:
            image[core & (np.sin(2 * np.pi * 1.2 * (u + 0.3 * y)) > 0.85)] = 1000
        centres = _canals(a, b, shell_mm=shell_mm, canals_mm=canals_mm, porosity=porosity)
        if centres:
            rows, columns = np.nonzero((depth > 0) & ~core)
            away, _ = cKDTree(centres).query(np.stack([y[rows, 0], u[0, columns]], axis=1))
            image[rows[away < canals_mm / 2], columns[away < canals_mm / 2]] = -30
    coarse = image.reshape(ny // FINE, FINE, nx // FINE, FINE).mean(axis=(1, 3))
    return np.broadcast_to(coarse, (slices, *coarse.shape)).copy()


def _canals(a: float, b: float, *, shell_mm: float, canals_mm: float, porosity: float) -> list[tuple[float, float]]:
    """Centres of as many canals as the porosity asks, in two rings within the shell, evenly along it."""
    if not canals_mm:
        return []
    shell = np.pi * (a * b - (a - shell_mm) * (b - shell_mm))
    many = round(porosity * shell / (np.pi * canals_mm**2 / 4) / 2)
    centres = []
    for ring, depth in enumerate((0.32 * shell_mm, 0.68 * shell_mm)):
        angle = np.linspace(0, 2 * np.pi, 2000)
        points = np.stack([(b - depth) * np.sin(angle), (a - depth) * np.cos(angle)])
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points)))])
        places = (np.arange(many) + ring / 2) / many * along[-1]
        centres += [(np.interp(s, along, points[0]), np.interp(s, along, points[1])) for s in places]
    return centres


def radius_of(density: np.ndarray, *, voxel_mm: float, **how: float) -> Bone:
    return find_bones(scanned(density, voxel_mm=voxel_mm, **how))["radius"]


TT_AR = np.pi * 9.5 * 7.0
PERIMETER = 52.18  # of the ellipse of 9.5 and 7.0 mm (Ramanujan)


@pytest.mark.parametrize("voxel_mm", [XCT2, XCT1])
def test_areas_within_1_percent_and_perimeter_within_2(voxel_mm):
    index = measure(radius_of(wrist(voxel_mm=voxel_mm, plates=False), voxel_mm=voxel_mm))
    assert index["Tt.Ar"] == pytest.approx(TT_AR, rel=0.01)
    assert index["Ct.Pm"] == pytest.approx(PERIMETER, rel=0.02)
    assert index["Ct.Th"] == pytest.approx(1.0, rel=0.04)  # blurred and noisy; of the exact mask within 2 %


def test_both_generations_of_the_scanner_cut_the_same_bone():
    """All radii are in mm: a change of scanner must not look like a change of the woman."""
    cut = {voxel: radius_of(wrist(voxel_mm=voxel), voxel_mm=voxel) for voxel in (XCT2, XCT1)}
    new, old = (measure(cut[voxel]) for voxel in (XCT2, XCT1))
    for symbol, within in {"Tt.Ar": 0.01, "Ct.Ar": 0.03, "Tb.Ar": 0.01, "Ct.Pm": 0.01, "Ct.Th": 0.03}.items():
        assert old[symbol] == pytest.approx(new[symbol], rel=within), symbol
    assert old["Tt.vBMD"] == pytest.approx(new["Tt.vBMD"], rel=0.02)


@pytest.mark.parametrize("voxel_mm", [XCT2, XCT1])
@pytest.mark.parametrize(("shell_mm", "porosity"), [(0.4, 0.0), (1.2, 0.10)])
def test_thin_and_porous_cortices_keep_their_shell(voxel_mm, shell_mm, porosity):
    """A shell that opens lets the outline fall into the marrow: half of the bone is gone."""
    density = wrist(voxel_mm=voxel_mm, shell_mm=shell_mm, porosity=porosity, canals_mm=0.25 if porosity else 0.0)
    bone = radius_of(density, voxel_mm=voxel_mm)
    assert bone.flags == ()
    index = measure(bone)
    assert index["Tt.Ar"] == pytest.approx(TT_AR, rel=0.01)
    inside = (9.5 - shell_mm) * (7.0 - shell_mm) * np.pi
    assert index["Tb.Ar"] == pytest.approx(inside, rel=0.04)
    for z in range(len(bone.total)):  # a ring in every slice
        assert ndimage.binary_fill_holes(bone.cortical[z]).sum() >= bone.total[z].sum()


@pytest.mark.parametrize("voxels", [3, 4, 6])
def test_porosity_of_planted_canals_within_10_percent(voxels):
    """Canals of 3 voxels and more along the bone, drawn at their true size, without blur: the definition alone."""
    canal = voxels * XCT2
    density = wrist(voxel_mm=XCT2, shell_mm=2.0, porosity=0.04, canals_mm=canal, slices=6, plates=False)
    bone = find_bones(Scan(to_native(density), SLOPE / MU_SCALING, INTERCEPT, (XCT2,) * 3, "wrist", "right"))["radius"]
    shell = np.pi * (9.5 * 7.0 - 7.5 * 5.0)
    true = len(_canals(9.5, 7.0, shell_mm=2.0, canals_mm=canal, porosity=0.04)) * np.pi * canal**2 / 4 / shell
    index = measure(bone)
    assert index["Ct.Po"] == pytest.approx(true, rel=0.10)
    assert index["Ct.Po.Dm"] == pytest.approx(canal, rel=0.20)  # thin rods read small in a staircase of voxels


def test_closed_cells_do_not_empty_the_trabecular_compartment():
    """Marrow in closed cells is marrow, though no path leads from one to the next."""
    density = wrist(voxel_mm=XCT2, plates=False)
    ny, nx = density.shape[1:]
    y, x = np.arange(ny)[:, None] * XCT2, np.arange(nx)[None] * XCT2
    walls = (y % 1.0 < 0.15) | (x % 1.0 < 0.15)
    density[:, walls & (density[0] < 0)] = 1000
    index = measure(radius_of(density, voxel_mm=XCT2))
    assert index["Tb.Ar"] == pytest.approx(np.pi * 8.5 * 6.0, rel=0.08)
    assert index["Tb.BV/TV"] > 0.15
