"""02: one network for each bone: what it sees, how it is trained, where it looks.

recipe.py            everything that decides what a network sees and learns
images.py            images of one bone as fastai items, the same density scale for all, and their augmentation
data.py              which images of whom, in which fold, with which outcome; as fastai data
backbones.py         the networks themselves, and the weights they begin with
folds.py             the files of trained folds, and what can be read back from them
training.py          a fastai learner trained on all folds but one
cross_validation.py  every fold trained and scored
controls.py          what a network scores without the bone, or without its outcome
explained.py         where it looked in each woman, kept so that no network is needed to show it
saliency.py          where it looks: Grad-CAM on women whom it has not seen
covered.py           what it loses when a part of the bone is covered
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
