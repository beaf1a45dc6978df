"""What runs did and what they are worth: an HTML file that opens offline, and a model card's tables."""

from earshot.report.markdown import write_model_card
from earshot.report.page import write_report

__all__ = ["write_model_card", "write_report"]
