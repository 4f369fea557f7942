"""What the other open tools make of the same masks; run by their own Python, which does not have deepqct.

Usage: peers.py JOB IN.npz. The last line of the output is JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from typing import Any

import numpy as np


def thickness(masks: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mean thickness (voxels) of the middle of each mask by each tool."""
    import localthickness
    import porespy
    from bone_microarchitecture import hildebrand_thickness_map

    tools = {
        "localthickness": lambda mask: 2 * localthickness.local_thickness(mask),
        "porespy": lambda mask: 2 * porespy.filters.local_thickness(mask, method="dt"),
        "bone-micro.": lambda mask: hildebrand_thickness_map(mask, spacing=(1.0, 1.0, 1.0)),
    }
    found: dict[str, Any] = {}
    for name, stored in masks.items():
        margin, mask = int(stored.flat[0] >> 1), (stored & 1).astype(bool)
        inner = (slice(margin, -margin),) * 3 if margin else (slice(None),) * 3
        found[name] = {tool: float(np.asarray(of(mask))[inner][mask[inner]].mean()) for tool, of in tools.items()}
    return found


def indices(masks: dict[str, np.ndarray]) -> dict[str, Any]:
    """All indices of bone-microarchitecture on given compartments."""
    from bone_microarchitecture import compute_microarchitecture

    began = time.perf_counter()
    result = compute_microarchitecture(
        periosteal_mask=masks["total"] > 0,
        trabecular_mask=masks["trabecular"] > 0,
        cortical_mask=masks["cortical"] > 0,
        bone_mask=masks["bone"] > 0,
        spacing=(float(masks["voxel_mm"]),) * 3,
    )
    return {"seconds": time.perf_counter() - began, "values": _numbers(result)}


def whole(masks: dict[str, np.ndarray]) -> dict[str, Any]:
    """From grey values to all indices: bone-contouring, then bone-microarchitecture."""
    import SimpleITK
    from bone_contouring import generate_masks_from_image, resolve_preset
    from bone_microarchitecture import compute_microarchitecture

    began = time.perf_counter()
    voxel = float(masks["voxel_mm"])
    image = SimpleITK.GetImageFromArray(masks["density"])
    image.SetSpacing((voxel,) * 3)
    preset = resolve_preset(modality="xct2", site="radius", segmentation="gauss")
    made = generate_masks_from_image(image, preset)
    contours = time.perf_counter() - began
    print(json.dumps({"contours_s": contours}), flush=True)  # known even if the rest is stopped
    total, cort, trab, bone = (
        SimpleITK.GetArrayFromImage(part) > 0 for part in (made.full, made.cort, made.trab, made.seg)
    )
    result = compute_microarchitecture(
        periosteal_mask=total, trabecular_mask=trab, cortical_mask=cort, bone_mask=bone, spacing=(voxel,) * 3
    )
    return {"contours_s": contours, "seconds": time.perf_counter() - began, "values": _numbers(result)}


def strength(model: dict[str, np.ndarray]) -> dict[str, Any]:
    """Compression of a model of moduli by parosol-py, ends held sideways."""
    import tempfile

    from parosol_py import solve

    os.environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    with tempfile.TemporaryDirectory() as folder:
        began, start = time.time(), time.perf_counter()
        found = solve(
            material=model["moduli"],
            spacing=tuple(float(edge) for edge in model["voxel_mm"][::-1]),
            tolerance=float(model["tolerance"]),
            mpi_processes=int(model["cores"]),
            export_dir=folder,
        )
        seconds = time.perf_counter() - start
    mechanics, failure = found.diagnostics["mechanics"], found.diagnostics["failure"]
    run = found.summary.run
    return {
        "began": began, "seconds": seconds, "iterations": run.iterations, "residual": run.relative_residual,
        "absolute": run.absolute_residual, "solver_s": run.overall_time_seconds,
        "stiffness": mechanics["stiffness"]["z"], "failure": failure["failure_load"]["z"],
    }  # fmt: skip


def _numbers(result: object) -> dict[str, float]:
    """The scalar results by symbol."""
    found = {}
    for source in (result, getattr(result, "measurements", None), getattr(result, "metrics", None)):
        items = source.items() if isinstance(source, dict) else vars(source).items() if source is not None else ()
        for name, value in items:
            with contextlib.suppress(TypeError, ValueError):
                found[str(name)] = float(value)
    return found


if __name__ == "__main__":
    with np.load(sys.argv[2]) as stored:
        given = dict(stored)
    if sys.argv[1] == "strength":  # watched from outside, with the processes that it starts
        print(json.dumps(strength(given)))
        sys.exit()
    answer = {"thickness": thickness, "indices": indices, "whole": whole}[sys.argv[1]](given)
    print(json.dumps({"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "found": answer}))
