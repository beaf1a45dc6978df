"""What samples amount to, who decides, and what a sample may be."""

import pytest

from earshot.errors import DataError
from earshot.predictions.judgement import (
    NO_ANSWER,
    NOT_READ,
    SAME_PICTURE,
    UNDECIDED,
    JudgedSample,
    conclude,
    is_malformed,
)


def sample(order, p, reader=None, *, side="first", malformed=None):
    if malformed is not None:
        return JudgedSample(order, "text", None, malformed, None)
    return JudgedSample(order, "text", side, None, p, {} if reader is None else {"reader": reader})


def judged(*samples, **options):
    return conclude(samples, id="p", question="q", seed=0, **options)


def test_the_answer_is_the_mean_over_samples_then_over_orders():
    # forward (0.9 + 0.5) / 2 = 0.7, swapped 0.2, together 0.45
    one = judged(sample("swapped", 0.2), sample("forward", 0.9), sample("forward", 0.5))
    assert (one.p_first, one.p_first_forward, one.p_first_swapped) == pytest.approx((0.45, 0.7, 0.2))
    assert (one.verdict, one.orders_agree, one.reason) == ("second", False, None)
    assert [s.order for s in one.samples] == ["forward", "forward", "swapped"]


def test_a_reader_decides_where_it_is_asked_to():
    samples = [sample("forward", 0.9, 0.3), sample("swapped", 0.8, 0.1)]
    author, reader = (judged(*samples, readers=["reader"], decide=who) for who in ("author", "reader"))
    assert (author.p_first, author.verdict) == (pytest.approx(0.85), "first")
    assert (reader.p_first, reader.verdict, reader.decided_by) == (pytest.approx(0.2), "second", "reader")
    assert author.p_author == reader.p_author == pytest.approx(0.85)
    assert author.p_read == reader.p_read == {"reader": pytest.approx(0.2)}


def test_no_side_says_why():
    assert judged(sample("forward", 0.9), sample("swapped", None, malformed="two answers")).reason == NO_ANSWER
    assert judged(sample("forward", 0.7), sample("swapped", 0.3)).reason == UNDECIDED
    silent = judged(sample("forward", 0.9, 0.9), sample("swapped", 0.9), readers=["reader"], decide="reader")
    assert (silent.p_first, silent.reason) == (None, NOT_READ)
    same = judged(same_picture=True, readers=["reader"])
    assert (same.p_first, same.verdict, same.reason) == (0.5, None, SAME_PICTURE)
    assert same.orders_agree is False and same.p_read == {"reader": 0.5}


def test_a_sample_turned_twice_is_itself():
    for one in (sample("forward", 0.75, 0.25), sample("swapped", 0.5, 0.125, side="second")):
        turned = one.turned()
        assert turned.p_first == 1 - one.p_first and turned.verdict == one.verdict
        assert turned.turned() == one


def test_a_sample_with_neither_side_nor_reason_is_refused():
    row = sample("forward", 0.9).as_dict()
    for wrong in ({"side": None}, {"malformed": "two answers"}):
        with pytest.raises(DataError, match="expected just one"):
            is_malformed(row | wrong)
