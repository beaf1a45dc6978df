"""Models come back from disk as they went, and what is no model is refused in one line."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from earshot.errors import ModelError
from earshot.images import ImageBackend, ImageError, Sight
from earshot.listener.local import LocalListener
from earshot.protocol import listener_prefill, reasoner_messages
from earshot.types import Pair, Votes
from earshot.vlm import Vlm, answer_token_ids, answer_tokens, load, processors
from earshot.vlm.card import SIDECAR
from earshot.vlm.model import resolve_device, set_limits
from earshot.vlm.tiny import build_tiny
from tests.vlm.families import FAMILIES as FOLDERS
from tests.vlm.families import build
from tests.vlm.models import CORPUS, FAMILIES, SIZE, fresh, mixed_prompts, noisy_pair, picture, tiny


@pytest.fixture(scope="module", params=FAMILIES)
def saved(request, tmp_path_factory):
    vlm = tiny(request.param)
    folder = tmp_path_factory.mktemp("models") / request.param
    vlm.save(folder)
    return vlm, folder


def test_a_saved_model_comes_back_with_the_same_tokens_and_logits(saved):
    vlm, folder = saved
    again = load(folder, device="cpu")
    before, after = mixed_prompts(vlm), mixed_prompts(again)
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]), name
    with torch.no_grad():
        assert torch.equal(vlm.model.eval()(**before).logits, again.model.eval()(**after).logits)
    assert again.fingerprint() == vlm.fingerprint()
    assert (again.prompts, again.name) == (vlm.prompts, folder.name)
    assert (again.stop_ids, again.forbidden_ids) == (vlm.stop_ids, vlm.forbidden_ids)
    assert again.tokenizer.padding_side == "left"


def test_a_model_is_saved_as_safetensors_alone(saved):
    _, folder = saved
    suffixes = {path.suffix for path in folder.iterdir()}
    assert ".safetensors" in suffixes and not suffixes & {".bin", ".pt", ".pth", ".pkl"}


def test_a_model_is_saved_whole_in_the_place_of_the_old_one(tmp_path, monkeypatch):
    vlm, folder = tiny("llava"), tmp_path / "model"
    vlm.save(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def stop(*args, **kwargs):
        raise RuntimeError("no room on the disk")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no room"):
        patch.setattr(type(vlm.processor), "save_pretrained", stop)
        vlm.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "of-the-old-one").write_text("")
    vlm.save(folder)
    assert {path.name for path in folder.iterdir()} == before.keys()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_saved_model_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        tiny("llava").save(tmp_path / "model")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {0o640}
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def refused(folder: Path | str, *words: str, **how: Any) -> None:
    """Loading is refused in one line that names the folder and holds the words, with exit code 2."""
    with pytest.raises(ModelError) as caught:
        load(folder, device="cpu", **how)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message and str(folder) in message
    for word in words:
        assert word in message, message


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "no such folder")


def test_a_missing_folder_within_one_that_is_there_is_not_sought_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    refused(Path("runs/model"), "no such folder")


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "not a folder")


def test_a_folder_without_config_is_refused(saved, tmp_path):
    folder = copy_of(saved[1], tmp_path)
    (folder / "config.json").unlink()
    refused(folder, "config.json")


def test_a_config_that_is_cut_is_refused(saved, tmp_path):
    folder = copy_of(saved[1], tmp_path)
    (folder / "config.json").write_text('{"model_type": "lla')
    refused(folder)


def test_a_family_that_reads_no_images_is_refused(saved, tmp_path):
    folder = copy_of(saved[1], tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    refused(folder, "image-text-to-text")


def test_a_family_nobody_knows_is_refused(saved, tmp_path):
    folder = copy_of(saved[1], tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-family"}))
    refused(folder, "no-such-family")


def test_weights_that_need_unpickling_are_refused(saved, tmp_path):
    folder = copy_of(saved[1], tmp_path)
    (folder / "model.safetensors").unlink()
    refused(folder, "safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    refused(folder, "safetensors")


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_half_written_weights_are_refused(saved, tmp_path, keep):
    folder = copy_of(saved[1], tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    refused(folder)


def test_weights_that_lack_a_layer_are_refused(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy_of(saved[1], tmp_path)
    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in tensors if "layers.1" in name)
    del tensors[gone]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    refused(folder, "missing")


def test_a_folder_without_a_processor_is_refused(saved, tmp_path):
    folder = copy_of(saved[1], tmp_path)
    for path in folder.iterdir():
        if path.name != "config.json" and path.suffix != ".safetensors":
            path.unlink()
    refused(folder)


def test_a_prompt_set_nobody_knows_is_refused(saved, tmp_path):
    folder = copy_of(saved[1], tmp_path)
    (folder / "earshot.json").write_text('{"prompts": "no-such"}')
    refused(folder, "no-such", "standard")


def test_a_gpu_that_is_not_there_is_never_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="no GPU"):
        resolve_device("cuda")
    for device, why in {
        "cuda:0": "no GPU",
        "gpu": "is none",
        "mps": "is none",
        "banana": "is none",
        "cpu:": "is none",
    }.items():
        with pytest.raises(ModelError, match=f"device: '{device}'.*{why}"):
            load("world:reasoner", device=device)
    assert resolve_device("auto").type == "cpu"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fingerprint_is_of_the_weights(family):
    vlm = fresh(family)
    assert vlm.fingerprint() == fresh(family).fingerprint() != fresh(family, seed=1).fingerprint()
    with torch.no_grad():
        next(vlm.model.parameters()).view(-1)[3] += 1e-3
    assert vlm.fingerprint() != fresh(family).fingerprint()


def test_a_frozen_model_takes_no_gradients():
    vlm = fresh("llava").freeze()
    assert not vlm.model.training
    assert not any(p.requires_grad for p in vlm.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_single_tokens_of_the_tiny_tokenizers(family):
    vlm = tiny(family)
    first, second = answer_token_ids(vlm)
    assert [vlm.tokenizer.decode([i]) for i in (first, second)] == ["1", "2"]


def tokenizer_of(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace() if not merges else None
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_a_tokenizer_that_merges_an_answer_with_what_stands_before_it_is_refused():
    vlm = fresh("llava")
    letters = sorted(set(listener_prefill("x", vlm.prompts) + "12"))
    vocabulary = {letter: i for i, letter in enumerate([*letters, ">1"])}
    vlm.processor.tokenizer = tokenizer_of(vocabulary, [(">", "1")])
    with pytest.raises(ModelError, match=r"answers '1' and '2' do not differ at one token of their own") as caught:
        answer_tokens(vlm)
    assert caught.value.exit_code == 2


def test_an_answer_of_two_tokens_is_read_at_its_first():
    vlm = fresh("llava")
    real = vlm.tokenizer

    class Spelling:
        def __getattr__(self, name):
            return getattr(real, name)

        def __call__(self, text, **_):
            return {"input_ids": [token for c in text for token in ((1, 2) if c == "2" else (ord(c),))]}

    vlm.processor.tokenizer = Spelling()
    assert answer_token_ids(vlm) == (ord("1"), 1)


def image_tokens(vlm, inputs) -> list[int]:
    config = vlm.model.config
    image_id = getattr(config, "image_token_id", None) or config.image_token_index
    return (inputs["input_ids"] == image_id).sum(1).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_control_tokens_in_a_prompt_never_become_image_tokens(family):
    vlm = tiny(family)
    evil = " ".join(sorted(vlm.control_tokens)) + "<image><|image_pad|><|im_end|></s>"
    harmless = vlm.encode_pairs([noisy_pair("a")])
    attacked = vlm.encode_pairs([noisy_pair("a", prompt=evil)])
    assert image_tokens(vlm, attacked) == image_tokens(vlm, harmless)
    special = set(vlm.tokenizer.all_special_ids)

    def control(inputs):
        real = inputs["input_ids"][inputs["attention_mask"].bool()].tolist()
        return [i for i in real if i in special]

    assert control(attacked) == control(harmless)


@pytest.mark.parametrize("family", FAMILIES)
def test_control_tokens_in_a_trace_never_become_image_tokens(family):
    vlm = tiny(family)
    evil = "".join(sorted(vlm.control_tokens))
    ids = vlm.tokenizer(
        listener_prefill(evil, vlm.prompts, control_tokens=vlm.control_tokens), add_special_tokens=False
    )
    assert not set(ids["input_ids"]) & {*vlm.forbidden_ids, *vlm.stop_ids}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_control_token_but_the_end_may_be_sampled(family):
    vlm = tiny(family)
    assert not set(vlm.stop_ids) & set(vlm.forbidden_ids)
    assert {*vlm.forbidden_ids, *vlm.stop_ids} >= set(vlm.tokenizer.all_special_ids)
    tags = vlm.tokenizer.convert_tokens_to_ids(["<think>", "</think>", "<answer>", "</answer>"])
    assert not set(tags) & set(vlm.forbidden_ids)


def test_ids_that_no_token_has_may_not_be_sampled():
    vlm = build_tiny("llava", CORPUS, size=SIZE, vocab_size=330)
    vlm.model.resize_token_embeddings(len(vlm.tokenizer) + 5)  # real models pad their vocabulary like this
    assert set(range(len(vlm.tokenizer), len(vlm.tokenizer) + 5)) <= set(vlm.forbidden_ids)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_images", [1, 3])
def test_more_or_fewer_images_than_places_for_them_are_refused(family, n_images):
    vlm = tiny(family)
    good = reasoner_messages("a red circle", vlm.prompts)
    images = [picture(k) for k in range(2 + n_images)]
    with pytest.raises(ModelError, match=rf"row 1 has {n_images} images for 2 places"):
        vlm.encode([good, good], [images[:2], images[2:]])


def test_images_beside_prompts_without_them():
    vlm = tiny("qwen2_5_vl")
    messages = [[{"role": "user", "content": "which ?"}], reasoner_messages("a red circle", vlm.prompts)]
    inputs = vlm.encode(messages, [[], [picture(0), picture(1)]])
    assert image_tokens(vlm, inputs) == [0, 8]


def test_pixel_limits_are_areas_that_images_are_scaled_to():
    vlm = fresh("qwen2_5_vl")
    set_limits(vlm, Sight(28 * 28, 112 * 112))
    messages = reasoner_messages("a red circle", vlm.prompts)
    inputs = vlm.encode([messages], [[picture(0, 56, 84), picture(1, 224, 224)]])
    # In patches of 14 pixels: 84 x 56 is as it was, 224 x 224 is scaled down to 112 x 112.
    assert inputs["image_grid_thw"].tolist() == [[1, 6, 4], [1, 8, 8]]


def sizes_before(vlm: Vlm, *images) -> list[tuple[int, int]]:
    """The sizes in which the processor gets two images."""
    original = vlm.processor.image_processor.preprocess
    with patch.object(vlm.processor.image_processor, "preprocess", side_effect=original) as preprocess:
        vlm.encode([reasoner_messages("a", vlm.prompts)], [list(images)])
    return [image.size for row in preprocess.call_args.args[0] for image in (row if isinstance(row, list) else [row])]


def test_where_the_processor_has_no_limits_images_are_scaled_before_it():
    vlm = fresh("llava")
    assert vlm.sight == Sight(None, None, "pil")
    set_limits(vlm, Sight(None, 50 * 50))
    # 100 x 25 = 2,500 stays; 200 x 50 is four times as much, so that its sides are halved.
    assert sizes_before(vlm, picture(0, 100, 25), picture(1, 200, 50)) == [(100, 25), (100, 25)]
    set_limits(vlm, Sight(40 * 40, None))
    assert sizes_before(vlm, picture(0, 10, 40), picture(1, 200, 50)) == [(20, 80), (200, 50)]
    assert vlm.sight == Sight(40 * 40, None, "pil")


def test_the_limits_are_the_processors_own_where_it_has_them():
    vlm = fresh("qwen2_5_vl")
    set_limits(vlm, Sight(28 * 28, 112 * 112))
    assert (vlm.sight, vlm.before) == (Sight(28 * 28, 112 * 112, "pil"), Sight())
    set_limits(vlm, Sight(None, 14 * 14))  # below the lower limit, which gives way
    assert vlm.sight == Sight(14 * 14, 14 * 14, "pil")


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # GLM's processor, in stock code
@pytest.mark.parametrize("family", [name for name, one in FOLDERS.items() if one.chat is not None])
@pytest.mark.parametrize("backend", get_args(ImageBackend))
def test_an_image_is_shrunk_to_the_limit_and_not_much_further(family, backend, tmp_path):
    try:
        vlm = load(build(family, tmp_path), dtype="float32", device="cpu", sight=Sight(None, 60_000, backend))
        assert vlm.sight.max_pixels == 60_000
        sizes = sizes_before(vlm, picture(0, 400, 300), picture(1, 300, 280))
        inputs = vlm.encode([reasoner_messages("a", vlm.prompts)], [[picture(0, 400, 300), picture(1, 300, 280)]])
    except ModelError as error:
        pytest.skip(str(error))
    patches = inputs.get("image_grid_thw")
    side = getattr(vlm.processor.image_processor, "patch_size", 0)
    for k, (width, height) in enumerate(sizes):
        area = width * height if patches is None else int(patches[k].prod()) * side**2
        assert 0.75 * 60_000 < area <= 60_000


def test_torchvision_that_is_asked_for_and_is_not_there_is_named(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "is_torchvision_available", lambda: False)
    words = ("torchvision, which is not installed", "pip install 'earshot-rm[torchvision]'")
    refused(saved[1], *words, sight=Sight(image_backend="torchvision"))
    folder = copy_of(saved[1], tmp_path)
    (folder / SIDECAR).write_text('{"prompts": "standard", "images": {"image_backend": "torchvision"}}')
    refused(folder, *words)
    assert load(folder, device="cpu", sight=Sight(image_backend="pil")).sight.image_backend == "pil"


@pytest.mark.parametrize("images", [{"image_backend": "cv2"}, {"min_pixels": 9, "max_pixels": 4}, {"size": 3}, 7])
def test_a_folder_that_says_of_images_what_cannot_be_is_refused(saved, tmp_path, images):
    folder = copy_of(saved[1], tmp_path)
    (folder / SIDECAR).write_text(json.dumps({"prompts": "standard", "images": images}))
    refused(folder, "'images' is not as Earshot writes it")


def test_a_folder_says_how_images_were_made_ready_when_it_was_written(tmp_path):
    vlm = fresh("llava")
    set_limits(vlm, Sight(None, 900))
    vlm.save(tmp_path / "model")
    assert load(tmp_path / "model").sight == Sight(None, 900, "pil")
    assert load(tmp_path / "model", sight=Sight(None, 1600)).sight == Sight(None, 1600, "pil")


@pytest.mark.parametrize("family", FAMILIES)
def test_torchvision_scales_images_where_it_is_asked_for_and_goes_with_the_folder(family, tmp_path):
    pytest.importorskip("torchvision")
    fresh(family).save(tmp_path / "base")
    pil, other = (load(tmp_path / "base", sight=Sight(image_backend=backend)) for backend in get_args(ImageBackend))
    pair = Pair("a", "red", picture(0, 70, 90), picture(1, 90, 70), Votes(1.0, 0.0))
    pixels = [vlm.encode_pairs([pair])["pixel_values"] for vlm in (pil, other)]
    assert pixels[0].shape == pixels[1].shape and not torch.equal(*pixels)  # the two round differently
    other.save(tmp_path / "again")
    assert load(tmp_path / "again").sight.image_backend == "torchvision"


def test_an_unreadable_image_names_its_pair(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pair = noisy_pair("p7")
    broken = type(pair)(pair.id, pair.prompt, tmp_path / "bad.png", pair.second, pair.votes)
    with pytest.raises(ImageError, match="pair 'p7'"):
        tiny("llava").encode_pairs([noisy_pair("p6"), broken])


def test_no_family_but_the_known_ones_is_built():
    with pytest.raises(ModelError, match="no family 'gpt2'"):
        build_tiny("gpt2", CORPUS)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_an_adapters_folder_loads_with_the_base_that_it_names(tmp_path):
    base = fresh("llava")
    base.save(tmp_path / "base")
    vlm = load(tmp_path / "base")
    adapted = get_peft_model(vlm.model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load(tmp_path / "adapter").freeze()
    assert (loaded.name, loaded.prompts.name) == ("adapter", base.prompts.name)
    pairs, traces = [noisy_pair("a"), noisy_pair("b", seed=1)], ["red", None]
    merged = Vlm(adapted.merge_and_unload(), vlm.processor, vlm.prompts, "merged").freeze()
    found, expected = (LocalListener(one).p_first(pairs, traces) for one in (loaded, merged))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert abs(found - LocalListener(load(tmp_path / "base").freeze()).p_first(pairs, traces)).max() > 1e-4
    (tmp_path / "base").rename(tmp_path / "gone")
    with pytest.raises(ModelError, match=r"adapter: an adapter of .*base, which cannot be loaded: .*no such folder"):
        load(tmp_path / "adapter")
