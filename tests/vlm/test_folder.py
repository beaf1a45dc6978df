"""A model folder can harm nobody: it is refused by the name of the file before anything of it is loaded or run."""

import json
import re
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from earshot.errors import ModelError
from earshot.vlm import limits, load
from earshot.vlm.folder import base_of, check, place_of
from tests.vlm.models import tiny

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "whole"
    tiny("llava").save(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def say(file: Path, **told: Any) -> None:
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(before | told))


def in_shards(folder: Path, name: str) -> Path:
    """Moves the weights to a file of another name, with an index that leads there."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "moved")
    say(folder / INDEX, metadata={"total_size": 1}, weight_map=dict.fromkeys(weights, name))
    return folder / "moved"


def refused(folder: Path, *words: str) -> None:
    """One line with the words, exit code 2; nothing has been unpickled or read as weights by then."""
    with (
        patch("torch.load", side_effect=AssertionError("unpickled")),
        patch("safetensors.safe_open", side_effect=AssertionError("read")),
        pytest.raises(ModelError) as caught,
    ):
        load(folder, device="cpu")
    message = str(caught.value)
    assert message.startswith(f"{folder}: ") and "\n" not in message
    assert [word for word in words if word not in message] == [], message


def test_an_index_that_leads_to_safetensors_in_the_folder_is_read(folder: Path, whole: Path) -> None:
    in_shards(folder, "part/a.safetensors")
    (folder / "part").mkdir()
    (folder / "moved").rename(folder / "part" / "a.safetensors")
    assert load(folder, device="cpu").fingerprint() == load(whole, device="cpu").fingerprint()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("w.bin", "expected *.safetensors"),
        ("w.pt", "expected *.safetensors"),
        ("w", "expected *.safetensors"),
        ("../outside.safetensors", "outside the folder"),
        ("part/../../outside.safetensors", "outside the folder"),
        ("{}/outside.safetensors", "outside the folder"),
        ("link.safetensors", "outside the folder"),
        ("linked/outside.safetensors", "outside the folder"),
        ("gone.safetensors", "is missing"),
        (7, "expected *.safetensors"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(folder: Path, tmp_path: Path, name: Any, why: str) -> None:
    name = name.format(tmp_path) if isinstance(name, str) else name
    weights = in_shards(folder, name)
    torch.save(load_file(weights), folder / "w.bin")
    shutil.copy(folder / "w.bin", folder / "w.pt")
    shutil.move(weights, tmp_path / "outside.safetensors")
    (folder / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "linked").symlink_to(tmp_path)
    refused(folder, why, repr(str(name)))


@pytest.mark.parametrize("told", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": None}])
def test_an_index_without_files_is_refused(folder: Path, told: dict[str, Any]) -> None:
    (folder / INDEX).write_text(json.dumps(told))
    refused(folder, INDEX, "weight_map")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "processor_config.json", INDEX])
@pytest.mark.parametrize("text", ["junk", "[1]", "[" * 100_000])
def test_what_is_no_json_object_is_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ModelError, match=f"{folder / name}: "):
        load(folder, device="cpu")


def test_weights_that_are_a_link_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    refused(folder, "'model.safetensors'", "outside the folder")


def test_a_folder_that_is_itself_a_link_and_links_within_it_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "blob")
    (folder / "model.safetensors").symlink_to("blob")
    (tmp_path / "link").symlink_to(folder)
    load(tmp_path / "link", device="cpu")


@pytest.mark.parametrize("blobs", ["../../blobs", "../../../blobs"])
def test_a_snapshot_of_the_hubs_cache_links_to_its_blobs(folder: Path, tmp_path: Path, blobs: str) -> None:
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / "abc"
    shutil.move(folder, snapshot)
    (snapshot / blobs).resolve().mkdir()
    for file in [*snapshot.iterdir()]:
        file.rename(snapshot / blobs / f"{file.stem}-{file.suffix[1:]}")
        file.symlink_to(f"{blobs}/{file.stem}-{file.suffix[1:]}")
    load(snapshot, device="cpu")
    shutil.move(snapshot / blobs / "model-safetensors", tmp_path / "elsewhere")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    refused(snapshot, "outside the folder")


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack"]
)
def test_no_other_format_stands_in_for_safetensors(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.fp16.safetensors").write_bytes(b"")  # a variant
    (folder / name).write_bytes(b"{}")
    refused(folder, "neither model.safetensors nor")


@pytest.mark.parametrize("name", ["adapter_model.bin", "../x.safetensors", "model.bin", 7])
def test_weights_that_config_names_are_looked_at_alike(folder: Path, name: Any) -> None:
    say(folder / "config.json", transformers_weights=name)
    refused(folder, repr(str(name)))


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"]
)
@pytest.mark.parametrize(
    "told",
    [
        {"auto_map": {"AutoModel": "evil.M"}},
        {"vision": {"auto_map": {"AutoConfig": "evil.C"}}},
        {"parts": [{"auto_map": "evil.C"}]},
        {"_attn_implementation_internal": "evil-org/kernel"},
        {"text": {"attn_implementation": "evil-org/kernel"}},
    ],
    ids=lambda told: next(iter(told)),
)
def test_code_that_a_folder_names_is_refused_by_name(folder: Path, name: str, told: dict[str, Any]) -> None:
    (folder / "evil.py").write_text("raise SystemExit('run')")
    say(folder / name, **told)
    refused(folder, name, "code", "evil")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("w.bin", r"expected \*\.safetensors"),
        ("../x.safetensors", "outside the folder"),
        ("/x.safetensors", "outside the folder"),
    ],
)
def test_of_the_hub_the_same_is_looked_at(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, why: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache = Path(constants.HF_HUB_CACHE) / "models--earshot-tests--hostile"
    shutil.rmtree(cache, ignore_errors=True)
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("b" * 40)
    in_shards(folder, name)
    shutil.move(folder, cache / "snapshots" / ("b" * 40))
    try:
        with pytest.raises(ModelError, match=f"'{re.escape(name)}', .*{why}"):
            load("earshot-tests/hostile", device="cpu")
    finally:
        shutil.rmtree(cache)


def test_of_the_hub_without_safetensors_nothing_is_made_of_other_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("earshot.vlm.folder.cached_file", lambda place, name, **_: asked.append(name))
    monkeypatch.setattr("earshot.vlm.folder.file_exists", lambda place, name: False)
    with pytest.raises(OSError, match=r"neither model\.safetensors nor"):
        check("earshot-tests/pickled")
    check("earshot-tests/pickled", weights=False)
    assert "model.safetensors" not in asked  # whose size is the model's


def adapter(folder: Path, base: Any, weights: str = "adapter_model.safetensors") -> Path:
    folder.mkdir()
    told = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "base_model_name_or_path": base}
    say(folder / "adapter_config.json", **told)
    save_file({"a": torch.zeros(1)}, folder / weights)
    return folder


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"), ["'adapter_model.safetensors'"]),
        (lambda f: _linked_out(f / "adapter_model.safetensors"), ["outside the folder"]),
        (lambda f: say(f / "adapter_config.json", megatron_config={"a": 1}, megatron_core="evil"), ["code"]),
        (lambda f: say(f / "adapter_config.json", base_model_name_or_path=None), ["base_model_name_or_path"]),
        (lambda f: say(f / "adapter_config.json", base_model_name_or_path=str(f)), ["an adapter of itself"]),
    ],
    ids=["bin", "link", "megatron", "no base", "itself"],
)
def test_an_adapter_is_looked_at_alike(
    whole: Path, tmp_path: Path, break_it: Callable[[Path], Any], words: Any
) -> None:
    folder = adapter(tmp_path / "adapter", str(whole))
    break_it(folder)
    refused(folder, *words)


def _linked_out(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere.safetensors")
    file.symlink_to(file.parent.parent / "elsewhere.safetensors")


def test_the_base_of_an_adapter_is_looked_at_and_a_circle_of_adapters_ends(folder: Path, tmp_path: Path) -> None:
    in_shards(folder, "w.bin")
    refused(adapter(tmp_path / "a", str(folder)), "an adapter of", "'w.bin'")
    adapter(tmp_path / "b", str(tmp_path / "c"))
    adapter(tmp_path / "c", str(tmp_path / "b"))
    refused(tmp_path / "b", "an adapter of itself")
    adapter(tmp_path / "d", str(tmp_path / "a"))
    assert base_of(str(tmp_path / "d")) == str(tmp_path / "a")


def test_a_model_beside_an_adapter_is_refused(folder: Path) -> None:
    say(folder / "adapter_config.json", base_model_name_or_path="world:reasoner")
    refused(folder, "a model and an adapter")


@pytest.mark.parametrize("inner", ["model", "grpo/model"])
def test_the_folder_of_a_run_says_where_its_model_is(folder: Path, tmp_path: Path, inner: str) -> None:
    run = tmp_path / "runs"
    shutil.copytree(folder, run / inner)
    with pytest.raises(ModelError, match=f"holds no config.json.*; a model is in {run / inner}$"):
        place_of(run)


def test_pickled_files_beside_the_weights_are_not_read(folder: Path) -> None:
    for name in ("optimizer.pt", "training_args.bin", "pytorch_model.bin", "adapter_model.bin"):
        (folder / name).write_bytes(b"never read")
    check(str(folder))
    with patch("torch.load", side_effect=AssertionError("unpickled")):
        load(folder, device="cpu")


@pytest.mark.parametrize(
    "said",
    [
        "junk",
        "[1]",
        '{"prompts": ["brief"]}',
        '{"prompts": 3}',
        '{"prompts": null}',
        '{"images": [1]}',
        '{"images": {"x": 1}}',
    ],
)
def test_what_a_folder_says_of_itself_is_read_or_refused_in_a_line(folder: Path, said: str) -> None:
    (folder / "earshot.json").write_text(said)
    with pytest.raises(ModelError, match=f"^{folder / 'earshot.json'}: (?!.*\n)"):
        load(folder, device="cpu")


PLAIN = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
PLAIN += "{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}{% endif %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for i in range(99999) %}{% for k in range(99999) %}{% set x = i * k %}{% endfor %}{% endfor %}", "1 s"),
        ("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}", "1 s"),
        ("{% set n = 7 ** 9999999 %}{{ n % 10 }}", "1 s"),
        ("{% set x = 'a' * 4000000000 %}{% set y = x * 2 %}", "200 MiB"),
        ("{% set x = [0] * 1000000000 %}", "200 MiB"),
        ("{{ 'a'.ljust(999999999) }}", "200 MiB"),
        ("{{ 'a'|center(999999999) }}", "200 MiB"),
        ("{{ '%999999999d' % 1 }}", "200 MiB"),
        ("{{ '%999999999d'|format(1) }}", "200 MiB"),
        ("{{ ('a' * 99999).replace('a', 'a' * 99999) }}", "200 MiB"),
        ("{{ ('a' * 99999)|list|join('a' * 99999) }}", "200 MiB"),
        ("{% set n = namespace(x='a') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "200 MiB"),
        # Only for a long prompt.
        ("{% for m in messages %}{% for p in m.content %}{% if (p.text or '')|length > 9999 %}"
         "{% set n = p.text|length ** 9999999 %}{{ n % 10 }}{% endif %}{% endfor %}{% endfor %}", "1 s"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ raise_exception('boom') }}", "TemplateError: boom"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_a_chat_template_ends_in_bounded_time_and_memory(
    folder: Path, template: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_SECONDS", 1)
    (folder / "chat_template.jinja").write_text(template + PLAIN)
    begun = time.process_time()
    refused(folder, "chat template", why)
    assert time.process_time() - begun < 3  # here; what it takes elsewhere is limited


def test_where_less_is_allowed_already_that_is_the_limit() -> None:
    def forever() -> list[int]:
        return [n for n in iter(int, 1) if n]

    def within() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        if limits.beyond_limits(forever) is None:
            raise MemoryError

    assert limits.beyond_limits(within) is None
    assert limits.beyond_limits(lambda: 1 / 0) is None  # it ended


@pytest.mark.parametrize("template", ["hello", "{{ messages[-1].content[-1].text }}", "<image>"])
def test_a_chat_template_without_a_place_for_two_images_is_refused(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    refused(folder, "its chat template has no place for two images")


def test_a_chat_template_whose_place_for_images_the_processor_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny("qwen2_5_vl").save(folder)
    (folder / "chat_template.jinja").write_text(PLAIN)
    refused(folder, "its chat template and its processor make no question")


def test_a_legal_template_writes_what_transformers_writes(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(PLAIN)
    vlm = load(folder, device="cpu")
    stock = vlm.processor.apply_chat_template(vlm.messages("a"), add_generation_prompt=True, tokenize=False)
    assert vlm.rendered(vlm.messages("a")).endswith(stock)
