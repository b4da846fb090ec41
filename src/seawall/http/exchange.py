"""One request on its way through the policies: the call, and each of its attempts."""

from __future__ import annotations

from copy import copy
from math import inf
from typing import TYPE_CHECKING, Any, Final, Self

from seawall.core.call import Call
from seawall.core.verdict import SUCCESS
from seawall.http.classify import judge_response
from seawall.http.head import is_endless, length_of
from seawall.http.judged import JudgedCall, by_the_rules
from seawall.http.open_body import OpenBody
from seawall.http.pool import close_connections
from seawall.http.replay import is_replayable
from seawall.http.report import report
from seawall.http.reuse import WatchedTimeouts
from seawall.http.settings import (
    IDEMPOTENT_METHODS,
    NO_SETTINGS,
    asked_seconds,
    is_idempotent,
    settings_of,
)
from seawall.http.standard import ATTEMPT_SECONDS

if TYPE_CHECKING:
    from seawall.http.report import Tried
    from seawall.http.transport import Resilience

_IDLE_SECONDS: Final = 300.0
# The four that are copied, the headers and the extensions.
_USUAL_FIELDS: Final = 6
_SENT_ONCE: Final = (
    "the body of the request can be sent only once: bytes, str, JSON, forms and files that can be "
    "sought are sent again, an iterator is not"
)
# A further attempt would open a connection that nobody closes.
_CLOSED: Final = "the client was closed meanwhile"
_READ_ONCE_AT_A_TIME: Final = (
    "the body of the request is read while it is sent: only bytes can be sent twice at a time"
)


class Exchange(JudgedCall):
    """The call of one request.

    Args:
        transport: what the request is sent through.
        request: the caller's request, which is never changed.

    Raises:
        DeadlineError: the deadline of the calling code has passed.
        UsageError: the request's settings are not understood.

    Attributes:
        request: the caller's request.
        started: loop time at which the call began.
        asked_seconds: how long the caller lets one read take; ``inf`` for ever.
        asks_for_time: whether it asks for other times than the default ones.
        asked_total: how long the request's settings let the call take; ``None`` if they do not say.
        bodies: those of all responses so far that were open.
    """

    __slots__ = (
        "_one_shot",
        "_settings",
        "_tried",
        "asked_seconds",
        "asked_total",
        "asks_for_time",
        "bodies",
        "request",
        "started",
    )

    def __init__(self, transport: Resilience, request: Any) -> None:
        extensions = request.extensions
        settings = settings_of(request) if "seawall" in extensions else NO_SETTINGS
        self.begin(None, (request,))
        self.classifier = by_the_rules
        self.transport = transport
        self.request = request
        self._settings = settings
        self.not_retried = self.timeouts = self._one_shot = None
        self.gave_up = False
        # Shared with the copies that are hedged.
        self.bodies: list[OpenBody] = []
        self._tried: list[Tried] = []
        self.started = self.loop.time()
        self.key = transport.key(request) if settings.key is None else settings.key
        self.idempotent = (
            settings is NO_SETTINGS
            and transport.idempotent is None
            and request.method in IDEMPOTENT_METHODS
        ) or is_idempotent(request, settings, transport.idempotent)
        self.asked_seconds = asked = asked_seconds(extensions)
        self.asked_total = total = settings.timeout
        self.asks_for_time = asked > ATTEMPT_SECONDS or total is not None
        replayable = settings.replayable
        if replayable is None:
            client = transport.family.client
            replayable = type(request.stream) is client.ByteStream or is_replayable(request, client)
        if not replayable:
            self._one_shot = transport.family.one_shot(request.stream)

    def __copy__(self) -> Self:
        """Return a twin for an attempt beside this one."""
        twin = Exchange.__new__(type(self))
        for name in (*Call.__slots__, *JudgedCall.__slots__, *Exchange.__slots__):
            # That is a method.
            if name != "function":
                setattr(twin, name, getattr(self, name))
        return twin

    async def function(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request: Any
    ) -> Any:
        """Run one attempt: send a copy of the request, and take charge of the response's body."""
        transport = self.transport
        attempt = self._copy(request)
        if transport.deadline_header is not None:
            self._send_deadline(attempt, transport.deadline_header)
        self.open = self.not_retried = None
        self.gave_up = False
        began = self.loop.time()
        try:
            response = await transport.inner.handle_async_request(attempt)
        except GeneratorExit:
            transport.repair(attempt.extensions)
            raise
        except BaseException as error:
            self._tried.append((began, self.loop.time(), type(error).__name__))
            if transport.was_closed_since(self.loop, self.started):
                self.single_run = _CLOSED
            await close_connections(transport.repair(attempt.extensions))
            raise
        finally:
            if self._one_shot is not None and self._one_shot.begun:
                self.single_run = _SENT_ONCE
        response.request = request
        status = response.status_code
        if response.is_closed or not isinstance(response.stream, transport.family.stream):
            self._tried.append((began, self.loop.time(), status))
            if status < 400 and transport.classify is None and self.classifier is by_the_rules:
                # Written out: `judge_result` finds the same.
                self._judged, self._verdict = response, SUCCESS
            return response
        body = OpenBody(response.stream, self, attempt.extensions)
        self.bodies.append(body)
        try:
            if status >= 400 and self._may_be_retried(response):
                await body.read_ahead(self.deadline)
            endless = is_endless(status, transport.family.fields(response.headers))
            if not body.closed:
                self._watch(body, endless)
            if transport.buffer_response is not None and status < 400 and not endless:
                await body.buffer(transport.buffer_response, length_of(response))
            self._take_charge(response, body, endless=endless)
        except GeneratorExit:
            body.end_at_once()
            raise
        except BaseException as error:
            self._tried.append((began, self.loop.time(), type(error).__name__))
            await body.close()
            raise
        self._tried.append((began, self.loop.time(), status))
        return response

    def alone(self) -> str | None:
        """Return why no second attempt may run beside the first one; ``None`` if it may."""
        if type(self.request.stream) is not self.transport.family.client.ByteStream:
            return _READ_ONCE_AT_A_TIME
        return super().alone()

    def hand_out(self, response: Any) -> bool:
        """Leave the response to the caller; say whether attempts may have left others open."""
        try:
            body: OpenBody | None = response.stream.state
        except AttributeError:
            body = None
        if body is not None:
            body.handed_out = True
        return len(self.bodies) > 1 or self.bodies[0] is not body

    async def close(self) -> None:
        """Close what attempts left open and nobody has got."""
        for body in self.bodies:
            if not (body.handed_out or body.closed):
                try:
                    await body.close()
                except Exception:  # noqa: S112 - nobody waits for it
                    continue

    def tell(self, response: Any) -> None:
        """Say on a response what it took to get it; nothing else is found of it any more."""
        self._judged = self._verdict = None
        extensions = getattr(response, "extensions", None)
        if extensions is not None:
            extensions["seawall"] = report(self.started, self._tried, self.not_retried)

    def drop(self) -> None:
        """End what attempts left open, where nothing can be awaited."""
        for body in self.bodies:
            if not body.closed:
                body.end_at_once()

    def _copy(self, request: Any) -> Any:
        """Copy the request: what a transport does to it must not reach the next attempt or hop."""
        kind: Any = request.__class__
        attempt = kind.__new__(kind)
        fields = request.__dict__
        if len(fields) == _USUAL_FIELDS and "_content" in fields:
            # One by one: an object whose dict was replaced is slow from then on.
            attempt.method = request.method
            attempt.url = request.url
            attempt.stream = request.stream
            attempt._content = request._content
        else:
            attempt.__dict__ = fields.copy()
        # Its own `copy` would first look for the encoding, which nobody needs.
        attempt.headers = self.transport.family.client.Headers(request.headers)
        extensions = dict(request.extensions)
        if len(extensions) > 1:
            for name, value in extensions.items():
                if issubclass(type(value), dict):
                    extensions[name] = copy(value)
        if "timeout" in extensions:
            extensions["timeout"] = self.timeouts = WatchedTimeouts(extensions["timeout"])
        attempt.extensions = extensions
        if self._one_shot is not None:
            attempt.stream = self._one_shot
        return attempt

    def _send_deadline(self, attempt: Any, name: str) -> None:
        seconds = self._body_deadline(endless=False) - self.loop.time()
        if seconds < inf and name not in attempt.headers:
            attempt.headers[name] = str(max(1, int(seconds * 1000)))

    def _may_be_retried(self, response: Any) -> bool:
        return self.permit(judge_response(response.status_code, response.headers)).retryable

    def _take_charge(self, response: Any, body: OpenBody, *, endless: bool) -> None:
        response.stream = stream = self.transport.family.body()
        stream.state = body
        body.head = verdict = self.judge_result(response)
        body.status = response.status_code
        if body.closed:
            return
        self.open = body
        if self.transport.release == "headers":
            body.end(verdict)
        elif endless and self._is_probe():
            # A probe that waits for the end of an event stream would hold the circuit half-open.
            body.settle(verdict)

    def _watch(self, body: OpenBody, endless: bool) -> None:  # noqa: FBT001 - hot path
        """See to it that the body ends in time."""
        if endless or self._settings is not NO_SETTINGS:
            deadline = self._body_deadline(endless=endless)
            idle = self._idle_timeout(endless=endless)
        else:
            deadline, idle = self.total_deadline(), inf
        if deadline < inf or idle < inf:
            body.watch(deadline, idle)

    def _body_deadline(self, *, endless: bool) -> float:
        """Return the loop time at which the body must have ended."""
        seconds = self._settings.body_deadline
        if seconds is not None:
            return self.started + seconds
        return inf if endless else self.total_deadline()

    def _idle_timeout(self, *, endless: bool) -> float:
        """Return the seconds that a read of the body may wait."""
        seconds = self._settings.idle_timeout
        if seconds is not None:
            return seconds
        if not endless:
            return inf
        seconds = self.transport.idle_timeout
        if seconds is not None:
            return seconds
        # Ours is a default: it gives way to a longer read that the caller has asked for.
        asked = self.asked_seconds if self.asked_seconds < inf else 0.0
        return max(_IDLE_SECONDS, asked)

    def _is_probe(self) -> bool:
        ticket: Any = self.ticket
        while ticket is not None:
            if getattr(ticket, "probe", False):
                return True
            ticket = ticket.outer
        return False
