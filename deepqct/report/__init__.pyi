from .pages import notebook_page
from .report import write_report

__all__ = ["notebook_page", "write_report"]
