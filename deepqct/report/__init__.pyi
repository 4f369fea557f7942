from .pack import example_report, pack_report
from .pages import notebook_page
from .report import write_report

__all__ = ["example_report", "notebook_page", "pack_report", "write_report"]
