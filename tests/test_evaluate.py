"""Evaluation on fakes with known opinions: the rows it writes, going on after a kill, and what breaks on the way."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earshot.errors import DataError, ImageError, InputError, ListenerUnavailable
from earshot.evaluate import evaluate, prediction_row
from earshot.metrics.protocols import find_protocol
from earshot.rundir import RunDir, read_jsonl
from earshot.types import Pair, Sample, Votes


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


FIRST, SECOND = png(12, 10), png(8, 10)


def make_pairs(n: int) -> list[Pair]:
    return [Pair(f"p{i}", f"prompt {i // 2}", FIRST, SECOND, Votes(3.0, float(i % 3))) for i in range(n)]


class Reasoner:
    """Prefers the first image in forward order, gives traces that name the order, and counts what it is asked."""

    def __init__(self, *, dies_after: int | None = None, refuses: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self.dies_after, self.refuses = dies_after, refuses

    def judge(self, pairs: Sequence[Pair], *, samples: int, seed: int) -> list[list[Sample]]:
        refused = [pair.id for pair in pairs if pair.id in self.refuses]
        if refused:
            raise ImageError(f"images/{refused[0]}.png is truncated")
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += [pair.id for pair in pairs]
        return [self._samples(pair, samples, seed) for pair in pairs]

    def _samples(self, pair: Pair, samples: int, seed: int) -> list[Sample]:
        out = []
        for k in range(samples):
            p = (hash_of(pair.id) + 7 * k + seed) % 11 / 10
            out.append(Sample("forward", "…", f"forward {pair.id}", "first" if p > 0.5 else "second", None, p))
            if k % 2:
                out.append(Sample("swapped", "…", "", None, "two answers", None))
            else:
                out.append(Sample("swapped", "…", f"swapped {pair.id}", "second", None, 0.25))
        return out


def hash_of(text: str) -> int:
    return sum(text.encode())


class Listener:
    """Believes in the image shown first to the degree 0.9 and writes down what it was shown."""

    def __init__(self, name: str = "kin", *, broken: bool = False) -> None:
        self.name, self.broken = name, broken
        self.heard: list[tuple[bytes, str | None]] = []

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> np.ndarray:
        if self.broken:
            raise ListenerUnavailable(f"listener '{self.name}': timed out")
        self.heard += [(pair.first, trace) for pair, trace in zip(pairs, traces, strict=True)]  # type: ignore[misc]
        return np.full(len(pairs), 0.9)


def run(out: Path, reasoner: Reasoner | None = None, n: int = 7, **more: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"listeners": {"kin": Listener()}, "samples": 2, "batch": 3, "resamples": 20}
    return evaluate(make_pairs(n), reasoner or Reasoner(), out=out, **options | more)


def test_a_row_is_told_in_the_pairs_own_sides() -> None:
    pair = Pair("p", "a cat", FIRST, SECOND, Votes(2.0, 1.0), prompt_id="cat")
    samples = [
        Sample("forward", "c", "t1", "first", None, 0.75),
        Sample("forward", "c", "", None, "no answer", None),
        Sample("swapped", "c", "t2", "first", None, 0.5),
        Sample("swapped", "c", "t3", "second", None, 0.0),
    ]
    row = prediction_row(
        pair, samples, [{"kin": 0.5}, {}, {}, {}], [{"true": 1, "false": 0, "unchecked": 0}, *[None] * 3]
    )
    assert row["p_first_forward"] == 0.75
    assert row["p_first_swapped"] == 0.25  # (0.5 + 0.0) / 2
    assert row["p_first"] == 0.5
    assert (row["prompt_id"], row["votes_first"], row["votes_second"]) == ("cat", 2, 1)
    assert (row["first_bytes"], row["second_bytes"]) == (len(FIRST), len(SECOND))
    assert (row["first_pixels"], row["second_pixels"]) == (120, 80)  # 12 x 10, 8 x 10
    # Shown swapped, the pair's first image stands second: "first" was written as 2.
    assert [s["verdict"] for s in row["samples"]] == [1, None, 2, 1]
    assert [s["listener"] for s in row["samples"]] == [{"kin": 0.5}, {}, {}, {}]
    assert row["samples"][0]["claims"] == {"true": 1, "false": 0, "unchecked": 0}


def test_an_order_without_a_well_formed_sample_leaves_no_p_first() -> None:
    samples = [Sample("forward", "", "t", "first", None, 0.9), Sample("swapped", "", "", None, "no answer", None)]
    row = prediction_row(make_pairs(1)[0], samples, [{}, {}], [None, None])
    assert (row["p_first_forward"], row["p_first_swapped"], row["p_first"]) == (0.9, None, None)


def test_the_listener_sees_the_order_as_shown_and_its_answer_is_turned_back(tmp_path: Path) -> None:
    listener = Listener()
    run(tmp_path / "run", listeners={"kin": listener}, n=1)
    # Two forward samples and one well-formed swapped one; shown swapped, the first image is the pair's second.
    assert listener.heard == [(FIRST, "forward p0"), (SECOND, "swapped p0"), (FIRST, "forward p0")]
    (row,) = read_jsonl(tmp_path / "run" / "predictions.jsonl")
    heard = [sample["listener"].get("kin") for sample in row["samples"]]
    assert heard == [0.9, pytest.approx(0.1), 0.9, None]


def test_the_trace_is_redacted_for_the_listener_and_kept_raw(tmp_path: Path) -> None:
    class Concluding(Reasoner):
        def _samples(self, pair: Pair, samples: int, seed: int) -> list[Sample]:
            return [Sample("forward", "", "The sky is blue. <answer>1</answer>", "first", None, 0.9)]

    listener = Listener()
    run(tmp_path / "run", Concluding(), listeners={"kin": listener}, n=1, redaction="answer")
    assert "<answer>" not in str(listener.heard[0][1])
    (row,) = read_jsonl(tmp_path / "run" / "predictions.jsonl")
    assert row["samples"][0]["trace"] == "The sky is blue. <answer>1</answer>"


@pytest.mark.parametrize("killed_after", [1, 4])
def test_a_killed_run_goes_on_to_the_same_files(tmp_path: Path, killed_after: int) -> None:
    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Reasoner(dies_after=killed_after))
    predictions = tmp_path / "cut" / "predictions.jsonl"
    with predictions.open("a") as file:
        file.write('{"id": "p5", "p_fi')  # half a line, as a crash leaves it
    again = Reasoner()
    run(tmp_path / "cut", again)
    assert predictions.read_bytes() == (tmp_path / "whole" / "predictions.jsonl").read_bytes()
    for name in ("metrics.json", "evaluation.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    judged = -(-killed_after // 3) * 3
    assert again.asked == [f"p{i}" for i in range(judged, 7)]


def test_a_batch_that_was_half_written_is_completed(tmp_path: Path) -> None:
    whole = run(tmp_path / "run")
    predictions = tmp_path / "run" / "predictions.jsonl"
    lines = predictions.read_bytes().splitlines(keepends=True)
    predictions.write_bytes(b"".join(lines[:4]))
    reasoner = Reasoner()
    assert run(tmp_path / "run", reasoner) == whole
    assert reasoner.asked == ["p4", "p5", "p6"]
    assert predictions.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("change", "key"),
    [({"seed": 1}, "seed"), ({"samples": 3}, "samples"), ({"settings": {"model": "other"}}, "model"),
     ({"listeners": {}}, "listeners")],
)  # fmt: skip
def test_predictions_of_other_settings_are_not_added_to(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    run(tmp_path / "run", n=2)
    before = (tmp_path / "run" / "predictions.jsonl").read_bytes()
    with pytest.raises(InputError, match=f"made with {key}"):
        run(tmp_path / "run", **change)
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == before


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(InputError):
        run(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["letters.txt"]


def test_metrics_are_written_and_returned(tmp_path: Path) -> None:
    metrics = run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    # 7 pairs × 2 samples × 2 orders; every second swapped one is malformed
    assert (metrics["n_pairs"], metrics["n_samples"], metrics["n_malformed"]) == (7, 28, 7)
    assert metrics["n_prompts"] == 4
    assert (tmp_path / "run" / "environment.json").exists()


def test_claims_are_counted_by_the_callable_that_was_passed(tmp_path: Path) -> None:
    seen: list[tuple[str, str, str]] = []

    def count_claims(pair_id: str, trace: str, order: str) -> dict[str, int]:
        seen.append((pair_id, trace, order))
        return {"true": 1, "false": 2 if order == "swapped" else 0, "unchecked": 0}

    metrics = run(tmp_path / "run", n=1, count_claims=count_claims)
    assert seen == [("p0", "forward p0", "forward"), ("p0", "swapped p0", "swapped"), ("p0", "forward p0", "forward")]
    assert metrics["false_claims"]["value"] == pytest.approx(2 / 3)  # the malformed sample is not checked


def test_a_broken_listener_is_missing_and_never_a_number(tmp_path: Path) -> None:
    metrics = run(tmp_path / "run", listeners={"kin": Listener(), "far": Listener("far", broken=True)})
    assert metrics["disagreement.far"] == {"value": None, "low": None, "high": None, "n": 0}
    assert metrics["n_listener_missing"] == 21
    assert metrics["disagreement.kin"]["n"] == 21
    errors = list(read_jsonl(tmp_path / "run" / "errors.jsonl"))
    assert [e["ids"] for e in errors] == [["p0", "p1", "p2"], ["p3", "p4", "p5"], ["p6"]]
    assert {e["listener"] for e in errors} == {"far"}


def test_an_answer_that_is_no_probability_is_a_broken_listener(tmp_path: Path) -> None:
    class Wild(Listener):
        def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> np.ndarray:
            return np.full(len(pairs), np.nan)

    assert run(tmp_path / "run", listeners={"kin": Wild()})["n_listener_missing"] == 21


def test_refused_images_are_passed_over_up_to_the_tolerance(tmp_path: Path) -> None:
    metrics = run(tmp_path / "run", Reasoner(refuses=["p1", "p6"]), tolerate=2)
    assert (metrics["n_pairs"], metrics["n_refused"]) == (5, 2)
    rows = list(read_jsonl(tmp_path / "run" / "predictions.jsonl"))
    assert [row["id"] for row in rows] == ["p0", "p2", "p3", "p4", "p5"]
    assert run(tmp_path / "run", Reasoner(refuses=["p1", "p6"]), tolerate=2) == metrics
    errors = list(read_jsonl(tmp_path / "run" / "errors.jsonl"))
    assert [(e["kind"], e["id"]) for e in errors] == [("image", "p1"), ("image", "p6")]  # once each, over two runs
    with pytest.raises(ImageError, match=r"p6.*tolerated are 1"):
        run(tmp_path / "other", Reasoner(refuses=["p1", "p6"]), tolerate=1)


def test_progress_is_told_after_every_batch(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    run(tmp_path / "run", progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_no_pairs_and_repeated_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair was judged"):
        run(tmp_path / "empty", n=0)
    with pytest.raises(DataError, match="'p0' comes twice"):
        evaluate(make_pairs(1) * 2, Reasoner(), {}, tmp_path / "twice", resamples=5)
    with pytest.raises(InputError, match="samples is 0"):
        run(tmp_path / "none", samples=0)


def test_a_run_directory_can_be_passed(tmp_path: Path) -> None:
    out = RunDir.create(tmp_path / "run")
    assert evaluate(iter(make_pairs(2)), Reasoner(), {}, out, resamples=5)["n_pairs"] == 2


def test_published_metrics_are_added_by_name(tmp_path: Path) -> None:
    protocols = [find_protocol("rapidata-majority"), find_protocol("mmrb2")]
    run(tmp_path / "run", n=6, protocols=protocols)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    # The same pairs and the same answers as `accuracy`; p0 … p5 have votes 3 to i % 3, so that none is tied.
    assert metrics["protocol.rapidata-majority"]["value"] == metrics["accuracy"]["value"]
    assert metrics["protocol.mmrb2"]["n"] == 12
    assert {"n_pairs", "n_ties", "n_missing", "n_prompts"} <= metrics["protocol.mmrb2"].keys()
    # All first images are preferred, of more bytes and of more pixels: the fakes are no better than that.
    assert any("sides are ordered" in warning for warning in metrics["warnings"])
    assert metrics["blind.larger_picture"]["value"] == 1.0
