"""Quantised weights are read as what they stand for, or refused by name; what is written is whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from earshot.errors import ModelError
from earshot.listener.local import LocalListener
from earshot.vlm import Vlm, load
from earshot.vlm.mechanisms import check_trainable
from earshot.vlm.weights import merged, quantisation
from tests.vlm.families import build
from tests.vlm.models import fresh
from tests.vlm.stock import PAIRS

TRACES = ["The first image is sharp.", None]
SIDE = 32  # of the blocks that share a scale
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [SIDE, SIDE]}
FP8 |= {"modules_to_not_convert": ["lm_head", "model.visual"]}
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("qwen2_5_vl", tmp_path_factory.mktemp("base"))


def saying(
    base: Path, folder: Path, told: dict[str, Any] | None, weights: dict[str, torch.Tensor] | None = None
) -> Path:
    """A copy whose config tells of a quantisation, with other weights if need be."""
    shutil.copytree(base, folder)
    config = json.loads((base / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | ({} if told is None else {"quantization_config": told})))
    if weights is not None:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def in_fp8(base: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weights in 8 bits with scales by block, and what these stand for."""
    stored, meant = load_file(base / "model.safetensors"), load_file(base / "model.safetensors")
    for name in [name for name in stored if name.startswith("model.layers") and name.endswith("_proj.weight")]:
        n, m = stored[name].shape
        blocks = stored[name].reshape(n // SIDE, SIDE, m // SIDE, SIDE)
        scale = blocks.abs().amax((1, 3)) / 448  # the largest number of float8_e4m3fn
        rounded = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
        stored |= {name: rounded.reshape(n, m), f"{name}_scale_inv": scale}
        meant[name] = (rounded.float() * scale[:, None, :, None]).reshape(n, m)
    return stored, meant


def p_first(vlm: Vlm) -> np.ndarray:
    return LocalListener(vlm.freeze()).p_first(PAIRS, TRACES)


@pytest.mark.parametrize(
    "told",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "torchao", "quant_type": "int4_weight_only"},
        {"quant_method": "hqq"},
        {"quant_method": "quark"},
        {"quant_method": "modelopt"},
        {"bits": 3},
    ],
    ids=lambda told: told.get("quant_method", "none"),
)
def test_what_cannot_be_read_is_refused_in_a_line_that_names_the_method(base, tmp_path, told):
    folder = saying(base, tmp_path / "model", told)
    with pytest.raises(ModelError) as caught:
        load(folder, device="cpu")
    message = str(caught.value)
    assert message.startswith(f"{folder}: its weights are quantised by '{told.get('quant_method')}")
    assert "\n" not in message and len(message) < len(str(folder)) + 250


@pytest.mark.parametrize("bits", [4, 8])
def test_without_its_package_a_method_is_refused_with_the_package(base, tmp_path, monkeypatch, bits):
    monkeypatch.setattr(f"transformers.quantizers.quantizer_bnb_{bits}bit.is_bitsandbytes_available", lambda: False)
    folder = saying(base, tmp_path / "model", {"quant_method": "bitsandbytes", f"load_in_{bits}bit": True})
    with pytest.raises(ModelError, match=rf"quantised by 'bitsandbytes_{bits}bit': .*pip install .*bitsandbytes"):
        load(folder, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU, 8 bits stay")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fp8_is_written_out_on_a_cpu_and_saved_whole(base, tmp_path, dtype):
    stored, meant = in_fp8(base)
    vlm = load(saying(base, tmp_path / "fp8", FP8, stored), device="cpu", dtype=dtype)
    plain = load(saying(base, tmp_path / "plain", None, meant), device="cpu", dtype=dtype)
    assert {parameter.dtype for parameter in vlm.model.parameters()} == {getattr(torch, dtype)}
    np.testing.assert_allclose(p_first(vlm), p_first(plain), atol=1e-6)
    assert abs(p_first(plain) - p_first(load(base, device="cpu", dtype=dtype))).max() > 0.005
    check_trainable(vlm.model, with_adapter=False)
    vlm.save(tmp_path / "again")
    np.testing.assert_array_equal(p_first(load(tmp_path / "again", device="cpu", dtype=dtype)), p_first(vlm))


def test_scales_that_config_does_not_tell_of_are_refused(base, tmp_path):
    folder = saying(base, tmp_path / "model", None, in_fp8(base)[0])
    with pytest.raises(ModelError, match=r"_scale_inv' is of quantised weights, and config.json does not say so"):
        load(folder, device="cpu")


@pytest.mark.parametrize(
    ("told", "with_adapter", "trains"),
    [(BNB, True, True), (BNB, False, False), ({"quant_method": "gptq"}, True, False)],
)
def test_quantised_weights_are_trained_beside_those_of_bitsandbytes_alone(told, with_adapter, trains):
    model = fresh("llava").model
    model.is_quantized, model.config.quantization_config = True, told
    if trains:
        check_trainable(model, with_adapter=with_adapter)
        return
    with pytest.raises(ModelError, match=f"quantised by '{quantisation(model.config)}' cannot be trained"):
        check_trainable(model, with_adapter=with_adapter)


def adapted(model: Any) -> Any:
    torch.manual_seed(0)
    return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_an_adapter_is_merged_into_what_quantised_weights_stand_for(monkeypatch):
    base, ids = fresh("llava").model.eval(), torch.arange(5, 25)[None]
    expected = adapted(fresh("llava").model).eval()
    logits = expected(input_ids=ids).logits
    base.is_quantized = True

    def dequantize(self):
        """What the folder held, from what stands in memory; transformers' own forgets nothing but the method."""
        self.is_quantized = False
        with torch.no_grad():
            for name, weight in self.named_parameters():
                weight.copy_(dict(fresh("llava").model.named_parameters())[name])
        return self

    monkeypatch.setattr(type(base), "dequantize", dequantize)
    trained = adapted(base)
    with torch.no_grad():
        for name, weight in base.named_parameters():
            if "lora" not in name:
                weight.mul_(0.5)
    np.testing.assert_allclose(merged(trained)(input_ids=ids).logits.detach(), logits.detach(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # bitsandbytes' own
@pytest.mark.parametrize(("bits", "apart"), [(4, 0.02), (8, 0.3)])  # 8 bits also round what is multiplied with them
def test_bitsandbytes_reads_judges_and_gives_whole_weights(base, tmp_path, bits, apart):
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    told = BitsAndBytesConfig(**{f"load_in_{bits}bit": True}, llm_int8_skip_modules=["model.visual", "lm_head"])
    model = AutoModelForImageTextToText.from_pretrained(base, quantization_config=told, dtype=torch.float32)
    folder = saying(base, tmp_path / "model", None)
    model.save_pretrained(folder)
    vlm = load(folder, device="cpu")
    before = vlm.fingerprint()
    assert abs(p_first(vlm) - p_first(load(base, device="cpu"))).max() < 0.2
    assert vlm.fingerprint() == before  # a pass leaves the weights as they are
    trained, ids = adapted(vlm.model).eval(), torch.arange(5, 40)[None]
    logits = trained(input_ids=ids).logits
    whole = Vlm(merged(trained), vlm.processor, vlm.prompts, "whole")
    whole.save(tmp_path / "whole")
    again = load(tmp_path / "whole", device="cpu").model
    assert (again(input_ids=ids).logits - logits).abs().max() < apart
    assert quantisation(again.config) is None
