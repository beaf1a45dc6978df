"""Everybody's benchmarks: their rules by name (`protocols`), and anybody's answers beside the truth (`scores`)."""
