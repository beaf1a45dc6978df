"""`earshot scale` and `earshot score` from end to end: the numbers of Python, and what wrong calls get."""

import json
from pathlib import Path

import pytest

from earshot.cli.main import main
from earshot.judging.model import load
from earshot.judging.points import load_reference, load_scale
from earshot.lab.overoptimise.pictures import draw

MODEL = ["--model", "world:reasoner", "--device", "cpu", "--max-new-tokens", "64"]


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (one,) = draw(1, 3, seed=4)
    for k, image in enumerate(one.images):
        image.save(f"{k}.png")
    Path("prompt").write_text(one.prompt)
    return tmp_path


def test_score_gives_the_numbers_of_python_and_says_what_they_mean(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt, small = (folder / "prompt").read_text(), ["--pictures", "4"]
    # So few pairs of an untrained reasoner may have no scale: a file stands for one that was fitted.
    model, reference = load("world:reasoner", device="cpu", max_new_tokens=64), load_reference("world", pictures=4)
    known = {"factor": 0.5, "n": 8, "data": "validation", "model": model.identity()}
    (folder / "scale.json").write_text(json.dumps(known | {"reference": reference.fingerprint}))
    words = ["score", *MODEL, *small, "--prompt", prompt, "0.png", "1.png", "--scale", "scale.json"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    scale = load_scale(folder / "scale.json")
    expected = [one.as_dict() for one in model.points(prompt, ["0.png", "1.png"], against=reference, scale=scale)]
    assert [one["image"] for one in told["scores"]] == ["0.png", "1.png"] and told["note"] == model.note
    for found, wanted in zip(told["scores"], expected, strict=True):
        assert found["points"]["value"] == pytest.approx(wanted["points"]["value"], abs=1e-5)
        assert found["win_rate"] == pytest.approx(wanted["win_rate"], abs=1e-5)
        assert "73 % of the raters" in found["meaning"] and found["reference"].startswith("world ")
    assert main(words) == 0
    assert "73 % of the raters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", *MODEL, "--prompt", "a", "gone.png"], "IMAGE 1: gone.png: is missing"),
        (["score", *MODEL, "--prompt", " ", "0.png"], "prompt: is blank"),
        (["score", *MODEL, "--prompt", "a", "0.png", "--against", "gone"], "gone: is no folder"),
        (["score", *MODEL, "--prompt", "a", "0.png", "--scale", "bad.json"], "bad.json: is no scale"),
        (["scale", *MODEL, "out.json", "--data", "gone"], "gone: is no folder"),
    ],
)
def test_wrong_calls_are_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (folder / "bad.json").write_text("{}")
    assert main(words) == 2
    assert message in capsys.readouterr().err
