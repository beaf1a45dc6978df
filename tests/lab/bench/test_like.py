"""Models of published shapes: every weight is there, and what is measured of them can be rehearsed small."""

import json
from pathlib import Path

import pytest
import torch

from earshot.cli.main import main
from earshot.errors import EarshotError
from earshot.lab.bench.like import PUBLISHED, build_like, outline, trainable
from earshot.lab.bench.shape import Shape, shape_of
from earshot.lab.bench.work import Work, counted
from earshot.protocol import listener_prefill
from tests.vlm.families import build
from tests.vlm.grown import grown

REHEARSED = ["small=true", "device=cpu", "dtype=float32", "pixels=56", "new_tokens=5", "group=2", "groups=1", "lora=2"]


def without_weights(within: Path) -> Path:
    """A tiny model's folder that has none."""
    folder = build("qwen2_5_vl", within)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    return folder


# The sums of what the safetensors index files of Qwen2.5-VL-3B-Instruct and 7B-Instruct list.
@pytest.mark.parametrize(("name", "parameters"), [("7b", 8_292_166_656), ("3b", 3_754_622_976)])
def test_a_published_shape_has_every_weight(name: str, parameters: int) -> None:
    model = outline(name).model
    assert model.num_parameters() == parameters
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == PUBLISHED[name].tied


def test_tokens_that_mean_something_have_qwens_ids_and_no_text_ends_or_draws_a_picture() -> None:
    vlm = build_like("7b", pixels=56, device=torch.device("cpu"), dtype=torch.float32, small=True)
    named = ("<|endoftext|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|video_pad|>")
    assert vlm.tokenizer.convert_tokens_to_ids(list(named)) == [151643, 151645, 151652, 151655, 151656]
    assert {151643, 151645, 151655, 152063} <= {*vlm.forbidden_ids}
    assert not {5, 151642} & {*vlm.forbidden_ids}
    ids = [20, 151642, 77, 1000]
    (text,) = vlm.completions([ids])
    assert vlm.tokenizer(text)["input_ids"] == ids
    assert len(vlm.tokenizer(listener_prefill(text, vlm.prompts))["input_ids"]) < 4 + 20


def test_a_models_folder_gives_its_own_shape_and_no_weights(tmp_path: Path) -> None:
    folder = without_weights(tmp_path)
    given = outline(str(folder))
    made = build_like(str(folder), pixels=64, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert [w.shape for w in made.model.parameters()] == [w.shape for w in given.model.parameters()]
    assert {w.dtype for w in made.model.parameters()} == {torch.bfloat16}
    assert made.sight.max_pixels == 64 * 64


def test_sizes_that_the_model_has_itself_are_refused_and_the_rest_is_as_the_shipped_config_trains() -> None:
    shape = shape_of([], "7b")
    assert (shape.device, shape.dtype, shape.lora, shape.checkpointed) == ("cuda", "bfloat16", 64, True)
    assert "hidden" not in shape.told() and shape.told()["like"] == "7b"
    assert "like" not in Shape().told() and Shape().told()["hidden"] == 256
    for sizes, like, problem in (
        (["hidden=64"], "7b", "hidden is the model's own where it is to be like 7b"),
        (["small=true"], None, "small says how to make what 'like' names, which is missing"),
        ([], "no-such-folder", "no-such-folder"),
    ):
        with pytest.raises(EarshotError, match=problem):
            shape_of([*sizes, "device=cpu"], like).build()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_weights_below_an_adapter_are_gone_through_twice_and_not_three_times() -> None:
    from peft import get_peft_model

    from earshot.train.run import lora_config

    shape = Shape(pixels=56, hidden=64, layers=1, vision_hidden=32, vision_layers=1)
    vlm, work, frozen = shape.build(), Work(), Work()
    get_peft_model(vlm.model, lora_config(trainable(2)))
    ids = torch.zeros(1, 10, dtype=torch.long)
    with counted(vlm.model, work):
        vlm.model(input_ids=ids)
    with counted(vlm.model, frozen), torch.no_grad():
        vlm.model(input_ids=ids)
    adapters = sum(w.numel() for w in vlm.model.parameters() if w.requires_grad)
    assert work.multiply_adds == 2 * frozen.multiply_adds + 10 * adapters


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
@pytest.mark.parametrize("like", ["folder", pytest.param("7b", marks=pytest.mark.slow)])  # 152,064 logits a token
def test_a_step_is_rehearsed_by_the_code_that_measures_it(
    like: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(without_weights(tmp_path)) if like == "folder" else like
    assert main(["lab", "bench", "step", "--like", path, *REHEARSED, "--runs=1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["shape"]["like"], result["shape"]["lora"], result["shape"]["checkpointed"]) == (path, 2, True)
    for name in ("step", "generate", "listener", "train_pass", "peak_memory"):
        assert result[name]["ours"] > 0
    # The two images of the one pair: stock encodes them for both completions.
    for part in ("generate", "listener", "train_pass"):
        assert (result["work"][part]["ours"]["images"], result["work"][part]["stock"]["images"]) == (2, 4), part


@pytest.mark.parametrize("name", ["listener", "judge"])
def test_listening_and_judging_are_rehearsed_too(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    like = str(grown("qwen3_vl", tmp_path)) if name == "judge" else "3b"
    assert main(["lab", "bench", name, "--like", like, *REHEARSED, "--runs=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ideal_ratio"] > 1
