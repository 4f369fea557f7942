"""02: one network for each bone: what it sees, how it is trained, where it looks.

recipe.py            the settings that decide what a network sees and how it learns
images.py            images of one bone as fastai items, all on the same density scale, and their augmentation
losses.py            what a network's output is held against: 0 and 1, a number, a time
stock.py             all images of a bone in one array, from which batches are taken whole
data.py              fastai data of a bone: whose images, in which fold, with which outcome
readers.py           how a network's maps become logits: pooling, bags of patches, indices told beside the outcome
backbones.py         the networks themselves, and the weights that they begin with
ensemble.py          networks of different seeds that are scored as one
folds.py             the files of trained folds, and what can be read back from them
training.py          a fastai learner trained on all folds but one
learned.py           how well networks know the women whom they learned from, beside women whom they have not seen
cross_validation.py  every fold trained and scored
repeats.py           the same women scanned again, scored by networks that never saw them
controls.py          what a network scores without the bone, or without its outcome
explained.py         files of where a network looked in each woman, so that no network is needed to show it
saliency.py          where a network looks: Grad-CAM on women whom it has not seen
covered.py           what a network loses when a part of the bone is covered
structure.py         the structure of a bone's image, place by place, which pretraining reads
stream.py            the images that pretraining learns from, without end
card.py              the model card of pretrained weights
pretraining.py       a network that learns to read structure before it learns an outcome
features.py          what a frozen network makes of each woman, as a table
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
