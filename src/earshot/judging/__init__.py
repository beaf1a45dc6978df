"""The one place where a pair is judged: Python, the shell, evaluation, training and the server all ask here.

`model.load` gives a `RewardModel`. Its `question` checks and decodes what a caller handed over, its `answer` judges any
number of questions together, and all else is made of these two. Nothing depends on file names, on the order of the
images, or on what else is judged.

`model` imports what models need; checking input, ranking and the reading of files need no torch.
"""
