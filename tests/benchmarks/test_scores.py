"""Anybody's files joined to the truth: every form, both sides' names, and what does not fit."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.benchmarks.forms import form_of, refuse_misnamed
from earshot.benchmarks.protocols import find_protocol
from earshot.benchmarks.scores import read_judged
from earshot.benchmarks.truth import truth_of_pairset, truth_of_published
from earshot.data.rows import iter_rows
from earshot.data.writer import PairSetWriter
from earshot.errors import DataError, InputError
from earshot.types import Pair, Votes

GROUPS = [
    # Ranks of "a b c": a best, b and c tied. Strict: a-b, a-c.
    {"id": "g1", "prompt": "a cat", "generations": ["1/a.webp", "1/b.webp", "1/c.webp"], "ranking": [1, 2, 2]},
    {"id": "g2", "prompt": "a cat", "generations": ["2/d.webp", "2/e.webp"], "ranking": [3, 2]},
]


@pytest.fixture()
def annotations(tmp_path: Path) -> Path:
    file = tmp_path / "test.json"
    file.write_text(json.dumps(GROUPS))
    return file


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture()
def pairset(tmp_path: Path) -> Path:
    """Four pairs of one prompt each but the last two; p0 and p1 prefer the first, p2 the second, p3 neither."""
    votes = [(3.0, 1.0), (1.0, 0.0), (0.0, 2.0), (1.0, 1.0)]
    with PairSetWriter(tmp_path / "set") as writer:
        for i, (first, second) in enumerate(votes):
            writer.add(Pair(f"p{i}", f"q{min(i, 2)}", png(10 * i), png(10 * i + 5), Votes(first, second)))
    return tmp_path / "set"


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(list(rows)))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def accuracy(path: Path, folder: Path, name: str = "imagereward-micro", **more: Any) -> tuple[float | None, int, int]:
    truth = truth_of_pairset(folder, key=form_of(path).key or "id")
    result = find_protocol(name).evaluate(read_judged(path, truth, **more), resamples=5)
    return result.estimate.value, result.estimate.n, result.n_missing


CHOICES = [{"id": "p2", "choice": "first"}, {"id": "p0", "choice": "first"},
           {"id": "p3", "choice": "first"}, {"id": "p1", "choice": None}]  # fmt: skip


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_choices_are_joined_by_id_in_every_format(tmp_path: Path, pairset: Path, ending: str) -> None:
    # Strict: p0 right, p1 no answer, p2 wrong.
    path = write(tmp_path / f"choices.{ending}", CHOICES)
    assert accuracy(path, pairset) == (pytest.approx(1 / 3), 3, 1)


def test_probabilities_and_scores_of_a_pair(tmp_path: Path, pairset: Path) -> None:
    p = [{"id": f"p{i}", "p_first": p} for i, p in enumerate([0.9, 0.5, 0.2, 0.7])]
    assert accuracy(write(tmp_path / "p.csv", p), pairset) == (pytest.approx(2 / 3), 3, 0)  # 0.5 names no side
    numbers = [(2, 1), (1, 3), (0, 5), (0, 0)]
    scores = [{"id": f"p{i}", "score_first": a, "score_second": b} for i, (a, b) in enumerate(numbers)]
    path = write(tmp_path / "s.jsonl", scores)
    assert accuracy(path, pairset) == (pytest.approx(2 / 3), 3, 0)
    judged = read_judged(path, truth_of_pairset(pairset))
    assert judged.margin.tolist() == [1, -2, -5, 0] and judged.margin_unit == "score"


def test_both_orders_of_a_pair(tmp_path: Path, pairset: Path) -> None:
    rows = [("first", "first"), ("first", "second"), ("second", None), (None, None)]
    path = write(
        tmp_path / "orders.jsonl",
        [{"id": f"p{i}", "choice_forward": f, "choice_swapped": s} for i, (f, s) in enumerate(rows)],
    )
    # p0 both right; p1 right and wrong; p2 right and missing.
    assert accuracy(path, pairset, "mmrb2") == (pytest.approx(4 / 6), 6, 1)
    # Who contradicts himself has named no side, and who misses an order has not answered.
    assert accuracy(path, pairset) == (pytest.approx(1 / 3), 3, 1)
    both = [(0.9, 0.3), (0.4, 0.4), (0.1, 0.4), (0.5, 0.5)]
    p = [{"id": f"p{i}", "p_first_forward": f, "p_first_swapped": s} for i, (f, s) in enumerate(both)]
    # Averaged: 0.6 right, 0.4 wrong, 0.25 right. Apart: right wrong, wrong wrong, right right.
    assert accuracy(write(tmp_path / "p.jsonl", p), pairset) == (pytest.approx(2 / 3), 3, 0)
    assert accuracy(write(tmp_path / "p.jsonl", p), pairset, "mmrb2") == (pytest.approx(3 / 6), 6, 0)


def image_rows(folder: Path, prompt: bool = False) -> list[dict[str, Any]]:
    """A score for each image of the set: the first of p0 and p2 scores higher, the second of p1."""
    rows = []
    for row in iter_rows(folder):
        higher = {"p0": 0, "p1": 1, "p2": 0, "p3": 0}[row["id"]]
        for side, name in enumerate(("first_file_name", "second_file_name")):
            more = {"prompt_id": row["prompt"]} if prompt else {}
            rows.append({"image": row[name], "score": float(side == higher), **more})
    return rows


@pytest.mark.parametrize("prompt", [False, True])
def test_scores_per_image_are_joined_by_the_name_in_the_set(tmp_path: Path, pairset: Path, prompt: bool) -> None:
    path = write(tmp_path / "images.parquet", image_rows(pairset, prompt))
    assert accuracy(path, pairset) == (pytest.approx(1 / 3), 3, 0)  # p0 right, p1 and p2 wrong


def test_scores_per_image_are_joined_by_the_hash_of_its_bytes(tmp_path: Path, pairset: Path) -> None:
    from hashlib import sha256

    rows = []
    for i in range(4):
        for side in (0, 1):
            digest = sha256(png(10 * i + 5 * side)).hexdigest()
            rows.append({"sha256": digest, "score": float(side == (i == 1))})
    path = write(tmp_path / "hashes.csv", rows)
    assert accuracy(path, pairset) == (pytest.approx(1 / 3), 3, 0)


def test_a_null_score_leaves_every_pair_of_the_image_unanswered(tmp_path: Path, pairset: Path) -> None:
    rows = image_rows(pairset)
    rows[0]["score"] = None  # the first image of p0
    assert accuracy(write(tmp_path / "images.csv", rows), pairset) == (0.0, 3, 1)


def test_a_groups_scores_are_in_the_publishers_own_order(tmp_path: Path, annotations: Path) -> None:
    rows = [{"id": "g2", "rewards": [0.1, 0.2]}, {"id": "g1", "prompt": "a cat", "rewards": [0.5, 0.7, 0.1]}]
    path = write(tmp_path / "rewards.json", rows)
    truth = truth_of_published("imagereward", annotations, key=form_of(path).key or "id")
    judged = read_judged(path, truth)
    micro = find_protocol("imagereward-micro").evaluate(judged, resamples=5)
    # g1: a-b wrong, a-c right; g2: d-e right, for e has the better rank. b-c is tied.
    assert (micro.estimate.value, micro.n_ties) == (pytest.approx(2 / 3), 1)
    macro = find_protocol("imagereward-macro").evaluate(judged, resamples=5)
    assert macro.estimate.value == pytest.approx((1 / 2 + 1) / 2)


def test_published_paths_name_images_of_published_files(tmp_path: Path, annotations: Path) -> None:
    scores = {"1/a.webp": 3, "1/b.webp": 2, "1/c.webp": 1, "2/d.webp": 1, "2/e.webp": 0}
    path = write(tmp_path / "images.csv", [{"image": name, "score": s} for name, s in scores.items()])
    truth = truth_of_published("imagereward", annotations, key="image")
    result = find_protocol("imagereward-micro").evaluate(read_judged(path, truth), resamples=5)
    assert result.estimate.value == pytest.approx(2 / 3)


def test_scores_in_a_publishers_order_need_the_publishers_file(tmp_path: Path, pairset: Path) -> None:
    path = write(tmp_path / "rewards.jsonl", [{"id": "g1", "rewards": [1, 2]}])
    with pytest.raises(InputError, match="--annotations"):
        accuracy(path, pairset)


def test_a_field_may_go_by_another_name_of_which_a_file_has_one(tmp_path: Path, pairset: Path) -> None:
    rows = [{"file": r["image"], "hps": r["score"], "sha256": "0"} for r in image_rows(pairset)]
    path = write(tmp_path / "images.csv", rows)
    columns = {"image": ["file", "path"], "score": ["hps"]}
    judged = read_judged(path, truth_of_pairset(pairset, key="image"), columns=columns)
    assert find_protocol("hpdv3").evaluate(judged, resamples=5).estimate.value == pytest.approx(1 / 3)
    refuse_misnamed([path, write(tmp_path / "other.csv", [{"path": 1}])], columns)
    with pytest.raises(DataError, match=r"no column path for image, .* file, hps, sha256"):
        refuse_misnamed([path], columns)
    with pytest.raises(DataError, match="both file and hps for score"):
        form_of(path, {"score": ["file", "hps"]})
    # The example is one of what was asked for, and says only what lacks.
    with pytest.raises(
        DataError, match=r"columns file, hps, sha256, .*'image,score' and 'x,1'.*\(--score-column NAME\)"
    ):
        form_of(path, {"image": ["file"]}, {"image": "x", "score": 1})
    with pytest.raises(DataError, match=r"\{\"id\": \"a\"\}.*\(--column id=NAME\)"):
        form_of(write(tmp_path / "x.jsonl", [{"ID": 1}]), None, {"id": "a"})


def test_images_are_found_by_the_end_of_their_names_and_it_is_said(tmp_path: Path, annotations: Path) -> None:
    scores = {"C:\\data\\1\\a.webp": 3, "./1/b.webp": 2, "https://x.org/1/c.webp?size=9": 1, "d": 1, "/2/e.webp": 0}
    truth = truth_of_published("imagereward", annotations, key="image")

    def read(scores: dict[str, Any]) -> Any:
        path = write(tmp_path / "images.csv", [{"image": name, "score": s} for name, s in scores.items()])
        return read_judged(path, truth)

    judged = read(scores)
    assert find_protocol("imagereward-micro").evaluate(judged, resamples=5).estimate.value == pytest.approx(2 / 3)
    assert judged.note and judged.note.startswith("5 images found by the end of their names, ")
    assert read({"1/a.webp": 3, "1/b.webp": 2, "1/c.webp": 1, "2/d.webp": 1, "2/e.webp": 0}).note is None
    with pytest.raises(DataError, match=r"row 6: image 'f.webp' is not in .* such as '1/a.webp' or '1/b.webp'"):
        read({**scores, "f.webp": 1})
    with pytest.raises(DataError, match="row 6: gives 7 to the image that has 3 in row 1"):
        read({**scores, "a.webp": 7})


def test_an_image_may_have_the_same_score_twice_and_no_other(tmp_path: Path, pairset: Path) -> None:
    rows = image_rows(pairset)
    assert accuracy(write(tmp_path / "twice.csv", rows + rows), pairset) == (pytest.approx(1 / 3), 3, 0)
    for other in (0.5, None):
        path = write(tmp_path / "differ.csv", [*rows, {**rows[0], "score": other}])
        with pytest.raises(DataError, match=r"row 9: gives .* in row 1, .*prompt_id"):
            accuracy(path, pairset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "p0", "choice": "left"}, r"choices\.jsonl row 1: choice is 'left'.*first, second"),
        ({"id": "p9", "choice": "first"}, r"row 1: pair 'p9' is not in .*set, .* such as 'p0'"),
        ({"id": "p0", "choice": "first"}, r"row 2: is of the same pair as row 1"),
        ({"choice": "first"}, r"has the columns choice, expected for example"),
        ({"id": None, "choice": "first"}, r"row 1: id is None"),
    ],
)
def test_hostile_rows_of_choices(tmp_path: Path, pairset: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "choices.jsonl", [change, *CHOICES[1:], CHOICES[0]])
    with pytest.raises(DataError, match=message):
        accuracy(path, pairset)


@pytest.mark.parametrize(
    ("score", "message"),
    [("nan", r"row 1: a score is nan"), ("inf", "inf"), ("many", "many"), (True, "True")],
)
def test_hostile_scores(tmp_path: Path, pairset: Path, score: object, message: str) -> None:
    ending = "jsonl" if isinstance(score, bool) else "csv"
    rows: list[dict[str, Any]] = image_rows(pairset)
    rows[0]["score"] = score
    with pytest.raises(DataError, match=message):
        accuracy(write(tmp_path / f"images.{ending}", rows), pairset)


def test_a_pair_or_image_without_a_row_is_an_error_or_unanswered_as_asked(tmp_path: Path, pairset: Path) -> None:
    path = write(tmp_path / "choices.jsonl", CHOICES[:3])
    with pytest.raises(DataError, match=r"1 of 4 pairs .* no row, the first is its pair 2"):
        accuracy(path, pairset)
    assert accuracy(path, pairset, absent="unanswered") == (pytest.approx(1 / 3), 3, 1)
    assert accuracy(path, pairset, absent="left-out") == (pytest.approx(1 / 2), 2, 0)
    assert read_judged(path, truth_of_pairset(pairset), absent="left-out").n_left_out == 1
    images = write(tmp_path / "images.csv", image_rows(pairset)[1:])
    with pytest.raises(DataError, match="an image without a score"):
        accuracy(images, pairset)
    assert accuracy(images, pairset, absent="unanswered") == (0.0, 3, 1)


def test_an_image_of_no_pair_is_an_error(tmp_path: Path, pairset: Path) -> None:
    rows = [*image_rows(pairset), {"image": "images/other.png", "score": 1.0}]
    with pytest.raises(DataError, match=r"row 9: image 'images/other\.png' is not in"):
        accuracy(write(tmp_path / "images.csv", rows), pairset)


def test_a_group_with_too_few_or_too_many_scores_is_an_error(tmp_path: Path, annotations: Path) -> None:
    for rewards, message in (
        ([1.0, 2.0], "an image without a score"),
        ([1.0, 2.0, 3.0, 4.0], "group 'g1' of 4 images is not"),
    ):
        path = write(tmp_path / "r.jsonl", [{"id": "g1", "rewards": rewards}, {"id": "g2", "rewards": [1, 2]}])
        with pytest.raises(DataError, match=message):
            read_judged(path, truth_of_published("imagereward", annotations, key="place"))


def test_our_own_predictions_and_judges_texts_carry_their_truth(tmp_path: Path, pairset: Path) -> None:
    own = {"id": "a", "prompt_id": "q", "p_first": 0.8, "p_first_forward": 0.9, "p_first_swapped": 0.7,
           "votes_first": 0, "votes_second": 0, "label": "first", "samples": []}  # fmt: skip
    path = write(tmp_path / "predictions.jsonl", [own])
    judged = read_judged(path)
    assert find_protocol("hpdv3").evaluate(judged, resamples=5).estimate.value == 1.0
    assert find_protocol("earshot").evaluate(judged, resamples=5).estimate.n == 0  # no votes
    assert find_protocol("mmrb2").evaluate(judged, resamples=5).estimate.n == 2
    run = tmp_path / "run" / "predictions.jsonl"
    run.parent.mkdir()
    people = ("prompt_id", "votes_first", "votes_second", "label")
    asked = {key: value for key, value in own.items() if key not in people} | {"content": "c"}
    write(run, [asked, {"id": "b", "error": "no picture"}])
    with pytest.raises(DataError, match=r"people.jsonl: pair 'a' is missing"):
        read_judged(run)
    write(run.parent / "people.jsonl", [{"id": "a", "content": "c", **{key: own[key] for key in people}}])
    assert find_protocol("mmrb2").evaluate(read_judged(run), resamples=5).estimate.n == 2
    with pytest.raises(InputError, match="leave out --data"):
        read_judged(path, truth_of_pairset(pairset))
    with pytest.raises(InputError, match="give --data"):
        read_judged(write(tmp_path / "c.jsonl", CHOICES))
    texts = [{"idx": 0, "prompt": "q", "response": "so [[B>A]]", "human_vote": "rightvote"},
             {"idx": 1, "prompt": "q", "response": "hm", "human_vote": "bothbad_vote"}]  # fmt: skip
    four = find_protocol("genai-bench-four-way").evaluate(read_judged(write(tmp_path / "t.jsonl", texts)), resamples=5)
    assert (four.estimate.value, four.n_missing, four.n_ties, four.n_prompts) == (0.5, 1, 1, 1)
    edits = write(tmp_path / "e.jsonl", [{"source_prompt": "q", "response": "[[A>B]]", "human_vote": "leftvote"}])
    with pytest.raises(DataError, match="has the columns source_prompt, response, human_vote, expected"):
        read_judged(edits)
    edit = {"idx": 3, "source_prompt": "a clock", "instruct_prompt": "a TV instead", "human_vote": "leftvote"}
    edited = read_judged(write(tmp_path / "e.jsonl", [{**edit, "response": "[[A>B]]"}]))
    diff = find_protocol("genai-bench-diff")
    assert diff.evaluate(edited, resamples=5).estimate.value == 1.0
    assert "1 pairs of genai-bench-tiger-edit; not TIGER" in str(diff.benchmark.stranger(edited))
    bad = write(tmp_path / "t.jsonl", [{**texts[0], "human_vote": "left"}])
    with pytest.raises(DataError, match=r"row 1: human_vote is 'left', expected one of leftvote"):
        read_judged(bad)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "", "ends in '.txt'"),
        ("x.json", "{}", "JSON Lines or one object.*expected a list"),
        ("x.json", "path,score", "no JSON.*name it .csv"),
        ("x.jsonl", '[{"id": 1}]', "a JSON list.*name it .json"),
        ("x.csv", '{"image": "a", "score": 1}', "holds JSON.*name it .jsonl"),
        ("x.csv", "image;score\na;0,5", "separated by commas, not by ';'"),
        ("x.csv", "image\tscore\na\t0.5", "not by '.t'"),
        ("x.csv", "image, score\na,1", "columns image, ' score',"),
        ("x.csv", "a.png,0.5\nb.png,0.7", "expected a head"),
        ("x.csv", "image,score,score\na,1,2", "names 'score' twice"),
        ("x.csv", "image,score\n", "no rows"),
        ("x.csv", "\ufeff", "is empty"),
        ("x.xlsx", "PK", "is a spreadsheet, .*save it as CSV"),
        ("x.csv", "PK\3\4", "is a spreadsheet"),
        (".", "", "is a folder without a predictions.jsonl"),
        ("x.json", "[1]", "row 1: is a JSON int"),
        ("x.json", "[", "no JSON"),
        ("x.jsonl", "", "is empty"),
        ("x.csv", "id,choice\np0\n", "row 1: has more or fewer cells"),
        ("x.parquet", "no", "no complete parquet"),
    ],
)
def test_hostile_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    if name != ".":
        (tmp_path / name).write_text(content)
    with pytest.raises((DataError, InputError), match=message):
        form_of(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: is no file"):
        form_of(tmp_path / "nowhere.csv")
