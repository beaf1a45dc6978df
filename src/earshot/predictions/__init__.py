"""What a row of judgements or rollouts is, what it counts as, and the one reader of a run directory.

Metrics, report, page and experiments ask here. `sides` is the vocabulary: which side a probability is on, what is
right, a flip, a difference. `judgement` is a row of predictions.jsonl, `people` what people said of the same pairs.
"""
