"""What readers of text found, to read in 80 columns."""

from collections.abc import Mapping
from textwrap import fill
from typing import Final

from earshot.benchmarks.text import short_names
from earshot.lab.readers.measure import Measured
from earshot.types import Estimate

_COUNTS: Final = (
    ("texts", "n"),
    ("  that the reader differs on", "n_differ"),
    ("without a side to the reader", "n_silent"),
)
_ROWS: Final = (
    ("judge right", "judge_right"),
    ("reader right", "reader_right"),
    ("reader agrees", "agrees"),
    ("judge right where it agrees", "right_agreeing"),
    ("judge right where it differs", "right_differing"),
    ("difference", "difference"),
    ("difference, equally hard pairs", "at_equal_difficulty"),
)
_PERMUTED: Final = (("votes dealt anew: agrees", "agrees"), ("votes dealt anew: difference", "difference"))
_SIGNED: Final = ("difference", "at_equal_difficulty")
_WIDTHS: Final = (32, 24, 24)
_LEGEND: Final = (
    "In %, with 95\u00a0% intervals, prompts resampled. A reader sees no image: it is taught which side people "
    "preferred by the words on other prompts, and names the side that a text implies. 'votes dealt anew': "
    "{permutations} readers that were taught other pairs' votes, their mean and where 95\u00a0% of them lie."
)


def as_text(found: Mapping[str, Measured], *, permutations: int) -> str:
    """A table for each judge, with what was left out of it."""
    parts = [fill(_LEGEND.format(permutations=permutations), 80)]
    for name, measured in zip(short_names(found), found.values(), strict=True):
        parts += ["", fill(f"{name}: {_about(measured)}", 80, break_on_hyphens=False), *_table(measured)]
    return "\n".join(parts)


def _about(measured: Measured) -> str:
    out = measured.left_out
    hard = " and ".join(measured.difficulty) or "nothing known here, other judges' files on the same pairs would tell"
    return (
        f"{measured.n_texts:,} texts on {measured.n_pairs:,} pairs; left out {out['unparsed']:,} unparsed, "
        f"{out['people_tied']:,} without a side of people's, {out['judge_tied']:,} without one of the judge's; "
        f"{measured.n_prompts:,} prompts; difficulty by {hard}"
    )


def _table(measured: Measured) -> list[str]:
    readings = list(measured.readings.values())
    if not any(reading.n for reading in readings):
        return ["no text on which people, judge and reader have a side"]
    kept = (Estimate(reading.kept, None, None, reading.n).text(percent=True) for reading in readings)
    rows: list[tuple[str, ...]] = [("", "conclusions in", "conclusions out"), ("text kept", *kept)]
    rows += [(title, *(f"{getattr(reading, name):,}" for reading in readings)) for title, name in _COUNTS]
    rows += [(title, *(_cell(reading.estimates, name) for reading in readings)) for title, name in _ROWS]
    rows += [(title, "", _cell(measured.permuted, name)) for title, name in _PERMUTED]
    return ["".join(map(str.ljust, row, _WIDTHS)).rstrip() for row in rows]


def _cell(estimates: Mapping[str, Estimate], name: str) -> str:
    return estimates[name].text(percent=True, signed=name in _SIGNED)
