"""The page in a real browser: it opens from the disk, asks for nothing, and is read at desktop and phone width."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from earshot.report import write_report
from tests.report.conftest import make_three_runs

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install 'earshot-rm[dev]'")
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (Debian: apt-get install chromium)")

WAIT_MS = 60_000
# The contrast of the text of every element with the ground it stands on, by the formula of WCAG 2.
CONTRASTS = """() => {
  const parts = colour => colour.match(/[0-9.]+/g).map(Number);
  const linear = x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
  const light = colour => parts(colour).slice(0, 3).map(x => linear(x / 255))
    .reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0);
  const ground = element => {
    while (element.parentElement && (parts(getComputedStyle(element).backgroundColor)[3] ?? 1) === 0)
      element = element.parentElement;
    return getComputedStyle(element).backgroundColor;
  };
  return [...document.querySelectorAll('p, td, th, small, span, figcaption, summary, h2, h3, h4, a, pre')].map(e => {
    const both = [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => a - b);
    return (both[1] + .05) / (both[0] + .05);
  });
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    runs = make_three_runs(tmp_path_factory.mktemp("report"))
    return write_report(runs, runs[0].parent / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Without its sandbox, which needs rights that containers do not have; the only page is our own.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_it_reads_at_this_width_and_scheme(browser: Any, address: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(WAIT_MS)
    faults: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert min(page.evaluate(CONTRASTS)) >= 4.5
    assert faults == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert page.evaluate("[...document.images].every(i => i.alt)")
    page.close()


def test_on_a_phone_no_column_is_lost_without_a_hint(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert page.evaluate(
        f"{wide}.every(e => !e.querySelector('.stack') && getComputedStyle(e).backgroundImage != 'none')"
    )
    assert page.evaluate("[...document.querySelectorAll('.stack td[data-of]')].length") > 10
    region = page.locator(".scroll:not(:has(.stack))").first
    region.focus()
    page.keyboard.press("ArrowRight")
    # Asked from here again and again: what waits within the page calls `eval`, which its policy forbids.
    scrolled = (
        page.wait_for_timeout(50) or page.evaluate(f"{wide}.some(e => e.scrollLeft > 0)") for _ in range(WAIT_MS // 50)
    )
    assert any(scrolled)
    page.close()


def test_all_pictures_are_printed_and_no_example_is_broken(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    pictures = page.evaluate("new Set([...document.images].map(i => i.src)).size")
    assert pictures > 10
    assert page.pdf(format="A4").count(b"/Subtype /Image") >= pictures
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(
        "[...document.querySelectorAll('article')].every(e => getComputedStyle(e).breakInside == 'avoid')"
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.close()
