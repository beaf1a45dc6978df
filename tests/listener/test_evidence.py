"""What says nothing is heard as nothing; what says something is heard whole."""

import numpy as np
import pytest

from earshot.errors import InputError
from earshot.lab.attack.traces import ATTACKS, CONTENT_FREE, TO_THE_JUDGE, Attack, Material
from earshot.listener import Reading, ask, speaks
from earshot.listener.evidence import EvidenceListener
from earshot.protocol import redact_trace
from earshot.world.claims import split_world_claims
from tests.fakes import FakeListener, believes_words, fake_pair

TRACE = "first : left small red circle yes , right large blue star yes , clean . second : pale . so first better"
ENGLISH = "The second image has six fingers. So I choose 1."


def test_a_trace_that_claims_something_is_read_as_it_is() -> None:
    base = FakeListener()
    ask(EvidenceListener(base, split_world_claims), [fake_pair()] * 2, [TRACE, None])
    ask(EvidenceListener(base), [fake_pair()], [ENGLISH])
    assert [traces for _, traces in base.calls] == [[TRACE, None], [ENGLISH]]


@pytest.mark.parametrize(
    "attack", [a for a in ATTACKS if a.group in (*CONTENT_FREE, *TO_THE_JUDGE)], ids=lambda a: a.name
)
def test_texts_without_content_are_no_trace_in_the_world(attack: Attack) -> None:
    pair = fake_pair()
    material = Material(pair, pair, honest=TRACE, truth=None, chat=lambda n: f"<|im_start|>user\n{n}<|im_end|>")
    text = attack.write(material, "first") or ""
    base = FakeListener()
    ask(EvidenceListener(base, split_world_claims), [pair], [redact_trace(text, "verdict")])
    expected = redact_trace(TRACE, "verdict") if attack.base == "honest" else None
    [(_, [heard])] = base.calls
    assert (heard or "").strip() == (expected or "").strip() and (heard is None) == (expected is None)


def test_probabilities_stay_with_their_rows() -> None:
    listener = EvidenceListener(FakeListener(believes_words), split_world_claims)
    p = ask(listener, [fake_pair()] * 3, ["so second better", TRACE, "first"])
    assert np.array_equal(p, [0.5, 0.8, 0.5]) and listener.name == "fake"


def test_it_says_how_likely_a_trace_is_only_where_its_base_does() -> None:
    class Says(FakeListener):
        def read(self, pairs, traces):  # type: ignore[no-untyped-def]
            return Reading(self.p_first(pairs, traces), np.array([np.nan if t is None else 0.5 for t in traces]))

    told = EvidenceListener(Says(), split_world_claims)
    assert speaks(told) and not speaks(EvidenceListener(FakeListener()))
    likelihood = told.read([fake_pair()] * 2, [TRACE, "let me think"]).likelihood
    assert likelihood[0] == 0.5 and np.isnan(likelihood[1])
    with pytest.raises(InputError, match="says no likelihood"):
        EvidenceListener(FakeListener()).read([fake_pair()], [TRACE])
