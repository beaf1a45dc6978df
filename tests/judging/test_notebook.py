"""Results in a notebook: short as text, with pictures as markup, and nothing of a model's is markup."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from earshot.judging.model import RewardModel
from earshot.predictions.judgement import Judgement
from tests.judging.opinions import Hears, Opinionated, shade

HOSTILE = "<script>alert(1)</script><img src=http://x onerror=y> \ud83d &"
MODEL = RewardModel(Opinionated(), {HOSTILE: Hears()})


class Tags(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(markup)
        markup.encode()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style", "src", "alt"}
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]


@pytest.fixture()
def told() -> Judgement:
    judged = MODEL.compare(prompt="a", first=shade(100), second=shade(140))
    return replace(judged, samples=tuple(replace(one, trace=HOSTILE) for one in judged.samples))


def test_a_result_is_a_line_with_its_side_its_p_and_whether_the_orders_agree(told: Judgement) -> None:
    # σ(-40 / 20) = 0.1192
    assert repr(told) == "Judgement(second, p_first=0.1192, both orders agree)"
    same = MODEL.compare(prompt="a", first=shade(1), second=shade(1))
    assert repr(same) == "Judgement(no verdict, p_first=0.5000: the two images are the same picture)"
    broken = RewardModel(Opinionated(malformed=("swapped",)))
    assert "no verdict: no well-formed answer" in repr(broken.compare(prompt="a", first=shade(1), second=shade(9)))
    ranking = MODEL.rank(prompt="a", images=[shade(100), shade(140)])
    expected = "0: rank 2, win_rate=0.12, 1: rank 1, win_rate=0.88; both orders agree in 1 of 1 comparisons"
    assert repr(ranking) == f"ImageRanking({expected})"


def test_a_notebook_shows_both_pictures_and_text_stays_text(told: Judgement) -> None:
    page = Tags(told._repr_html_())
    assert len(page.sources) == 2 and all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert set(page.tags) <= {"div", "p", "b", "i", "br", "img", "table", "tr", "td", "th"}
    assert "measured, no part of the verdict" in told._repr_html_() and "0.1192" in told._repr_html_()
    bare = replace(told, pictures=None)
    assert Tags(bare._repr_html_()).sources == [] and "measured" not in bare._repr_html_()
    ranking = MODEL.rank(prompt="a", images=[shade(b) for b in (100, 140, 120)])
    assert len(Tags(ranking._repr_html_()).sources) == 3


def test_pictures_stand_in_the_callers_order_and_are_no_part_of_the_result(told: Judgement) -> None:
    for first, second in ((100, 140), (140, 100)):
        judged = MODEL.compare(prompt="a", first=shade(first), second=shade(second))
        assert judged.pictures is not None
        assert [one.getpixel((0, 0))[0] for one in judged.pictures] == [first, second]
        assert judged == replace(judged, pictures=None) and "pictures" not in judged.as_dict()
