"""A prompt set is data: it is refused where it could not be read back, and travels whole."""

import sys

import pytest

from earshot.errors import ConfigError
from earshot.protocol import TraceLanguage, prompt_set, register_language
from earshot.protocol.prompt_sets import shipped_sets

GOOD = {"name": "mine", "question": "{prompt} ?"}


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"question": "which?"}, r"question holds '\{prompt\}' 0 times"),
        ({"question": "{prompt} or {prompt}?"}, "2 times, expected once"),
        ({"question": "{first} {prompt}"}, "expected '{first}' and after it '{second}'"),
        ({"question": "{second} {first} {prompt}"}, "expected '{first}' and after it '{second}'"),
        ({"question": "{original} {prompt}"}, "or both after '{original}'"),
        ({"question": "{first} {second} {original} {prompt}"}, "or both after '{original}'"),
        ({"question": "{first} {second} {first} {prompt}"}, r"'\{first\}' 2 times"),
        ({"claims": {"question": "is it?"}}, r"claims.question holds .* 0 times"),
        ({"think": {"open": " < "}}, "think.open is ' < ', expected a tag of two characters"),
        ({"answer": {"close": ""}}, "answer.close is '', expected a tag"),
        ({"answer": {"open": "<think>"}}, "stands in .*, expected tags that can be told apart"),
        ({"answer": {"first": "A", "second": " a"}}, "expected two that differ"),
        ({"answer": {"first": " "}}, "expected two that differ"),
        ({"answer": {"first": "<answer>1"}}, "holds a tag"),
        ({"think": {"opened_by": "me"}}, "'think.opened_by' is 'me'"),
        ({"thinks": None}, "unknown key 'thinks'; the nearest known key is 'think'"),
        ({"traces": "latin"}, "traces is 'latin', expected one of text, world"),
        ({"question": None}, "'question' is None"),
    ],
)
def test_a_set_that_could_not_be_read_back_is_refused(said, fault):
    with pytest.raises(ConfigError, match=fault):
        prompt_set({**GOOD, **said})


def test_a_set_is_a_name_a_file_or_what_a_folder_holds(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nquestion: '{prompt} ?'\nanswer: {first: 1, second: 2}\n")
    mine = prompt_set(file)
    assert mine == prompt_set(str(file)) == prompt_set(mine.model_dump()) == prompt_set(mine) == prompt_set(GOOD)
    with pytest.raises(
        ConfigError,
        match="prompts 'hers': no such file, expected one or a name: brief, brief-edit, edit, st",
    ):
        prompt_set("hers")
    file.write_text("name: mine\nquestion: no place\n")
    with pytest.raises(ConfigError, match=rf"{file}.*question holds"):
        prompt_set(file)


def test_every_shipped_set_is_called_as_its_file_and_says_where_it_was_published():
    assert {"brief", "standard"} < {*shipped_sets()}
    for name in shipped_sets():
        prompts = prompt_set(name)
        assert prompts.name == name
        assert (prompts.source is None) == (name in ("brief", "brief-edit", "edit", "standard"))


def test_a_fingerprint_tells_words_apart_and_not_files():
    one = prompt_set(GOOD)
    assert one.fingerprint == prompt_set({**GOOD, "source": "a paper"}).fingerprint
    assert one.fingerprint != prompt_set({**GOOD, "system": "You judge."}).fingerprint
    assert one.fingerprint.startswith("mine ")


def test_the_world_registers_its_language_when_it_is_first_asked_for(monkeypatch):
    monkeypatch.setattr("earshot.protocol.prompt_sets._LANGUAGES", {})
    monkeypatch.delitem(sys.modules, "earshot.world.brief", raising=False)
    split, swap = prompt_set("brief").language
    assert len(split("first : dark . second : clean")) == 2
    assert swap("first : dark . second : clean . so first better").endswith("so second better")
    register_language("third", TraceLanguage(lambda trace: [], str.swapcase))
    assert prompt_set({**GOOD, "traces": "third"}).language.swap("aB") == "Ab"
