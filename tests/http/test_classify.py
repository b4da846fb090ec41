"""What statuses, headers, bodies and exceptions mean."""

from __future__ import annotations

import ssl
from importlib import import_module
from types import ModuleType

import h11
import httpcore
import pytest

from seawall.core.verdict import Kind, Verdict
from seawall.http.classify import ErrorRules, is_exhausted, judge_response, permit

SUCCESS, FAILURE, NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL


@pytest.mark.parametrize(
    "status, kind, retryable, throttled",
    [
        (101, SUCCESS, False, False),
        (200, SUCCESS, False, False),
        (304, SUCCESS, False, False),
        (400, SUCCESS, False, False),
        (404, SUCCESS, False, False),
        (408, SUCCESS, True, False),
        (409, SUCCESS, False, False),
        (425, SUCCESS, True, False),
        (429, NEUTRAL, True, True),
        (500, FAILURE, False, False),
        (501, SUCCESS, False, False),
        (502, FAILURE, True, False),
        (503, FAILURE, True, False),
        (504, FAILURE, True, False),
        (505, SUCCESS, False, False),
        (507, FAILURE, False, False),
        (519, FAILURE, False, False),
        (520, FAILURE, True, False),
        (524, FAILURE, True, False),
        (525, FAILURE, False, False),
        (529, NEUTRAL, True, True),
    ],
)
def test_a_status_has_one_meaning(
    status: int, kind: Kind, retryable: bool, throttled: bool
) -> None:
    """Each status says what the circuit counts, and whether a retry could help."""
    verdict = judge_response(status, {})
    assert verdict == Verdict(kind, retryable, throttled, None, throttled)


def test_a_503_that_names_a_time_is_a_failure_and_a_pause() -> None:
    """``Retry-After`` makes a 503 throttling; a 502 with it only waits longer."""
    assert judge_response(503, {"retry-after": "2"}) == Verdict(FAILURE, True, True, 2.0)
    assert judge_response(502, {"retry-after": "2"}) == Verdict(FAILURE, True, False, 2.0)
    assert judge_response(429, {"retry-after-ms": "20"}).retry_after == 0.02
    assert judge_response(301, {"retry-after": "2"}).retry_after is None


@pytest.mark.parametrize(
    "value, default, retryable",
    [
        ("false", 503, False),
        (" FALSE ", 429, False),
        ("true", 500, True),
        ("True", 409, True),
        ("maybe", 503, True),
        ("maybe", 500, False),
    ],
)
def test_the_server_may_ask_for_a_retry_or_forbid_it(
    value: str, default: int, retryable: bool
) -> None:
    """``x-should-retry`` outranks the status, and leaves the circuit's count alone."""
    verdict = judge_response(default, {"x-should-retry": value})
    assert verdict.retryable is retryable
    assert verdict.kind is judge_response(default, {}).kind


@pytest.mark.parametrize(
    "content, exhausted",
    [
        (b'{"error": {"code": "insufficient_quota"}}', True),
        (b'{"error": {"type": "insufficient_quota", "code": null}}', True),
        (b'{"error": {"code": "rate_limit_exceeded"}}', False),
        (b'{"error": {"message": "insufficient_quota"}}', False),
        (b'{"error": {"code": ["insufficient_quota"]}}', False),
        (b'{"error": "insufficient_quota"}', False),
        (b'{"code": "insufficient_quota"}', False),
        (b'["error"]', False),
        (b"7", False),
        (b'{"error": {"code": "insufficient_qu', False),
        (b"[" * 60_000, False),
        (b"\xff\xfe", False),
        (b"", False),
    ],
)
def test_an_empty_account_is_known_by_an_exact_word(content: bytes, exhausted: bool) -> None:
    """Only ``error.code`` or ``error.type`` of a 429, from a short list, and whatever comes."""
    assert is_exhausted(429, content) is exhausted
    assert is_exhausted(503, content) is False


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("replayable", [False, True])
@pytest.mark.parametrize("unprocessed", [False, True])
def test_a_request_is_sent_again_only_where_that_is_safe(
    idempotent: bool, replayable: bool, unprocessed: bool
) -> None:
    """The body must be at hand, and the request idempotent or known to be unprocessed."""
    verdict = Verdict(FAILURE, True, False, 2.0, unprocessed)
    allowed = permit(verdict, idempotent=idempotent, replayable=replayable)
    assert allowed.retryable is (replayable and (idempotent or unprocessed))
    assert allowed._replace(retryable=True) == verdict
    assert not permit(Verdict(SUCCESS), idempotent=True, replayable=True).retryable


@pytest.mark.parametrize(
    "name, kind, retryable, unprocessed",
    [
        ("ConnectError", FAILURE, True, True),
        ("ConnectTimeout", FAILURE, True, True),
        ("PoolTimeout", NEUTRAL, True, True),
        ("ProxyError", FAILURE, True, True),
        ("ReadTimeout", FAILURE, True, False),
        ("WriteTimeout", FAILURE, True, False),
        ("ReadError", FAILURE, True, False),
        ("WriteError", FAILURE, True, False),
        ("CloseError", FAILURE, True, False),
        ("RemoteProtocolError", FAILURE, True, False),
        ("TransportError", FAILURE, True, False),
        ("UnsupportedProtocol", NEUTRAL, False, False),
        ("LocalProtocolError", NEUTRAL, False, False),
        ("StreamError", NEUTRAL, False, False),
        ("InvalidURL", NEUTRAL, False, False),
    ],
)
def test_an_error_of_the_client_has_one_meaning(
    client_module: ModuleType, name: str, kind: Kind, retryable: bool, unprocessed: bool
) -> None:
    """Each error class says what the circuit counts, and whether the request was worked on."""
    verdict = ErrorRules(client_module).judge(getattr(client_module, name)("made up"))
    # Who waits for a connection of the pool has not asked the dependency for anything.
    late = name.endswith("Timeout") and name != "PoolTimeout"
    assert verdict == Verdict(kind, retryable, False, None, unprocessed, late)


def test_a_foreign_exception_is_a_failure_and_a_bug_is_none(client_module: ModuleType) -> None:
    """What crosses the transport from elsewhere counts, except programming errors."""
    rules = ErrorRules(client_module)
    assert rules.judge(OSError()) == Verdict(FAILURE, retryable=True)
    assert rules.judge(TimeoutError()) == Verdict(FAILURE, retryable=True, timed_out=True)
    assert rules.judge(TypeError()) == Verdict(NEUTRAL)
    assert rules.judge(KeyboardInterrupt()) == Verdict(NEUTRAL)
    # What h11 or h2 say of our own request passes some transports as it is.
    for kind in (h11.LocalProtocolError, httpcore.LocalProtocolError):
        assert rules.judge(kind("too much data")) == Verdict(NEUTRAL)


def test_a_proxy_that_asks_for_credentials_is_healthy(client_module: ModuleType) -> None:
    """A 407 is an answer: not retried, and no failure."""
    rules = ErrorRules(client_module)
    answer = client_module.ProxyError("407 Proxy Authentication Required")
    assert rules.judge(answer) == Verdict(NEUTRAL)
    assert rules.judge(client_module.ProxyError("503 Service Unavailable")).unprocessed


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def test_a_bad_certificate_is_a_failure_that_no_retry_heals(client_module: ModuleType) -> None:
    """A certificate that is not accepted counts, and is not tried again."""
    core = import_module(client_module.__name__.replace("httpx", "httpcore"))
    refused = core.ConnectError(ssl.SSLCertVerificationError(1, "self-signed"))
    error = _caused(client_module.ConnectError("[SSL]"), refused)
    assert ErrorRules(client_module).judge(error) == Verdict(FAILURE)
    reset = _caused(client_module.ConnectError("[SSL]"), core.ConnectError(ssl.SSLError(1, "eof")))
    assert ErrorRules(client_module).judge(reset).unprocessed


def test_http2_says_what_it_refused(client_module: ModuleType) -> None:
    """``REFUSED_STREAM``, and a ``GOAWAY`` that took in nothing, prove that no work was done."""
    events = pytest.importorskip("h2.events")
    core = import_module(client_module.__name__.replace("httpx", "httpcore"))

    def judge(event: object) -> Verdict:
        error = client_module.RemoteProtocolError("http2")
        return ErrorRules(client_module).judge(_caused(error, core.RemoteProtocolError(event)))

    reset = events.StreamReset(stream_id=1, error_code=7)
    assert judge(reset).unprocessed
    assert not judge(events.StreamReset(stream_id=1, error_code=2)).unprocessed
    goodbye = events.ConnectionTerminated()
    goodbye.last_stream_id = 0
    assert judge(goodbye).unprocessed
    goodbye.last_stream_id = 3
    assert not judge(goodbye).unprocessed
    assert not judge("Server disconnected").unprocessed
