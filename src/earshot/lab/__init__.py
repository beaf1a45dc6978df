"""The laboratory: what evidence about Earshot is made with. The product imports nothing of it."""
