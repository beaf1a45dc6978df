"""What runs did and what they are worth: an HTML file that opens offline, a model card's tables, a terminal's table."""

from earshot.report.markdown import write_model_card
from earshot.report.page import write_report
from earshot.report.tables import render_summary_table

__all__ = ["render_summary_table", "write_model_card", "write_report"]
