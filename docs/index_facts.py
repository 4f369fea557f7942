"""What the table of conventions does not say of an index: how it is calculated, by which thresholds, and after whom.

Thresholds are taken from the code that measures. A test holds the symbols against `deepqct.terms.UNITS`.
"""

from deepqct.bones import failure_load, indices, texture
from deepqct.terms import FALL_UNITS, STRENGTH_UNITS

BOUXSEIN = "Bouxsein 2010, J Bone Miner Res 25:1468"
WHITTIER = "Whittier 2020, Osteoporos Int 31:1607"
BURGHARDT = "Burghardt 2010, J Bone Miner Res 25:983"
SPHERES = "Hildebrand & Rüegsegger 1997, J Microsc 185:67"
SPACING = "Laib 1997, Bone 21:541"
PISTOIA = "Pistoia 2002, Bone 30:842"
ELEMENTS = "van Rietbergen 1995, J Biomech 28:69"
BUIE = "compartments after Buie 2007, Bone 41:505"

_SMOOTH = f"Gaussian of {indices.SIGMA_VOXELS:g} voxel within {indices.SUPPORT_VOXELS} voxel"
_TRABECULAR = f"bone above {indices.TRABECULAR_BONE:g} mgHA/cm³ after a {_SMOOTH}"
_CORTICAL = f"bone above {indices.CORTICAL_BONE:g} mgHA/cm³ after a {_SMOOTH}"
_PIECES = f"pieces under {indices.SMALLEST_PIECE_VOXELS} voxels are left out"
_MODULI = " or ".join(f"{value:g} MPa (XtremeCT {name})" for name, value in failure_load.MODULUS_MPA.items())
_INNER = round(100 * (1 - indices.OUTER_SHARE))

CALCULATED = {
    "Tt.vBMD": "sum of the densities in the bone / number of its voxels",
    "Tb.vBMD": "sum of the densities in the trabecular compartment / number of its voxels",
    "Ct.vBMD": "sum of the densities in the cortical compartment, pores included / number of its voxels",
    "Tb.Meta.vBMD": f"mean density of the outer {100 * indices.OUTER_SHARE:g} % of the trabecular pixels of each slice, "
    "those nearest to the cortex",
    "Tb.Inn.vBMD": f"mean density of the inner {_INNER} % of the trabecular pixels of each slice",
    "Tt.Ar": "pixels of the bone × area of a pixel, mean over the slices that hold the bone",
    "Ct.Ar": "pixels of the cortical compartment × area of a pixel, mean over the slices; Ct.Ar + Tb.Ar = Tt.Ar",
    "Tb.Ar": "pixels of the trabecular compartment × area of a pixel, mean over the slices",
    "Ct.Pm": "length of the outline of each slice, smoothed by one pixel, since the steps of pixels would make it too long",
    "Ct.Th": "mean over the cortex of the diameter of the largest sphere that fits into it and covers the voxel",
    "Ct.Po": "voxels of pores / (voxels of pores + voxels of cortical bone)",
    "Ct.Po.Dm": "mean over the pores of the diameter of the largest sphere that fits into them and covers the voxel",
    "Tb.BV/TV": "voxels of trabecular bone / voxels of the trabecular compartment",
    "Tb.N": "1 / mean over the trabecular compartment of the distance between mid-axes",
    "Tb.Th": "mean over trabecular bone of the diameter of the largest sphere that fits into it and covers the voxel",
    "Tb.Sp": "mean over the space between trabeculae of the diameter of the largest sphere that fits into it",
    "Tb.1/N.SD": "standard deviation over the trabecular compartment of the distance between mid-axes",
    "Stiffness": "force that moves the top of the bone by 1 % of its height / that movement",
    "F.Load": f"that force × {failure_load.CRITICAL_STRAIN:g} / the effective strain √(2U/E) that "
    f"{100 * failure_load.CRITICAL_SHARE:g} % of the bone exceed; U: strain energy density, E: modulus",
    "E.App": "Stiffness × height / mean area of the bone",
    "Ct.Load.Dist": "sum of the stress along z in the cortex / sum in all of the bone, last slice",
    "Ct.Load.Mid": "sum of the stress along z in the cortex / sum in all of the bone, middle slice",
    "Ct.Load.Prox": "sum of the stress along z in the cortex / sum in all of the bone, first slice",
    "Load/Strength": f"{failure_load.FALL_WEIGHTS:g} × weight × {failure_load.GRAVITY:g} m/s² / F.Load; above 1 the radius "
    "is expected to break",
}
THRESHOLDS = {
    "Ct.Po": f"{_CORTICAL}; pores are enclosed by bone in their slice, those under {indices.SMALLEST_PORE_VOXELS} voxels "
    "are left out (our choice)",
    "Ct.Po.Dm": f"as Ct.Po: pores within {_CORTICAL}",
    "Tb.BV/TV": f"{_TRABECULAR}; {_PIECES}",
    "Tb.N": f"{_TRABECULAR}; {_PIECES}",
    "Tb.Th": f"{_TRABECULAR}; {_PIECES}",
    "Tb.Sp": f"{_TRABECULAR}; {_PIECES}",
    "Tb.1/N.SD": f"{_TRABECULAR}; {_PIECES}",
    **dict.fromkeys(
        (*STRENGTH_UNITS, *FALL_UNITS),
        f"{_TRABECULAR}, in the cortex {_CORTICAL}; E {_MODULI}, ν {failure_load.POISSON:g}",
    ),
}
SOURCES = {
    "Tt.vBMD": f"{WHITTIER}; {BUIE}",
    "Tb.vBMD": f"{WHITTIER}; {BUIE}",
    "Ct.vBMD": f"{WHITTIER}; {BUIE}",
    "Tb.Meta.vBMD": WHITTIER,
    "Tb.Inn.vBMD": WHITTIER,
    "Tt.Ar": f"{BOUXSEIN}; {WHITTIER}",
    "Ct.Ar": f"{BOUXSEIN}; {WHITTIER}",
    "Tb.Ar": f"{BOUXSEIN}; {WHITTIER}",
    "Ct.Pm": WHITTIER,
    "Ct.Th": f"{SPHERES}; {WHITTIER}",
    "Ct.Po": f"{BURGHARDT}; simplified: no growing along a pore's axis into open voids",
    "Ct.Po.Dm": f"{BURGHARDT}; {SPHERES}",
    "Tb.BV/TV": f"{BOUXSEIN}; {WHITTIER}",
    "Tb.N": f"{SPACING}; the rule at the edge of the compartment is our choice",
    "Tb.Th": f"{SPHERES}; {BOUXSEIN}",
    "Tb.Sp": f"{SPHERES}; {BOUXSEIN}",
    "Tb.1/N.SD": f"{SPACING}; {WHITTIER}",
    "Stiffness": f"{ELEMENTS}; {WHITTIER}",
    "F.Load": f"{PISTOIA}; {WHITTIER}",
    "E.App": f"{ELEMENTS}; {WHITTIER}",
    "Load/Strength": "DeGoede & Ashton-Miller 2002, J Biomech 35:843: 0.65 to 1.7 body weights at one wrist of five young "
    "men who fell forward from 1 m; that the upper end counts, and that the radius bears all of it, is our choice",
    **dict.fromkeys(("Ct.Load.Dist", "Ct.Load.Mid", "Ct.Load.Prox"), f"{ELEMENTS}; which slices is our choice"),
}
KINDS_OF_TEXTURE = {
    "Band": (
        "Energy in bands of scale",
        "How much density varies between two sizes of structure. The picture shows one band: what a Gaussian of "
        f"{texture.SCALES_MM[1]:g} mm keeps and one of {texture.SCALES_MM[2]:g} mm does not.",
    ),
    "Uneven": (
        "Unevenness of a band",
        f"Whether that energy is the same everywhere: its coefficient of variation over tiles of {texture.TILE_MM:g} mm.",
    ),
    "Lac": (
        "Lacunarity",
        "How unevenly bone fills boxes of one size: the squared coefficient of variation of its share. (Lacunarity is "
        "usually written with one added.) Holes in the network make it large.",
    ),
    "Run": ("Mean runs", "How long a straight line through the slice stays in bone (orange) or in marrow (blue)."),
    "Long": ("Weight of long runs", "Whether a few runs are much longer than the others."),
    "Lean": (
        "Direction",
        "Whether runs, or steps of density, differ between the two directions of the stack: trabeculae that lie one way.",
    ),
    "Vario": (
        "Slope of the variogram",
        "How fast two places become unlike with their distance. The trabecular bone score of DXA rests on the same curve.",
    ),
    "Q": ("Quantiles of density", "The density, in mgHA/cm³, below which a share of the compartment's voxels lies."),
    "Sides": (
        "Sides of the cortex",
        f"How the cortex differs over {texture.SECTORS} sectors, seen from the middle of the bone.",
    ),
}
