"""What deploy/ and docs/operations.md name exists: commands, options, files, signals, routes and metrics."""

import configparser
import json
import re
import shlex
import signal
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from earshot.judging.model import RewardModel
from earshot.serve import Server
from tests.commands import options_of
from tests.judging.opinions import Opinionated
from tests.serve.conftest import ADDRESS, PAIR, keys

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# Of systemd.unit, .service and .exec; a misspelt one is only warned of when the unit is loaded.
DIRECTIVES = {
    "Unit": "Description After Wants",
    "Service": "Type User Group Environment ExecStart ExecReload Restart RestartSec TimeoutStopSec LimitNOFILE UMask "
    "NoNewPrivileges ProtectSystem ProtectHome PrivateTmp ProtectKernelTunables ProtectKernelModules "
    "ProtectControlGroups RestrictAddressFamilies RestrictSUIDSGID LockPersonality CapabilityBoundingSet "
    "StateDirectory WorkingDirectory",
    "Install": "WantedBy",
}


def check_command(words: list[str]) -> None:
    """That `earshot` and these words are a command of ours with options that it has."""
    assert {word for word in words if word.startswith("--")} <= options_of(words)


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / "earshot.service").read_text())
    return parser


def test_the_unit_starts_reloads_and_stops_what_there_is() -> None:
    parser = unit()
    assert {name: set(parser[name]) for name in parser.sections()} == {
        name: set(directives.split()) for name, directives in DIRECTIVES.items()
    }
    service = parser["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/earshot/bin/earshot" and "/opt/earshot/bin/pip install" in PAGE
    check_command(words)
    source = (ROOT / "src" / "earshot" / "serve" / "serving.py").read_text()
    (name,) = re.findall(r"^/bin/kill -(\w+) \$MAINPID$", service["ExecReload"])
    assert f"signal.signal(signal.{signal.Signals[f'SIG{name}'].name}," in source
    # What was let in may take as long as --timeout-s says, and then has to be taken.
    assert int(service["TimeoutStopSec"]) >= 60 + 15
    assert words[words.index("--key-file") + 1] in PAGE and words[words.index("--model") + 1] in PAGE


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(one, rest) for one, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_copies_what_there_is_and_runs_what_there_is_as_nobody_special() -> None:
    said = instructions()
    assert {name for name, _ in said} <= {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"
    }  # fmt: skip
    for name, rest in said:
        if name == "COPY" and not rest.startswith("--from="):
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
    project = (ROOT / "pyproject.toml").read_text()
    (extras,) = re.findall(r'"\.\[(.*)\]"', (DEPLOY / "Dockerfile").read_text())
    assert all(f"\n{extra} = [" in project for extra in extras.split(","))
    last = dict(said)  # of each its last
    assert last["USER"] == "10001" and "user 10001" in PAGE
    program, *words = json.loads(last["ENTRYPOINT"])
    given = json.loads(last["CMD"])
    assert program == "/opt/earshot/bin/earshot" and " ".join(given) in PAGE
    check_command([*words, *given])
    assert last["EXPOSE"] == "8379" and "-p 8379:8379" in PAGE
    program, flag, code = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    assert (program, flag) == ("/opt/earshot/bin/python", "-c")
    compile(code, "healthcheck", "exec")
    (path,) = re.findall(r"http://127.0.0.1:8379(/\w+)", code)
    assert TestClient(Server(RewardModel(Opinionated())), base_url=ADDRESS).get(path).status_code == 200


def families(text: str) -> dict[str, tuple[str, set[str]]]:
    """Of each metric its kind and the labels that its samples have."""
    found = {name: (kind, set[str]()) for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, flags=re.MULTILINE)}
    for name, labels in re.findall(r"^(\w+?)(?:_bucket|_sum|_count|_created)?(?:\{(.*)\})? ", text, flags=re.MULTILINE):
        if name in found:
            found[name][1].update(re.findall(r'(\w+)="', labels))
    return {name: (kind, labels - {"le"}) for name, (kind, labels) in found.items() if not name.endswith("_created")}


def test_every_metric_is_documented_with_its_labels_and_every_documented_one_is_there(client: TestClient) -> None:
    client.post("/v1/compare", json=PAIR)
    server: Any = client.app
    server.metrics.replaced("failed")
    told = {name: labels for name, (_, labels) in families(client.get("/metrics").text).items()}
    rows = re.findall(r"^\| (`earshot_.*?) \| (.*?) \|", PAGE, flags=re.MULTILINE)
    documented = {
        name: set(re.findall(r"`(\w+)`", labels)) for names, labels in rows for name in re.findall(r"`(\w+)`", names)
    }
    assert documented == told


def test_the_dashboard_asks_for_metrics_that_there_are_with_labels_that_they_have(client: TestClient) -> None:
    client.post("/v1/compare", json=PAIR)
    there = families(client.get("/metrics").text)
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 8
    asked: set[str] = set()
    for panel in panels:
        expression = panel["targets"][0]["expr"]
        names = re.findall(r"earshot_\w+", expression)
        asked.update(names)
        labels: set[str] = {"__name__", "le"}
        for name in names:
            whole = name if name in there else re.sub("_(bucket|sum|count)$", "", name)
            assert whole in there, name
            assert whole == name or there[whole][0] == "histogram"
            labels |= there[whole][1] or {"outcome"}
        used = re.findall(r"(\w+)(?==~?\"|!~?\"|!=\")", expression)
        used += [one.strip() for by in re.findall(r"by \((.*?)\)", expression) for one in by.split(",")]
        assert names and set(used) <= labels, expression
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in asked} == set(there)


def test_no_client_can_make_a_series() -> None:
    known = keys(b"ana-horse-battery-staple")
    client = TestClient(Server(RewardModel(Opinionated()), keys=lambda: known), base_url=ADDRESS)
    right = {"authorization": "Bearer ana-horse-battery-staple"}

    def series() -> set[str]:
        return {line.rpartition(" ")[0] for line in client.get("/metrics", headers=right).text.splitlines()}

    def hostile(tag: str) -> None:
        for method in ("GET", "POST", "PUT", f"X{tag}"):
            for path in (f"/{tag}", f"/v1/{tag}", f"/metrics?{tag}", f"/v1/compare?{tag}", f"/{tag}" * 200):
                client.request(method, path, headers={**right, "x-forwarded-for": tag, "user-agent": tag})
                client.request(method, path, headers={"authorization": f"Bearer {tag}", "origin": f"http://{tag}"})
                client.request(method, path, headers={"host": tag})

    hostile("once")
    before = series()
    hostile("again")
    assert series() == before and not any("once" in one or "again" in one for one in before)
