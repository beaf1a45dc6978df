"""Several seeds of one run: intervals that hold for another seed and for other prompts, not for these alone.

Seeds and prompts are crossed: every seed's model judges every prompt. A resample draws both, each on its own (the
pigeonhole bootstrap), so that what a lucky seed does to all prompts and what a hard prompt does to all seeds both
show. Of S seeds, S - 1 are drawn: with S, the variance between so few would come out too small by (S - 1) / S.

Axes: c clusters, s seeds, r resamples, b resamples at a time.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from earshot.errors import DataError
from earshot.stats.resampling import LEVEL, RESAMPLES, multiplicities
from earshot.stats.totals import Statistic
from earshot.types import Estimate


def bootstrap_runs(
    runs: Sequence[Statistic],
    against: Sequence[Statistic] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """The mean over seeds of a quantity, or how much it differs from that of another method's seeds.

    The interval is the value ± t standard errors: the errors from the bootstrap, and t with Satterthwaite's degrees of
    freedom, because with three seeds the spread between seeds is known to within a factor of two only. It is measured
    to cover, and how wide that is with few seeds, in docs/statistics.md.

    Args:
        runs: The same quantity of each seed's run, all over the same clusters; micro, macro or any other statistic.
        against: The same of another method, over the same clusters. The prompts are paired; the seeds are not.
        resamples: Draws of seeds and clusters.
        seed: Of the draws.
        level: Nominal coverage, in (0, 1).

    Returns:
        Mean over the seeds; `n` is that of the run with the fewest observations.

    Raises:
        DataError: A method has one seed only, which says nothing of others; or the clusters differ.

    Source: Owen and Eckles 2012 (Annals of Applied Statistics 6) for drawing both; Rao and Wu 1988 (JASA 83) for S - 1;
        Satterthwaite 1946 (Biometrics Bulletin 2).
    """
    groups = [list(runs)] + ([list(against)] if against is not None else [])
    _check(groups)
    if min(s.n for group in groups for s in group) == 0:
        return Estimate.missing()
    values = [np.array([s.value() for s in group]) for group in groups]
    rng = np.random.default_rng([seed, 1])
    total, over_prompts = np.zeros(resamples), np.zeros(resamples)
    for sign, group, drawn in zip((1, -1), groups, _values(groups, resamples, seed), strict=False):
        s = len(group)
        chosen = rng.multinomial(s - 1, np.full(s, 1 / s), size=resamples) / (s - 1)
        total += sign * (chosen * drawn).sum(axis=1)
        over_prompts += sign * drawn.mean(axis=1)
    value = float(values[0].mean() - (values[1].mean() if against is not None else 0))
    n = min(s.n for group in groups for s in group)
    c = int(np.count_nonzero(groups[0][0].rows()[:, -1]))
    if c < 2:
        return Estimate(value, None, None, n)
    between = [(float(v.var(ddof=1)) / len(v), len(v) - 1) for v in values]
    df = _satterthwaite([*between, (float(np.nanvar(over_prompts, ddof=1)), c - 1)])
    half = float(np.nanstd(total, ddof=1) * stats.t.ppf((1 + level) / 2, df))
    return Estimate(value, value - half, value + half, n)


def _check(groups: list[list[Statistic]]) -> None:
    for group in groups:
        if len(group) < 2:
            raise DataError(f"{len(group)} seed of a run, expected at least 2; with one, bootstrap over prompts alone")
    counts = {len(s.totals) for group in groups for s in group}
    if len(counts) > 1:
        raise DataError(f"runs over {sorted(counts)} clusters, expected the same; number the prompts of all together")


def _values(groups: list[list[Statistic]], resamples: int, seed: int) -> list[Float[np.ndarray, "r s"]]:
    """The quantity of each seed in each resample of the clusters, which all seeds share."""
    rows = [[s.rows() for s in group] for group in groups]
    parts: list[list[np.ndarray]] = [[] for _ in groups]
    for times in multiplicities(len(rows[0][0]), resamples, seed):
        for part, group, own in zip(parts, groups, rows, strict=True):
            part.append(np.stack([s.combine(times @ r) for s, r in zip(group, own, strict=True)], axis=1))
    return [np.concatenate(part) for part in parts]


def _satterthwaite(parts: list[tuple[float, int]]) -> float:
    """Degrees of freedom of a sum of estimated variances, given each with its own."""
    total = sum(variance for variance, _ in parts)
    squares = sum(variance**2 / df for variance, df in parts)
    return total**2 / squares if squares > 0 else float(parts[-1][1])
