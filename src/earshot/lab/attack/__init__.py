"""The attack set: traces that should not move a listener, or not far, and how far they do.

`traces` writes them, `measure` asks a listener about them, `table` shows the answer. The same set is put to the world's
tiny listeners and to any real one.
"""
