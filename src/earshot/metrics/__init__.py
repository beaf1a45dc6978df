"""What predictions are worth: `PredictionTable.from_rows(rows)` reads them, `summarise(table)` is metrics.json."""

from earshot.metrics.estimates import read_estimate, summarise
from earshot.predictions.table import PredictionTable

__all__ = ["PredictionTable", "read_estimate", "summarise"]
