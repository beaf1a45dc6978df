"""The README's four ways, gone as a user would: every command as it is written, outside the checkout.

    python -m tests.ways            with the Earshot of this environment
    python -m tests.ways --wheel    with the wheel alone, in a fresh environment

What a user brings lies ready, small: pictures, scores, annotations and a published set in their layouts, and a tiny
model under the hub id that the README names. Behind a command go only words that make it small or keep it on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from earshot.images import Sight
from earshot.types import Pair, Votes
from tests.data.public.sets import hub_image, write_shards
from tests.data.public.test_rapidata import SCHEMA

ROOT = Path(__file__).resolve().parents[1]
SHARDS = "human-alignment-preferences-images"
HUB_IDS = ("Qwen/Qwen2.5-VL-7B-Instruct",)
SIGHT = Sight(min_pixels=784, max_pixels=3136)
ON_A_CPU = " ".join(f"{role}.device=cpu {role}.dtype=float32" for role in ("model", "listener", "claims"))
TWO_STEPS = (
    f"images.min_pixels={SIGHT.min_pixels} images.max_pixels={SIGHT.max_pixels} claims.at_least=1 "
    "trl.bf16=false trl.max_steps=2 trl.save_steps=2 "
    "trl.max_completion_length=64 trl.gradient_accumulation_steps=2 evaluation.every_steps=2 evaluation.pairs=4"
)
ROWS = [
    {"prompt": f"a lighthouse number {n}", "image1": hub_image(2 * n), "image2": hub_image(2 * n + 1)}
    | {"votes_image1": 3 + n % 7, "votes_image2": 9 - n % 7, "model1": "flux", "model2": "dalle"}
    | {"detailed_results": "", "image1_path": "", "image2_path": ""}
    for n in range(40)
]
# What is put behind a command, by what it begins with.
SMALLER = {
    "earshot train grpo qwen2.5-vl-7b-lora": f"{ON_A_CPU} {TWO_STEPS}",
    "earshot eval --model runs/mine/model": "--max-new-tokens 64",
    "earshot lab bench step": "pixels=56 new_tokens=8",
}
STAYS_UP = ("earshot serve", "earshot view")
# Begun by `make` in a checkout; elsewhere by the command that make calls.
BEFORE = {"What our runs say": "earshot quickstart --steps 2 --test-pairs 6 --ood-pairs 3"}


class Step(NamedTuple):
    """A command of the README: the section it stands in, and its words, or a whole Python example."""

    section: str
    text: str
    python: bool = False


class Done(NamedTuple):
    """What became of a step: seconds, exit code, and what it printed on both streams."""

    step: Step
    seconds: float
    code: int
    said: str


def steps(readme: str) -> Iterator[Step]:
    """The commands of a page in order, but for those of make."""
    for section in re.split(r"^## ", readme, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        for found in re.finditer(
            r"^    ((?:earshot|curl) [^\n]+)$|```python\n(.*?)```", body, flags=re.MULTILINE | re.DOTALL
        ):
            yield Step(title, found[1] or found[2], python=found[2] is not None)


def lay_out(folder: Path) -> None:
    """What a user has: pictures, two scorers' scores with the annotations, a published set, and the hub's models."""
    colours = ("red", "blue", "green", "grey")
    for name, colour in zip(("one", "two", "three"), colours, strict=False):
        Image.new("RGB", (64, 48), colour).save(folder / f"{name}.png")
    for number, colour in enumerate(colours):
        Image.new("RGB", (56, 56), colour).save(folder / f"sample-{number}.png")
    groups = [
        {
            "id": f"{n:06d}-0001",
            "prompt": f"a fox number {n}",
            "generations": [f"images/{n}/{k}.webp" for k in range(4)],
            "ranking": [1, 2, 3, 4],
        }
        for n in range(12)
    ]
    (folder / "test.json").write_text(json.dumps(groups))
    for scorer, worth in (("mine", (4, 3, 1, 2)), ("theirs", (2, 3, 4, 1))):
        lines = [
            f"{image},{score}" for group in groups for image, score in zip(group["generations"], worth, strict=True)
        ]
        (folder / f"{scorer}.csv").write_text("\n".join(["image,score", *lines]) + "\n")
    write_shards(folder / SHARDS, ROWS, SCHEMA, of=2)
    for hub_id in HUB_IDS:
        _on_the_hub(hub_id, folder)


def _on_the_hub(hub_id: str, folder: Path) -> None:
    """Lays a tiny model, which writes well-formed answers, where the hub's cache would have the real one."""
    from earshot.train.small_policy import teach
    from earshot.vlm import load
    from tests.vlm.families.family import write
    from tests.vlm.families.qwen import QWEN2_5_VL

    # A checker answers in one token.
    made = write(replace(QWEN2_5_VL, plain=(" Yes", " No")), folder / "made")
    vlm = load(str(made), device="cpu", sight=SIGHT)
    pairs = [
        Pair(str(n), row["prompt"], row["image1"]["bytes"], row["image2"]["bytes"], Votes(1, 0))
        for n, row in enumerate(ROWS[:4])
    ]
    teach(vlm, pairs)
    cached = folder / "hub" / "hub" / f"models--{hub_id.replace('/', '--')}"
    vlm.save(cached / "snapshots" / "tiny")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("tiny")


def go(folder: Path, bin_: Path) -> Iterator[Done]:
    """Takes every step in `folder`, where `lay_out` was, with the commands that `bin_` holds."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment = kept | {
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    up: list[subprocess.Popen[str]] = []
    gone: set[str] = set()
    try:
        for step in steps((ROOT / "README.md").read_text(encoding="utf-8")):
            if step.section in BEFORE and step.section not in gone:
                yield _take(Step(step.section, BEFORE[step.section]), folder, environment)
            gone.add(step.section)
            if step.text.startswith(STAYS_UP):
                began = time.monotonic()
                server = subprocess.Popen(
                    step.text,
                    shell=True,
                    cwd=folder,
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
                up.append(server)
                assert server.stdout is not None
                said = server.stdout.readline()
                yield Done(step, time.monotonic() - began, 0 if said.startswith("http") else 1, said)
            else:
                yield _take(step, folder, environment)
    finally:
        for server in up:
            os.killpg(server.pid, signal.SIGINT)
            server.wait(60)


def _take(step: Step, folder: Path, environment: dict[str, str]) -> Done:
    more = next((words for start, words in SMALLER.items() if step.text.startswith(start)), "")
    if "--dry-run" in step.text:
        more = ""
    words = ["python", "-c", step.text] if step.python else ["bash", "-c", f"{step.text} {more}".strip()]
    began = time.monotonic()
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return Done(step, time.monotonic() - began, done.returncode, done.stdout)


def install_wheel(folder: Path) -> Path:
    """A fresh environment in `folder` with nothing but the wheel and what it asks for; its commands' folder."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    (wheel,) = folder.glob("earshot_rm-*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt")]
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    subprocess.run([*pip, torch], check=True)
    subprocess.run([*pip, f"{wheel}[train,report,serve]"], check=True)
    beside_the_other(next((folder / "venv" / "lib").glob("python*")) / "site-packages")
    return folder / "venv" / "bin"


def beside_the_other(packages: Path) -> None:
    """Lays what pip writes of the index's other `earshot` beside ours: no package of ours may take it for itself."""
    (packages / "earshot-1.2.2.dist-info").mkdir()
    (packages / "earshot-1.2.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: earshot\nVersion: 1.2.2\nSummary: Voice activity detection\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", action="store_true", help="in a fresh environment, with the wheel alone")
    asked = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        began = time.monotonic()
        bin_ = install_wheel(folder) if asked.wheel else Path(sys.executable).parent
        print(f"{time.monotonic() - began:7.1f} s  installed")
        lay_out(folder)
        for done in go(folder, bin_):
            failed += done.code != 0
            text = "the Python example" if done.step.python else done.step.text
            print(
                f"{done.seconds:7.1f} s  {'FAILED' if done.code else 'ok':6} {done.step.section[:24]:24} {text[:110]}",
                flush=True,
            )
            if done.code:
                print(done.said, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
