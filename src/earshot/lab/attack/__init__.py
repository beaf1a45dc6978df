"""The attack set: traces that should not move a listener, or not far, and how far they do.

`traces` writes them, `measure` asks a listener about them, `table` shows the answer. The same set is put to the world's
tiny listeners and to any real one.
"""

from earshot.lab.attack.measure import BOTH_ORDERS, CLAIMS, OPTIONS, PLAIN, PRIOR_CORRECTED, Measured, measure_attacks
from earshot.lab.attack.table import as_markdown, as_tables
from earshot.lab.attack.traces import ATTACKS, Attack, Material, materials

__all__ = [
    "ATTACKS",
    "BOTH_ORDERS",
    "CLAIMS",
    "OPTIONS",
    "PLAIN",
    "PRIOR_CORRECTED",
    "Attack",
    "Material",
    "Measured",
    "as_markdown",
    "as_tables",
    "materials",
    "measure_attacks",
]
