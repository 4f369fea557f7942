"""One bone of a curated cohort under load, for a picture of where it is strained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepqct.bones.failure_load import strain_energy
from deepqct.bones.find import Bone, find_bones
from deepqct.cohort.cohort import Cohort
from deepqct.cohort.scan_files import scan_of
from deepqct.curation.scan_stacks import part_of, stacks_of
from deepqct.curation.stacks import CORTICAL, TRABECULAR
from deepqct.folder import Run, read_table
from deepqct.scans.seams import find_seams
from deepqct.terms import BONES, SITES


class UnderLoad(NamedTuple):
    """A bone under load.

    Parameters
    ----------
    participant_id : str
        Whose it is.
    bone : Bone
        The stack that was loaded.
    mask : (z, y, x) uint8
        1 trabecular, 2 cortical, 0 outside.
    energy : (z, y, x) float32, MPa
        Strain energy density at the failure load.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="left", voxel_mm=0.3, slices=8, seed=1)
    >>> radius = dq.find_bones(scan)["radius"]
    >>> mask = np.where(radius.trabecular, 1, np.where(radius.cortical, 2, 0)).astype(np.uint8)
    >>> dq.curation.UnderLoad("P1", radius, mask, dq.bones.strain_energy(radius)).bone.name
    'radius'
    """

    participant_id: str
    bone: Bone
    mask: NDArray[np.uint8]
    energy: NDArray[np.float32]


def bone_under_load(cohort: Cohort, run: Run) -> UnderLoad | None:
    """Load one bone once more, the first whose strength was measured, and tell where it is strained.

    Parameters
    ----------
    cohort : Cohort
        The cohort whose scans were curated.
    run : Run
        Its curated run.

    Returns
    -------
    UnderLoad or None
        The first stack of the bone within our own contours, in the coarse model, a radius where there is one; None where
        strength was not measured.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> dq.curation.bone_under_load(dq.load_cohort(run.virtual / "cohort"), run) is None
    True
    """
    measured = read_table(run.indices)
    if "F.Load" not in measured:
        return None
    strong = measured.dropna(subset="F.Load")
    for name in BONES:
        for person in strong.loc[strong["bone"] == name, "participant_id"]:
            site = next(site for site, bones in SITES.items() if name in bones)
            scan = scan_of(cohort.folder, cohort.scans, participant_id=person, site=site)
            bone = part_of(find_bones(scan)[name], stacks_of(scan, find_seams(scan))[0])
            if bone is not None:
                mask = np.where(bone.trabecular, TRABECULAR, np.where(bone.cortical, CORTICAL, 0)).astype(np.uint8)
                return UnderLoad(person, bone, mask, strain_energy(bone))
    return None
