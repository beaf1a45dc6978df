"""Nothing of the models' code forgets a device: all of it runs on a pretended GPU, whose tensors refuse to be mixed."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import earshot.vlm.prefix.encode as encode
from earshot.listener.claims import LocalChecker
from earshot.listener.local import LocalListener
from earshot.reasoner import Reasoner
from earshot.vlm import Vlm, load
from earshot.vlm.prefix import encode_prefix, sample, shared_logps
from earshot.vlm.prefix.captured import CapturedRows
from tests.pretended_gpu import CUDA, PretendedGpu, is_there, put
from tests.vlm.models import FAMILIES, any_size, fresh, mixed_prompts, noisy_pair
from tests.vlm.test_prefix import OWNERS, SAMPLING, sampling_of, uniforms_of


@pytest.fixture(autouse=True)
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a GPU would capture are computed in the same form, plainly: there is nothing here to capture on."""
    monkeypatch.setattr(CapturedRows, "_capture", lambda rows: setattr(rows, "_may_capture", False))


@pytest.fixture(params=FAMILIES)
def vlm(request: pytest.FixtureRequest) -> Iterator[Vlm]:
    """A model on the pretended GPU, for a test within it."""
    made = any_size(fresh(request.param))
    made.model.eval()
    put(made.model)
    with PretendedGpu():
        assert made.device == CUDA
        yield made


def on_gpu(vlm: Vlm) -> dict[str, torch.Tensor]:
    return {name: value.to(CUDA) for name, value in mixed_prompts(vlm).items()}


def test_tensors_of_two_devices_refuse_to_meet() -> None:
    with PretendedGpu():
        here, there = torch.zeros(2), torch.zeros(2, device="cuda")
        assert (there + 1).device == (there + torch.tensor(1.0)).device == torch.zeros_like(there).device == CUDA
        assert there.cpu().device == here.to(there).cpu().device == torch.device("cpu")
        assert here.to(there).device == CUDA and there.to("cuda") is there
        with pytest.raises(RuntimeError, match="expected all tensors on the same device"):
            here + there
        with pytest.raises(RuntimeError, match="same device"):
            there[torch.tensor([0, 1])] = here
        with pytest.raises(RuntimeError, match="indices should be on the CPU"):
            here[torch.tensor([0, 1], device=CUDA)]
        with pytest.raises(TypeError, match="call cpu"):
            there.numpy()
        assert there[torch.tensor([1])].device == CUDA


@pytest.mark.parametrize("rows", ["shared", "copied", "captured"])
def test_prompts_are_encoded_and_continued(vlm: Vlm, rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{SAMPLING}._WORTH_CAPTURING", 1 if rows == "captured" else 1000)
    prefix = encode_prefix(vlm.model, on_gpu(vlm))
    owners = [0, 1, 2] if rows == "copied" else OWNERS
    given = sampling_of(vlm, stop_ids=list(range(5, 22)))
    texts = sample(vlm.model, prefix, owners, uniforms_of(len(owners), 12), given, wanted=lambda prompt: prompt != 1)
    assert len(texts[owners.index(1)]) == 1
    assert any(len(text) > 1 for text in texts)


@pytest.mark.parametrize("form", ["plain", "cache", "packed"])
@pytest.mark.parametrize("at_once", [60, 32_768], ids=["in parts", "together"])
def test_log_probabilities_have_gradients(vlm: Vlm, form: str, at_once: int) -> None:
    ids = torch.randint(40, 300, (6, 5)).to(CUDA)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    scores = shared_logps(
        vlm.model, on_gpu(vlm), OWNERS, ids, mask, with_entropy=True, form=form, tokens_at_once=at_once
    )
    assert is_there(scores.logps) and is_there(scores.entropies)
    scores.logps.sum().backward()


def test_listener_and_reasoner_answer(vlm: Vlm) -> None:
    pair, other = noisy_pair("a"), noisy_pair("b", seed=1)
    for asked, traces in (([pair, pair, other], ["red", None, "blue"]), ([pair, other], ["red", "blue"])):
        assert np.isfinite(LocalListener(vlm).p_first(asked, traces)).all()
        assert np.isfinite(LocalListener(vlm).read(asked, traces).likelihood[0])
    assert len(Reasoner(vlm, max_new_tokens=6).judge([pair, other], samples=2)) == 2


def test_a_checker_answers() -> None:
    vlm, pair = load("world:listener", device="cpu", dtype="float32").freeze(), noisy_pair("a")
    put(vlm.model)
    with PretendedGpu():
        told = LocalChecker(vlm).p_yes([pair.first, pair.first, pair.second], ["red .", "blue .", "red ."])
    assert np.isfinite(told).all()


def test_a_planted_slip_is_heard_with_its_line(vlm: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    padded = encode.padded
    monkeypatch.setattr(
        encode, "padded", lambda suffixes, pad_id, device: padded(suffixes, pad_id, torch.device("cpu"))
    )
    pair = noisy_pair("a")
    with pytest.raises(RuntimeError, match=r"same device \(cat, .*: vlm/prefix/encode\.py:\d+ <- "):
        LocalListener(vlm).p_first([pair, pair], ["red", None])
