"""04: patient groups on the indices (there may be only one), and how they differ.

methods.py     methods that draw groups, their number, a test against one cloud, stability
space.py       where women are grouped: how indices become principal components; distances to the groups
find.py        patient groups, and which of them a new woman is like
embedding.py   pictures of the women by UMAP; nothing is computed from them
comparison.py  how the groups differ, also beside the preprint
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
