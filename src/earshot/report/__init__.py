"""What runs did and what they are worth: one HTML file that opens offline, or a table in the terminal."""

from earshot.report.page import write_report
from earshot.report.tables import render_summary_table

__all__ = ["render_summary_table", "write_report"]
