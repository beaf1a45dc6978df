"""The power of a plan in words: the lines that go into docs/experiments/plan.md, between their two marks."""

from pathlib import Path
from typing import NamedTuple

from earshot.errors import InputError
from earshot.lab.experiment.analysis import families
from earshot.lab.experiment.power import Components, Need, fewest_seeds, needs, pilot_components
from earshot.lab.experiment.summary import Summary
from earshot.rundir import write_text
from earshot.stats import simultaneous_level

BEGIN, END = "<!-- power: written by `earshot lab experiment power` -->", "<!-- /power -->"
LEAST_SEEDS = 5
"""The issue asks for at least so many, whatever the power."""


class SetPower(NamedTuple):
    """What one set of the pilot says."""

    set_name: str
    components: Components
    pilot_pairs: int
    pilot_prompts: int
    needs: list[Need]
    cautious: list[Need]
    """With the upper limit of the spread between seeds."""


def power_of_sets(
    summary: Summary, *, difference: float, power: float, comparisons: int | None, endpoint: str = "accuracy"
) -> tuple[list[SetPower], int]:
    """Each set's needs, and for how many comparisons: by default, the plan's largest family of primary ones."""
    family = comparisons or max((len(one) for one in families(summary)), default=1)
    level = simultaneous_level(family)
    out = []
    for name in summary.sets:
        found = pilot_components(summary, name, endpoint)
        size = summary.about["sets"][name]
        plain, cautious = (
            needs(one, difference, power=power, level=level) for one in (found, found.with_upper_seeds())
        )
        out.append(SetPower(name, found, size["pairs"], size["prompts"], plain, cautious))
    return out, family


def power_lines(
    sets: list[SetPower], *, difference: float, power: float, family: int, most_pairs: int, endpoint: str
) -> list[str]:
    """The lines of the page, in Markdown."""
    lines = [
        f"For a difference of {difference:g} in {endpoint} at {power:.0%} power, two-sided at 5 % over a family of "
        f"{family} comparisons (the first of Holm's steps: {100 * (1 - simultaneous_level(family)):.2g} %), from the "
        "pilot's variances of an arm's paired difference to the reference:",
        "",
        "| set | pilot: pairs (prompts) | sd between seeds | sd between prompts | chance | seeds × pairs |"
        " with the 80 % limit of the sd between seeds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in sets:
        parts = [f"{variance**0.5:.4f}" for variance in one.components[:3]]
        options = [_options(one, found, most_pairs) for found in (one.needs, one.cautious)]
        size = f"{one.pilot_pairs} ({one.pilot_prompts})"
        lines.append(f"| {one.set_name} | {' | '.join([size, *parts, *options])} |")
    chosen = [fewest_seeds(_enough(one.cautious), _prompts_in(one, most_pairs)) for one in sets]
    lines += ["", _conclusion(sets, chosen, most_pairs)]
    return lines


def _enough(found: list[Need]) -> list[Need]:
    return [need for need in found if need.seeds >= LEAST_SEEDS]


def _prompts_in(one: SetPower, pairs: int) -> int:
    return int(pairs * one.pilot_prompts / one.pilot_pairs)


def _pairs_of(one: SetPower, need: Need) -> int:
    """Pairs, at as many a prompt as in the pilot."""
    assert need.prompts is not None
    return -(-need.prompts * one.pilot_pairs // one.pilot_prompts)


def _options(one: SetPower, found: list[Need], most_pairs: int) -> str:
    """The fewest seeds, and some more of them with fewer pairs."""
    possible = [need for need in found if need.prompts is not None and _pairs_of(one, need) <= most_pairs]
    shown = [need for need in possible if need.seeds in (possible[0].seeds, 5, 8, 10, 15)] if possible else []
    return ", ".join(f"{need.seeds} × {_pairs_of(one, need)}" for need in shown) or f"more than {most_pairs} pairs"


def _conclusion(sets: list[SetPower], chosen: list[Need | None], most_pairs: int) -> str:
    lacking = [one.set_name for one, need in zip(sets, chosen, strict=True) if need is None]
    if lacking:
        return (
            f"No number of seeds up to {sets[0].needs[-1].seeds} does with {most_pairs} pairs on {', '.join(lacking)}: "
            "the main run can show only a larger difference there."
        )
    seeds = max(need.seeds for need in chosen if need is not None)
    pairs = 0
    for one in sets:
        (need,) = [need for need in one.cautious if need.seeds == seeds]
        pairs = max(pairs, _pairs_of(one, need))
    return f"Enough on every set, with the cautious spread: **{seeds} seeds, {pairs} pairs a set**."


def write_into(page: Path, lines: list[str]) -> None:
    """Puts the lines between the page's two marks.

    Raises:
        InputError: The page is not there, or lacks the marks.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"{page}: has no lines {BEGIN} and {END}, expected both; put them where the power goes")
    write_text(page, "\n".join([f"{before}{BEGIN}", "", *lines, "", f"{END}{after}"]))
