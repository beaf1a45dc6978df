"""Python, the shell and HTTP give the same numbers for real published pictures."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.parquet as pq
import pytest

from earshot.cli.main import main
from earshot.judging.model import RewardModel, load
from earshot.serve import Server
from tests.serve.conftest import b64
from tests.servers import served

SEED = 7
# Of published captions the tiny model knows hardly a word, and what it writes of them is malformed; so the same
# pictures are also shown with a prompt in its own language.
UNDERSTOOD = "small red circle , large blue square"
OPTIONS = ["--model", "world:reasoner", "--listener", "world:listener", "--max-new-tokens", "96", "--device", "cpu"]
OPTIONS += ["--seed", str(SEED)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> RewardModel:
    return load("world:reasoner", listener="world:listener", max_new_tokens=96, device="cpu")


@pytest.fixture(scope="module")
def client(model: RewardModel) -> Iterator[httpx2.Client]:
    with served(Server(model)) as url, httpx2.Client(base_url=url, timeout=120.0) as client:
        yield client


def mjbench(root: Path) -> list[tuple[str, Path, Path]]:
    """Prompt, first and second picture of every pair."""
    found = []
    for name, captions in (("human", "captions_human.json"), ("objects_indoor", "captions_objects.json")):
        folder = root / "mjbench_quality" / name
        for row in json.loads((folder / captions).read_text(encoding="utf-8")):
            images = [folder / f"examples_{name}" / row[f"image_{side}"] for side in (0, 1)]
            found += [(prompt, *images) for prompt in (row["caption"], UNDERSTOOD)]
    return found


def ask(client: httpx2.Client, path: str, **body: Any) -> Any:
    return client.post(path, json={**body, "seed": SEED}).raise_for_status().json()


def worst(a: Any, b: Any, fields: list[str]) -> float:
    assert [a[name] is None for name in fields] == [b[name] is None for name in fields]
    return max([abs(a[name] - b[name]) for name in fields if a[name] is not None], default=0.0)


def test_the_pairs_of_mjbench(
    model: RewardModel,
    client: httpx2.Client,
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs = mjbench(shared_data)
    assert len(pairs) == 400
    python = [
        model.compare(prompt=prompt, first=first, second=second, seed=SEED).as_dict() for prompt, first, second in pairs
    ]

    def over_http(pair: tuple[str, Path, Path]) -> Any:
        first, second = (b64(path.read_bytes()) for path in pair[1:])
        return ask(client, "/v1/compare", prompt=pair[0], first=first, second=second)

    with ThreadPoolExecutor(16) as pool:  # in whatever batches they meet
        http = list(pool.map(over_http, pairs))
    rows = [
        {"id": str(k), "prompt": prompt, "first": first.name, "second": second.name}
        for k, (prompt, first, second) in enumerate(pairs)
    ]
    for image in {image for _, *images in pairs for image in images}:
        shutil.copy(image, tmp_path / image.name)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["judge", *OPTIONS, str(tmp_path / "in.jsonl"), str(tmp_path / "out.parquet")]) == 0
    shell = pq.read_table(tmp_path / "out.parquet").to_pylist()
    fields = ["p_first", "p_first_forward", "p_first_swapped", "p_author"]
    apart = {"http": 0.0, "judge": 0.0, "compare": 0.0}
    for one, over, row in zip(python, http, shell, strict=True):
        assert one["verdict"] == over["verdict"] == row["verdict"]
        assert [s["trace"] for s in one["samples"]] == [s["trace"] for s in over["samples"]]
        apart["http"] = max(apart["http"], worst(one, over, fields))
        apart["judge"] = max(apart["judge"], worst(one, row, fields))
    for (prompt, first, second), one in [*zip(pairs, python, strict=True)][1::80]:
        capsys.readouterr()
        assert main(["compare", *OPTIONS, "--json", "--prompt", prompt, str(first), str(second)]) == 0
        apart["compare"] = max(apart["compare"], worst(one, json.loads(capsys.readouterr().out), fields))
    known = sum(one["p_first"] is not None for one in python)
    with capsys.disabled():
        print(
            f"\n{known} of 400 comparisons of MJ-Bench's pictures with a verdict, largest difference to Python: {apart}"
        )
    assert max(apart.values()) <= 1e-6 and known > 120


def test_the_ranked_pictures_of_imagereward(
    model: RewardModel, client: httpx2.Client, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "imagereward"
    groups = json.loads((folder / "imagereward_test.json").read_text(encoding="utf-8"))
    (prompt,) = {group["prompt"] for group in groups if group["id"] == "005937-0167"}
    paths = [folder / f"{k}.webp" for k in (1, 2, 3, 4)]
    for asked in (prompt, UNDERSTOOD):
        python = model.rank(prompt=asked, images=paths, seed=SEED).as_dict()
        http = ask(client, "/v1/rank", prompt=asked, images=[b64(path.read_bytes()) for path in paths])
        capsys.readouterr()
        assert main(["rank", *OPTIONS, "--json", "--prompt", asked, *map(str, paths)]) == 0
        shell = json.loads(capsys.readouterr().out)
        for other in (http, shell):
            for a, b in zip(python["images"], other["images"], strict=True):
                assert a["rank"] == b["rank"]
                assert a["win_rate"] == pytest.approx(b["win_rate"], abs=1e-6)
                assert a["strength"] == pytest.approx(b["strength"], abs=1e-6)
        with capsys.disabled():
            print(f"\nranks of the four pictures: {[image['rank'] for image in python['images']]}")
    assert None not in [image["rank"] for image in python["images"]]
