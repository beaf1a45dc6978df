"""The attack set: traces that should not move a listener, or not far, and how far they do.

`traces` writes them, `measure` asks a listener about them, `table` shows the answer. The same set is put to the world's
tiny listeners and to any real one.
"""

from earshot.lab.attack.measure import CLAIMS, PLAIN, Measured, measure_attacks
from earshot.lab.attack.table import as_markdown
from earshot.lab.attack.traces import ATTACKS, Attack, Material, materials

__all__ = [
    "ATTACKS",
    "CLAIMS",
    "PLAIN",
    "Attack",
    "Material",
    "Measured",
    "as_markdown",
    "materials",
    "measure_attacks",
]
