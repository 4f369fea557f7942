"""A trained model outside of its cohort: made into a bundle, read back without trust, used on new women.

source.py      the files of a bundle, read from a folder or a zip without trusting them
plain.py       dataclasses of plain numbers as JSON, and back with every type checked
weights.py     a file of weights checked against its size and its recipe before anything is allocated
reference.py   the training women as summary statistics: what is usual, and how far out a woman lies
grouping.py    the patient groups as plain numbers
content.py     what a bundle holds beside the weights
scoring.py     what a trained network makes of women whom it has not seen
card.py        the model card
make.py        a bundle made from a run
example.py     a small bundle of the example run, to try things out on
new_scans.py   scans of new women, curated as 01 curates, and what speaks against using them
prediction.py  new women predicted, or the reasons why not
validation.py  a frozen bundle on another cohort whose outcomes are known
sheet.py       one page for one new woman
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
