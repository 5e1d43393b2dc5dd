"""schemathesis makes requests of the API's own schema, right ones and wrong ones: none is a failure of the server's."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.serving.api.running import OPERATOR_KEY, Running

EXAMPLES = int(os.environ.get("CHATFED_SCHEMA_EXAMPLES", "5"))  # of a route, right ones and wrong ones each
QUICK = {"max_tokens": 2, "max_completion_tokens": 2, "max_output_tokens": 2, "n": 1}
FINDING = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def schema(api_server: Running) -> Any:
    return schemathesis.openapi.from_dict(json.loads(api_server.ask("/v1/openapi.json")[2]))


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_no_request_of_the_schema_or_against_it_is_a_failure_of_the_server(
    api_server: Running, schema: Any, mode: str
) -> None:
    seen: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        _ask(api_server, found.ok(), getattr(schemathesis.GenerationMode, mode), seen)
    assert len(seen) >= (11 if mode == "POSITIVE" else 7), seen
    assert (200 if mode == "POSITIVE" else 400) in set().union(*seen.values()), seen


def _ask(server: Running, operation: Any, mode: Any, seen: dict[str, set[int]]) -> None:
    """Some requests of one route, of which a right one names the model that there is, and asks for few tokens."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    @given(case=operation.as_strategy(generation_mode=mode))
    @FINDING
    def ask(case: Any) -> None:
        if isinstance(case.body, dict) and mode is schemathesis.GenerationMode.POSITIVE:
            case.body |= {name: value for name, value in ({"model": "tiny"} | QUICK).items() if name in case.body}
        answer = case.call(base_url=server.url, headers={"Authorization": f"Bearer {OPERATOR_KEY}"}, timeout=60)
        seen.setdefault(case.operation.label, set()).add(answer.status_code)
        case.validate_response(
            answer, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
        )

    try:
        ask()
    except Exception as error:
        if type(error).__name__ != "Unsatisfiable":  # nothing is wrong of a route that takes nothing
            raise
