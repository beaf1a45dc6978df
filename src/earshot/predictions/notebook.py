"""Judgements and rankings as a notebook shows them: markup of our own, all else as text; no scripts, nothing loaded."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from earshot.measured import side_by_side

if TYPE_CHECKING:
    from earshot.predictions.judgement import Judgement

_THUMB_PX = 192


def judgement_html(told: Judgement) -> str:
    """Both pictures where they are at hand, the verdict, p of each order, a trace, and what is measured."""
    side = f"people would prefer the {told.verdict}" if told.verdict else f"no verdict: {told.reason}"
    agree = {True: "both orders agree", False: "the two orders disagree", None: "an order is missing"}
    parts = [f"<p><b>{_text(side)}</b>; {agree[told.orders_agree]}; decided by {_text(told.decided_by)}</p>"]
    if told.pictures is not None:
        shown = zip(("first", "second"), told.pictures, strict=True)
        parts.insert(0, table([], [[f"{thumbnail(image)}<br>{name}" for name, image in shown]]))
    ps = {
        "p(first)": told.p_first,
        "first shown first": told.p_first_forward,
        "second shown first": told.p_first_swapped,
        **{f"{name}, from the traces": p for name, p in told.p_read.items()},
    }
    parts.append(table([], [[_text(name), bar(p)] for name, p in ps.items()]))
    if told.trace is not None:
        parts.append(f'<p style="white-space: pre-wrap"><i>{_text(told.trace.strip())}</i></p>')
    if told.pictures is not None:
        beside = side_by_side(*told.pictures)
        parts.append(f"<p>{_text(beside['label'])}</p>")
        parts.append(table(["", "first", "second"], [map(_text, row) for row in beside["table"]]))
    return f"<div>{''.join(parts)}</div>"


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells of markup; what is text in them has been escaped."""
    top = f"<tr>{''.join(f'<th>{_text(name)}</th>' for name in head)}</tr>" if head else ""
    return f"<table>{top}{''.join(f'<tr>{_cells(row)}</tr>' for row in rows)}</table>"


def bar(p: float | None) -> str:
    """A probability, drawn and written."""
    if p is None:
        return "no verdict"
    box = "display: inline-block; width: 10em; border: 1px solid; vertical-align: middle"
    fill = f"width: {100 * p:.1f}%; height: .8em; background: currentColor"
    return f'<div style="{box}"><div style="{fill}"></div></div> {p:.4f}'


def thumbnail(image: Image.Image) -> str:
    """A small copy of a picture that needs no file beside it."""
    small = image.copy()
    small.thumbnail((_THUMB_PX, _THUMB_PX))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _cells(row: Iterable[str]) -> str:
    return "".join(f'<td style="text-align: left">{cell}</td>' for cell in row)


def _text(text: str) -> str:
    # Half an emoji, which models do write, has no UTF-8.
    return html.escape(text.encode("utf-8", "replace").decode())
