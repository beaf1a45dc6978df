"""Evaluation on fakes with known opinions: what it writes, going on after a kill, shards, and what breaks."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from PIL import Image

from earshot import images
from earshot.benchmarks.protocols import find_protocol
from earshot.data.pairset import read_pairs
from earshot.errors import DataError, InputError, ListenerUnavailable
from earshot.evaluate import evaluate
from earshot.files import append_jsonl, read_jsonl
from earshot.judging.model import RewardModel
from earshot.judging.parts import Local
from earshot.listener import Listener
from earshot.predictions.judgement import JudgedSample
from earshot.rundir import RunDir
from earshot.types import Pair
from tests.judging.opinions import Hears, Opinionated, shade


class Counting(Opinionated):
    """Keeps the prompts it was asked about, and dies after some."""

    def __init__(self, dies_after: int | None = None, **how: Any) -> None:
        super().__init__(**{"noise": 0.3, "bias": 0.1} | how)
        self.asked: list[str] = []
        self.dies_after = dies_after

    def judge(self, pairs: Sequence[Pair], **how: Any) -> list[list[JudgedSample]]:
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += [pair.prompt for pair in pairs]
        return super().judge(pairs, **how)


class Broken(Hears):
    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> np.ndarray:
        raise ListenerUnavailable("timed out")


def make_set(folder: Path, n: int = 7) -> Path:
    """Pairs of grey pictures, each of its own, of which people prefer the first, 3 to k % 3."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for k in range(n):
        for side, brightness in (("first", 100 + 8 * k), ("second", 130)):
            shade(brightness, 16 if side == "first" else 12).save(folder / "images" / f"{k}-{side}.png")
        names = {f"{side}_file_name": f"images/{k}-{side}.png" for side in ("first", "second")}
        rows.append({"id": f"p{k}", "prompt": f"prompt {k}", "votes_first": 3, "votes_second": k % 3, **names})
    append_jsonl(folder / "metadata.jsonl", rows)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_set(tmp_path / "set")


def run(
    data: Path,
    out: Path,
    reasoner: Opinionated | None = None,
    readers: Mapping[str, Listener] | None = None,
    *,
    decide: str = "author",
    samples: int = 2,
    **more: Any,
) -> dict[str, Any] | None:
    readers = {"hears": Hears()} if readers is None else readers
    model = RewardModel(reasoner or Counting(), readers, samples=samples, decide=decide, lenient=True)
    options = {"batch": 3, "resamples": 20, "settings": {"samples": samples}} | more
    return evaluate(data, RunDir.create(out, resume=True), Local(model), listeners=list(readers), **options)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(out / "predictions.jsonl"))


def files_of(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("predictions.jsonl", "people.jsonl", "metrics.json")}


def test_metrics_are_written_and_returned(data: Path, tmp_path: Path) -> None:
    metrics = run(data, tmp_path / "run")
    assert metrics is not None
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    assert (metrics["n_pairs"], metrics["n_samples"], metrics["n_refused"]) == (7, 28, 0)
    assert [row["id"] for row in rows_of(tmp_path / "run")] == [f"p{k}" for k in range(7)]
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == [
        "environment.json", "evaluation.json", "metrics.json", "people.jsonl", "predictions.jsonl",
    ]  # fmt: skip


def test_votes_are_those_of_the_set_when_metrics_are_computed(data: Path, tmp_path: Path) -> None:
    before = run(data, tmp_path / "run")
    rows = list(read_jsonl(data / "metadata.jsonl"))
    (data / "metadata.jsonl").unlink()
    append_jsonl(
        data / "metadata.jsonl",
        [row | {"votes_first": row["votes_second"], "votes_second": row["votes_first"]} for row in rows],
    )
    reasoner = Counting()
    after = run(data, tmp_path / "run", reasoner)
    assert before is not None and after is not None and reasoner.asked == []
    assert after["accuracy"]["value"] == pytest.approx(1 - before["accuracy"]["value"])


@pytest.mark.parametrize("change", ["prompt", "picture"])
def test_a_set_whose_prompts_or_pictures_have_changed_is_refused(data: Path, tmp_path: Path, change: str) -> None:
    run(data, tmp_path / "run")
    if change == "picture":
        shade(20).save(data / "images" / "4-first.png")
    else:
        text = (data / "metadata.jsonl").read_text().replace("prompt 4", "prompt 44")
        (data / "metadata.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"'p4'.*another prompt or other pictures"):
        run(data, tmp_path / "run")


def test_cut_off_anywhere_it_ends_as_if_it_had_been_left_alone(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "whole")
    for dies_after in (0, 3, 3):
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "run", Counting(dies_after))
    reasoner = Counting()
    run(data, tmp_path / "run", reasoner)
    assert reasoner.asked == ["prompt 6"]
    assert files_of(tmp_path / "run") == files_of(tmp_path / "whole")


def test_shards_come_to_what_one_run_comes_to_killed_or_not(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "whole", readers={"hears": Hears(), "other": Hears("other")})
    readers = {"hears": Hears(), "other": Hears("other")}
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "run", Counting(3), readers, shard=(2, 2))
    assert run(data, tmp_path / "run", readers=readers, shard=(1, 2)) is None
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert run(data, tmp_path / "run", readers=readers, shard=(2, 2)) is not None
    assert files_of(tmp_path / "run") == files_of(tmp_path / "whole")


def test_asked_for_more_pairs_it_judges_the_rest_alone(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "whole")
    run(data, tmp_path / "run", pairs=4)
    reasoner = Counting()
    run(data, tmp_path / "run", reasoner)
    assert reasoner.asked == [f"prompt {k}" for k in (3, 4, 5, 6)]  # in the batches of a whole run
    assert files_of(tmp_path / "run") == files_of(tmp_path / "whole")
    with pytest.raises(InputError, match="made with rows 7, asked for 4"):
        run(data, tmp_path / "run", pairs=4)


@pytest.mark.parametrize(
    ("change", "key"),
    [({"seed": 1}, "seed"), ({"batch": 2}, "batch"), ({"settings": {"samples": 2, "model": "x"}}, "model")],
)
def test_predictions_of_other_settings_are_not_added_to(
    data: Path, tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    run(data, tmp_path / "run")
    before = files_of(tmp_path / "run")
    with pytest.raises(InputError, match=f"made with {key}"):
        run(data, tmp_path / "run", **change)
    assert files_of(tmp_path / "run") == before


def test_predictions_of_an_earlier_format_are_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run")
    settings = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    del settings["format"]
    (tmp_path / "run" / "evaluation.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="earlier Earshot"):
        run(data, tmp_path / "run")


def test_two_at_one_time_do_not_share_a_folder(data: Path, tmp_path: Path) -> None:
    class Asks(Counting):
        def judge(self, pairs: Sequence[Pair], **how: Any) -> list[list[JudgedSample]]:
            with pytest.raises(InputError, match="another process"):
                run(data, tmp_path / "run")
            with pytest.raises(InputError, match="another process"):
                run(data, tmp_path / "run", shard=(1, 2))
            return super().judge(pairs, **how)

    run(data, tmp_path / "run", Asks())


def test_a_folder_that_is_no_run_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters.txt").write_text("mine")
    with pytest.raises(InputError):
        run(data, tmp_path / "mine")
    assert [f.name for f in (tmp_path / "mine").iterdir()] == ["letters.txt"]


def test_claims_are_counted_by_the_callable_that_was_passed(data: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, str, str]] = []

    def count_claims(pair_id: str, trace: str, order: str) -> dict[str, int]:
        seen.append((pair_id, trace, order))
        return {"true": 1, "false": 2 if order == "swapped" else 0, "unchecked": 0}

    reasoner = Counting(malformed=("forward",))
    metrics = run(data, tmp_path / "run", reasoner, samples=1, pairs=1, count_claims=count_claims)
    assert metrics is not None
    (sample,) = [sample for sample in rows_of(tmp_path / "run")[0]["samples"] if sample["malformed"] is None]
    assert seen == [("p0", sample["trace"], sample["order"])]  # the malformed one is not checked
    assert metrics["false_claims"]["value"] == (2 if sample["order"] == "swapped" else 0)


def test_a_broken_listener_is_missing_and_never_a_number(data: Path, tmp_path: Path) -> None:
    metrics = run(data, tmp_path / "run", readers={"hears": Hears(), "far": Broken("far")})
    assert metrics is not None
    assert metrics["disagreement.far"] == {"value": None, "low": None, "high": None, "n": 0}
    assert metrics["n_listener_missing"] == 28
    assert metrics["disagreement.hears"]["n"] == 28
    errors = list(read_jsonl(tmp_path / "run" / "errors.jsonl"))
    assert [(e["listener"], e["ids"]) for e in errors] == [("far", [f"p{k}"]) for k in range(7)]
    with pytest.raises(ListenerUnavailable):
        run(data, tmp_path / "decided", readers={"far": Broken("far")}, decide="far")


def test_bad_rows_are_passed_over_up_to_the_tolerance(data: Path, tmp_path: Path) -> None:
    (data / "images" / "1-first.png").write_bytes(b"\x89PNG no picture")
    (data / "images" / "6-second.png").unlink()
    metrics = run(data, tmp_path / "run", tolerate=2)
    assert metrics is not None and (metrics["n_pairs"], metrics["n_refused"]) == (5, 2)
    assert run(data, tmp_path / "run", tolerate=2) == metrics
    errors = list(read_jsonl(tmp_path / "run" / "errors.jsonl"))
    assert [(e["kind"], e["row"], e["id"]) for e in errors] == [
        ("row", 1, "p1"),
        ("row", 6, "p6"),
    ]  # once, over two runs
    pair = list(read_pairs(data, tolerate=1))[1]
    digest = hashlib.sha256(pair.prompt.encode())  # the first one's pictures were refused: the prompt and both files
    for source in (pair.first, pair.second):
        digest.update(hashlib.sha256(source.read_bytes()).digest() + b"\0")  # type: ignore[union-attr]
    assert errors[0]["sha256"] == digest.hexdigest() and "convert the image" in errors[0]["error"]
    assert len(errors[1]["sha256"]) == 64 and errors[1]["sha256"] != errors[0]["sha256"]
    with pytest.raises(DataError, match=r"p6.*tolerated are 1"):
        run(data, tmp_path / "other", tolerate=1)


def test_one_picture_on_both_sides_has_no_side_and_is_wrong(tmp_path: Path) -> None:
    data = make_set(tmp_path / "set", 2)
    Image.open(data / "images" / "0-first.png").save(data / "images" / "0-second.png")
    metrics = run(data, tmp_path / "run")
    row = rows_of(tmp_path / "run")[0]
    assert (row["p_first"], row["verdict"], row["reason"]) == (0.5, None, "the two images are the same picture")
    assert metrics is not None and metrics["accuracy"]["n"] == 2


def test_whatever_a_model_writes_is_read_back_as_it_was(data: Path, tmp_path: Path) -> None:
    class Odd(Counting):
        def judge(self, pairs: Sequence[Pair], **how: Any) -> list[list[JudgedSample]]:
            return [[replace(s, trace="half an emoji \ud83d") for s in row] for row in super().judge(pairs, **how)]

    assert run(data, tmp_path / "run", Odd()) is not None
    assert {s["trace"] for row in rows_of(tmp_path / "run") for s in row["samples"]} == {"half an emoji \ud83d"}


def test_a_part_that_was_damaged_is_an_error_and_no_shorter_part(data: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "run", Counting(3))
    (part,) = (tmp_path / "run" / "predictions.parts").glob("part-*.jsonl")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"part-.*half-written last line"):
        run(data, tmp_path / "run")


def test_progress_is_told_after_every_batch(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    run(data, tmp_path / "run", progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 7), (3, 7), (6, 7), (7, 7)]


def test_no_pairs_and_repeated_ids_are_refused(data: Path, tmp_path: Path) -> None:
    for file in (data / "images").iterdir():
        file.write_bytes(b"\x89PNG no picture")
    with pytest.raises(DataError, match="no pair was judged"):
        run(data, tmp_path / "empty", tolerate=7)
    twice = make_set(tmp_path / "twice", 1)
    append_jsonl(twice / "metadata.jsonl", list(read_jsonl(twice / "metadata.jsonl")))
    with pytest.raises(DataError, match="'p0' comes twice"):
        run(twice, tmp_path / "run")
    with pytest.raises(InputError, match="batch is 0"):
        run(data, tmp_path / "none", batch=0)


def test_published_metrics_are_added_by_name(data: Path, tmp_path: Path) -> None:
    metrics = run(data, tmp_path / "run", protocols=[find_protocol("rapidata-majority"), find_protocol("mmrb2")])
    assert metrics is not None
    # The same pairs and the same answers as `accuracy`; votes are 3 to k % 3, so that none is tied.
    assert metrics["protocol.rapidata-majority"]["value"] == metrics["accuracy"]["value"]
    assert metrics["protocol.mmrb2"]["n"] == 14
    assert {"n_pairs", "n_ties", "n_missing", "n_prompts"} <= metrics["protocol.mmrb2"].keys()
    # All first images are preferred, and of more pixels: the fakes are no better than that.
    assert any("sides are ordered" in warning for warning in metrics["warnings"])
    assert metrics["blind.larger_picture"]["value"] == 1.0


def test_pictures_are_measured_as_they_are_judged_and_decoded_once_for_both(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    check = images._check_data
    monkeypatch.setattr(images, "_check_data", lambda data, *rest: (decoded.append(len(data)), check(data, *rest))[1])
    metrics = run(data, tmp_path / "run")
    assert metrics is not None and len(decoded) == 14  # seven pairs
    # The first is preferred; its grey is 100 + 8 k, the second's 130: brighter for k of 4, 5 and 6.
    assert metrics["blind.brighter"] == {"value": pytest.approx(3 / 7), "low": ANY, "high": ANY, "n": 7}
    rows = rows_of(tmp_path / "run")
    assert [row["first_luminance"] * 255 for row in rows] == pytest.approx([100 + 8 * k for k in range(7)])
    assert all(row["second_luminance"] * 255 == pytest.approx(130) for row in rows)
    assert metrics["blind.sharper"]["n"] == 0  # plain pictures: none is sharper
    (tmp_path / "run" / "metrics.json").unlink()
    assert run(data, tmp_path / "run") == metrics and len(decoded) == 14  # kept with the predictions


def test_where_most_completions_are_malformed_the_reason_is_told_with_one_of_them(data: Path, tmp_path: Path) -> None:
    class Silent(Opinionated):
        def judge(self, pairs: Sequence[Pair], **how: Any) -> list[list[JudgedSample]]:
            told = {"trace": "Image 2 is nicer.", "side": None, "malformed": "no think block", "p_first": None}
            return [[replace(one, **told) for one in row] for row in super().judge(pairs, **how)]

    metrics = run(data, tmp_path / "out", Silent())
    assert metrics is not None
    assert metrics["warnings"][-1].startswith("28 of 28 completions are malformed because of 'no think block'")
    assert "'Image 2 is nicer.'" in metrics["warnings"][-1]
    well = run(data, tmp_path / "well")
    assert well is not None
    assert not any("malformed" in warning for warning in well["warnings"])
