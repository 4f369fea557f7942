"""After a run: its offline report, and its executed notebooks as pages.

findings.py  the report's sentences, made from the tables' numbers
summary.py   its first screen: answers, one figure, what to look at, what it cannot tell
pages.py     executed notebooks as HTML pages that need no network
tables.py    tables as text
figures.py   which figures it shows, and why it leaves out the others
tripod.py    the TRIPOD+AI checklist of a run
report.py    the report itself (templates/)
pack.py      the report with all that it links to, to be sent; a small example of one
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
