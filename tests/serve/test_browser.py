"""The page in a real browser: two pictures in, a verdict out, by keyboard, at phone width, and text stays text."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from earshot.serve.requests import PROMPT, CompareRequest
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
    page.wait_for_selector("#verdict:not([hidden])")
    # σ(-40 / 20) = 0.1192
    assert page.inner_text("#verdict") == "People would prefer image 2, with 88.1 %; both orders agree."
    assert page.evaluate("document.activeElement.id") == "verdict"
    assert page.inner_text("#images li.best .name").split()[:2] == ["image", "2"]
    assert page.locator(".badge").all_inner_texts() == ["preferred"]
    assert page.eval_on_selector_all(".order output", "all => all.map(one => one.textContent)") == [
        "11.9 %", "11.9 %", "11.9 %", "25.0 %",
    ]  # fmt: skip
    assert page.get_by_role("meter", name="image 2 shown first: 11.9 %").count() == 1
    assert "is brighter" in page.inner_text(".trace")
    assert page.inner_text("#measured caption") == "measured, no part of the verdict"
    assert "16 x 16 px" in page.inner_text("#measured") and "39 % of white" in page.inner_text("#measured")
    assert re.fullmatch(r"Compared in both orders in \d+\.\d s\.", page.inner_text("#status"))
    assert page.locator("img[src=x]").count() == 0


def test_pasted_pictures_are_ranked_and_one_can_be_taken_out(page: Any) -> None:
    page.evaluate(PASTE, [[f"{HOSTILE}{shade}", list(png(shade))] for shade in (100, 140, 120)])
    page.wait_for_selector("#images li:nth-child(3)")
    page.fill("#prompt", "a grey square")
    assert page.inner_text("#go") == "Rank"
    page.click("#go")
    page.wait_for_selector("#verdict:not([hidden])")
    assert page.locator("#images strong").all_inner_texts() == ["image 2", "image 3", "image 1"]
    assert page.locator(".badge").all_inner_texts() == ["place 1", "place 2", "place 3"]
    told = page.locator("#images .soft").all_inner_texts()
    assert len(told) == 3 and all(re.fullmatch(r"strength -?\d\.\d\d \[-?\d\.\d\d, -?\d\.\d\d\]", one) for one in told)
    page.get_by_role("button", name="Remove image 3").press("Enter")
    assert page.inner_text("#go") == "Compare"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove image 2"
    # What was said of three is not so of two.
    assert page.locator(".badge").count() == 0 and page.locator("#verdict").is_hidden()


def test_an_example_of_coloured_shapes_is_a_click_away_and_its_pictures_are_large(page: Any) -> None:
    assert "made-up coloured shapes" in page.inner_text("#example")
    page.click("#example")
    page.wait_for_selector("#verdict:not([hidden])")
    assert page.input_value("#prompt") == PROMPT
    one, other = page.locator("#images img").all()
    room, wide = page.locator("#images").bounding_box()["width"], page.viewport_size["width"] > 1000
    assert one.bounding_box()["width"] > room * (0.45 if wide else 0.9)
    assert (one.bounding_box()["y"] == other.bounding_box()["y"]) == wide


def test_what_follows_the_order_is_undecided_and_a_sampled_answer_is_called_one(page: Any) -> None:
    told = json.loads(ask_example(page.url))
    sample = {**told["samples"][0], "order": "swapped", "side": "second", "p_first": 0.957}
    told |= {"p_first": 0.539, "p_first_forward": 0.122, "p_first_swapped": 0.957, "orders_agree": False}
    told |= {"verdict": "first", "samples": [sample]}
    page.route("**/v1/compare", lambda route: route.fulfill(json=told))
    page.click("#example")
    page.wait_for_selector("#verdict:not([hidden])")
    assert page.inner_text("#verdict") == "Undecided: the answer follows the order in which the images are shown."
    assert page.locator(".badge, .best").count() == 0
    assert "53.9 %" in page.locator(".order output").all_inner_texts()
    said = page.inner_text(".reason")
    assert "Says image 2; its own probability for image 1: 95.7 % (the answer was sampled, and fell on" in said
    assert page.locator("figcaption").all_inner_texts() == ["“first”: image 2", "“second”: image 1"]


def ask_example(address: str) -> bytes:
    body = json.dumps(CompareRequest.example).encode()
    answer: bytes = urlopen(Request(f"{address}v1/compare", body, {"content-type": "application/json"})).read()
    return answer


def test_what_is_wrong_is_said_in_words(page: Any, tmp_path: Path) -> None:
    page.fill("#prompt", "p")
    page.press("#prompt", "Enter")
    assert page.inner_text("#status") == "At least two images are needed."
    page.evaluate(PASTE, [["one", list(png(100))]] * 36)
    assert page.inner_text("#status").startswith("36 images were given; the first 32 are kept, the most")
    assert page.locator("#images li").count() == 32


def test_examples_of_the_routes_run_and_so_does_the_code_as_printed(browser: Any, address: str, tmp_path: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{address}docs")
    page.get_by_role("button").first.click()
    told = page.get_by_role("status", name="Answer of POST /v1/compare")
    sync_api.expect(told).to_contain_text('"verdict": "', timeout=WAIT_MS)
    assert "timeout_s" in page.inner_text("#routes table >> nth=0")
    for route in ("/v1/compare", "/compute"):  # a form, and JSON
        answers = []
        for name, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
            code = page.get_by_role("group", name=f"{name} of POST {route}").inner_text()
            answers.append(json.loads(subprocess.check_output([*command, code], cwd=tmp_path)))
        assert answers[0] == answers[1] and ("p_first" in answers[0] or "rewards" in answers[0])
    page.close()


def test_below_a_path_the_page_and_the_code_as_printed_ask_there(browser: Any, tmp_path: Path) -> None:
    with process(0.0, "1", "/ear/shot") as (_, netloc):
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        asked: list[str] = []
        page.on("request", lambda one: asked.append(one.url))
        page.goto(f"http://{netloc}/ear/shot")
        page.click("#example")
        page.wait_for_selector("#verdict:not([hidden])")
        page.click("text=for programs")
        code = page.get_by_role("group", name="Python of POST /v1/compare").inner_text()
        assert f'server = "http://{netloc}/ear/shot"' in code
        assert "p_first" in json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path))
        assert all("/ear/shot" in url for url in asked if not url.startswith("blob:"))
        page.close()
