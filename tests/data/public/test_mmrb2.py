"""Multimodal RewardBench 2: three experts on a scale of six, and the side that was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from earshot.errors import DataError
from tests.data.public.sets import write_json

IMAGES = {f"images/p{n}_{side}.jpg": 20 * n + 10 * side for n in range(4) for side in (0, 1)}


def response(n: int, side: int, model: str) -> dict[str, Any]:
    return {"model_name": model, "response_content": [["image", f"images/p{n}_{side}.jpg"]]}


def pair(n: int, chosen: str, marks: Any, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"wise_{n}",
        "response_a": response(n, 0, "imagen4"),
        "response_b": response(n, 1, "flux"),
        "chosen": chosen,
        "human_annotations": marks,
        "prompt_source": "wise",
        "prompt_metadata": {"id": 736, "category": "Biology"},
        "prompt_content": [["text", "A pine tree."]],
    } | changes


def document(*pairs: dict[str, Any]) -> dict[str, Any]:
    return {"pairs": list(pairs)}


def test_marks_above_the_middle_are_votes_for_a(tmp_path: Path, run: Any) -> None:
    # As in the published file: 2, 2, 1 with B; 6, 2, 5 with A; without marks, the choice is the one vote.
    pairs = [pair(0, "B", [2, 2, 1]), pair(1, "A", [6, 2, 5]), pair(2, "A", None), pair(3, "B", [3, 4, 1])]
    del pairs[2]["prompt_metadata"]
    done = run("mmrb2-t2i", write_json(tmp_path / "s", "t2i.json", document(*pairs), IMAGES))
    assert done.votes() == [(0.0, 3.0), (2.0, 1.0), (1.0, 0.0), (1.0, 2.0)]
    assert [p.label for p in done.pairs.values()] == ["second", "first", "first", "second"]
    assert done.shades() == [(0, 10), (20, 30), (40, 50), (60, 70)]
    assert [(p.prompt_id, p.category) for p in done.pairs.values()][1:3] == [("wise:736", "Biology"), (None, "wise")]
    assert {(p.model_first, p.model_second, p.prompt) for p in done.pairs.values()} == {
        ("imagen4", "flux", "A pine tree.")
    }
    assert done.imported.label_against_votes == 0


def test_a_choice_against_the_marks_is_kept_and_counted(tmp_path: Path, run: Any) -> None:
    done = run("mmrb2-t2i", write_json(tmp_path / "s", "t2i.json", document(pair(0, "A", [3, 3, 6])), IMAGES))
    assert done.votes() == [(1.0, 2.0)] and done.imported.label_against_votes == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chosen": "C"}, "chosen is 'C', expected 'A' or 'B'"),
        ({"chosen": None}, "chosen is None"),
        ({"human_annotations": [2, 2]}, "human_annotations has 2 items, expected a list of 3"),
        ({"human_annotations": [2, 2, 7]}, "expected three of 1 to 6"),
        ({"human_annotations": [2, 2, "1"]}, "expected three of 1 to 6"),
        ({"human_annotations": {"a": 1}}, "expected a list of 3"),
        ({"prompt_content": [["image", "images/x.jpg"], ["text", "edit"]]}, "expected text alone"),
        ({"prompt_content": []}, "prompt_content is"),
        ({"response_a": {"model_name": "x"}}, "response_a: has no response_content, found model_name"),
        ({"response_b": {"response_content": [["text", "no"]]}}, "response_b holds .*expected one image"),
        ({"response_b": {"response_content": [["image", "a.jpg"], ["image", "b.jpg"]]}}, "expected one image"),
        ({"response_b": {"response_content": [["image", "/etc/a.jpg"]]}}, "is an absolute path"),
    ],
)
def test_a_bad_pair_is_named(tmp_path: Path, run: Any, changes: Any, message: str) -> None:
    source = write_json(
        tmp_path / "s", "t2i.json", document(pair(0, "A", [5, 5, 5]), pair(1, "A", [5, 5, 5]) | changes)
    )
    with pytest.raises(DataError, match=rf"t2i\.json: pair 1 .*{message}"):
        run("mmrb2-t2i", source, images=False)
    assert len(run("mmrb2-t2i", source, images=False, tolerate=1).pairs) == 1


def test_files_that_are_not_the_built_benchmark_are_refused(tmp_path: Path, run: Any) -> None:
    bare = pair(0, "A", [5, 5, 5])
    del bare["prompt_content"]
    with pytest.raises(DataError, match=r"has no prompt_content.*build_from_hf\.py"):
        run("mmrb2-t2i", write_json(tmp_path / "a", "t2i.json", document(bare)))
    with pytest.raises(DataError, match="holds a JSON NoneType, expected an object with 'pairs'"):
        run("mmrb2-t2i", write_json(tmp_path / "b", "t2i.json", [1]))
