"""Two edits of a picture are asked about, wherever a pair is: in Python, from files, of a set."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from earshot.data.writer import PairSetWriter
from earshot.errors import DataError, InputError
from earshot.evaluate import evaluate
from earshot.files import write_jsonl
from earshot.images import DEFAULT_LIMITS
from earshot.judging import model as judging
from earshot.judging.model import RewardModel
from earshot.judging.parts import Local
from earshot.judging.rows import Columns, RowFile
from earshot.judging.to_file import judge_file
from earshot.listener.claims import ClaimListener
from earshot.listener.controls import BlindListener
from earshot.listener.local import LocalListener
from earshot.predictions.people import content_of
from earshot.predictions.run import Evaluation
from earshot.protocol import prompt_set
from earshot.reasoner import Reasoner
from earshot.remote import ChatModel, Endpoint, png
from earshot.rundir import RunDir
from earshot.types import Pair
from tests.fakes import FakeListener
from tests.servers import Reply, answering
from tests.vlm.models import noisy_pair, picture, tiny

ONE, TWO, ORIGINAL = picture(1), picture(2), picture(3)


@pytest.fixture(scope="module")
def of_edits() -> RewardModel:
    vlm = tiny("qwen2_5_vl").asked("brief-edit")
    return RewardModel(Reasoner(vlm, max_new_tokens=6), {"listener": LocalListener(vlm)}, samples=2)


def edit(id: str, seed: int = 0) -> Pair:
    return replace(noisy_pair(id, seed=seed), original=picture(100 + seed))


@pytest.fixture
def a_set(tmp_path: Path) -> Path:
    with PairSetWriter(tmp_path / "set") as writer:
        for k in range(3):
            writer.add(edit(f"e{k}", k))
    return tmp_path / "set"


def test_exchanged_results_of_one_original_get_exchanged_answers(of_edits: RewardModel) -> None:
    told = of_edits.compare("make it red", ONE, TWO, original=ORIGINAL)
    turned = of_edits.compare("make it red", TWO, ONE, original=ORIGINAL)
    assert told.question == turned.question
    assert {(s.order, s.trace, s.p_first) for s in told.samples} == {
        (s.order, s.trace, s.p_first) for s in (sample.turned() for sample in turned.samples)
    }
    assert of_edits.compare("make it red", ONE, TWO, original=TWO).question != told.question


def test_a_model_says_which_questions_are_its_own(of_edits: RewardModel) -> None:
    of_pairs = RewardModel(Reasoner(tiny("qwen2_5_vl"), max_new_tokens=6))
    assert (of_edits.edits, of_pairs.edits) == (True, False)
    with pytest.raises(InputError, match="'brief-edit' asks about edits"):
        of_edits.compare("make it red", ONE, TWO)
    with pytest.raises(InputError, match="'brief' asks about two images"):
        of_pairs.compare("make it red", ONE, TWO, original=ORIGINAL)


def test_edits_are_ranked_and_scored_with_their_original(of_edits: RewardModel) -> None:
    assert len(of_edits.rank("make it red", [ONE, TWO, picture(4)], original=ORIGINAL).images) == 3
    assert len(of_edits.score("make it red", [ONE], references=[TWO], original=ORIGINAL)) == 1


def test_a_set_of_edits_is_asked_as_compare_asks(of_edits: RewardModel, a_set: Path, tmp_path: Path) -> None:
    judge_file(a_set, tmp_path / "out.parquet", Local(of_edits))
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    expected = [of_edits.compare(p.prompt, p.first, p.second, original=p.original) for p in map(edit, "012", range(3))]
    assert [row["question"] for row in found] == [one.question for one in expected]


def test_an_evaluation_of_edits_is_refused_where_an_original_was_exchanged(
    of_edits: RewardModel, a_set: Path, tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "run")
    evaluate(a_set, run, Local(of_edits), listeners=["listener"], resamples=50)
    assert len(list(Evaluation("", run.path).rows())) == 3
    rows = pq.read_table(a_set / "metadata.parquet").to_pylist()
    rows[0]["original_file_name"] = rows[1]["original_file_name"]
    (a_set / "metadata.parquet").unlink()
    write_jsonl(a_set / "metadata.jsonl", rows)
    with pytest.raises(DataError, match="has another prompt or other pictures than when it was judged"):
        evaluate(a_set, run, Local(of_edits), listeners=["listener"], resamples=50)


def test_originals_of_other_files_are_named(a_set: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": row["prompt"], **{k: str(a_set / row[f"{k}_file_name"]) for k in ("first", "second", "original")}}
        for row in pq.read_table(a_set / "metadata.parquet").to_pylist()
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match="expected before"):
        RowFile(tmp_path / "rows.jsonl", Columns(original="before"))
    named = RowFile(tmp_path / "rows.jsonl", Columns(original="original"), roots=[a_set])
    assert [row.original.name for row in named.read(0, 3)] == [Path(row["original"]).name for row in rows]
    assert all(row.original is None for row in RowFile(tmp_path / "rows.jsonl", roots=[a_set]).read(0, 3))
    del rows[1]["original"]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    bad = list(RowFile(tmp_path / "rows.jsonl", Columns(original="original"), roots=[a_set]).read(1, 2))
    assert "original is None" in bad[0].error


def test_the_blind_see_a_grey_original_too() -> None:
    base = FakeListener()
    BlindListener(base).p_first([edit("e")], [None])
    ((shown,), _) = base.calls[0]
    assert {image.getpixel((0, 0)) for image in shown.images} == {(128, 128, 128)} and len(shown.images) == 3


def test_claims_about_edits_are_not_checked() -> None:
    with pytest.raises(InputError, match="pair 'e' has an original image, and checkers know claims about two images"):
        ClaimListener(()).hear([edit("e")], ["The first image is red."])


def test_who_reads_along_is_asked_about_edits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "load_vlm", lambda *args, **how: tiny("qwen2_5_vl"))
    monkeypatch.setattr("earshot.listener.build.load", lambda *args, **how: tiny("qwen2_5_vl"))
    monkeypatch.setattr(judging, "look", lambda spec: None)
    with pytest.raises(
        InputError, match=r"listener reader: is asked in prompt set 'brief' and the reasoner in 'brief-edit'"
    ):
        judging.load("m", prompts="brief-edit", listener="reader=other")
    with pytest.raises(InputError, match="checker other: checkers know claims about two images alone"):
        judging.load("m", prompts="brief-edit", checker=["other"])
    assert judging.load("m", prompts="brief-edit", listener="reader=other,prompts=brief-edit").edits


def test_predictions_of_sets_without_originals_are_what_they_were() -> None:
    assert content_of("a", b"1", b"2") == content_of("a", b"1", b"2", None)
    assert content_of("a", b"1", b"2", b"3") != content_of("a", b"1", b"2")


def test_a_chat_server_is_sent_three_pictures_in_their_places() -> None:
    asked = []

    def answer(path: str, body: Any, headers: Mapping[str, str]) -> Reply:
        asked.append(body)
        return Reply({"choices": [{"message": {"content": "none"}}]})

    with answering(answer) as url:
        endpoint = Endpoint(url, key=None, concurrency=1, timeout_s=20.0, patience_s=1.0)
        chat = ChatModel(endpoint, "m", prompt_set("edit"), DEFAULT_LIMITS)
        chat.complete([edit("e").swapped()], [0], n=1, temperature=1.0, max_new_tokens=4)
        with pytest.raises(InputError, match="'edit' asks about edits"):
            chat.complete([noisy_pair("p")], [0], n=1, temperature=1.0, max_new_tokens=4)
    (content,) = (turn["content"] for turn in asked[0]["messages"])
    assert [part["type"] for part in content] == ["text", "image_url"] * 3 + ["text"]
    sent = [part["image_url"]["url"].partition(",")[2] for part in content if part["type"] == "image_url"]
    expected = [base64.b64encode(png(image, DEFAULT_LIMITS)).decode() for image in edit("e").swapped().images]
    assert sent == expected and len(asked) == 1
