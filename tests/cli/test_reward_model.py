"""What the options of a reward model say is looked at before anything is loaded; processes share the cores."""

import json
import os
import re
import socket
from pathlib import Path

import pytest
import torch
from PIL import Image

import earshot
from earshot.cli.main import main
from earshot.cli.reward_model import ModelOptions, load_share, told_once
from earshot.errors import InputError, ModelError
from earshot.vlm import load


@pytest.mark.parametrize(("of", "wish", "threads"), [(2, None, 3), (12, None, 1), (2, "5", None), (1, None, None)])
def test_processes_share_the_cores_unless_somebody_has_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, of: int, wish: str | None, threads: int | None
) -> None:
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wish is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", wish)
    with pytest.raises(InputError, match="greedy"):  # before anything is loaded
        load_share(0, of=of, load=ModelOptions("nowhere", samples=2, temperature=0.0).load)
    assert given == ([] if threads is None else [threads])


@pytest.mark.parametrize("option", ["--listener", "--checker"])
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("runs", "a model is in runs/model"),
        ("own/er/x", "no such folder"),
        ("file", "not a folder"),
        ("evil", "'w.bin'"),
    ],
)
def test_all_models_are_looked_at_before_the_first_is_loaded(
    option: str,
    source: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/model", "evil"):
        Path(folder).mkdir(parents=True)
        Path(folder, "config.json").write_text("{}")
    Path("evil/model.safetensors.index.json").write_text('{"weight_map": {"a": "w.bin"}}')
    for name in ("file", "a.png"):
        Path(name).write_bytes(b"x")
    monkeypatch.setattr("earshot.judging.model.load_vlm", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(InputError, match=said):
        ModelOptions("world:reasoner", **{option[2:]: [source]}).load()


def test_a_port_that_is_taken_and_keys_that_others_read_are_told_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("earshot.serve.Workers.__enter__", lambda _: pytest.fail("begun"))
    key = tmp_path / "key"
    key.write_text("me a-key-of-sixteen-characters")
    words = ["serve", "--model", "world:reasoner", "--key-file", str(key)]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for mode in (0o644, 0o640, 0o600):
            key.chmod(mode)
            assert main([*words, "--port", str(port)]) == 2
            told = f"port {port} of 127.0.0.1 cannot be had" if mode == 0o600 else f"may read it (mode {mode:o})"
            assert told in capfd.readouterr().err


def test_what_only_knows_coloured_shapes_says_so_once_before_judging_and_beside_the_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # A folder that was made from one that ships is known by what it was made from, whatever it is called.
    load("world:reasoner").save(tmp_path / "mine")
    assert load(tmp_path / "mine").taught_on == "made-up pictures of coloured shapes"
    for name, shade in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (56, 56), shade).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    words = ["--model", str(tmp_path / "mine"), "--prompt", "a red circle", "--max-new-tokens", "48", "--json", *files]
    with told_once():
        for command in ("compare", "rank"):
            assert main([command, *words]) == 0
    assert capfd.readouterr().err.count("coloured shapes alone") == 1
    for command in ("compare", "rank"):
        capfd.readouterr()
        assert main([command, *words]) == 0
        out, err = capfd.readouterr()
        assert err.count("taught on made-up pictures of coloured shapes alone") == 1
        assert "coloured shapes" in json.loads(out)["note"]
        if command == "compare":
            assert json.loads(out)["measured"]["first"]["luminance"] == pytest.approx(76 / 255)  # luma of red
    words.remove("--json")
    assert main(["compare", *words]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "measured, no part of the verdict:" in lines
    assert any(re.fullmatch(r" *mean luminance +30 % of white +11 % of white", line) for line in lines)


def test_a_folder_that_says_nothing_is_not_called_a_toy(tmp_path: Path) -> None:
    vlm = load("world:reasoner")
    vlm.taught_on = None
    vlm.save(tmp_path / "other")
    model = earshot.load(tmp_path / "other")
    assert model.note is None
    (tmp_path / "other" / "earshot.json").write_text('{"prompts": "brief", "taught_on": ["x"]}')
    with pytest.raises(ModelError, match=r"earshot\.json: 'taught_on' is .*expected a line"):
        earshot.load(tmp_path / "other")


def test_two_edits_are_compared_with_their_original(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [tmp_path / f"{name}.png" for name in ("first", "second", "original")]
    for image, colour in zip(images, ("red", "blue", "green"), strict=True):
        Image.new("RGB", (56, 56), colour).save(image)
    first, second, original = map(str, images)
    asked = ["compare", "--model", "world:reasoner", "--max-new-tokens", "8", "--prompt", "left small red circle"]
    assert main([*asked, "--prompts", "brief-edit", "--original", original, "--json", first, second]) == 0
    told = json.loads(capsys.readouterr().out)
    python = earshot.load("world:reasoner", max_new_tokens=8, prompts="brief-edit")
    assert told["question"] == python.compare("left small red circle", first, second, original=original).question
    assert main([*asked, "--original", original, first, second]) == 2
    assert "prompt set 'brief' asks about two images of a prompt" in capsys.readouterr().err
    assert main([*asked, "--prompts", "brief-edit", first, second]) == 2
    assert "prompt set 'brief-edit' asks about edits" in capsys.readouterr().err
