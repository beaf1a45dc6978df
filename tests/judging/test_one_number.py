"""The same pictures, prompt, model and seed give the same numbers from everywhere; images are encoded once an order."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import earshot
from earshot.cli.main import main
from earshot.data.pairset import read_pairs
from earshot.errors import InputError
from earshot.files import read_jsonl
from earshot.judging.model import RewardModel
from earshot.lab.bench.work import Work, counted
from earshot.remote import Endpoint
from earshot.serve import Server
from earshot.world.make import Recipe, make_set
from tests.serve.conftest import b64
from tests.servers import served

PAIRS, SEED = 20, 3
SIDES = ("first", "second")
OPTIONS = ["--model", "world:reasoner", "--max-new-tokens", "96", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "test"
    make_set(folder, Recipe("test", 0), PAIRS)
    return folder


@pytest.fixture(scope="module")
def model() -> RewardModel:
    return earshot.load("world:reasoner", max_new_tokens=96, device="cpu")


def test_twenty_pairs_have_one_number_each_wherever_they_are_asked_about(
    data: Path, model: RewardModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = list(read_pairs(data))
    python = {p.id: model.compare(prompt=p.prompt, first=p.first, second=p.second, seed=SEED).p_first for p in pairs}
    told = {"python": python}
    assert main(["judge", str(data), str(tmp_path / "out.parquet"), *OPTIONS, "--seed", str(SEED)]) == 0
    told["judge"] = {row["id"]: row["p_first"] for row in pq.read_table(tmp_path / "out.parquet").to_pylist()}
    evaluation = ["eval", *OPTIONS, "--data", str(data), "--seed", str(SEED), "--resamples", "20", "--batch", "4"]
    assert main([*evaluation, "--out", str(tmp_path / "whole")]) == 0
    for index in (2, 1):
        assert main([*evaluation, "--out", str(tmp_path / "shards"), "--shard", f"{index}/2"]) == 0
    for name in ("whole", "shards"):
        told[f"eval {name}"] = {row["id"]: row["p_first"] for row in read_jsonl(tmp_path / name / "predictions.jsonl")}
    with served(Server(model, max_new_tokens=96)) as url:
        endpoint = Endpoint(url, key=None, concurrency=1, timeout_s=60.0, patience_s=60.0)
        told["http"] = {
            p.id: endpoint.post(
                "/v1/compare",
                {"prompt": p.prompt, **{side: b64(getattr(p, side).read_bytes()) for side in SIDES}, "seed": SEED},
            )["p_first"]
            for p in pairs
        }
    capsys.readouterr()
    for pair in pairs[:4]:
        words = ["compare", *OPTIONS, "--prompt", pair.prompt, "--seed", str(SEED), "--json"]
        assert main([*words, str(pair.first), str(pair.second)]) == 0
        assert json.loads(capsys.readouterr().out)["p_first"] == pytest.approx(python[pair.id], abs=1e-6)
    for name, numbers in told.items():
        assert numbers == pytest.approx(python, abs=1e-6), name
    # They are drawn, and not all the same or missing.
    assert len({p for p in python.values() if p is not None}) > PAIRS / 2
    assert (tmp_path / "shards" / "metrics.json").read_text() == (tmp_path / "whole" / "metrics.json").read_text()


def test_six_pairs_in_both_orders_take_twelve_images_through_the_vision_tower(data: Path, model: RewardModel) -> None:
    pairs = list(read_pairs(data))[:6]
    questions = [model.question(prompt=p.prompt, first=p.first, second=p.second) for p in pairs]
    work = Work()
    with counted(model.reasoner.vlm.model, work):
        model.answer(questions)
    assert work.images == 12


def test_a_prompt_one_token_too_long_is_an_error_with_both_numbers_and_in_eval_a_bad_row(
    data: Path, model: RewardModel, tmp_path: Path
) -> None:
    pair = next(iter(read_pairs(data)))
    vlm = model.reasoner.vlm
    context, room = vlm.context_tokens, 96

    def tokens(words: int) -> int:
        made = pair.__class__(pair.id, "red " * words, pair.first, pair.second, pair.votes)
        return int(vlm.encode_pairs([made])["attention_mask"].sum())

    longest = context - room - (tokens(1) - 1)  # a word of the world is a token
    assert tokens(longest) == context - room
    with pytest.raises(InputError, match=rf"{context - room + 1:,} tokens .* holds {context:,}"):
        model.compare(prompt="red " * (longest + 1), first=pair.first, second=pair.second)
    source = tmp_path / "in.jsonl"
    for k, file in enumerate((pair.first, pair.second)):
        (tmp_path / f"{k}.png").write_bytes(file.read_bytes())
    lines = [{"id": n, "prompt": "red " * n, "first": "0.png", "second": "1.png"} for n in (1, longest + 1)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["judge", str(source), str(tmp_path / "out.parquet"), *OPTIONS, "--tolerate", "1"]) == 0
    first, second = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert first["error"] is None and "tokens" in second["error"]
