"""Refusing a share of the calls while the dependency refuses or fails most of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from seawall.core import lazy_events as events
from seawall.core.checks import check_number
from seawall.core.clock import check_move
from seawall.core.errors import LoadShedError
from seawall.core.observe import is_heard, tell
from seawall.core.policy import Policy
from seawall.core.snapshot import Snapshot
from seawall.core.verdict import Kind
from seawall.policies.load_shedder.acceptance import Acceptance

if TYPE_CHECKING:
    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict

T = TypeVar("T")

_SUCCESS, _FAILURE = Kind.SUCCESS, Kind.FAILURE


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadShedderSnapshot(Snapshot):
    """The state of a :class:`LoadShedder`.

    Attributes:
        k: requests that may pass for each that is accepted.
        window: seconds that it looks back.
        max_reject: the highest share of the calls that it refuses.
        requests: calls in the window whose outcome is known, refused ones included.
        accepts: how many of those the dependency accepted.
        reject: the share of the calls that it refuses now.
        rejected: calls that it has refused.
    """

    k: float
    window: float
    max_reject: float
    requests: int
    accepts: int
    reject: float
    rejected: int


class LoadShedder(Policy):
    """Refuses a share of the calls while the dependency accepts less than half of them.

    Client-side adaptive throttling: of what was asked in the last ``window`` seconds it lets about
    ``k`` times as much pass as was accepted, and refuses the rest by chance. There is no state
    that all calls depend on, and none that must be probed: as the dependency accepts more, more
    passes. An alternative to a :class:`~seawall.CircuitBreaker` for dependencies that refuse a
    part of what they are asked; in front of one it costs more than it gives.

    A call is accepted if its verdict is a SUCCESS. It is not if the verdict is a FAILURE or
    *throttled* (429, 503 with ``Retry-After``), or if it was refused here. What is NEUTRAL, a
    call that the caller cancelled or that another policy refused, is no request at all. The
    formula is from "Handling overload" (Site Reliability Engineering, 2016); the window is shorter
    than the book's, and the share capped, so that it recovers within some 20 s.

    Args:
        k: requests that may pass for each that is accepted, at least 1. With 2 nothing is refused
            while at least half is accepted.
        window: seconds to look back.
        max_reject: the largest share to refuse, above 0 and at most 1.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is no number.
    """

    def __init__(self, k: float = 2.0, *, window: float = 10.0, max_reject: float = 0.9) -> None:
        check_number("k", k, at_least=1)
        check_number("window", window, above=0)
        check_number("max_reject", max_reject, above=0, at_most=1)
        self.k = k
        self.window = window
        self.max_reject = max_reject
        self.rejected = 0
        self._loop: Loop | None = None
        self._acceptance = Acceptance(k, window, max_reject)

    def __repr__(self) -> str:
        return f"LoadShedder({self.k!r}, window={self.window!r}, max_reject={self.max_reject!r})"

    def snapshot(self) -> LoadShedderSnapshot:
        """Return what it has counted, and the share that it refuses; it changes nothing."""
        acceptance, loop = self._acceptance, self._loop
        # On a loop that is gone no time passes.
        now = float("-inf") if loop is None or loop.is_closed() else loop.time()
        requests, accepts, reject = acceptance.at(now)
        return LoadShedderSnapshot(
            policy=type(self).__name__,
            name=self.name,
            k=self.k,
            window=self.window,
            max_reject=self.max_reject,
            requests=requests,
            accepts=accepts,
            reject=reject,
            rejected=self.rejected,
        )

    def matters(self, now: float) -> bool:
        """Say whether it refuses a share of the calls now."""
        return self._acceptance.at(now)[2] > 0

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline, unless this call is one of those to refuse.

        Raises:
            LoadShedError: it is.
        """
        loop = call.loop
        if loop is not self._loop:
            self._move(loop)
        acceptance = self._acceptance
        if acceptance.refuses(loop.time()):
            self.rejected += 1
            if is_heard(self):
                tell(self, call, events.CallRefused, error="LoadShedError")
            raise LoadShedError(policy=self, name=self.name, key=call.key)
        try:
            result = await proceed(call)
        except BaseException as error:
            self._settle(loop, call.judge_error(error))
            raise
        if call.classifier is not None or call.open is not None:
            self._settle_result(call, result)
        elif loop is self._loop:
            acceptance.count(loop.time(), accepted=True)
        return result

    def _settle_result(self, call: Call[Any], result: object) -> None:
        verdict = call.judge_result(result)
        if call.open is None or verdict.kind is not _SUCCESS:
            self._settle(call.loop, verdict)
        else:
            call.open.on_settle(partial(self._settle, call.loop))

    def _settle(self, loop: Loop, verdict: Verdict) -> None:
        # A call of a loop that is gone has times of another clock.
        if loop is self._loop:
            if verdict.throttled or verdict.kind is _FAILURE:
                self._acceptance.count(loop.time(), accepted=False)
            elif verdict.kind is _SUCCESS:
                self._acceptance.count(loop.time(), accepted=True)

    def _move(self, loop: Loop) -> None:
        check_move(self, self._loop, loop)
        self._acceptance.follow(loop.time())
        self._loop = loop
