"""Requests made from the server's own description, valid and not, against a real process: no fault, and no harm."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.serve.conftest import PAIR
from tests.serve.test_life import ask, process, under_way

schemathesis = pytest.importorskip("schemathesis", reason="generated requests need schemathesis, of the dev extra")

ERROR = {"code", "message", "param", "request_id", "retryable"}
OURS = ("Traceback", "Error(", "0x", "site-packages", "/home")


def check(case: Any, answer: Any) -> None:
    """An answer that is no fault of the server's, in the form that is promised, with nothing of this machine in it."""
    status, text = answer.status_code, answer.content.decode(errors="replace")
    # Whoever wants an answer within a microsecond is told that it is late, which is no fault.
    in_time = not (isinstance(case.body, dict) and "timeout_s" in case.body)
    assert status < 500 or (status == 504 and not in_time), f"{status}: {text}\n{case.as_curl_command()}"
    if status >= 400:
        told = json.loads(text)
        assert set(told) == ERROR, told
        assert told["code"] and told["request_id"] == answer.headers["x-request-id"][0]
        assert not any(word in told["message"] for word in ("Traceback", "Error(", "0x", "site-packages", "/home")), (
            told
        )


def ask_generated(n: int) -> Counter[int]:
    """`n` requests, equally many to every route that takes any, valid ones and others; how many got which status."""
    statuses: Counter[int] = Counter()
    with process(0.0) as (server, address):
        schema = schemathesis.openapi.from_url(f"http://{address}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        with_body = [operation for operation in operations if operation.method == "post"]  # the others take nothing
        share = -(-n // len(with_body))
        for operation in operations:
            modes = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]

            @settings(
                max_examples=share,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=st.one_of(modes))
            def one(case: Any) -> None:
                answer = case.call()
                statuses[answer.status_code] += 1
                check(case, answer)

            one()
        assert ask(address, "/v1/compare", PAIR)[0] == 200  # it is as well as before
        assert under_way(address) == 0
        assert server.poll() is None
    return statuses


def test_generated_requests_find_no_fault() -> None:
    statuses = ask_generated(150)
    assert statuses[200] and statuses[422]  # some were understood, and some were refused


@pytest.mark.slow
def test_ten_thousand_generated_requests_find_no_fault() -> None:
    statuses = ask_generated(10_000)
    assert statuses.total() >= 10_000
    assert statuses[200] and statuses[422]
