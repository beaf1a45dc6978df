"""The table of docs/models.md, made of what the conformance suite finds.

`python -m tests.vlm.table` builds every family, runs all checks (some six minutes) and writes the table; families whose
images only torchvision can process need it beside torch (`make conformance-table` sees to that).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
import transformers

from earshot.errors import ModelError
from earshot.judging import examine as doctor
from earshot.judging.examine import Part
from tests.vlm.conformance import FAST, SLOW, Outcome, examine, outcome
from tests.vlm.families import FAMILIES
from tests.vlm.stock import Subject

PAGE: Final = Path(__file__).parents[2] / "docs" / "models.md"
_BEGIN, _END = "<!-- The table is made by `make conformance-table`. -->", "<!-- End of the table. -->"
_HEAD = (
    "| family | `model_type` | judged | GRPO | prompts in a batch | p off by | log-p off by | trained | needs |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)
_P = ("p-equal", "p-mixed", "p-several", "p-alone", "p-orders", "p-own", "words")
_TRAINING = {"grpo": "GRPO", "grpo-lora": "LoRA", "grpo-ckpt": "checkpointed", "sft": "SFT"}


def listed() -> list[str]:
    """The families of the table: all but those that are there for a trap in their vocabulary."""
    return [name for name in FAMILIES if not name.startswith("trap_")]


def mechanism(subject: Subject) -> list[str]:
    """Whether a family is judged on shared prompts or whole rows, the same of GRPO, and how many prompts go together.

    Raises:
        ModelError: It is refused.
    """
    found = doctor.examine(subject.vlm, new_tokens=16)
    return [_how(found.parts["judging"]), _how(found.parts["grpo"]), "many" if found.together else "one"]


def _how(part: Part) -> str:
    return part.how if part.why is None else f"{part.how}: {re.split(r'[;(]', part.why)[0].strip()}"


def row(name: str, subject: Subject, found: Mapping[str, Outcome]) -> str:
    """A line of the table."""
    kind = json.loads((subject.folder / "config.json").read_text())["model_type"]
    needs = "torchvision" if FAMILIES[name].needs_torchvision else ""
    try:
        computed = mechanism(subject)
    except ModelError as error:
        why = re.split(r"[;,(]", str(error).removeprefix(f"{subject.folder}: "))[0].strip()
        return f"| {name} | `{kind}` | refused: {why} | | | | | | {needs} |"
    cells = [*computed, _furthest(found, _P), _furthest(found, ("logps", "rows")), _trains(found)]
    wrong = [f"{check}: {one.detail}" for check, one in found.items() if one.status in ("wrong", "crash")]
    return f"| {name} | `{kind}` | " + " | ".join(cells) + f" | {'; '.join([needs, *wrong]).strip('; ')} |"


def table_of(page: str) -> list[str]:
    """The lines of the table in a page."""
    return page.split(_BEGIN)[1].split(_END)[0].strip().splitlines()[len(_HEAD) :]


def _furthest(found: Mapping[str, Outcome], checks: tuple[str, ...]) -> str:
    figures = [float(one.detail.split(",")[0]) for c in checks if (one := found[c]).status == "ok"]
    refused = [one for c in checks if (one := found[c]).status == "refused"]
    return f"{max(figures):.0e}" if figures else "refused" if refused else "wrong"


def _trains(found: Mapping[str, Outcome]) -> str:
    ways = {name: found[check] for check, name in _TRAINING.items()}
    if all(one.status == "refused" for one in ways.values()):
        return "refused: " + re.split(r"[;,(]", next(iter(ways.values())).detail)[0]
    return ", ".join(name for name, one in ways.items() if one.status == "ok") or "no"


def main() -> None:
    """Writes the table."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in listed():
            subject = examine(name, Path(folder))
            lines.append(row(name, subject, {c: outcome(check, subject) for c, check in (FAST | SLOW).items()}))
            print(lines[-1], flush=True)
    page = PAGE.read_text()
    before, after = page.split(_BEGIN)[0], page.split(_END)[1]
    PAGE.write_text(f"{before}{_BEGIN}\n\n" + "\n".join([*_HEAD, *lines]) + f"\n\n{_END}{after}")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
