"""deepqct: from HR-pQCT scans to a fragility-fracture risk, for every bone of its own.

Importing the package is light; each module is imported when it is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepqct.stage import start

__version__ = "0.1.0"
__all__ = ["__version__", "start"]


def __getattr__(name: str) -> Any:
    """Load `start` on first use, so that the bare import stays light."""
    if name == "start":
        from deepqct.stage import start

        return start
    raise AttributeError(f"module 'deepqct' has no attribute {name!r}")
