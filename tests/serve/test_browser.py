"""The page in a real browser: two pictures in, a verdict out, by keyboard, at phone width, and text stays text."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import png
from tests.serve.test_life import process

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install 'earshot-rm[dev]'")
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (Debian: apt-get install chromium)")

WAIT_MS = 60_000
HOSTILE = "<img src=x onerror=alert(1)>"
PASTE = """async files => {
  const data = new DataTransfer();
  for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
  document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
}"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with process(0.0) as (_, address):
        yield f"http://{address}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Without its sandbox, which needs rights that containers do not have; the only pages are our own.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["wide", "phone"])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(WAIT_MS)
    faults: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda one: asked.append(one.url))
    page.goto(address)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    assert all(url.startswith((address, f"blob:{address}")) for url in asked)
    page.close()
    assert faults == []


def files(tmp_path: Path, *shades: int) -> list[str]:
    for shade in shades:
        (tmp_path / f"{shade}.png").write_bytes(png(shade))
    return [str(tmp_path / f"{shade}.png") for shade in shades]


def test_two_pictures_are_compared_by_keyboard_alone(page: Any, tmp_path: Path) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "prompt"
    page.keyboard.type(f"a grey square {HOSTILE}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    page.set_input_files("#files", files(tmp_path, 100, 140))
    page.focus("#prompt")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    # σ(-40 / 20) = 0.1192
    assert page.inner_text("#verdict") == "People would prefer image 2, with 88.1 %."
    assert page.evaluate("document.activeElement.id") == "result-title"
    assert page.eval_on_selector_all(".order output", "all => all.map(one => one.textContent)") == [
        "11.9 %", "11.9 %", "11.9 %", "25.0 %",
    ]  # fmt: skip
    assert page.get_by_role("meter", name="image 2 shown first: 11.9 %").count() == 1
    assert "is brighter" in page.inner_text(".trace")
    assert page.inner_text("#measured caption") == "measured, no part of the verdict"
    assert "16 x 16 px" in page.inner_text("#measured") and "39 % of white" in page.inner_text("#measured")
    assert page.inner_text("#status") == "Done."
    assert page.locator("img[src=x]").count() == 0


def test_pasted_pictures_are_ranked_and_one_can_be_taken_out(page: Any) -> None:
    page.evaluate(PASTE, [[f"{HOSTILE}{shade}", list(png(shade))] for shade in (100, 140, 120)])
    page.wait_for_selector("#images li:nth-child(3)")
    page.fill("#prompt", "a grey square")
    assert page.inner_text("#go") == "Rank"
    page.click("#go")
    page.wait_for_selector("#result:not([hidden])")
    assert page.eval_on_selector_all("th[scope=row]", "all => all.map(one => one.textContent)") == [
        "image 2", "image 3", "image 1",
    ]  # fmt: skip
    page.get_by_role("button", name="Remove image 3").press("Enter")
    assert page.inner_text("#go") == "Compare"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove image 2"


def test_what_is_wrong_is_said_in_words(page: Any, tmp_path: Path) -> None:
    page.fill("#prompt", "p")
    page.press("#prompt", "Enter")
    assert page.inner_text("#status") == "At least two images are needed."


def test_examples_of_the_routes_run(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{address}docs")
    page.get_by_role("button", name="Run POST /v1/compare").click()
    told = page.get_by_role("status", name="Answer of POST /v1/compare")
    sync_api.expect(told).to_contain_text('"p_first"', timeout=WAIT_MS)
    page.close()
