"""`earshot compare`, `rank` and `judge` from end to end: the same numbers as from Python, and what wrong calls get."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.cli.main import main
from earshot.judging.model import RewardModel, load

OPTIONS = ["--model", "world:reasoner", "--max-new-tokens", "48", "--seed", "3", "--device", "cpu"]
PROMPT = "a red circle"


@pytest.fixture(scope="module")
def model() -> RewardModel:
    return load("world:reasoner", max_new_tokens=48, device="cpu")


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (56, 56), colour).save(tmp_path / f"{colour}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_compare_and_judge_give_the_numbers_of_python(
    model: RewardModel, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *OPTIONS, "--prompt", PROMPT, "red.png", "blue.png", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = model.compare(prompt=PROMPT, first="red.png", second="blue.png", seed=3)
    assert told["note"] == model.note and set(told) == {*expected.as_dict(), "note", "measured"}
    assert {name: told[name] for name in expected.as_dict()} == json.loads(json.dumps(expected.as_dict()))
    rows = [{"id": "x", "prompt": PROMPT, "first": a, "second": b} for a, b in (("green.png", "blue.png"),)]
    rows.append({"id": "y", "prompt": PROMPT, "first": "red.png", "second": "blue.png"})
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["judge", *OPTIONS, "in.jsonl", "out.parquet"]) == 0
    assert "2 rows, 0 of them bad" in capsys.readouterr().out
    row = pq.read_table("out.parquet").to_pylist()[1]
    assert row["question"] == expected.question
    assert row["verdict"] == expected.verdict
    assert row["p_first_forward"] == pytest.approx(expected.p_first_forward, abs=1e-6)
    assert row["p_first_swapped"] == pytest.approx(expected.p_first_swapped, abs=1e-6)


def test_rank_gives_the_ranks_of_python(model: RewardModel, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = ["red.png", "green.png", "blue.png"]
    assert main(["rank", *OPTIONS, "--prompt", PROMPT, *images, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = model.rank(prompt=PROMPT, images=images, seed=3)
    assert [image["rank"] for image in told["images"]] == expected.ranks
    assert [image["image"] for image in told["images"]] == images


def test_the_tables_are_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *OPTIONS, "--prompt", PROMPT, "red.png", "blue.png"]) == 0
    assert "second shown first" in capsys.readouterr().out
    assert main(["rank", *OPTIONS, "--prompt", PROMPT, "red.png", "blue.png"]) == 0
    assert "red.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", *OPTIONS, "--prompt", PROMPT, "red.png", "gone.png"], "SECOND: gone.png: is missing"),
        (["compare", *OPTIONS, "--prompt", " ", "red.png", "blue.png"], "prompt: is blank"),
        (["rank", *OPTIONS, "--prompt", PROMPT, "red.png"], "expected at least 2"),
        (["rank", *OPTIONS, "--prompt", PROMPT, "red.png", "gone.png"], "IMAGE 2: gone.png"),
        (["judge", *OPTIONS, "gone.parquet", "out.parquet"], "gone.parquet: is no file"),
        (["judge", *OPTIONS, "gone.parquet", "out.parquet", "--shard", "3/2"], "--shard is '3/2'"),
        (["judge", *OPTIONS, "gone.parquet", "out.parquet", "--shard", "-1/2"], "--shard is '-1/2'"),
        (
            ["judge", *OPTIONS, "in.jsonl", "out.parquet", "--engine", "spark"],
            "'spark' is not one of 'local', 'vllm', 'ray', 'ray-vllm'",
        ),
        (["judge", *OPTIONS, "in.jsonl", "out.parquet", "--workers", "2"], "are for --engine ray"),
    ],
)
def test_wrong_calls_are_one_line_and_exit_2(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.jsonl").write_text(json.dumps({"prompt": PROMPT, "first": "red.png", "second": "blue.png"}) + "\n")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(folder.glob("out*"))


def test_without_ray_its_engine_names_the_extra(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in.jsonl").write_text(json.dumps({"prompt": PROMPT, "first": "red.png", "second": "blue.png"}) + "\n")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["judge", *OPTIONS, "in.jsonl", "out.parquet", "--engine", "ray"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: the engine 'ray' needs Ray") and err.endswith("pip install 'earshot-rm[ray]'\n")


@pytest.mark.slow
def test_ray_gives_the_rows_and_the_errors_of_the_local_engine(folder: Path) -> None:
    pytest.importorskip("ray")
    colours = ["red.png", "green.png", "blue.png"]
    rows = [{"prompt": f"a {a}", "first": a, "second": b} for a in colours for b in colours if a != b]
    Path("in.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "a", "first": "gone.png", "second": "red.png"}])
    )
    ray = ["--engine", "ray", "--workers", "2"]

    def run(out: str, *words: str) -> tuple[int, str, list[str]]:
        command = [sys.executable, "-m", "earshot.cli.main", "judge", *OPTIONS, "--part-rows", "2", "in.jsonl", out]
        # One thread, as a worker has, so that sums are taken in one order.
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, *words], capture_output=True, text=True, env=environment)
        told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        return done.returncode, done.stdout, told

    assert run("1.parquet") == (2, "", [BAD_ROW])
    assert run("2.parquet", *ray) == (2, "", [BAD_ROW])
    assert run("1.parquet", "--tolerate", "1") == (0, "1.parquet: 7 rows, 1 of them bad\n", [])
    assert run("2.parquet", "--tolerate", "1", *ray) == (0, "2.parquet: 7 rows, 1 of them bad\n", [])
    assert Path("1.parquet").read_bytes() == Path("2.parquet").read_bytes()
    code, _, (error,) = run("3.parquet", "--model", "no/such/model", *ray)
    assert (code, run("4.parquet", "--model", "no/such/model")[2]) == (2, [error])


ROOT = Path(__file__).resolve().parents[2]
BAD_ROW = (
    "error: in.jsonl: row 6 '6': first: gone.png is missing; put the image there or drop the row (bad row 1, tolerated "
    "are 0; mend it or raise --tolerate)"
)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out", "out.parquet.gz"])
def test_a_name_that_is_not_of_parquet_is_refused_before_a_model_is_loaded(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    Path("in.jsonl").write_text(json.dumps({"id": "x", "prompt": PROMPT, "first": "red.png", "second": "blue.png"}))
    assert main(["judge", "--model", "runs/nowhere", "in.jsonl", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {name}: judgements are written as parquet") and err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["blue.png", "green.png", "in.jsonl", "red.png"]
