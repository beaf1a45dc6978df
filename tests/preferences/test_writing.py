"""Three forms of the same pairs, each read by whoever it is for."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image

from earshot.data.check import check_pairset
from earshot.data.importing import import_set
from earshot.data.pairset import PairSet
from earshot.errors import DataError, InputError
from earshot.files import read_jsonl
from earshot.judging.model import RewardModel
from earshot.preferences.choosing import Rules
from earshot.preferences.writing import CHOICES_FILE, write_preferences
from earshot.protocol import parse_completion, prompt_set
from tests.judging.opinions import Opinionated
from tests.preferences.ranked import SETTINGS, rank, write_rows

GROUPS = [[10 * k, 10 * k + 60, 10 * k + 125] for k in range(6)]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranked")
    # With so much noise some of several completions name the darker picture.
    model = RewardModel(Opinionated(noise=0.7), samples=6)
    return rank(write_rows(folder, GROUPS), folder / "ranked.parquet", model)


def brightness(data: bytes | Path) -> int:
    image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
    return int(np.asarray(image)[0, 0, 0])


def kept(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_jsonl(folder / CHOICES_FILE) if row["kept"]}


def test_pairs_are_a_pair_set_that_passes_every_check(ranked: Path, tmp_path: Path) -> None:
    tally = write_preferences(ranked, tmp_path / "out", "pairs")
    pairs = list(PairSet(tmp_path / "out"))
    assert tally.rows == len(pairs) == tally.reasons["kept"] > 10 and tally.prompts == 6
    assert not list(check_pairset(tmp_path / "out"))
    for pair in pairs:
        lighter = "first" if brightness(pair.first) > brightness(pair.second) else "second"
        assert pair.votes.majority == lighter and pair.votes.total == 1
    assert {pair.votes.majority for pair in pairs} == {"first", "second"}
    assert {pair.id for pair in pairs} == set(kept(tmp_path / "out"))
    assert load_dataset("imagefolder", data_dir=str(tmp_path / "out"), split="train").num_rows == len(pairs)


def test_every_pair_that_was_compared_has_a_line_that_says_why(ranked: Path, tmp_path: Path) -> None:
    tally = write_preferences(ranked, tmp_path / "out", "pairs", Rules(margin=0.65))
    lines = list(read_jsonl(tmp_path / "out" / CHOICES_FILE))
    assert {"kept", "margin"} <= set(tally.reasons)
    assert len(lines) == 18 == tally.reasons.total()  # 6 prompts of 3 pairs
    for line in lines:
        assert line["kept"] == (line["reason"] == "kept")
        assert (line["reason"] == "margin") <= (line["margin"] < 0.65)
    info = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert info["rules"] == {"margin": 0.65, "agreement": True, "select": "all"}
    assert info["ranked"]["model"] == SETTINGS and "no person's vote" in info["note"]


def test_diffusion_dpo_is_read_as_pick_a_pic_is(ranked: Path, tmp_path: Path) -> None:
    tally = write_preferences(ranked, tmp_path / "out", "diffusion-dpo")
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == tally.rows == tally.reasons["kept"]
    for row in rows:
        # What trainers do: bytes to RGB, and the label says which is the better one.
        lights = [brightness(row[name]) for name in ("jpg_0", "jpg_1")]
        assert (row["label_0"], row["label_1"]) == ((1, 0) if lights[0] > lights[1] else (0, 1))
        assert row["best_image_uid"] == row["image_0_uid" if row["label_0"] else "image_1_uid"]
        assert row["has_label"] and row["caption"].startswith("grey ")
    assert set(rows["label_0"]) == {0.0, 1.0}
    imported = import_set("pickapic-v2", tmp_path / "out", tmp_path / "set", split="train")
    assert imported.counts.strict == tally.rows


def test_dpo_has_a_completion_for_either_side_about_the_pictures_as_they_were_shown(
    ranked: Path, tmp_path: Path
) -> None:
    rules = Rules(margin=0.0, agreement=False)
    tally = write_preferences(ranked, tmp_path / "out", "dpo", rules)
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    standard = prompt_set("standard")
    assert rows.num_rows == tally.rows > 4
    assert tally.reasons["completions"] > 0
    sides = set()
    for row in rows:
        first, second = (int(np.asarray(image)[0, 0, 0]) for image in row["images"])
        lighter = "first" if first > second else "second"
        won, lost = (parse_completion(row[name][0]["content"][0]["text"], standard) for name in ("chosen", "rejected"))
        assert won.side == lighter != lost.side
        assert [part["type"] for part in row["prompt"][-1]["content"]].count("image") == 2
        assert "grey " in row["prompt"][-1]["content"][-1]["text"]
        sides.add(lighter)
    assert sides == {"first", "second"}


def test_dpo_knows_in_which_words_the_author_was_asked(ranked: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"was asked with standard .*; give those"):
        write_preferences(ranked, tmp_path / "out", "dpo", prompts="brief")
    unknown = rank(write_rows(tmp_path, GROUPS), tmp_path / "r.parquet", settings={"model": {"prompts": "mine 123"}})
    with pytest.raises(InputError, match=r"mine 123, which is no prompt set .* \(--prompts\)"):
        write_preferences(unknown, tmp_path / "out", "dpo")
    with pytest.raises(InputError, match="format is pairs"):
        write_preferences(ranked, tmp_path / "out", "pairs", prompts="standard")


def test_where_no_pair_is_kept_nothing_is_and_the_message_counts_the_reasons(ranked: Path, tmp_path: Path) -> None:
    for form in ("pairs", "dpo", "diffusion-dpo"):
        with pytest.raises(DataError, match=r"no pair is kept of 18 in 6 prompts \(.*\d+ margin"):
            write_preferences(ranked, tmp_path / "out", form, Rules(margin=1.0))
        assert not (tmp_path / "out").exists()


def test_what_holds_no_rankings_is_refused_by_its_columns(ranked: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "scores": [1.0]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"has columns prompt, scores, expected .* row, id, images, ranking, compar"):
        write_preferences(tmp_path / "other.parquet", tmp_path / "out", "pairs")
    pq.write_table(pq.read_table(ranked).replace_schema_metadata({}), tmp_path / "bare.parquet")
    with pytest.raises(DataError, match="does not say what it was ranked with"):
        write_preferences(tmp_path / "bare.parquet", tmp_path / "out", "pairs")
    for missing in (tmp_path / "gone.parquet", tmp_path / "gone"):
        with pytest.raises(InputError, match="no file of rankings"):
            write_preferences(missing, tmp_path / "out", "pairs")


def test_a_folder_with_something_in_it_is_left_alone(ranked: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for form in ("pairs", "dpo", "diffusion-dpo"):
        with pytest.raises(InputError, match=r"holds other files \(mine.txt\)"):
            write_preferences(ranked, tmp_path, form)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_shards_of_one_job_give_what_the_whole_gives_and_bad_rows_are_passed_over(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in", GROUPS, row2={"images": ["10.png", "gone.png"]})
    for index in (1, 2):
        rank(source, tmp_path / "shards" / f"{index}.parquet", shard=(index, 2), tolerate=1)
    rank(source, tmp_path / "whole.parquet", tolerate=1)
    tallies = [
        write_preferences(tmp_path / name, tmp_path / f"{name}-out", "pairs") for name in ("shards", "whole.parquet")
    ]
    assert tallies[0] == tallies[1] and tallies[0].bad == 1 and tallies[0].prompts == 5
    rank(source, tmp_path / "shards" / "3.parquet", shard=(1, 2), tolerate=1, seed=1)
    with pytest.raises(InputError, match=r"3.parquet: is of another job than 1.parquet"):
        write_preferences(tmp_path / "shards", tmp_path / "mixed", "pairs")
