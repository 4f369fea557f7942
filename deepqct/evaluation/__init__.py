"""Prediction models judged: arrays in, figures with n, events and an interval out.

Usable alone: nothing here knows of bones, folders or networks. From fewer than 5 events or non-events nothing is
estimated.

discrimination.py  areas under ROC curves and their differences
curves.py          the ROC curve with its band, the area under the precision–recall curve
scales.py          several networks' scores on one scale: levels of folds, means of networks
calibration.py     whether 30 of 100 women with a risk of 30 % have the event, and the maps from scores to risks
decisions.py       thresholds: sensitivity, net benefit, reclassification
influence.py       figures that are sums over women, and their differences
numbers.py         predicted numbers: R², error, calibration of the mean
times.py           times to an event: C-index, AUC and calibration at a horizon, where death may come first
cox.py             Cox's model with a ridge, and the risk at a horizon
judging.py         predictions judged by the kind of their outcome: 0 and 1, a number, a time
maps.py            scores of networks turned into numbers, and into risks of a time
multiplicity.py    many models, small numbers: Holm, permutations, .632+
external.py        a frozen model on other women: recalibration, case mix, groups
repeats.py         the same people measured twice: precision, least significant change, what noise costs an AUC
change.py          change over several visits, against the noise
lines.py           one way of measuring turned into another: Deming, Passing–Bablok, scanners beside each other
confounding.py     scanner or centre that goes with the outcome
agreement.py       two ways of measuring side by side (Bland & Altman)
sizes.py           how many women a model needs, to be developed and to be validated (Riley)
planning.py        a planned study: widths of its intervals, power of its comparisons
answers.py         what a planned study can and cannot show, as a table and in words
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
