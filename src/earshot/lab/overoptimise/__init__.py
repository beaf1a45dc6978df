"""What is left of a reward when somebody optimises against it, by the reward and by the truth.

A generator that is aligned with a reward finds what the reward wrongly likes. In the world the truth is known (the
raters' utility, the *gold*), so that it can be measured how much of what could be gained a reward captures, and whether
more pressure still helps (Gao, Schulman and Hilton 2023, arXiv 2210.10760). Pressure is put on in two ways: the best of
n pictures is chosen (`best_of`), and a policy over scenes is trained (`policy`).
"""
