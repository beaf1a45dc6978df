"""Preference data from ranked pictures: which pairs are kept and why, and the forms that trainers read."""
