"""The page on HTTP clients is true: its tables say what the code does."""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType

import pytest

import seawall.httpx
from seawall.core.verdict import Kind, Verdict
from seawall.http.classify import ErrorRules, judge_response, permit
from seawall.http.report import Report
from seawall.http.settings import Settings
from tests.pages import table

PAGE = "http.md"


def coded(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_what_is_retried(client_module: ModuleType) -> None:
    """Each status and each error is retried as the page says, and counts as it says."""
    rules = ErrorRules(client_module)
    named: set[str] = set()
    for outcomes, idempotent, other, kind in table(PAGE, "What is retried, and what never is"):
        for outcome in coded(outcomes):
            named.add(outcome)
            verdict = (
                judge_response(int(outcome), client_module.Headers())
                if outcome.isdigit()
                else rules.judge(getattr(client_module, outcome)("made up"))
            )
            assert _permitted(verdict, idempotent=True) == idempotent.startswith("retried"), outcome
            assert _permitted(verdict, idempotent=False) == other.startswith("retried"), outcome
            assert verdict.kind is Kind(kind), outcome
    errors = {
        name
        for name in client_module.__all__
        if isinstance(kind := getattr(client_module, name), type)
        and issubclass(kind, client_module.TransportError)
        and not kind.__subclasses__()
    }
    # That one comes from above the transport, where an event stream is taken apart.
    assert errors - {"SSEError"} <= named


def _permitted(verdict: Verdict, *, idempotent: bool) -> bool:
    return permit(verdict, idempotent=idempotent, replayable=True).retryable


def test_the_options_of_the_transport() -> None:
    """Each is there, in order, with the default that it has."""
    rows = table(PAGE, "What is around a request")
    parameters = inspect.signature(seawall.httpx.ResilientTransport).parameters
    assert [coded(row[0])[0] for row in rows] == list(parameters)
    for (_, default, _), parameter in zip(rows, parameters.values(), strict=True):
        if re.fullmatch(r"`(None|\".*\")`", default):
            assert ast.literal_eval(default.strip("`")) == parameter.default


def test_the_settings_of_a_request() -> None:
    """All six are there."""
    rows = table(PAGE, "Settings of one request")
    assert {coded(row[0])[0] for row in rows} == set(Settings._fields)


def test_the_fields_of_a_report() -> None:
    """All are there, in order."""
    rows = table(PAGE, "What a response tells")
    assert [coded(row[0])[0] for row in rows] == list(Report._fields)


@pytest.mark.parametrize("side", [0, 1], ids=["wrong", "right"])
def test_what_it_calls_wrong_and_right_can_be_written(side: int) -> None:
    """The code in the table of mistakes is Python."""
    rows = table(PAGE, "Anti-patterns")
    assert len(rows) > 15
    for row in rows:
        for code in coded(row[side]):
            body = f"{code}\n        pass" if code.endswith(":") else code
            body = f"call({body})" if re.match(r"[a-z]+=", code) else body
            compile(f"async def example():\n    {body}", PAGE, "exec")
