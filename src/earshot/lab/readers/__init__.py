"""Readers of text alone: which side a judge's words imply, and what a verdict is worth that is not that side."""
