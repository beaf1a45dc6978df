"""`earshot.Client` gives what the model behind the server gives, and says by name what is wrong."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import uvicorn

import earshot
from earshot.cli.main import main
from earshot.errors import ImageError, InputError, RemoteError
from earshot.judging.model import RewardModel, describe
from earshot.serve import Server
from earshot.web import listen
from tests.judging.opinions import shade
from tests.servers import Reply, answering

PROMPT = "a grey square"
SHADES = [shade(brightness) for brightness in (90, 150, 120, 135)]


@pytest.fixture(scope="module")
def url(server: Server) -> Iterator[str]:
    with listen("127.0.0.1", 0) as socket:
        running = uvicorn.Server(uvicorn.Config(server, log_level="error"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [socket]})
        thread.start()
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        running.should_exit = True
        thread.join()


def test_all_that_is_asked_over_http_is_what_the_model_itself_says(url: str, model: RewardModel) -> None:
    client = earshot.load(url)
    assert isinstance(client, earshot.Client) and client.version == earshot.__version__
    for first, second in ((0, 1), (1, 0), (2, 2)):
        told = client.compare(PROMPT, SHADES[first], SHADES[second], seed=5)
        assert told == model.compare(PROMPT, SHADES[first], SHADES[second], seed=5)
        assert told.as_dict() == model.compare(PROMPT, SHADES[first], SHADES[second], seed=5).as_dict()
        assert told.pictures is not None and told.pictures[0].getpixel((0, 0)) == SHADES[first].getpixel((0, 0))
    assert client.rank(PROMPT, SHADES).as_dict() == model.rank(PROMPT, SHADES).as_dict()
    scores = client.score(PROMPT, SHADES[:2], references=SHADES[2:])
    assert scores == model.score(PROMPT, SHADES[:2], references=SHADES[2:])
    assert describe(client) == {"model": {"name": "earshot serve", "version": earshot.__version__}}


def test_it_can_be_awaited(url: str, model: RewardModel) -> None:
    async def ask() -> list[object]:
        client = earshot.AsyncClient(url)
        compared = client.compare(PROMPT, SHADES[0], SHADES[1])
        ranked, scored = client.rank(PROMPT, SHADES), client.score(PROMPT, SHADES[:2], references=SHADES[2:])
        return [*await asyncio.gather(compared, ranked, scored)]

    compared, ranked, scored = asyncio.run(ask())
    assert compared == model.compare(PROMPT, SHADES[0], SHADES[1]) and ranked == model.rank(PROMPT, SHADES)
    assert scored == model.score(PROMPT, SHADES[:2], references=SHADES[2:])


def test_what_is_wrong_with_a_question_is_said_as_of_a_loaded_model(url: str) -> None:
    client = earshot.Client(url)
    with pytest.raises(InputError, match="prompt: is blank"):
        client.compare(" ", SHADES[0], SHADES[1])
    with pytest.raises(ImageError, match=r"first: nowhere\.png: is missing"):
        client.compare(PROMPT, "nowhere.png", SHADES[1])
    with pytest.raises(InputError, match="expected at least 2"):
        client.rank(PROMPT, SHADES[:1])
    long = client.question(prompt="a " * 20_000, first=SHADES[0], second=SHADES[1])
    refused, told = client.try_answer([long, client.question(prompt=PROMPT, first=SHADES[0], second=SHADES[1])])
    assert isinstance(refused, InputError) and "refused with 4" in str(refused)
    assert not isinstance(told, InputError) and told.verdict is not None
    with pytest.raises(InputError):
        client.answer([long])


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1#x", "http://127.0.0.1:9#x", "nowhere"])
def test_an_address_of_something_else_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="expected http://HOST:PORT of 'earshot serve'"):
        earshot.Client(address)


def test_who_is_not_earshot_and_who_speaks_otherwise_is_told_so() -> None:
    def other(path: str, body: object, headers: object) -> Reply:
        return Reply({"info": {"title": "Something"}})

    with answering(other) as address, pytest.raises(InputError, match="is no 'earshot serve'"):
        earshot.Client(address)

    def older(path: str, body: object, headers: object) -> Reply:
        return Reply({"info": {"title": "Earshot", "version": "0.1.0"}} if "openapi" in path else {"verdict": "first"})

    with answering(older) as address, pytest.raises(RemoteError, match=r"Earshot 0\.1\.0 cannot be read by .*KeyError"):
        earshot.Client(address).compare(PROMPT, SHADES[0], SHADES[1])

    def mixed_up(path: str, body: object, headers: object) -> Reply:
        told = {"samples": [], "id": "x", "question": "another", "seed": 0, "decided_by": "author", "p_read": {}}
        told |= dict.fromkeys(("p_first", "p_first_forward", "p_first_swapped", "p_author", "reason"))
        return Reply({"info": {"title": "Earshot", "version": "0.2.0"}} if "openapi" in path else told)

    with answering(mixed_up) as address, pytest.raises(RemoteError, match="another question was answered"):
        earshot.Client(address).compare(PROMPT, SHADES[0], SHADES[1])


def test_the_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def keyed(path: str, body: object, headers: dict[str, str]) -> Reply:
        seen.append({name.lower(): value for name, value in headers.items()}.get("authorization"))
        return Reply({"info": {"title": "Earshot", "version": "0.2.0"}})

    with answering(keyed) as address:
        earshot.Client(address, key="mine")
        monkeypatch.setenv("EARSHOT_SERVER_KEY", "from the environment")
        earshot.Client(address)
    assert seen == ["Bearer mine", "Bearer from the environment"]


def test_commands_ask_a_server_by_its_address(
    url: str, model: RewardModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for k, picture in enumerate(SHADES[:3]):
        picture.save(tmp_path / f"{k}.png")
        files.append(str(tmp_path / f"{k}.png"))
    assert main(["compare", "--model", url, "--prompt", PROMPT, "--json", *files[:2]]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["p_first"] == model.compare(PROMPT, SHADES[0], SHADES[1]).p_first
    assert main(["rank", "--model", url, "--prompt", PROMPT, "--json", *files]) == 0
    assert json.loads(capsys.readouterr().out)["order"] == list(model.rank(PROMPT, SHADES[:3]).order)
    rows = tmp_path / "in.jsonl"
    rows.write_text(json.dumps({"prompt": PROMPT, "first": files[0], "second": files[1]}) + "\n")
    assert main(["judge", str(rows), str(tmp_path / "out.parquet"), "--model", url]) == 0
    assert pq.read_table(tmp_path / "out.parquet").to_pylist()[0]["p_first"] == told["p_first"]
    capsys.readouterr()
    for option in (["--samples", "2"], ["--listener", "world:listener"], ["--max-new-tokens", "9"]):
        assert main(["compare", "--model", url, "--prompt", PROMPT, *option, *files[:2]]) == 2
        assert f"{option[0]} is for models that are loaded here" in " ".join(capsys.readouterr().err.split())
