"""A step's distinct prompts are rendered, preprocessed and kept once, however many completions read them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

import earshot.train.trainer as ours_module
from earshot.errors import InputError, ModelError
from earshot.protocol import reasoner_messages
from earshot.train.prompts import encode_step
from earshot.train.trainer import _refuse_split_groups
from earshot.vlm.prepared import PREPARED
from tests.train import equality
from tests.train.equality import GROUP, GROUPS, both, train
from tests.vlm.models import FAMILIES, any_size, picture, tiny

SIZES = [(56, 56), (112, 56), (56, 84), (84, 84)]


def rows_of(vlm: Any, prompts: list[str], images: list[list[Any]]) -> list[dict[str, Any]]:
    return [{"prompt": reasoner_messages(p, vlm.prompts), "images": i} for p, i in zip(prompts, images, strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_with_the_same_prompt_and_images_are_one(family: str) -> None:
    vlm = any_size(tiny(family))
    a, b, c, d = (picture(k, *size) for k, size in enumerate(SIZES))
    images = [[a, b], [a, b], [b, a], [c, d], [c, d]]
    prompts = encode_step(
        vlm, vlm.model, rows_of(vlm, ["red", "red", "red", "red", "two blue squares"], images), torch.device("cpu")
    )
    # The third row has the images the other way round, the last another prompt.
    assert prompts.owners == [0, 0, 1, 2, 3]
    assert prompts.pictures is not None
    assert prompts.pictures.per_prompt == [2, 2, 2, 2]
    assert len(set(map(len, prompts.ids()))) > 1  # padding is not in them


def test_images_that_only_look_alike_are_told_apart() -> None:
    vlm = tiny("qwen2_5_vl")
    images = [[picture(0), picture(1)], [picture(0), picture(1)]]
    assert encode_step(vlm, vlm.model, rows_of(vlm, ["red", "red"], images), torch.device("cpu")).owners == [0, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_some_rows_of_a_step_take_their_own_prompts_and_images(family: str) -> None:
    vlm = any_size(tiny(family))
    a, b, c, d = (picture(k, *size) for k, size in enumerate(SIZES))
    rows = rows_of(vlm, ["red", "red", "two blue squares", "two blue squares"], [[a, b], [a, b], [c, d], [c, d]])
    (share,) = encode_step(vlm, vlm.model, rows, torch.device("cpu")).of([1, 2, 3])
    assert (share.owners, share.inputs["input_ids"].size(0)) == ([0, 1, 1], 2)
    (share,) = encode_step(vlm, vlm.model, rows, torch.device("cpu")).of([3])
    alone = vlm.encode([rows[3]["prompt"]], [[c, d]])
    assert share.owners == [0]
    assert share.pictures is not None
    assert share.pictures.per_prompt == [2]
    torch.testing.assert_close(torch.cat(share.pictures.pixels), alone["pixel_values"])
    real = share.inputs["attention_mask"][0].bool()
    assert torch.equal(share.inputs["input_ids"][0][real], alone["input_ids"][0])


def test_a_group_that_is_not_whole_is_named_by_its_first_row() -> None:
    vlm = tiny("qwen2_5_vl")
    a, b, c, d = (picture(k) for k in range(4))
    pairs = [[a, b]] * 3 + [[c, d]] * 3
    whole = encode_step(vlm, vlm.model, rows_of(vlm, ["red"] * 6, pairs), torch.device("cpu"))
    whole.refuse_split_groups(3)
    with pytest.raises(ModelError, match="row 2 of a step: the 2 rows from here on are not all of one prompt"):
        whole.refuse_split_groups(2)
    cut = encode_step(vlm, vlm.model, rows_of(vlm, ["red"] * 5, pairs[:5]), torch.device("cpu"))
    with pytest.raises(ModelError, match="row 3 of a step"):
        cut.refuse_split_groups(3)


@pytest.mark.parametrize(
    ("rows", "steps", "processes", "named"), [(2, 3, 2, None), (4, 1, 2, "row 3"), (4, 1, 1, None)]
)
def test_groups_that_several_processes_would_share_are_refused_before_training(
    rows: int, steps: int, processes: int, named: str | None
) -> None:
    """Groups of 3: 6 rows a process are two of them; of 4 rows, the last begins a group that goes on elsewhere."""
    args = SimpleNamespace(
        per_device_train_batch_size=rows, steps_per_generation=steps, num_generations=3, world_size=processes
    )
    if named is None:
        _refuse_split_groups(args)
    else:
        with pytest.raises(InputError, match=f"{named} of a step: its group of 3 completions is split over processes"):
            _refuse_split_groups(args)


@pytest.mark.parametrize(
    ("trl", "made"),
    [
        ({}, [2 * GROUPS]),
        ({"num_iterations": 2, "max_steps": 2}, [2 * GROUPS]),
        ({"max_steps": 2}, [2 * GROUPS, 2 * GROUPS - 2]),  # a pair of the first step comes again in the second
    ],
)
def test_the_images_of_a_step_are_preprocessed_once(
    trl: dict[str, Any], made: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reference model, and with several passes over the same completions."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    seen: list[int] = []
    original = Qwen2VLImageProcessorPil.preprocess

    def counting(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(sum(map(len, images)) if isinstance(images[0], list | tuple) else len(images))
        return original(self, images, *args, **kwargs)

    monkeypatch.setattr(Qwen2VLImageProcessorPil, "preprocess", counting)
    counts: dict[str, list[int]] = {}

    def counted(side: str) -> Any:
        seen.clear()
        PREPARED.forget()
        outcome = train(side, tmp_path, "qwen2_5_vl", **{"max_steps": 1, **trl})
        counts[side] = seen[1:]  # the first is of the trial when a model is loaded
        return outcome

    both(counted)
    assert counts["ours"] == made
    # Stock preprocesses every row's images, once to generate (which the tests leave out) and once to train.
    assert sum(counts["stock"]) >= 2 * GROUPS * GROUP * len(made)


@pytest.mark.parametrize(
    ("trl", "passes"),
    [
        ({}, 2),  # in generation, of which training goes on; in the reference model
        ({"num_iterations": 2, "max_steps": 2}, 4),  # and for old log-probabilities, and in the second iteration
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 2}, 4),  # two micro-batches, a pass each
    ],
    ids=["one iteration", "two iterations", "accumulation"],
)
@pytest.mark.filterwarnings("ignore")  # of TRL and transformers, about names that will change
def test_generation_and_training_encode_a_steps_images_once_where_they_can(
    trl: dict[str, Any], passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    encode = Qwen2_5_VisionTransformerPretrainedModel.forward
    monkeypatch.setattr(
        Qwen2_5_VisionTransformerPretrainedModel,
        "forward",
        lambda self, *args, **given: (seen.append(1), encode(self, *args, **given))[1],
    )
    train("ours", tmp_path, "qwen2_5_vl", **{"max_steps": 1, **trl})
    assert len(seen) == passes


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_kept_where_dropout_would_differ_between_generation_and_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    compute = ours_module.shared_logps
    monkeypatch.setattr(
        ours_module, "shared_logps", lambda *args, **given: (kept.append(given["cache"]), compute(*args, **given))[1]
    )
    for dropout, used in ((0.0, True), (0.1, False)):
        kept.clear()
        monkeypatch.setitem(equality.LORA, "lora_dropout", dropout)
        train("ours", tmp_path, "qwen2_5_vl", lora=True, max_steps=1, beta=0.0)
        assert [cache is not None for cache in kept] == [used]
