"""A limit on how much is called per unit of time, which obeys what the server asks for."""

from __future__ import annotations

from functools import partial
from math import inf
from sys import float_info
from typing import TYPE_CHECKING, Any, TypeVar

from seawall.core import lazy_events as events
from seawall.core.call import has_waited
from seawall.core.checks import check_number
from seawall.core.clock import check_move
from seawall.core.errors import RateLimitedError, RejectedError, UsageError
from seawall.core.listeners import logger
from seawall.core.observe import is_heard, tell, tell_change
from seawall.core.policy import Policy
from seawall.core.verdict import leaves_of
from seawall.policies.rate_limiter.line import Line
from seawall.policies.rate_limiter.pacer import Pacer
from seawall.policies.rate_limiter.snapshot import RateLimiterSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.core.call import Call, Proceed
    from seawall.core.clock import Loop
    from seawall.core.verdict import Verdict
    from seawall.core.waiting import Waiter

T = TypeVar("T")


class RateLimiter(Policy):
    """Lets at most ``rate`` calls pass in ``per`` seconds; the others wait in order of arrival.

    In any window of w seconds at most ``rate * w / per + burst`` are let pass. A call waits until
    its turn, but it does not begin to wait, nor go on, if its turn is known to come after
    ``max_wait`` or after the deadline of the call: then it is refused at once.

    Where the server throttles (429, 529, 503 with ``Retry-After``, or what the classifier says)
    and says for how long, **all** calls of this limiter pause for that time, those that wait and
    those that arrive. With ``rate=None`` that is all it does; it does not pace, so after a pause
    all go at once.

    Calls may differ in what they cost, and the true cost may be known afterwards only: tokens of a
    language model, bytes, rows. What a call cost more than it took is a debt that later calls wait
    for; what it cost less is given back. So is what a call took that was refused further inside, as
    far as it has not regenerated since; several limiters in a row do no harm to each other.

    After the generic cell rate algorithm (ATM Forum, "Traffic Management Specification", 1999).

    Args:
        rate: units in ``per`` seconds, more than 0; ``None`` for no limit but the pauses. Without
            a rate, ``per``, ``burst``, ``cost`` and ``actual`` have no effect.
        per: seconds, more than 0.
        burst: units that may be taken at once after a quiet time, at least 1.
        max_wait: seconds that a call may wait; 0 refuses at once. By default as long as the
            timeouts around it allow.
        max_pause: the longest pause in seconds, whatever the server asks for; 0 for none.
        cost: units that a call takes: a number from 0 to ``burst``, or a function of the call's
            arguments that returns one. A block has no arguments: there it must be a number.
        actual: a function of what the call returned (in a block, of ``attempt.result``) that
            returns the units that it really cost. For a response whose body is still open it is
            called when that ends.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        rate: float | None,
        per: float = 1.0,
        *,
        burst: float = 1,
        max_wait: float | None = None,
        max_pause: float = 60.0,
        cost: float | Callable[..., float] = 1,
        actual: Callable[[Any], float] | None = None,
    ) -> None:
        check_number("rate", rate, above=0, optional=True)
        check_number("per", per, above=0)
        check_number("burst", burst, at_least=1)
        check_number("max_wait", max_wait, at_least=0, infinite=True, optional=True)
        check_number("max_pause", max_pause, at_least=0)
        if not callable(cost):
            check_number("cost", cost, at_least=0, at_most=inf if rate is None else burst)
        if actual is not None and not callable(actual):
            message = f"actual must be a function of the result or None, not {actual!r}"
            raise TypeError(message)
        self.rate = rate
        self.per = per
        self.burst = burst
        self.max_wait = max_wait
        self.max_pause = max_pause
        self.cost = cost
        self.actual = actual
        self.rejected = 0
        self.throttled = 0
        # Without a rate nothing is counted.
        self._fixed: float = 0.0 if callable(cost) else cost
        self._cost_of = cost if callable(cost) and rate is not None else None
        self._settles = actual is not None and rate is not None
        self._pacer = Pacer(rate, per, burst)
        self._line: Line | None = None

    def __repr__(self) -> str:
        defaults = {"per": 1.0, "burst": 1, "max_wait": None, "max_pause": 60.0, "cost": 1}
        defaults["actual"] = None
        given = [
            f", {name}={getattr(self, name)!r}"
            for name, default in defaults.items()
            if getattr(self, name) != default
        ]
        return f"RateLimiter({self.rate!r}{''.join(given)})"

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn now."""
        return 0 if self._line is None else len(self._line.queue)

    def snapshot(self) -> RateLimiterSnapshot:
        """Return what may be taken now, and who waits; it changes nothing."""
        line, pacer = self._line, self._pacer
        # Between two loops no time passes.
        now = pacer.now if line is None or line.loop.is_closed() else line.loop.time()
        return RateLimiterSnapshot(
            policy=type(self).__name__,
            name=self.name,
            rate=self.rate,
            per=self.per,
            burst=self.burst,
            available=pacer.available(now),
            waiting=self.waiting,
            paused_for=pacer.paused_for(now),
            rejected=self.rejected,
            throttled=self.throttled,
        )

    def matters(self, now: float) -> bool:
        """Say whether a new limiter would let pass what this one would not."""
        pacer = self._pacer
        spent = self.rate is not None and pacer.available(now) < self.burst
        return spent or self.waiting > 0 or pacer.paused_for(now) > 0

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run the rest of the pipeline when its turn has come.

        Raises:
            RateLimitedError: its turn would come too late; ``retry_after`` says when.
            UsageError: ``cost`` or ``actual`` did not return what it must.
        """
        line = self._line
        if line is None or line.loop is not call.loop:
            line = self._move(call.loop)
        cost = self._fixed if self._cost_of is None else self._ask_cost(call)
        number = 0 if line.queue else self._pacer.admit(call.loop.time(), cost)
        if not number:
            on_queued = partial(self._tell_queued, call, line) if is_heard(self) else None
            number = await line.wait(call, cost, self.max_wait, on_queued)
        attempt = call.attempt
        try:
            result = await proceed(call)
        except BaseException as error:
            if line is self._line:
                # Where there have been several, the first one was sent.
                waited = has_waited(error) and call.attempt == attempt
                self._fail(line, call, error, number, cost, waited=waited)
            raise
        if self._settles or call.classifier is not None or call.open is not None:
            self._finish(line, call, result, number, cost)
        return result

    def _fail(
        self,
        line: Line,
        call: Call[Any],
        error: BaseException,
        number: int,
        cost: float,
        *,
        waited: bool,
    ) -> None:
        verdict = call.judge_error(error)
        if verdict.throttled:
            self._obey(line, verdict)
        elif waited or all(isinstance(leaf, RejectedError) for leaf in leaves_of(error)):
            # Nothing was sent.
            self._give_back(line, number, cost)

    def _finish(
        self, line: Line, call: Call[Any], result: object, number: int, cost: float
    ) -> None:
        verdict = call.judge_result(result)
        self._obey(line, verdict)
        settles = self._settles and not call.unjudged
        if call.open is None:
            if settles:
                self._settle(line, number, cost, self._ask_actual(result))
            return
        if settles:
            call.open.on_release(partial(self._settle_body, line, number, cost, result))
        if not verdict.throttled and call.open.may_be_throttled:
            call.open.on_settle(partial(self._obey, line))

    def _obey(self, line: Line, verdict: Verdict) -> None:
        """Pause, if the server throttles and says for how long."""
        if not verdict.throttled or line is not self._line:
            return
        self.throttled += 1
        if verdict.retry_after is None:
            return
        now = line.loop.time()
        later = self._pacer.pause(now, min(verdict.retry_after, self.max_pause))
        if later > 0:
            try:
                self._tell_pause(line, now, verdict.retry_after)
            finally:
                line.move_back(later)

    def _settle(self, line: Line, number: int, cost: float, actual: float) -> None:
        if actual < cost:
            self._give_back(line, number, cost - actual)
        elif actual > cost and line is self._line:
            line.move_back(self._pacer.owe(line.loop.time(), actual - cost))

    def _settle_body(self, line: Line, number: int, cost: float, result: object) -> None:
        try:
            actual = self._ask_actual(result)
        except Exception:
            # Nobody is there to raise it to, and other policies have their steps to take.
            logger.exception("%r cannot tell what a call cost; what it took stands", self)
        else:
            self._settle(line, number, cost, actual)

    def _give_back(self, line: Line, number: int, units: float) -> None:
        if line is self._line and self._pacer.give_back(line.loop.time(), number, units) > 0:
            line.serve()

    def _refuse(
        self, call: Call[Any], wait: float, waiter: Waiter | None = None
    ) -> RateLimitedError:
        self.rejected += 1
        error = RateLimitedError(policy=self, name=self.name, key=call.key, retry_after=wait)
        if waiter is not None:
            waiter.refuse(error)
        if is_heard(self):
            tell(self, call, events.CallRefused, error="RateLimitedError", retry_after=wait)
        return error

    def _tell_queued(self, call: Call[Any], line: Line) -> None:
        tell(self, call, events.CallQueued, waiting=len(line.queue))

    def _tell_pause(self, line: Line, now: float, retry_after: float) -> None:
        if not is_heard(self):
            return
        paused_for, waiting = self._pacer.paused_for(now), len(line.queue)
        tell_change(
            self,
            now,
            events.RateLimiterPaused,
            retry_after=retry_after,
            paused_for=paused_for,
            waiting=waiting,
        )

    def _ask_cost(self, call: Call[Any]) -> float:
        if call.is_block:
            raise UsageError(_NO_ARGUMENTS)
        ask: Any = self._cost_of
        return _checked("cost", ask(*call.args, **call.kwargs), self.burst)

    def _ask_actual(self, result: object) -> float:
        ask: Any = self.actual
        return _checked("actual", ask(result), _MOST)

    def _move(self, loop: Loop) -> Line:
        check_move(self, None if self._line is None else self._line.loop, loop)
        self._pacer.follow(loop.time())
        self._line = line = Line(self._pacer, loop, self._refuse)
        return line


_NUMBERS = (int, float)
_MOST = float_info.max
_NO_ARGUMENTS = (
    "cost is a function of the call's arguments, and a block has none.\n"
    "  wrong: RateLimiter(10, burst=5, cost=tokens_of) with `async with limiter:`\n"
    "  right: RateLimiter(10, burst=5, cost=3) with `async with limiter:`\n"
    "  right: RateLimiter(10, burst=5, cost=tokens_of) with `await limiter.execute(ask, prompt)`"
)


def _checked(what: str, units: Any, at_most: float) -> float:
    if type(units) in _NUMBERS and 0 <= units <= at_most:
        return units  # type: ignore[no-any-return]
    try:
        check_number(f"what {what} returns", units, at_least=0, at_most=at_most)
    except (TypeError, ValueError) as wrong:
        raise UsageError(str(wrong)) from None
    return units  # type: ignore[no-any-return]
