"""03: the families of models, fitted, fused and compared on the same patients and folds.

families.py     which columns each model takes
classifiers.py  ridge logistic regression with a nested penalty, and the classifiers beside it
regressions.py  ridge regression of numbers, and Cox's model with a ridge, of times
inputs.py       the tables of a run that the models are made from
levels.py       the networks' scores, every fold on one level; their mean over bones
scanners.py     indices of several scanners on one scale, inside the training folds
predict.py      every model's predictions on the same folds, and the late fusion
repeats.py      the same women scanned again: the fused risk of each scan, and which difference is noise
noise_cost.py   what the noise of a scan costs an AUC, from women scanned twice
frozen.py       every model refitted on all training patients, as plain numbers
sheet.py        the fused model as a score sheet
optimism.py     what chance, fitting and small numbers do to a comparison
comparison.py   the families judged and compared
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
