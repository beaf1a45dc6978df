"""How fast the main paths are, measured against what anyone would use instead.

Every figure comes from paired runs on the same inputs, ours and stock by turns in one process: medians of the pairs'
ratios with their spread, the work that was done counted beside the time, and the ratio that this work alone allows.
"""
