"""`earshot view` in a real browser: read by keyboard and at phone width, and hostile text stays text."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from earshot.files import append_jsonl
from tests.view.runs import BROKEN_IMAGE, HOSTILE, LONG, PAIRS, SCRIPT, make_pair_set, make_run, prediction

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install 'earshot-rm[dev]'")
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (Debian: apt-get install chromium)")

WAIT_MS = 60_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    make_run(folder / "run", make_pair_set(folder / "data"))
    return folder


@contextmanager
def served(*runs: Path) -> Iterator[str]:
    """Where the real command serves the runs."""
    command = [sys.executable, "-m", "earshot.cli.main", "view", *map(str, runs), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[0]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder / "run") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    rebinding = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with sync_api.sync_playwright() as playwright:
        # Without its sandbox, which needs rights that containers do not have; the only pages are our own.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rebinding])
        yield chromium
        chromium.close()


class Reader:
    """A page, and what went wrong on it."""

    def __init__(self, browser: Any, address: str, width: int, height: int, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page.set_default_timeout(WAIT_MS)
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address = address

    def _hear(self, message: Any) -> None:
        # That an image is missing is no fault of the page.
        if message.type in ("error", "warning") and "404 (Not Found)" not in message.text:
            self.faults.append(message.text)

    def open(self, fragment: str = "") -> "Reader":
        self.page.goto(self.address + fragment)
        self.page.wait_for_selector(".row")
        self.wait("document.getElementById('progress').hidden")
        return self

    def current(self) -> str | None:
        """The id of the pair whose row is current."""
        row = self.page.query_selector('.row[aria-current="true"]')
        return None if row is None else list(PAIRS)[int(row.get_attribute("data-index"))]

    def shown(self) -> str:
        """The ids of the pairs in the list."""
        indices = self.page.eval_on_selector_all(".row", "rows => rows.map(row => Number(row.dataset.index))")
        return "".join(list(PAIRS)[index] for index in indices)

    def wait(self, script: str, arg: Any = None) -> None:
        """Waits until a script is true; the browser's own way would need the page to allow eval."""
        end = time.monotonic() + WAIT_MS / 1000
        while not self.page.evaluate(script, arg):
            assert time.monotonic() < end, f"still false: {script} with {arg}"
            self.page.wait_for_timeout(50)

    def wait_shown(self, names: str) -> None:
        script = "wanted => String([...document.querySelectorAll('.row')].map(r => r.dataset.index)) === String(wanted)"
        self.wait(script, [list(PAIRS).index(name) for name in names])

    def wait_detail(self, name: str) -> None:
        self.wait("name => document.getElementById('detail').innerText.includes(`pair ${name}\\n`)", name)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture()
def wide(browser: Any, address: str) -> Iterator[Reader]:
    reader = Reader(browser, address, 1280, 800)
    yield reader
    reader.page.close()


@pytest.fixture()
def narrow(browser: Any, address: str) -> Iterator[Reader]:
    reader = Reader(browser, address, 390, 844)
    yield reader
    reader.page.close()


def test_keys_step_through_the_rows_open_one_and_come_back(wide: Reader) -> None:
    wide.open()
    assert wide.current() is None
    for key, name in (("j", "a"), ("j", "b"), ("ArrowDown", "c"), ("k", "b"), ("ArrowUp", "a"), ("k", "a")):
        wide.press(key)
        assert wide.current() == name
        wide.wait_detail(name)
    assert wide.page.evaluate("document.activeElement.classList.contains('row')")
    wide.press("Enter")
    wide.wait("document.activeElement.id === 'detail'")
    wide.press("Escape")
    assert wide.page.evaluate("document.activeElement.dataset.index") == "0"
    assert "row 1" in wide.page.inner_text("#status")


def test_slash_searches_and_letters_then_are_letters(wide: Reader) -> None:
    wide.open()
    wide.press("/")
    wide.page.keyboard.type("plain jk?")
    wide.page.wait_for_selector(".empty")
    assert wide.page.input_value("[name=text]") == "plain jk?"
    wide.page.fill("[name=text]", "plain")
    wide.wait_shown("abcdefg")
    wide.press("ArrowDown")
    assert wide.current() == "a"
    wide.press("?")
    assert wide.page.is_visible("#help-title")
    wide.press("j")
    assert wide.current() == "a"  # keys of the help are not keys of the list
    wide.press("Escape")
    assert not wide.page.is_visible("#help-title")


def test_letters_can_be_turned_off_and_arrows_stay(wide: Reader) -> None:
    wide.open()
    wide.page.click("#help-button")
    wide.page.uncheck("#letters")
    wide.press("Escape", "j")
    assert wide.current() is None
    wide.press("ArrowDown")
    assert wide.current() == "a"


def test_filters_give_the_counts_worked_out_by_hand(wide: Reader) -> None:
    wide.open()
    assert wide.page.inner_text("[name=verdict]").split("\n") == ["any", "right (3)", "wrong (4)", "no majority (2)"]
    assert wide.page.inner_text("[name=listener]").split("\n") == [
        "any", "one of them differs (4)", "far differs (3)", "kin differs (1)",
    ]  # fmt: skip
    assert (wide.page.inner_text("#n-malformed"), wide.page.inner_text("#n-flips")) == ("(1)", "(2)")
    wide.page.select_option("[name=verdict]", "wrong")
    wide.wait_shown("bdfg")
    assert wide.page.inner_text("#status") == "4 of 9 pairs"
    wide.page.select_option("[name=order]", "sure")
    wide.wait_shown("gbfd")
    wide.page.check("[name=flips]")
    wide.wait_shown("bf")
    wide.page.reload()  # the address keeps what was chosen
    wide.wait_shown("bf")
    wide.page.click("#clear")
    wide.wait_shown("abcdefghi")
    assert wide.faults == []


def test_hostile_text_is_shown_as_text_and_no_script_runs(wide: Reader) -> None:
    wide.open()
    wide.page.click('.row[data-index="7"]')
    wide.wait_detail("h")
    text = wide.page.inner_text("#detail")
    assert text.count(SCRIPT) >= 3  # the prompt and two traces
    assert text.count(BROKEN_IMAGE) >= 3
    assert "&amp; 'quoted'" in text and "{{ 7 * 7 }} </pre></style>" in text
    assert "U+202Edrawkcab" in text and "NULU+0000here" in text
    assert not re.search("[\u202a-\u202e\0]", text)
    assert "<i>generator</i>" in text
    assert BROKEN_IMAGE.replace("/", "") in wide.page.inner_text("[name=source]")  # the set is called that
    page_only = "document.querySelectorAll('#detail script, #list script, #detail i, img[onerror], bdi img').length"
    assert wide.page.evaluate(page_only) == 0
    wide.page.click("[data-kind=rollouts]")
    wide.page.wait_for_selector(".row >> text=a rollout's prompt")
    wide.press("j", "Enter")
    wide.wait("document.getElementById('detail').innerText.includes('what the listener read')")
    assert wide.page.evaluate("typeof window.pwned") == "undefined"
    assert wide.faults == []


def test_a_trace_of_a_hundred_thousand_characters_is_all_there(wide: Reader) -> None:
    wide.open("#text=the+Gr%C3%BCn+end")
    wide.wait_shown("i")
    wide.press("j")
    wide.wait_detail("i")
    lengths = wide.page.eval_on_selector_all(".trace", "traces => traces.map(trace => trace.textContent.length)")
    assert lengths == [len(LONG) + len("the Grün end")] * 2


def test_images_are_shown_and_missing_ones_are_said(wide: Reader) -> None:
    wide.open()
    loaded = "n => [...document.querySelectorAll('.row[data-index=\"0\"] img, .pair img')]"
    loaded += ".filter(image => image.complete && image.naturalWidth === 40).length === n"
    wide.press("j")
    wide.wait(loaded, 4)  # two in the list and two in full, 40 pixels wide as on the disk
    wide.press("j", "j", "j")
    wide.wait_detail("d")
    wide.page.wait_for_selector(".pair .none >> text=image not at hand")
    assert wide.page.locator(".pair img").count() == 1


def test_nothing_is_asked_of_anywhere_else(wide: Reader) -> None:
    wide.open()
    wide.press("j")
    wide.wait_detail("a")
    assert [url for url in wide.requests if not url.startswith(wide.address)] == []


def test_a_name_that_was_pointed_at_this_machine_gets_no_page(wide: Reader) -> None:
    answer = wide.page.goto(wide.address.replace("127.0.0.1", "evil.example"))
    assert answer.status == 403
    assert wide.page.inner_text("body") == "this server answers to 127.0.0.1 and localhost only"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_where_a_row_takes_the_screen(browser: Any, address: str, scheme: str) -> None:
    phone = Reader(browser, address, 390, 844, scheme).open()
    fits = "document.documentElement.scrollWidth <= 390"
    assert phone.page.evaluate(fits)
    phone.page.click("#more > summary")
    assert phone.page.evaluate(fits)
    phone.press("j")  # from the summary of the filters, where letters are keys of no list
    phone.page.click('.row[data-index="7"]')
    phone.wait_detail("h")
    assert phone.page.evaluate(fits)
    assert not phone.page.is_visible("#list")
    phone.page.click("#down")
    phone.wait_detail("i")
    assert phone.page.evaluate(fits)
    phone.page.click("#back")
    assert phone.page.is_visible("#list") and not phone.page.is_visible("#detail")
    assert phone.current() == "i"
    phone.press("Enter")
    phone.wait("document.body.classList.contains('reading')")
    phone.press("Escape")
    assert phone.page.is_visible("#list")
    phone.page.close()


def test_every_control_has_a_name_and_results_are_announced(wide: Reader) -> None:
    wide.open()
    unnamed = "[...document.querySelectorAll('input, select, button, progress')].filter(control =>"
    unnamed += " !control.labels?.length && !control.getAttribute('aria-label') && !control.innerText?.trim()"
    unnamed += " && control.checkVisibility()).map(control => control.outerHTML)"
    assert wide.page.evaluate(unnamed) == []
    assert wide.page.get_attribute("#status", "aria-live") == "polite"
    wide.press("Tab")
    assert wide.page.evaluate("document.activeElement.textContent") == "Skip to the list"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(browser: Any, address: str, scheme: str) -> None:
    reader = Reader(browser, address, 1280, 800, scheme).open()
    colours = reader.page.evaluate(
        "() => Object.fromEntries(['ink', 'soft', 'good', 'bad', 'mark', 'paper', 'panel', 'chosen'].map(name =>"
        " [name, getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()]))"
    )
    for text in ("ink", "soft", "good", "bad"):
        for behind in ("paper", "panel", "chosen"):
            assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)  # WCAG 2.2, 1.4.3
    assert contrast(colours["mark"], colours["paper"]) >= 3  # the ring of the focus: 1.4.11
    reader.page.close()


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        shares = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_pages_are_turned_by_stepping_over_their_end_and_a_growing_run_is_followed(
    browser: Any, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_pair_set(tmp_path / "data"))
    (file,) = run.glob("eval/*/predictions.jsonl")
    append_jsonl(file, [prediction(f"more {k}", PAIRS["a"]) for k in range(60)])
    with served(run) as address:
        reader = Reader(browser, address, 1280, 800).open()
        page = reader.page
        assert page.inner_text("#range") == "1–50 of 69"
        page.click('.row[data-index="49"]')
        reader.press("j")
        reader.wait("document.getElementById('range').textContent === '51–69 of 69'")
        reader.wait("document.activeElement.dataset.index === '50'")
        reader.press("k")
        reader.wait("document.activeElement.dataset.index === '49'")
        with file.open("ab") as out:
            out.write(b'{"half a line')  # as a writer leaves it for a moment
        page.wait_for_timeout(100)
        with file.open("rb+") as out:
            out.truncate(file.stat().st_size - len(b'{"half a line'))
        append_jsonl(file, [prediction(f"later {k}", PAIRS["b"]) for k in range(3)])
        reader.wait("document.getElementById('status').textContent.startsWith('72 of 72 pairs')")
        assert page.evaluate("document.activeElement.dataset.index") == "49"  # the reader is where they were
        assert reader.faults == []
        reader.page.close()


def test_several_runs_are_told_apart_and_stand_side_by_side(browser: Any, folder: Path) -> None:
    other = make_run(folder / "<b>other", folder / "data")
    with served(folder / "run", other) as address:
        reader = Reader(browser, address, 1280, 800).open()
        page = reader.page
        assert page.inner_text('.row[data-index="0"] .run') == "run"
        assert page.inner_text('.row[data-index="9"] .run') == "<b>other"
        assert "·" not in page.inner_text("#list")
        page.click('.row[data-index="1"]')
        reader.wait("document.querySelectorAll('.columns section').length === 2")
        assert page.locator(".columns h3").all_inner_texts() == ["run", "<b>other"]
        first, second = (box["x"] for box in (page.locator(".columns section").nth(k).bounding_box() for k in (0, 1)))
        assert second > first
        verdict = page.inner_text(".columns section >> nth=0 >> dd >> nth=0")
        assert verdict == "first, against people"  # p 0.55, and 1 : 3 votes
        page.select_option("#detail select", "")
        reader.wait("!document.querySelector('.columns')")
        page.click("[data-kind=rollouts]")
        reader.wait("document.querySelectorAll('#steps polyline').length === 4")  # two runs, reward and agreement
        page.click('.row[data-index="0"]')
        reader.wait("document.getElementById('detail').innerText.includes('format part')")
        assert reader.faults == []
        page.close()


def test_the_hostile_text_is_what_it_should_be() -> None:
    assert SCRIPT in HOSTILE and "\u202e" in HOSTILE and "\0" in HOSTILE and len(LONG) > 100_000
