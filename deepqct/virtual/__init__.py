"""00: virtual women, a cohort in a hospital's form whose truth is known.

targets.py     published means, spreads and correlations of the indices
years.py       when they fracture after the scan, die, or are followed no longer
population.py  who the women are, and what their risk rests on
attainable.py  what a reader of their bones could reach at best
outlines.py    the outer shapes of the bones
trabeculae.py  plates and rods inside
steering.py    how a bone has to be drawn so that it measures as wanted
anatomy.py     a limb: bones, canals, muscles, fat and skin
motion.py      how a limb moves during a scan
twins.py       the same limb laid down anew, on another scanner, in another centre
scanner.py     what a scanner makes of it
generations.py a scan as the first XtremeCT would have made it
cohort.py      the cohort folder
pieces.py      pieces of virtual bones that belong to nobody, each drawn with constants of its own
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
