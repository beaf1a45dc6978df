"""The pictures of docs/gallery.md, taken of a finished quickstart (`make gallery`): `python -m tests.docs.gallery RUN`.

The real commands are started, and their pages are looked at in the Chromium that is on the PATH. A click that finds
nothing fails; nothing is taken of a page that changed so.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from earshot.data.pairset import read_pairs

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
WIDE, TALL, PHONE, ANSWER = (1000, 720), (860, 1000), (390, 760), (860, 950)
COLOURS = 128
EARSHOT = [sys.executable, "-m", "earshot.cli.main"]


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The address that a command prints when it is ready."""
    with subprocess.Popen([*EARSHOT, *words, "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
        finally:
            server.terminate()


def take(browser: Any, name: str, address: str, act: Callable[[Any], None], *, size: tuple[int, int] = WIDE) -> None:
    """Opens a page, does something on it, and keeps what is then in the window, light and dark."""
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        page.set_default_timeout(60_000)
        page.goto(address)
        act(page)
        page.wait_for_timeout(300)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        file = IMAGES / f"{name}-{scheme}.webp"
        few = shot.quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB")
        few.save(file, lossless=True, quality=100, method=6)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB")
        page.close()


def pictures(pair_set: Path, folder: Path) -> tuple[str, list[Path]]:
    """The prompt of the set's first pair, and the images of its first two under names that can be read."""
    pairs = list(read_pairs(pair_set))[:2]
    files = [folder / f"{name}.png" for name in ("one", "two", "three", "four")]
    for source, file in zip((side for pair in pairs for side in (pair.first, pair.second)), files, strict=True):
        shutil.copyfile(source, file)
    return pairs[0].prompt, files


def compared(prompt: str, *files: Path) -> Callable[[Any], None]:
    def act(page: Any) -> None:
        page.set_input_files("#files", [str(file) for file in files])
        page.fill("#prompt", prompt)
        page.wait_for_selector(f"#images li:nth-child({len(files)})")
        page.click("#go")
        page.wait_for_selector("#verdict:not([hidden])")

    return act


def example(page: Any) -> None:
    """The page's own example, judged; the form above it goes, so that the answer alone is in the window."""
    page.click("#example")
    page.wait_for_selector("#images li:nth-child(2)")
    page.click("#go")
    page.wait_for_selector("#verdict:not([hidden])")
    page.eval_on_selector("#verdict", "one => one.scrollIntoView()")


def opened(row: int, kind: str = "judged") -> Callable[[Any], None]:
    def act(page: Any) -> None:
        page.click(f"[data-kind={kind}]")
        page.click(f'.row[data-index="{row}"]')
        page.wait_for_selector("#detail img")
        page.wait_for_selector("#progress[hidden]", state="attached")  # all rows are read

    return act


def at(selector: str) -> Callable[[Any], None]:
    def act(page: Any) -> None:
        page.eval_on_selector(selector, "one => one.scrollIntoView()")

    return act


def main(run: Path) -> None:
    arms = [run / name for name in ("sft", "naive", "listener")]
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder, "report.html")
        subprocess.run([*EARSHOT, "report", *map(str, arms), "--out", str(report)], check=True)
        prompt, files = pictures(run / "data" / "test", Path(folder))
        # Without its sandbox, which needs rights that containers do not have; the only pages are our own.
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        model = ("--model", str(run / "listener" / "model"), "--listener", "world:held-out", "--temperature", "0")
        with served("serve", *model) as address:
            take(browser, "serve-rank", address, compared(prompt, *files), size=TALL)
        with served("serve", "--model", "world:reasoner", "--listener", "world:listener") as address:
            take(browser, "verdict", address, example, size=ANSWER)
        with served("view", *map(str, arms)) as address:
            take(browser, "view-judged", address, opened(0))
            take(browser, "view-rollouts", address, opened(0, "rollouts"))
            take(browser, "view-phone", address, opened(0), size=PHONE)
        take(browser, "report-answer", report.as_uri(), at("h1"))
        take(browser, "report-results", report.as_uri(), at("#results"))
        take(browser, "report-where", report.as_uri(), at("#where"))
        take(browser, "report-training", report.as_uri(), at("#training"))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
