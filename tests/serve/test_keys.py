"""Keys have names, are several, are read again when they change, and stand in no log and no metric."""

import hmac
import logging
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from earshot.errors import InputError
from earshot.judging.model import RewardModel
from earshot.serve import Server, secret_files, watch_keys
from tests.judging.opinions import Opinionated
from tests.serve.conftest import ADDRESS, PAIR, keys, refusal

FIRST, SECOND, THIRD = (f"{word}-horse-battery-staple" for word in ("correct", "wrong", "other"))


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)
    return path


def shown(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no keys"),
        ("# nobody\n\n", "holds no keys"),
        (f"{FIRST[:15]}\n", ":1: no name and key"),
        (f"\nme {FIRST[:15]}\n", ":2: no name and key"),
        (f"me {FIRST} more\n", ":1: no name and key"),
        (f"me {'é' * 20}\n", ":1: no name and key"),
        (f"{'n' * 33} {FIRST}\n", ":1: no name and key"),
        (f"a {FIRST}\nb {SECOND}\nc {FIRST}\n", ":3: the key of line 1 again"),
        ("".join(f"n{k} {FIRST}{k}\n" for k in range(65)), "holds 65 keys, of at most 64"),
    ],
)
def test_a_file_without_names_and_keys_is_refused_and_the_message_holds_none(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(InputError) as error:
        watch_keys(written(tmp_path / "keys", text))
    assert told in str(error.value) and FIRST not in str(error.value)


def test_a_key_without_a_name_is_called_key(tmp_path: Path) -> None:
    found = watch_keys(written(tmp_path / "keys", f"{FIRST}\nme {SECOND}\n"))()
    assert [found.name(key.encode()) for key in (FIRST, SECOND, THIRD)] == ["key", "me", None]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_keys_that_others_may_read_or_change_are_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InputError, match=rf"others on this machine may read it \(mode {mode:o}\); chmod 600 it"):
        watch_keys(written(tmp_path / "keys", f"me {FIRST}\n", mode))
    with pytest.raises(InputError, match="nowhere: cannot be read"):
        watch_keys(tmp_path / "nowhere")


def test_keys_change_without_a_restart_and_what_is_wrong_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(secret_files, "_LOOK_S", 0.0)
    caplog.set_level(logging.INFO, "earshot.serve")
    file = written(tmp_path / "keys", f"# who\nana {FIRST}\n")
    client = TestClient(Server(RewardModel(Opinionated()), keys=watch_keys(file)), base_url=ADDRESS)

    def answered() -> list[int]:
        return [client.get("/metrics", headers=shown(key)).status_code for key in (FIRST, SECOND, THIRD)]

    assert answered() == [200, 401, 401]
    written(file, f"ana {FIRST}\nana {SECOND}\nbo {THIRD}\n")  # the next key of a name before the last is taken away
    assert answered() == [200, 200, 200]
    written(file, f"ana {SECOND}\n")
    assert answered() == [401, 200, 401]
    for text, mode in ((f"{FIRST[:9]}\n", 0o600), (f"bo {THIRD}\n", 0o644)):
        written(file, text, mode)
        assert answered() == answered() == [401, 200, 401]
    file.unlink()
    assert answered() == [401, 200, 401]
    told = [record.getMessage() for record in caplog.records]
    assert [("holds" in text, "read again" in text) for text in told].count((True, False)) == 3  # each once
    assert not any(key in text for text in told for key in (FIRST, SECOND, THIRD))


def test_requests_are_counted_by_the_names_of_keys_and_a_failure_is_logged_by_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr("earshot.serve.app.understand", broken)
    both = keys(FIRST.encode(), SECOND.encode())
    client = TestClient(Server(RewardModel(Opinionated()), keys=lambda: both), base_url=ADDRESS)
    refusal(client.post("/v1/compare", json=PAIR, headers=shown(FIRST)), 500, "internal")
    client.get("/", auth=("made up", SECOND))
    for wrong in ("nobody's key", "x" * 3000):
        client.get("/", headers=shown(wrong))
    client.get("/livez")
    text = client.get("/metrics", headers=shown(SECOND)).text
    counts = [line for line in text.splitlines() if line.startswith("earshot_key_requests_total")]
    # By its own name; without a key, or with a wrong one, by none.
    assert sorted(counts) == [f'earshot_key_requests_total{{key="{name}"}} {n}' for name, n in
                              (("", 3.0), ("correct", 1.0), ("wrong", 1.0))]  # fmt: skip
    assert "of key 'correct' failed" in caplog.text
    assert not any(key in text + caplog.text for key in (FIRST, SECOND))


def test_a_key_is_held_against_all_in_one_length_whatever_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    both = keys(FIRST.encode(), SECOND.encode())
    monkeypatch.setattr(secret_files, "compare_digest", compare)
    for given in (b"", FIRST.encode(), SECOND.encode(), b"x" * 5000):
        compared.clear()
        both.name(given)
        assert [len(one) for pair in compared for one in pair] == [sha256().digest_size] * 4
