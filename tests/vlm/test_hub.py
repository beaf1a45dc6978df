"""Without a network a hub id is answered at once: from the cache, or with what is missing and how to get it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from earshot.errors import ModelError
from earshot.vlm import hub, load
from tests.vlm.models import tiny


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked for of a hub which no network reaches."""
    addresses: list[str] = []

    def ask(url: str, **_: object) -> None:
        addresses.append(url)
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_hf_file_metadata", ask)
    return addresses


@pytest.fixture
def cached() -> Iterator[Path]:
    """The files of `earshot-tests/tiny` in the hub's cache."""
    commit = "a" * 40
    folder = Path(constants.HF_HUB_CACHE) / "models--earshot-tests--tiny"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    tiny("qwen2_5_vl").save(folder / "snapshots" / commit)
    yield folder / "snapshots" / commit
    shutil.rmtree(folder)


def test_a_model_that_is_not_here_is_asked_for_once_and_the_answer_says_how_to_get_it(asked: list[str]) -> None:
    with pytest.raises(ModelError, match=r"no such folder, .*\(.*not known\).* 'hf download owner/name' .* folder"):
        load("owner/name")
    assert len(asked) == 1


def test_a_model_in_the_cache_is_loaded_while_the_hub_is_away(asked: list[str], cached: Path) -> None:
    assert load("earshot-tests/tiny").fingerprint() == tiny("qwen2_5_vl").fingerprint()
    assert len(asked) == 1 and constants.HF_HUB_OFFLINE is False


def test_a_model_of_which_a_part_is_here_says_so(asked: list[str], cached: Path) -> None:
    (cached / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"not all of it is on this machine .*safetensors.* 'hf download"):
        load("earshot-tests/tiny")
    assert constants.HF_HUB_OFFLINE is False


def test_who_is_offline_by_choice_is_told_so(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        load("owner/name")
    assert asked == []


def test_a_name_that_the_hub_cannot_have_is_not_called_a_matter_of_the_network() -> None:
    with pytest.raises(ModelError, match="Repo id must"):
        load("a b/c")


def test_without_weights_a_model_has_their_shapes_and_takes_the_same_prompts(cached: Path) -> None:
    (cached / "model.safetensors").unlink()
    outline, whole = load(cached, weights=False), tiny("qwen2_5_vl")
    assert outline.device.type == "meta"
    shapes = [{name: tensor.shape for name, tensor in one.model.state_dict().items()} for one in (outline, whole)]
    assert shapes[0] == shapes[1]
    assert (outline.forbidden_ids, outline.shares_prompts) == (whole.forbidden_ids, whole.shares_prompts)
