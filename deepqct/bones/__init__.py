"""Bones found in a scan, cut out and measured.

planes.py          discs rolled over every slice, in mm: closing, opening, filling, depth
shape.py           what is unusual about an outline: cut, waist, size
cores.py           the spaces that the shells of bones enclose, one for each bone
find.py            which voxels are radius, ulna, tibia, fibula; their compartments
contours.py        a bone within the contours of the scanner's own software
spheres.py         the compiled steps of local thickness
thickness.py       local thickness by maximal spheres; the spacing of mid-axes
indices.py         the standard index set of one bone, and its definitions
texture.py         how density varies from place to place, at several scales, and the sources of it
registration.py    the same region of one bone in two scans
bricks.py          voxels as elastic bricks, and the forces that displaced nodes exert on them
multigrid.py       displacements of bricks in equilibrium, by ever coarser bricks
multigrid_torch.py the same as a torch program, for a graphics card
micro_fe.py        a model of voxels under a load: reaction, stiffness, strains
failure_load.py    stiffness and failure load of one bone, where it is strained, and a fall beside them
quality.py         motion, rings, indices outside of published ranges: what a reviewer should know
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
