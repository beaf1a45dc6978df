"""The power of a plan in words, as it stands in docs/experiments/plan.md."""

from typing import NamedTuple

from earshot.lab.experiment.analysis import families
from earshot.lab.experiment.power import SEEDS, Need, needs, pilot_components
from earshot.lab.experiment.summary import SetSize, Summary
from earshot.report.markdown import grid
from earshot.stats import simultaneous_level

LEAST_SEEDS = 5
"""At least so many, whatever the power."""


class _Option(NamedTuple):
    seeds: int
    pairs: int


def power_text(
    summary: Summary, *, difference: float, power: float, comparisons: int | None, endpoint: str, most_pairs: int
) -> str:
    """What each set of a pilot needs to show a difference, in Markdown.

    Args:
        summary: Of the pilot.
        difference: In the endpoint's unit.
        power: The chance of showing it.
        comparisons: The size of the family; by default, of the plan's largest family of primary ones.
        endpoint: What is compared.
        most_pairs: No set is made larger.
    """
    family = comparisons or max((len(one) for one in families(summary)), default=1)
    level = simultaneous_level(family)
    question = (
        f"For a difference of {difference:g} in {endpoint} at {power:.0%} power, two-sided at 5 % over a family of "
        f"{family} comparisons (the first of Holm's steps: {100 * (1 - level):.2g} %), from the "
        "pilot's variances of an arm's paired difference to the reference:"
    )
    rows, cautious = [], {}
    for name in summary.sets:
        size = summary.size(name)
        found = pilot_components(summary, name, endpoint)
        plain, cautious[name] = (
            _options(needs(one, difference, power=power, level=level), size, most_pairs)
            for one in (found, found.with_upper_seeds())
        )
        parts = [f"{variance**0.5:.4f}" for variance in found[:3]]
        told = [_told(options, most_pairs) for options in (plain, cautious[name])]
        rows.append([name, f"{size.pairs} ({size.prompts})", *parts, *told])
    heads = ["set", "pilot: pairs (prompts)", "sd between seeds", "sd between prompts", "chance", "seeds × pairs"]
    table = grid([*heads, "with the 80 % limit of the sd between seeds"], rows)
    return "\n".join([question, "", table, _conclusion(cautious, most_pairs)])


def _options(found: list[Need], size: SetSize, most_pairs: int) -> list[_Option]:
    """Seeds × pairs that are enough, at as many pairs a prompt as in the pilot, the fewest seeds first."""
    known = [(need.seeds, need.prompts) for need in found if need.prompts is not None]
    options = [_Option(seeds, -(-prompts * size.pairs // size.prompts)) for seeds, prompts in known]
    return [option for option in options if option.pairs <= most_pairs]


def _told(options: list[_Option], most_pairs: int) -> str:
    """The fewest seeds, and some more of them with fewer pairs."""
    shown = [option for option in options if option.seeds in (options[0].seeds, 5, 8, 10, 15)]
    return ", ".join(f"{seeds} × {pairs}" for seeds, pairs in shown) or f"more than {most_pairs} pairs"


def _conclusion(cautious: dict[str, list[_Option]], most_pairs: int) -> str:
    """The fewest seeds, and the pairs of each set, that are enough on every set."""
    enough = {
        name: [option.seeds for option in found if option.seeds >= LEAST_SEEDS] for name, found in cautious.items()
    }
    if lacking := [name for name, seeds in enough.items() if not seeds]:
        return (
            f"No number of seeds up to {SEEDS[-1]} does with {most_pairs} pairs on {', '.join(lacking)}: "
            "the main run can show only a larger difference there."
        )
    seeds = max(min(one) for one in enough.values())
    pairs = max(option.pairs for found in cautious.values() for option in found if option.seeds == seeds)
    return f"Enough on every set, with the cautious spread: **{seeds} seeds, {pairs} pairs a set**."
