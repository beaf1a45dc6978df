"""Every listener and checker comes from its description, and a model is loaded once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot.errors import InputError, ModelError
from earshot.listener import Listener, ask
from earshot.listener.build import Loaded, build_checker, build_listener, describe_listener, language_of, models_of
from earshot.listener.controls import BlindListener, BothOrdersListener, NoTraceListener, RandomListener
from earshot.listener.evidence import EvidenceListener
from earshot.listener.local import LocalListener
from earshot.listener.spec import ListenerSpec
from earshot.protocol import prompt_set
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.corpus import corpus
from tests.fakes import FakeListener, fake_pair

SIZE = TinySize(hidden=64, layers=1, vision_hidden=32, vision_layers=1)
PAIRS = [fake_pair("a"), fake_pair("b", first="green")]
TRACES: list[str | None] = ["first : left red , clean . so first better", "hm"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, of which `english` is asked in another language."""
    folder = tmp_path_factory.mktemp("listeners")
    for seed, (name, family) in enumerate({"one": "qwen2_5_vl", "two": "llava", "english": "llava"}.items()):
        prompts = "standard" if name == "english" else "brief"
        words = ["Answer: Yes No " * 4, *corpus(40)]
        build_tiny(family, words, size=SIZE, seed=seed, prompts=prompts).save(folder / name)
    return folder


def spec(folder: Path, *names: str, **options: Any) -> ListenerSpec:
    return ListenerSpec(tuple(str(folder / name) for name in names), **options)


def test_options_are_wrapped_around_the_models_in_their_order(folder: Path) -> None:
    loaded: Loaded = {}
    one, two = (build_listener(spec(folder, name), loaded) for name in ("one", "two"))
    assert isinstance(one, LocalListener) and one.name == "one"

    def both_orders(base: Listener) -> np.ndarray:
        split, swap = prompt_set("brief").language
        return BothOrdersListener(EvidenceListener(base, split), swap).p_first(PAIRS, TRACES)

    built = build_listener(spec(folder, "one", "two", orders="both", temperature=2.0, needs_claims=True), loaded)
    mean = (both_orders(one) + both_orders(two)) / 2
    expected = 1 / (1 + np.sqrt((1 - mean) / mean))
    np.testing.assert_allclose(ask(built, PAIRS, TRACES), expected, atol=1e-6)
    assert len(loaded) == 2


def test_a_control_replaces_what_reads(folder: Path) -> None:
    loaded: Loaded = {}
    kinds = {"blind": BlindListener, "no_trace": NoTraceListener}
    for control, kind in kinds.items():
        assert isinstance(build_listener(spec(folder, "one", control=control), loaded), kind)
    assert build_listener(ListenerSpec(control="random", seed=5)) == RandomListener(5)


def test_a_listener_may_redact_for_itself() -> None:
    base = FakeListener()
    EvidenceListener(base, None, "verdict").p_first([PAIRS[0]] * 2, ["it is red . so image 1 is better .", "hm"])
    [(_, traces)] = base.calls
    assert [(trace or "").strip() for trace in traces] == ["it is red .", "hm"]


def test_what_listens_and_checks_is_loaded_once_unless_it_is_asked_for_otherwise(folder: Path) -> None:
    loaded: Loaded = {}
    reader, checking = spec(folder, "two", name="far"), spec(folder, "two")
    listener = build_listener(reader, loaded)
    checker = build_checker(checking, loaded, with_prior=True)
    assert isinstance(listener, LocalListener) and listener.name == "far"
    assert checker.with_prior and checker.split is prompt_set("brief").language.split
    assert models_of(reader, loaded) == {str(folder / "two"): listener.vlm} == models_of(checking, loaded)
    build_checker(spec(folder, "two", dtype="bfloat16"), loaded)
    assert len(loaded) == 2


def test_models_must_read_one_language_where_it_matters(folder: Path) -> None:
    mixed = spec(folder, "one", "english", name="mixed")
    loaded: Loaded = {}
    build_listener(mixed, loaded)
    with pytest.raises(ModelError, match="mixed: the models are asked in 'brief' and 'standard', whose traces"):
        language_of(mixed, loaded)
    with pytest.raises(ModelError, match="whose traces are in different languages"):
        build_listener(spec(folder, "one", "english", orders="both"), loaded)
    with pytest.raises(ModelError, match="whose traces are in different languages"):
        build_checker(mixed, loaded)


def test_claims_are_asked_in_one_way(folder: Path) -> None:
    with pytest.raises(InputError, match="one: a checker of claims takes no control, orders"):
        build_checker(spec(folder, "one", orders="both"))


def test_a_description_tells_the_weights_and_how_they_are_asked(folder: Path) -> None:
    loaded: Loaded = {}
    plain = describe_listener(build_listener(spec(folder, "one"), loaded))
    vlm = next(iter(loaded.values()))
    asked = {"prompts": prompt_set("brief").fingerprint}
    assert plain == {"name": "one", "sha256": vlm.fingerprint(), **asked, **vlm.sight.told()}
    both = describe_listener(build_listener(spec(folder, "one", orders="both", temperature=1.5), loaded))
    assert both == plain | {
        "name": "tempered-both_orders-one",
        "through": ["TemperedListener", "BothOrdersListener"],
        "temperature": 1.5,
    }
    several = describe_listener(build_listener(spec(folder, "one", "two"), loaded))
    assert [one["name"] for one in several["of"]] == ["one", "two"]
    assert describe_listener(FakeListener()) == {"name": "fake"}
