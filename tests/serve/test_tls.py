"""TLS by certificate, and proxies whose word is taken."""

import json
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from earshot.errors import InputError
from earshot.serve import secret_files, watch_tls
from tests.serve.test_connections import hello, listening


def pair(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of this machine and its key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    made = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN={name}"
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made.split(), *extra], check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


def get(port: int, certificate: Path, **headers: str) -> bytes:
    context = ssl.create_default_context(cafile=str(certificate))
    with urlopen(Request(f"https://127.0.0.1:{port}/", headers=headers), context=context, timeout=20) as answer:
        return bytes(answer.read())


def test_files_that_do_not_belong_together_or_that_others_read_are_refused(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path, "one")
    other, others_key = pair(tmp_path, "two")
    watch_tls(certificate, key)
    with pytest.raises(InputError, match=r"two.key: is not the key of .*one.crt"):
        watch_tls(certificate, others_key)
    with pytest.raises(InputError, match=r"gone: cannot be read \(No such file"):
        watch_tls(tmp_path / "gone", key)
    with pytest.raises(InputError, match=r"gone: cannot be read .* expected a private key"):
        watch_tls(certificate, tmp_path / "gone")
    with pytest.raises(InputError, match="are no certificate and its key in PEM"):
        watch_tls(key, key)
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "ec", "-in", str(key), "-aes128", "-passout", "pass:word", "-out", str(locked)],
                   check=True, capture_output=True)  # fmt: skip
    locked.chmod(0o600)
    with pytest.raises(InputError, match="the key without a password"):  # and nobody is asked for one
        watch_tls(certificate, locked)
    others_key.chmod(0o640)
    with pytest.raises(InputError, match=r"two.key: others on this machine may read it \(mode 640\)"):
        watch_tls(other, others_key)


def test_it_speaks_https_and_a_new_certificate_is_taken_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_files, "_LOOK_S", 0.0)
    certificate, key = pair(tmp_path, "now")
    next_certificate, next_key = pair(tmp_path, "next")
    with listening(hello, tls=watch_tls(certificate, key)) as address:
        port = int(address.rpartition(":")[2])
        assert get(port, certificate) == b"hi"
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            get(port, next_certificate)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with suppress(OSError):
                assert b"HTTP" not in plain.recv(1000)
        old = certificate.read_bytes()
        next_key.replace(key)
        next_certificate.replace(certificate)
        assert get(port, certificate) == b"hi"
        new = tmp_path / "new.crt"
        new.write_bytes(certificate.read_bytes())
        certificate.write_bytes(old)  # which is not the key's
        assert get(port, new) == b"hi"


async def who(scope: Any, receive: Any, send: Any) -> None:
    told = json.dumps(scope["client"][0]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
    await send({"type": "http.response.body", "body": told})


@pytest.mark.parametrize(
    ("proxies", "forwarded", "client"),
    [
        ([], "10.1.1.1", "127.0.0.1"),  # whoever says so
        (["10.0.0.2"], "10.1.1.1", "127.0.0.1"),
        (["127.0.0.1"], "10.1.1.1", "10.1.1.1"),
        (["127.0.0.0/8"], "10.1.1.1", "10.1.1.1"),
        # The client writes what it likes before what the proxy adds.
        (["127.0.0.1"], "1.2.3.4, 10.1.1.1", "10.1.1.1"),
        (["127.0.0.1", "10.0.0.2"], "1.2.3.4, 10.1.1.1, 10.0.0.2", "10.1.1.1"),
    ],
)
def test_a_client_is_who_a_named_proxy_says_and_nobody_elses_word_is_taken(
    proxies: list[str], forwarded: str, client: str
) -> None:
    with listening(who, proxy_headers=bool(proxies), forwarded_allow_ips=proxies) as address:
        port = int(address.rpartition(":")[2])
        asked = Request(f"http://127.0.0.1:{port}/", headers={"x-forwarded-for": forwarded})
        with urlopen(asked, timeout=20) as answer:
            assert json.load(answer) == client
