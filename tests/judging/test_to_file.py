"""A file is judged to the same bytes however often the work is stopped; no row is lost, dropped or doubled."""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earshot.errors import DataError, ImageError, InputError, ListenerUnavailable
from earshot.files import read_jsonl
from earshot.judging import to_file
from earshot.judging.model import RewardModel
from earshot.judging.parts import Local, Parts, share
from earshot.judging.rows import Columns
from earshot.judging.to_file import judge_file, ranking_schema_of, schema_of
from tests.judging.constant import SETTINGS, Constant
from tests.judging.opinions import Opinionated, shade
from tests.preferences.ranked import SETTINGS as SETTINGS_RANKED
from tests.preferences.ranked import rank, write_rows

ROOT = Path(__file__).resolve().parents[2]


def make(folder, n, name="in.parquet", **replaced):
    """A file of n rows about two pictures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, brightness in (("dark", 100), ("light", 140)):
        shade(brightness).save(folder / f"{side}.png")
    rows = [{"id": f"r{k}", "prompt": f"grey {k}", "first": "dark.png", "second": "light.png"} for k in range(n)]
    for k, change in replaced.items():
        rows[int(k.removeprefix("row"))] |= change
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=17)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judge(source, out, model=None, **more):
    options = {"batch": 4, "part_rows": 25, "settings": SETTINGS} | more
    return judge_file(source, out, Local(model or Constant()), **options)


def rows_of(out):
    return pq.read_table(out).to_pylist()


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_every_row_is_judged_in_its_order(tmp_path, name):
    tally = judge(make(tmp_path, 60, name), tmp_path / "out.parquet")
    rows = rows_of(tmp_path / "out.parquet")
    assert tally == (60, 0)
    assert [row["row"] for row in rows] == list(range(60))
    assert [row["id"] for row in rows] == [f"r{k}" for k in range(60)]
    assert all(row["verdict"] in ("first", "second") and row["error"] is None for row in rows)
    assert not (tmp_path / "out.parquet.parts").exists()
    assert pq.read_schema(tmp_path / "out.parquet").names == schema_of().names


def test_it_gives_the_numbers_that_compare_gives(tmp_path):
    model = RewardModel(Opinionated(noise=0.3), samples=2)
    judge(make(tmp_path, 5), tmp_path / "out.parquet", model, seed=4)
    for k, row in enumerate(rows_of(tmp_path / "out.parquet")):
        told = model.compare(prompt=f"grey {k}", first=shade(100), second=shade(140), seed=4)
        expected = {name: value for name, value in told.as_dict().items() if name not in ("id", "samples", "p_read")}
        assert {name: row[name] for name in expected} == expected


def test_embedded_images_and_other_column_names_do(tmp_path):
    def png(brightness):
        buffer = io.BytesIO()
        shade(brightness).save(buffer, format="PNG")
        return buffer.getvalue()

    rows = [{"caption": "a", "jpg_0": {"bytes": png(100), "path": None}, "jpg_1": {"bytes": png(140), "path": "x"}}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    model = RewardModel(Opinionated())
    judge(tmp_path / "in.parquet", tmp_path / "out.parquet", model, columns=Columns("caption", "jpg_0", "jpg_1"))
    (row,) = rows_of(tmp_path / "out.parquet")
    assert row["id"] == "0"
    assert row["p_first"] == model.compare(prompt="a", first=shade(100), second=shade(140)).p_first


def test_a_pair_set_does(tmp_path):
    path = make(tmp_path / "set", 3, "metadata.jsonl")
    text = path.read_text().replace('"first":', '"first_file_name":').replace('"second":', '"second_file_name":')
    path.write_text(text)
    assert judge(tmp_path / "set", tmp_path / "out.parquet") == (3, 0)


@pytest.mark.parametrize("of", [1, 3, 7, 50])
def test_shards_one_after_another_are_the_whole(tmp_path, of):
    source = make(tmp_path, 40)
    judge(source, tmp_path / "whole.parquet")
    for index in range(1, of + 1):
        judge(source, tmp_path / f"{index}.parquet", shard=(index, of))
    together = [row for index in range(1, of + 1) for row in rows_of(tmp_path / f"{index}.parquet")]
    assert together == rows_of(tmp_path / "whole.parquet")


def test_shares_are_every_row_once():
    for n in (0, 1, 10, 101):
        for of in (1, 2, 7, 200):
            bounds = [share(n, index, of) for index in range(1, of + 1)]
            assert [k for start, stop in bounds for k in range(start, stop)] == list(range(n))
    for index, of in ((0, 3), (4, 3), (1, 0)):
        with pytest.raises(InputError, match="1 ≤ i ≤ n"):
            share(10, index, of)


def start(source, out, log, seconds=0.004):
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"}
    command = [sys.executable, str(Path(__file__).with_name("constant.py")), *map(str, (source, out, log, seconds))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


def wait_for_parts(folder, n, child):
    """Until so many parts stand there, or the child is done."""
    while child.poll() is None and len(list(folder.glob("part-*.jsonl"))) < n:
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_it_had_been_left_alone(tmp_path):
    source, out, log = make(tmp_path, 1000), tmp_path / "out.parquet", tmp_path / "log"
    log.touch()
    judge(source, tmp_path / "undisturbed.parquet")
    rng, kills = random.Random(0), 0
    while kills < 6:
        parts = sorted((tmp_path / "out.parquet.parts").glob("part-*.jsonl"))
        done = {f"grey {row['row']}" for part in parts for row in read_jsonl(part)}
        before = log.stat().st_size
        child = start(source, out, log)
        wait_for_parts(tmp_path / "out.parquet.parts", len(parts) + rng.randrange(5), child)
        time.sleep(rng.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        if child.returncode == 0:  # it was done before it was to be killed
            break
        kills += 1
        # What stands in a part is never judged again.
        assert not done & set(log.read_text()[before:].splitlines())
    assert kills >= 5
    judge(source, out)
    assert out.read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()
    assert sorted(file.name for file in tmp_path.glob("*out.parquet*")) == ["out.parquet"]


@dataclass(frozen=True)
class Shuffled(Local):
    """Gives the parts in another order, and stops after some."""

    after: int | None = None

    def parts(self, job, missing):
        mixed = random.Random(3).sample(missing, len(missing))
        for bounds in mixed[: self.after]:
            yield from super().parts(job, [bounds])
        if self.after is not None:
            raise Stop


@pytest.mark.parametrize("name", ["in.parquet", pytest.param("in.jsonl", marks=pytest.mark.slow)])
def test_parts_may_come_in_any_order_and_be_missing_anywhere(tmp_path, name):
    # Of 3,000 lines, so that those of most parts are not counted from the top of the file.
    source, out, log = (
        make(tmp_path, 3000, name, row7={"first": "gone.png"}),
        tmp_path / "out.parquet",
        tmp_path / "log",
    )
    judge(source, tmp_path / "undisturbed.parquet", tolerate=1)
    seen = []
    with pytest.raises(Stop):
        judge_file(
            *(source, out, Shuffled(Constant(log), after=50)),
            **{"batch": 4, "part_rows": 25, "settings": SETTINGS, "tolerate": 1},
            progress=lambda *now: seen.append(now),
        )
    assert seen == [(done, 3000) for done in range(0, 1251, 25)]
    files = sorted((tmp_path / "out.parquet.parts").glob("part-*"))
    gaps = [int(a.stem[5:]) + 25 != int(b.stem[5:]) for a, b in pairwise(files)]
    assert len(files) == 50 and sum(gaps) > 10
    assert judge(source, out, Constant(log), tolerate=1) == (3000, 1)
    assert sorted(log.read_text().splitlines()) == sorted(f"grey {k}" for k in range(3000) if k != 7)
    assert out.read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()


def test_bad_rows_of_all_parts_count_whatever_their_order(tmp_path):
    source = make(tmp_path, 200, **{f"row{k}": {"first": "gone.png"} for k in range(0, 200, 20)})
    for tolerate in (0, 4, 9):
        with pytest.raises(DataError, match=rf"\(bad row {tolerate + 1}, tolerated are {tolerate};"):
            judge_file(
                *(source, tmp_path / "out.parquet", Shuffled(Constant())),
                **{"batch": 4, "part_rows": 25, "settings": SETTINGS, "tolerate": tolerate},
            )
    assert judge(source, tmp_path / "out.parquet", tolerate=10) == (200, 10)


def test_a_bad_row_reads_alike_wherever_the_file_lies(tmp_path, monkeypatch):
    bad = {"row1": {"first": "gone.png"}, "row2": {"first": "/x.png"}, "row3": {"first": "broken.png"}}
    for folder in ("here", "there"):
        make(tmp_path / folder, 5, **bad)
        (tmp_path / folder / "broken.png").write_bytes(b"no")
    model = RewardModel(Opinionated())
    judge(tmp_path / "here" / "in.parquet", tmp_path / "1.parquet", model, tolerate=3)
    monkeypatch.chdir(tmp_path / "there")
    judge(Path("in.parquet"), Path("2.parquet"), model, tolerate=3)
    assert (tmp_path / "1.parquet").read_bytes() == Path("2.parquet").read_bytes()
    errors = [row["error"] for row in rows_of(tmp_path / "1.parquet")]
    assert errors[1] == "first: gone.png is missing; put the image there or drop the row"
    assert errors[2].startswith(
        "first: '/x.png' is an absolute path; expected one relative to the file's folder, or in a folder"
    )
    assert errors[3].startswith("first: broken.png: ")


class Stop(BaseException):
    """Stands for a kill at a chosen place."""


@pytest.mark.parametrize("place", ["replace_schema_metadata", "rename", "rmtree"])
def test_stopped_while_it_puts_the_parts_together_it_ends_alike(tmp_path, monkeypatch, place):
    source, out = make(tmp_path, 60), tmp_path / "out.parquet"
    judge(source, tmp_path / "undisturbed.parquet")

    def stop(*_, **__):
        raise Stop

    with monkeypatch.context() as patch:
        if place == "replace_schema_metadata":
            patch.setattr(to_file.pq, "ParquetWriter", stop)
        else:
            patch.setattr(*{"rename": (Path, "rename"), "rmtree": (shutil, "rmtree")}[place], stop)
        with pytest.raises(Stop):
            judge(source, out)
    asked = tmp_path / "asked"
    assert judge(source, out, Constant(asked)) == (60, 0)
    assert not asked.exists()
    assert out.read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()
    assert not (tmp_path / "out.parquet.parts").exists()


def test_done_is_done_and_another_job_may_not_write_over_it(tmp_path):
    source, out = make(tmp_path, 30), tmp_path / "out.parquet"
    judge(source, out)
    before = out.read_bytes()
    assert judge(source, out, Constant(tmp_path / "log")) == (30, 0)
    assert not (tmp_path / "log").exists()
    for more in ({"seed": 1}, {"settings": {"model": "another"}}, {"shard": (1, 2)}, {"batch": 8}):
        with pytest.raises(InputError, match="was made with"):
            judge(source, out, **more)
    make(tmp_path, 31)
    with pytest.raises(InputError, match="was made with"):
        judge(source, out)
    assert out.read_bytes() == before
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not from 'earshot judge'"):
        judge(source, tmp_path / "other.parquet")


def test_parts_of_another_job_are_not_gone_on_with(tmp_path):
    source, out = make(tmp_path, 60, row40={"first": "gone.png"}), tmp_path / "out.parquet"
    with pytest.raises(DataError):
        judge(source, out)
    with pytest.raises(InputError, match=r"out.parquet.parts: was made with seed 0, asked for 1"):
        judge(source, out, seed=1)


def test_two_at_once_are_refused(tmp_path):
    source, out = make(tmp_path, 30), tmp_path / "out.parquet"
    parts = tmp_path / "out.parquet.parts"
    parts.mkdir()
    with Parts(parts, []).held(), pytest.raises(InputError, match="another process"):
        judge(source, out)
    assert judge(source, out) == (30, 0)


BAD = {
    "row3": {"first": "gone.png"},
    "row4": {"second": "../outside.png"},
    "row30": {"prompt": None},
    "row31": {"first": None},
}


def test_bad_rows_stop_the_work_or_are_counted_and_written_with_their_error(tmp_path):
    source, out = make(tmp_path, 60, **BAD), tmp_path / "out.parquet"
    with pytest.raises(
        DataError, match=r"in.parquet: row 3 'r3': .*gone.png is missing.* \(bad row 1, tolerated are 0"
    ):
        judge(source, out)
    with pytest.raises(DataError, match=r"row 31 'r31': first is None, expected a path .* \(bad row 4"):
        judge(source, out, tolerate=3)
    # The first part and its two bad rows are there, and count on.
    log = tmp_path / "log"
    assert judge(source, out, Constant(log), tolerate=4) == (60, 4)
    assert log.read_text().splitlines()[0] == "grey 25"
    rows = rows_of(out)
    assert [row["row"] for row in rows if row["error"]] == [3, 4, 30, 31]
    assert all((row["verdict"] is None) == (row["error"] is not None) for row in rows)
    assert rows[4]["error"].startswith("second: '../outside.png' holds '..'")
    assert all((row["sha256"] is None) == (row["error"] is None) for row in rows)
    assert len({row["sha256"] for row in rows}) == 5
    assert judge(source, out, tolerate=4) == (60, 4)


def test_images_that_are_refused_when_they_are_opened_are_bad_rows(tmp_path):
    model = Constant(refused=frozenset({"grey 5"}))
    assert judge(make(tmp_path, 10), tmp_path / "out.parquet", model, tolerate=1) == (10, 1)
    assert rows_of(tmp_path / "out.parquet")[5]["error"] == "first: is damaged"


def test_lines_that_are_no_rows_are_bad_rows(tmp_path):
    source = make(tmp_path, 4, "in.jsonl")
    lines = source.read_text().splitlines()
    lines[1], lines[2] = "{", "[1]"
    source.write_text("\n".join(lines))
    assert judge(source, tmp_path / "out.parquet", tolerate=2) == (4, 2)
    assert [row["id"] for row in rows_of(tmp_path / "out.parquet")] == ["r0", "1", "2", "r3"]


def test_a_listener_that_breaks_stops_the_work_and_loses_nothing(tmp_path):
    class Breaks(Constant):
        def answer(self, questions, wanted=None):
            if any(question.pair.prompt == "grey 30" for question in questions):
                raise ListenerUnavailable("gone")
            return super().answer(questions)

    source, out, log = make(tmp_path, 60), tmp_path / "out.parquet", tmp_path / "log"
    with pytest.raises(ListenerUnavailable):
        judge(source, out, Breaks())
    judge(source, out, Constant(log))
    assert len(log.read_text().splitlines()) == 35


def test_what_cannot_be_judged_is_refused_before_anything_is_written(tmp_path):
    source = make(tmp_path, 3)
    (tmp_path / "in.csv").write_text("a")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty.jsonl").write_text("")
    for wrong, columns, message in [
        (tmp_path / "gone.parquet", Columns(), "is no file"),
        (tmp_path / "in.csv", Columns(), "ends in '.csv'"),
        (tmp_path / "bad.parquet", Columns(), "no complete parquet"),
        (tmp_path / "empty.jsonl", Columns(), "no JSON object"),
        (source, Columns("caption"), "expected caption and"),
        (source, Columns("prompt", "a", "b"), "expected prompt and a and b"),
        (source, Columns("prompt", "first"), "name both"),
    ]:
        with pytest.raises(InputError, match=message):
            judge(wrong, tmp_path / "out.parquet", columns=columns)
    assert not list(tmp_path.glob("out*"))


def test_image_errors_are_input_errors():
    assert issubclass(ImageError, InputError)


def test_ranked_rows_are_those_of_rank_and_hold_their_pictures(tmp_path):
    source = write_rows(tmp_path, [[100, 140, 120], [30, 90]])
    out, model = tmp_path / "out.parquet", RewardModel(Opinionated(noise=0.3), samples=2)
    rank(source, out, model, seed=4)
    rows = rows_of(out)
    for k, (row, group) in enumerate(zip(rows, [[100, 140, 120], [30, 90]], strict=True)):
        told = model.rank(f"grey {k}", [shade(brightness, 56) for brightness in group], seed=4).as_row()
        assert row["prompt"] == f"grey {k}" and row["error"] is None
        assert row["ranking"] == told["images"] and row["order"] == told["order"]
        for game, expected in zip(row["comparisons"], told["comparisons"], strict=True):
            assert game["p_first"] == expected["p_first"] and len(game["samples"]) == 4
        assert [image["bytes"] for image in row["images"]] == [(tmp_path / f"{b}.png").read_bytes() for b in group]
    assert pq.read_schema(out).names == ranking_schema_of().names


def test_a_row_to_rank_needs_two_pictures_and_a_list_of_them(tmp_path):
    bad = {"row0": {"images": ["100.png"]}, "row1": {"images": ["100.png", "gone.png"]}}
    source, out = write_rows(tmp_path, [[100, 140]] * 3, **bad), tmp_path / "out.parquet"
    with pytest.raises(DataError, match=r"row 0 'r0': images is a list of 1, expected a list of two or more images"):
        rank(source, out)
    rank(source, out, tolerate=2)
    _, two, three = rows_of(out)
    assert "gone.png is missing" in two["error"] and two["images"] is None and three["error"] is None
    with pytest.raises(DataError, match=r"expected prompt and pictures, a list of images.*--rank"):
        rank(source, tmp_path / "other.parquet", groups="pictures")
    with pytest.raises(InputError, match=r"was made with|not from 'earshot judge'"):
        judge(make(tmp_path / "pairs", 3), out)


def test_stopped_while_it_ranks_it_ends_alike_and_a_picture_that_changed_is_told(tmp_path):
    source = write_rows(tmp_path, [[100 + k, 140, 180] for k in range(6)])
    rank(source, tmp_path / "undisturbed.parquet")
    with pytest.raises(Stop):
        judge_file(
            *(source, tmp_path / "out.parquet", Shuffled(RewardModel(Opinionated()), after=2)),
            **{"groups": "images", "batch": 4, "part_rows": 2, "settings": SETTINGS_RANKED},
        )
    (tmp_path / "101.png").write_bytes((tmp_path / "180.png").read_bytes())
    with pytest.raises(DataError, match=r"row 1 'r1' has changed since it was ranked"):
        rank(source, tmp_path / "out.parquet")
    shade(101, 56).save(tmp_path / "101.png")
    rank(source, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()
