"""The one reward function: what is paid, what is missing, what the listener gets to read, and what is logged."""

import math
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from earshot.config import GrpoConfig
from earshot.errors import ListenerUnavailable
from earshot.listener import Reading
from earshot.listener.claims import ClaimListener
from earshot.predictions.rollout import Rollout
from earshot.protocol import Claim, prompt_set, write_completion
from earshot.protocol.places import Span
from earshot.train.leak import BinomialCusum, LeakAlarm
from earshot.train.reward import CombinedReward
from earshot.types import Pair, Verdict
from tests.fakes import FakeListener, fake_pair


class Asked:
    """A reward function with what it logged and the rollouts it made.

    Args:
        who: Who listens; its configuration redacts the answer alone.
        checker: Who is asked of claims.
        alarm: Hears leaks.
        options: Tables of the configuration.
    """

    def __init__(
        self,
        who: FakeListener | None,
        checker: ClaimListener | None = None,
        alarm: LeakAlarm | None = None,
        **options: dict[str, Any],
    ) -> None:
        base: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "out": "o"}
        if who is not None:
            base["listener"] = {"paths": "l", "redaction": "answer"} | options.pop("listener", {})
        if checker is not None:
            base["claims"] = {"paths": "c"} | options.pop("claims", {})
        self.rollouts: list[Rollout] = []
        self.logged: dict[str, float] = {}
        self.reward = CombinedReward(
            GrpoConfig.model_validate(base | options),
            who,
            checker,
            texts=lambda rows: ["".join(map(chr, row)) for row in rows],
            prompts=BRIEF,
            on_rollouts=self.rollouts.extend,
            alarm=alarm,
        )

    def __call__(self, pairs: list[Pair], texts: list[str]) -> list[float | None]:
        return self.reward(
            completion_ids=[[*map(ord, text)] for text in texts],
            pair=pairs,
            files=[("a.png", "b.png")] * len(pairs),
            trainer_state=SimpleNamespace(global_step=3),
            log_metric=self.logged.__setitem__,
        )


BRIEF = prompt_set("brief")
FIRST = write_completion(Verdict("first", "the first is red . so image 1 is better ."), BRIEF)
SECOND = write_completion(Verdict("second", "the second is blue ."), BRIEF)


def test_the_parts_add_up() -> None:
    # votes 3:1 for the first, listener 0.8: right 1 + 0.5·1 + 0.5·0.8 = 1.9, wrong 1 + 0 + 0.5·0.8 = 1.4
    asked = Asked(FakeListener(0.8))
    assert asked([fake_pair()] * 2, [FIRST, SECOND]) == pytest.approx([1.9, 1.4])


def test_a_failing_listener_makes_rewards_missing_and_never_zero() -> None:
    asked = Asked(FakeListener(0.8, fails=True))
    assert asked([fake_pair()] * 2, [FIRST, SECOND]) == [None, None]
    assert asked.logged["rewards_missing"] == 1.0
    assert "listener/p_label" not in asked.logged  # nothing was measured
    assert "reward/listener" not in asked.logged
    assert [r.listener_p_first for r in asked.rollouts] == [None, None]


class Choosy:
    """A listener that refuses questions about some pairs, and counts its calls."""

    name = "choosy"

    def __init__(self, *refused: str, gone: bool = False) -> None:
        self.refused, self.gone, self.calls = refused, gone, 0

    def p_first(self, pairs: list[Pair], traces: list[str | None]) -> Any:
        self.calls += 1
        if self.gone or any(pair.id in self.refused for pair in pairs):
            raise ListenerUnavailable("choosy: no", gone=self.gone)
        return np.full(len(pairs), 0.8)


def test_a_refused_question_costs_its_own_pair_and_no_other() -> None:
    asked = Asked(Choosy("b"))  # type: ignore[arg-type]
    a, b = fake_pair("a"), fake_pair("b")
    assert asked([a, a, b, b], [FIRST, SECOND, FIRST, SECOND]) == [
        pytest.approx(1.9), pytest.approx(1.4), None, None,
    ]  # fmt: skip
    assert asked.logged["rewards_missing"] == 0.5 and asked.logged["groups_without_variance"] == 0.5
    assert not asked.reward.stopped


def test_a_listener_that_is_gone_or_refuses_all_of_three_steps_has_stopped() -> None:
    away = Choosy(gone=True)
    asked = Asked(away)  # type: ignore[arg-type]
    asked([fake_pair("a"), fake_pair("b")], [FIRST, FIRST])
    assert asked.reward.stopped and away.calls == 1  # nobody is asked twice who is not there
    a = fake_pair("a")
    asked = Asked(Choosy("a"))  # type: ignore[arg-type]
    told = [(asked([a], [text]), asked.reward.stopped)[1] for text in (FIRST, "malformed", FIRST, FIRST, FIRST)]
    assert told == [False, False, False, False, True]  # a step in which there was nothing to ask begins anew


def test_numbers_that_are_no_probabilities_are_an_outage_too() -> None:
    asked = Asked(FakeListener(float("nan")))
    assert asked([fake_pair()], [FIRST]) == [None]


def test_a_failing_listener_of_weight_zero_costs_nothing() -> None:
    asked = Asked(FakeListener(fails=True), rewards={"listener": 0.0})
    assert asked([fake_pair()], [FIRST]) == [1.5]


def test_a_malformed_completion_earns_zero_and_is_not_read_aloud() -> None:
    listener = FakeListener(0.8)
    asked = Asked(listener)
    assert asked([fake_pair()] * 2, ["the first", FIRST]) == [0.0, pytest.approx(1.9)]
    assert len(listener.calls[0][0]) == 1
    assert (asked.logged["malformed"], asked.rollouts[0].malformed) == (0.5, "no think block")
    # An outage does not touch what needed no listener.
    assert Asked(FakeListener(fails=True))([fake_pair()], ["nothing"]) == [0.0]


@pytest.mark.parametrize(
    ("redaction", "read"),
    [
        ("answer", "the first is red . so image 1 is better ."),
        ("verdict", "the first is red ."),
    ],
)
def test_the_listener_reads_the_trace_without_the_answer(redaction: str, read: str) -> None:
    listener = FakeListener(0.8)
    asked = Asked(listener, listener={"redaction": redaction})
    asked([fake_pair()], [FIRST])
    [(_, [trace])] = listener.calls
    assert trace is not None
    assert "<answer>" not in trace and "<think>" not in trace
    assert trace.strip() == read
    assert (asked.rollouts[0].trace, asked.rollouts[0].trace_redacted) == (
        "the first is red . so image 1 is better .",
        trace,
    )


def test_prior_correction_pays_what_the_trace_adds() -> None:
    listener = FakeListener(lambda pair, trace: 0.6 if trace is None else 0.9)
    asked = Asked(listener, listener={"prior_corrected": True})
    same = fake_pair()
    # 1 + 0.5 + 0.5·(0.9 − 0.6) = 1.65
    assert asked([same, same], [FIRST, FIRST]) == pytest.approx([1.65, 1.65])
    assert len(listener.calls[1][0]) == 1  # the prior of one pair is asked once, however many completions it has
    assert asked.rollouts[0].listener_p_first_no_trace == 0.6


def test_soft_labels_pay_by_the_share_of_votes() -> None:
    # share 0.75, p 0.8: 0.75·0.8 + 0.25·0.2 = 0.65: 1 + 0.5 + 0.325 = 1.825
    asked = Asked(FakeListener(0.8), listener={"soft_labels": True})
    assert asked([fake_pair()], [FIRST]) == pytest.approx([1.825])


def test_a_tie_has_no_label_and_no_reward() -> None:
    assert Asked(FakeListener(0.8))([fake_pair(votes=(2.0, 2.0))], [FIRST]) == [None]


def test_the_parts_are_logged() -> None:
    asked = Asked(FakeListener(0.8))
    asked([fake_pair()] * 4, [FIRST, SECOND, SECOND, "nothing"])
    expected = {
        "reward/format": 0.75,  # three of four
        "reward/accuracy": 0.25,  # one right, two wrong, one malformed
        "reward/listener": 0.6,  # 0.8 three times, 0 for the malformed one
        "reward/read_agreement": 0.25,  # the one that is right
        "malformed": 0.25,
        "groups_without_variance": 0.0,
        "rewards_missing": 0.0,
        "verdict_first": 1 / 3,
        "label_first": 1.0,
        "trace_words": 7.0,  # 11, 5 and 5, full stops included
        "listener/p_label": 0.8,
        "listener/disagreement": 2 / 3,  # the listener says first
    }
    assert asked.logged == pytest.approx(expected)


def test_a_listener_that_cannot_tell_agrees_with_neither() -> None:
    asked = Asked(FakeListener(0.5))
    asked([fake_pair()] * 2, [FIRST, SECOND])
    assert asked.logged["listener/disagreement"] == 1.0


def test_swapping_pair_and_verdict_keeps_the_reward() -> None:
    def opinion(pair: Pair, trace: str | None) -> float:
        return 0.8 if np.asarray(pair.first)[0, 0, 0] > 128 else 0.2

    pair = fake_pair()
    plain, swapped = Asked(FakeListener(opinion)), Asked(FakeListener(opinion))
    mirrored = write_completion(Verdict("second", "it is red ."), BRIEF)
    assert plain([pair], [write_completion(Verdict("first", "it is red ."), BRIEF)]) == pytest.approx(
        swapped([pair.swapped()], [mirrored])
    )


def test_agreement_is_paid_where_verdict_and_reader_are_right_and_logged_whether_it_is_paid_or_not() -> None:
    def reader(pair: Pair, trace: str | None) -> float:
        return 0.8 if trace is not None and "red" in trace else 0.3

    right_alike, wrong = FIRST, SECOND
    right_otherwise = write_completion(Verdict("first", "the first is blue ."), BRIEF)
    asked = Asked(FakeListener(reader), rewards={"listener": 0.0, "read_agreement": 0.5})
    paid = asked([fake_pair()] * 4, [right_alike, right_otherwise, wrong, "nothing"])
    assert paid == pytest.approx([1.0 + 0.5 + 0.5, 1.0 + 0.5, 1.0, 0.0])
    assert [row.reward_read_agreement for row in asked.rollouts] == [1.0, 0.0, 0.0, 0.0]
    assert asked.logged["reward/read_agreement"] == 0.25
    assert [one.trace for one in asked.reward.paid] == pytest.approx([0.5, 0.0, 0.0, 0.0])
    assert [one.answer for one in asked.reward.paid] == pytest.approx(paid)
    unpaid = Asked(FakeListener(reader))
    unpaid([fake_pair()] * 2, [right_alike, wrong])
    assert unpaid.logged["reward/read_agreement"] == 0.5 and unpaid.rollouts[0].weight_read_agreement == 0.0
    # An outage takes the wrong ones out as it takes the right ones.
    out = Asked(FakeListener(fails=True), rewards={"listener": 0.0, "read_agreement": 0.5})
    assert out([fake_pair()] * 3, [right_alike, wrong, "nothing"]) == [None, None, 0.0]
    assert "reward/read_agreement" not in out.logged
    assert Asked(FakeListener(reader), rewards={"read_agreement": 0.5})([fake_pair(votes=(1.0, 1.0))], [FIRST]) == [
        None
    ]


class Says(FakeListener):
    """A listener that finds `red` likely and all else unlikely."""

    def read(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Reading:
        said = [math.nan if trace is None else 0.8 if "red" in trace else 0.1 for trace in traces]
        return Reading(self.p_first(pairs, traces), np.array(said))


def test_a_speaker_is_paid_from_the_one_question_and_logged() -> None:
    who = Says(0.5)
    asked = Asked(who, rewards={"listener": 0.0, "speaker": 0.5, "speaker_at_least": 2})
    told = [
        "first : left large red circle yes . first : left large red circle yes .",
        "first : left large blue circle yes , dark .",
        "first : left large red circle yes , dark .",
    ]
    sides = [write_completion(Verdict("first", trace), BRIEF) for trace in told]
    paid = asked([fake_pair()] * 4, [*sides, "nothing"])
    assert len(who.calls) == 1
    assert paid == pytest.approx([1.5 + 0.5 * 0.4, 1.5 + 0.5 * 0.1, 1.5 + 0.5 * 0.8, 0.0])
    assert [one.trace for one in asked.reward.paid] == pytest.approx([0.2, 0.05, 0.4, 0.0])
    assert [one.answer for one in asked.reward.paid] == pytest.approx([1.5, 1.5, 1.5, 0.0])
    assert asked.logged["listener/likelihood"] == pytest.approx((0.8 + 0.1 + 0.8) / 3)
    assert [row.reward_speaker for row in asked.rollouts] == pytest.approx([0.4, 0.1, 0.8, 0.0])


class Believes:
    """A checker that believes what says `red` with 0.9, what says `blue` with 0.2, and fails when told to."""

    name = "believes"

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def p_yes(self, images: list[Any], claims: list[str]) -> np.ndarray:
        if self.fails:
            raise ListenerUnavailable("told to fail")
        return np.array([0.9 if "red" in claim else 0.2 for claim in claims])


def words(trace: str) -> list[Claim]:
    """Every colour is a claim about the first image."""
    found = re.finditer("red|blue", trace)
    return [Claim("first", match.group(), span=Span(*match.span())) for match in found]


def checker(*, fails: bool = False) -> ClaimListener:
    return ClaimListener((Believes(fails=fails),), words)


QUARTERS = {"listener": 0.25, "claims": 0.25}
RED_AND_BLUE = write_completion(Verdict("first", "it is red and blue . so image 1 is better ."), BRIEF)


def test_claims_are_a_part_of_their_own_and_logged_apart() -> None:
    asked = Asked(FakeListener(0.8), checker(), rewards=QUARTERS)
    # right: 1 + 0.5 + 0.25·0.8 + 0.25·(0.9 + 0.2)/2 = 1.8375; without a claim 1 + 0.5 + 0.2 + 0 = 1.7
    texts = [RED_AND_BLUE, write_completion(Verdict("first", "hm"), BRIEF), "nothing"]
    assert asked([fake_pair()] * 3, texts) == pytest.approx([1.8375, 1.7, 0.0])
    assert asked.logged["reward/claims"] == pytest.approx(0.55 / 3)  # a malformed one earns 0 in every part
    assert asked.logged["claims/number"] == 1.0  # of the two well-formed ones
    assert asked.logged["claims/believed"] == pytest.approx(0.55)
    first, empty, broken = asked.rollouts
    assert (first.reward_claims, first.claims, first.claims_believed) == (pytest.approx(0.55), 2, pytest.approx(0.55))
    assert first.claims_heard == '[["first", "red", false, 0.9], ["first", "blue", false, 0.2]]'
    assert (empty.reward_claims, empty.claims, empty.claims_believed) == (0.0, 0, None)
    assert (broken.reward_claims, broken.claims, broken.claims_heard) == (0.0, None, None)


def test_claims_need_no_listener() -> None:
    asked = Asked(None, checker(), claims={"at_least": 4}, rewards={"listener": 0.0, "claims": 0.5})
    # 1 + 0.5 + 0.5·(0.9 + 0.2)/4 = 1.6375
    assert asked([fake_pair()], [RED_AND_BLUE]) == pytest.approx([1.6375])
    assert "reward/listener" not in asked.logged


CREDIT = {"listener": 0.25, "claims": 2.0, "decoupled": True, "claim_credit": True}


def test_paid_one_by_one_claims_stand_where_they_were_written_and_are_no_part_of_what_the_trace_was_paid() -> None:
    asked = Asked(FakeListener(0.8), checker(), rewards=CREDIT)
    trace = "so image 1 is better because it is red. it is red and blue. so image 1 is better."
    text = write_completion(Verdict("first", trace), BRIEF)
    # right: 1 + 0.5 + 0.25·0.8 + 2·(0.9 + 0.2)/2 = 2.8
    assert asked([fake_pair()] * 3, [text, FIRST, "nothing"]) == pytest.approx([2.8, 3.5, 0.0])
    one, other, malformed = asked.reward.paid
    assert (one.trace, one.answer) == (pytest.approx(0.2), pytest.approx(1.5))
    # What is said twice is paid once, where it was said first; what is concluded is cut, and stands there all the same.
    assert [(text[slice(*span)], span.start, claim.paid) for claim in one.claims for span in claim.spans] == [
        ("red", text.index("red"), pytest.approx(1.8)),
        ("blue", text.index("blue"), pytest.approx(0.4)),
    ]
    assert [claim.paid for claim in other.claims] == pytest.approx([1.8])
    assert malformed == (0.0, 0.0, [])


def test_claims_are_paid_what_is_believed_of_them_beyond_a_grey_image_and_nothing_where_the_reward_is_missing() -> None:
    class Halves(Believes):
        def p_yes(self, images: list[Any], claims: list[str]) -> np.ndarray:
            grey = np.array([image.getpixel((0, 0))[0] == 128 for image in images])
            return np.where(grey, 0.5, super().p_yes(images, claims))

    prior = ClaimListener((Halves(),), words, with_prior=True)
    asked = Asked(FakeListener(0.8), prior, rewards=CREDIT, claims={"prior_corrected": True})
    asked([fake_pair()], [RED_AND_BLUE])
    assert [claim.paid for claim in asked.reward.paid[0].claims] == pytest.approx([2 * 0.4, 2 * -0.3])
    lost = Asked(FakeListener(fails=True), checker(), rewards=CREDIT)
    lost([fake_pair()], [RED_AND_BLUE])
    assert math.isnan(lost.reward.paid[0].trace) and lost.reward.paid[0].claims == []
    usual = Asked(FakeListener(0.8), checker(), rewards=QUARTERS)
    usual([fake_pair()], [RED_AND_BLUE])
    assert usual.reward.paid[0] == (pytest.approx(0.2 + 0.25 * 0.55), pytest.approx(1.5), [])


@pytest.mark.parametrize("redaction", ["none", "answer", "verdict"])
def test_a_conclusion_is_no_claim_whatever_the_listener_gets_to_read(redaction: str) -> None:
    traces: list[str] = []
    asked = Asked(
        FakeListener(0.8),
        ClaimListener((Believes(),), lambda trace: traces.append(trace) or words(trace)),  # type: ignore[func-returns-value]
        listener={"redaction": redaction},
    )
    asked([fake_pair()], [write_completion(Verdict("first", "it is red . so the red image 1 is better ."), BRIEF)])
    assert [trace.strip() for trace in traces] == ["it is red ."]
    assert asked.rollouts[0].claims_heard == '[["first", "red", false, 0.9]]'


def test_a_failing_checker_makes_rewards_missing_unless_it_is_not_paid() -> None:
    paid = Asked(FakeListener(0.8), checker(fails=True), rewards=QUARTERS)
    assert paid([fake_pair()] * 2, [RED_AND_BLUE, "nothing"]) == [None, 0.0]
    assert "reward/claims" not in paid.logged and "claims/number" not in paid.logged
    asked = Asked(FakeListener(0.8), checker(fails=True))
    assert asked([fake_pair()], [RED_AND_BLUE]) == pytest.approx([1.9])


def test_the_sides_of_verdicts_and_labels_are_logged() -> None:
    asked = Asked(FakeListener(0.8))
    pairs = [fake_pair(votes=votes) for votes in ((3.0, 1.0), (3.0, 1.0), (1.0, 3.0), (1.0, 1.0))]
    asked(pairs, [FIRST, SECOND, FIRST, "nothing"])
    # Two of three verdicts, two of three labels: what is malformed has none of the one, a tie none of the other.
    assert (asked.logged["verdict_first"], asked.logged["label_first"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_the_leak_alarm_reads_what_the_listener_reads_and_is_logged() -> None:
    blind = FakeListener(0.9)
    alarm = LeakAlarm(blind, every_steps=3, _cusum=BinomialCusum(0.5))
    asked = Asked(FakeListener(0.8), alarm=alarm, listener={"redaction": "verdict"})
    asked([fake_pair()] * 2, [FIRST, "nothing"])
    assert blind.calls[0][1] == ["the first is red ."]
    assert (asked.logged["leak/blind_accuracy"], asked.logged["leak/alarm"]) == (1.0, 0.0)


def test_the_listener_alone_can_be_paid() -> None:
    asked = Asked(FakeListener(0.8), rewards={"format": 0.0, "accuracy": 0.0, "listener": 1.0})
    assert asked([fake_pair()] * 3, [FIRST, SECOND, "nothing"]) == pytest.approx([0.8, 0.8, 0.0])
