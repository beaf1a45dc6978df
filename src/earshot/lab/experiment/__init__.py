"""Experiments: arms × seeds as run directories made by our own commands, and what they show, with intervals.

`plan` makes runs of a configuration, `records` knows which are finished and of what, `running` does the missing ones;
`summary` keeps totals per prompt, `analysis` compares arms, `tables` and `figures` show it; `power` says how many seeds
and pairs are needed, `control` whether planted effects are found.
"""
