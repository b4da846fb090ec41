"""A call whose outcomes are judged by the rules of HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.core.call import Call
from seawall.core.verdict import SUCCESS, Verdict
from seawall.http.classify import is_exhausted, judge_response, permit
from seawall.http.reuse import is_lost_connection

if TYPE_CHECKING:
    from seawall.core.verdict import Classify, Outcome
    from seawall.http.open_body import OpenBody
    from seawall.http.reuse import WatchedTimeouts
    from seawall.http.transport import Resilience

_NOT_IDEMPOTENT: Final = "the request is not idempotent, and it may have been processed"


def by_the_rules(outcome: Outcome) -> Verdict:
    """Stand for the rules of HTTP where a call says what judges its outcomes.

    They need to know the request, so they are the call's own. If its bound method stood there, each
    call would be part of a cycle.
    """
    raise NotImplementedError


class JudgedCall(Call[Any]):
    """The part of an exchange that says what its outcomes mean.

    Attributes:
        not_retried: why nothing follows the last attempt though that might help.
        gave_up: whether a ``Retry`` has said so.
        timeouts: those of the current attempt, which tell what became of its connection.
        transport: what the request is sent through.
    """

    __slots__ = ("gave_up", "not_retried", "timeouts", "transport")

    not_retried: str | None
    gave_up: bool
    timeouts: WatchedTimeouts | None
    transport: Resilience

    def judge_result(self, value: object) -> Verdict:
        """Return the verdict on what the current attempt returned."""
        if self._verdict is not None and value is self._judged:
            return self._verdict
        # The healthy case, in short: without a classifier of the user's, it says the same.
        if self.classifier is by_the_rules and self.transport.classify is None:
            status: int = getattr(value, "status_code", 400)
            if status < 400:
                self._judged = value
                self._verdict = SUCCESS
                return SUCCESS
        return super().judge_result(value)

    def _ask(self, classify: Classify, outcome: Outcome) -> Verdict:
        return super()._ask(self._judge_outcome if classify is by_the_rules else classify, outcome)

    def _judge_outcome(self, outcome: Outcome) -> Verdict:
        """Judge one outcome, by the rules of HTTP and the user's own, within what is safe."""
        transport = self.transport
        if outcome.exception is not None:
            verdict = self._judge_exception(outcome.exception)
        elif hasattr(outcome.value, "status_code"):
            verdict = self._judge_response(outcome.value)
        else:
            verdict = SUCCESS
        if transport.classify is not None:
            verdict = transport.classify(outcome) or verdict
        permitted = self.permit(verdict)
        if verdict.retryable and not permitted.retryable:
            self.not_retried = self.single_run or _NOT_IDEMPOTENT
        return permitted

    def permit(self, verdict: Verdict) -> Verdict:
        """Take back ``retryable`` where this request must not be sent again."""
        return permit(
            verdict,
            idempotent=self.idempotent is not False,
            replayable=self.single_run is None,
        )

    def give_up(self, reason: str) -> None:
        """Hear why no further attempt follows a response that might get better."""
        self.gave_up = True
        self.not_retried = reason

    def is_final(self, response: Any) -> bool:
        """Say whether whoever gets this response should not ask again."""
        if not hasattr(response, "status_code"):
            return False
        return self.gave_up or self._is_exhausted(response)

    def adopt(self, copy: Call[Any]) -> None:
        """Take over how an attempt ended that ran on a copy."""
        super().adopt(copy)
        if isinstance(copy, JudgedCall):
            self.gave_up, self.not_retried = copy.gave_up, copy.not_retried

    def _judge_exception(self, error: BaseException) -> Verdict:
        family, timeouts = self.transport.family, self.timeouts
        verdict = family.rules.judge(error)
        reused = timeouts is not None and timeouts.was_reused()
        if reused and is_lost_connection(error, family.client):
            return verdict._replace(retry_after=0.0)
        return verdict

    def _judge_response(self, response: Any) -> Verdict:
        verdict = judge_response(response.status_code, response.headers)
        if not self._is_exhausted(response):
            return verdict
        # Not throttled either: to send less does not help.
        return Verdict(verdict.kind)

    def _is_exhausted(self, response: Any) -> bool:
        if response.status_code != 429:
            return False
        return is_exhausted(429, self._content_of(response))

    def _content_of(self, response: Any) -> bytes:
        """Return the decoded body of a response as far as it is at hand."""
        body: OpenBody | None = getattr(response.stream, "state", None)
        client = self.transport.family.client
        try:
            if body is None:
                content: bytes = response.content
                return content
            raw = b"".join(body.ahead or ())
            twin = client.Response(response.status_code, headers=response.headers, content=raw)
            content = twin.content
        except Exception:
            # Not read, not decodable, or cut off: then nothing is known of it.
            return b""
        return content
