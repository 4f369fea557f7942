"""One function, one figure: each returns its Axes, and `save` keeps them with title and caption.

The four bones have one palette everywhere, safe for colour blindness. Nothing here is shown by itself, nothing is drawn
at random, and no function changes the style of other figures.

style.py        what all figures share: palette, style, the mark of virtual data
scans.py        scans, bones, compartments, indices
strength.py     a bone under load
networks.py     losses, scores, saliency, controls of the networks
models.py       performance and ROC curves of the families
comparisons.py  bones and families compared; calibration, decisions, the score sheet
groups.py       patient groups and their pictures
women.py        single women beside the others
repeats.py      precision of indices from women scanned several times
planning.py     a planned study: widths of intervals and power by number of women
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
