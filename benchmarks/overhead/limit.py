"""The limit: the four policies fused by hand into one coroutine, with no layers.

What lies between this and a stack of policies is the price of layers. It keeps what the policies
promise: a retry with jittered backoff that is paid from a budget, a breaker that opens by the share
of failures in a window of time and admits a single probe when its open time has passed, a bulkhead
that refuses when full, and a timeout per attempt that arms no timer of its own. It knows one order,
one rule and asyncio alone, judges by the type of the error, tells nested code no deadline, and can
be neither observed nor taken apart.

The rules:

1. Whatever ends an attempt, its slot is given back and its verdict heard, once, with no ``await``
   in between. A cancellation that is not the timeout's own says nothing about the dependency.
2. What was admitted before the circuit last changed changes nothing. First attempts are evidence,
   and probes.
3. One ordered dict holds the running attempts, the earliest deadline first, and one timer of the
   loop watches the first of them. Who is late is cancelled as by ``asyncio.timeout``.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, current_task
from contextvars import Context

from benchmarks.overhead.handwritten import RefusedError, backoff

BUCKETS = 32
# A timer is not armed anew within a millisecond, which is as fine as uvloop's clock is.
RESOLUTION = 0.001


class Running:
    """One attempt with its deadline."""

    __slots__ = ("fired", "task", "when")


class State:
    """What all calls share: the circuit with its window, the slots, the budget, the deadlines."""

    __slots__ = (
        "budget_at",
        "calls",
        "context",
        "failures",
        "generation",
        "in_flight",
        "loop",
        "open_for",
        "opened_at",
        "position",
        "probing",
        "quiet_until",
        "ring",
        "running",
        "started",
        "timer",
        "tokens",
        "width",
    )

    def __init__(self, open_for, window):
        self.loop = asyncio.get_running_loop()
        self.open_for = open_for
        self.width = window / BUCKETS
        self.generation = 0
        self.opened_at = None
        self.probing = False
        self.in_flight = 0
        self.tokens = 10.0
        self.budget_at = self.loop.time()
        self.running = {}
        self.timer = None
        # Of its own: an idle timer must not keep the context of the call that armed it.
        self.context = Context()
        self.forget()

    # The circuit: half of at least 20 calls within the window.

    def forget(self):
        self.calls = self.failures = 0
        # What the sums were when the current bucket began: its own counts are the difference.
        self.started = (0, 0)
        self.ring = [(0, 0)] * BUCKETS
        self.position = 0
        self.quiet_until = self.loop.time() + self.width

    def advance(self, now):
        """Begin the bucket of this moment, and drop what has become too old."""
        steps = int((now - self.quiet_until) / self.width) + 1
        if steps > BUCKETS:
            self.forget()
            return
        self.quiet_until += steps * self.width
        own = (self.calls - self.started[0], self.failures - self.started[1])
        for _ in range(steps):
            calls, failures = self.ring[self.position]
            self.calls -= calls
            self.failures -= failures
            self.ring[self.position] = own
            self.position = (self.position + 1) % BUCKETS
            own = (0, 0)
        self.started = (self.calls, self.failures)

    def probe(self, now):
        if self.probing or now - self.opened_at < self.open_for:
            raise RefusedError("the circuit is open")
        self.probing = True
        self.generation += 1

    def succeed(self):
        """Hear of a probe that succeeded."""
        self.probing = False
        self.generation += 1
        self.opened_at = None
        self.forget()

    def fail(self, generation, now, attempt):
        if generation != self.generation:
            return
        if self.probing:
            self.probing = False
        elif attempt > 1:
            return
        else:
            if now >= self.quiet_until:
                self.advance(now)
            self.calls += 1
            self.failures += 1
            if self.calls < 20 or self.failures < 0.5 * self.calls:
                return
        self.generation += 1
        self.opened_at = now

    def say_nothing(self, generation):
        if generation == self.generation:
            self.probing = False

    # The budget: ten tokens, a tenth for each first success, one back every thirty seconds.

    def spend(self, now):
        self.tokens = min(10.0, self.tokens + (now - self.budget_at) / 30)
        self.budget_at = now
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens -= 1
        return True

    # The timer.

    def arm(self, when):
        self.timer = self.loop.call_at(when, self.watch, context=self.context)

    def watch(self):
        now = self.loop.time()
        self.timer = None
        late = []
        for running in self.running:
            if running.when > now:
                self.arm(max(running.when, now + RESOLUTION))
                break
            late.append(running)
        for running in late:
            if not running.fired:
                running.fired = True
                running.task.cancel()


def four(function, *, open_for=30.0, window=30.0, limit=100, attempts=3, seconds=10.0):
    """Return the function behind the four."""
    state = State(open_for, window)
    loop = state.loop
    clock = loop.time
    all_running = state.running

    async def call():
        attempt = 1
        while True:
            now = clock()
            if state.opened_at is not None:
                state.probe(now)
            generation = state.generation
            if state.in_flight >= limit:
                # Never a probe: what opened the circuit gave a slot back.
                raise RefusedError("the bulkhead is full")
            state.in_flight += 1
            task = current_task(loop)
            running = Running()
            running.task = task
            running.when = when = now + seconds
            running.fired = False
            all_running[running] = None
            if state.timer is None:
                state.arm(when)
            cancelling = task.cancelling()
            try:
                result = await function()
            except BaseException as error:
                timed_out = (
                    running.fired
                    and task.uncancel() <= cancelling
                    and isinstance(error, CancelledError)
                )
                failed = timed_out or isinstance(error, Exception)
                if not failed or isinstance(error, RefusedError):
                    state.say_nothing(generation)
                    raise
                now = clock()
                state.fail(generation, now, attempt)
                if attempt >= attempts or not state.spend(now):
                    if timed_out:
                        raise TimeoutError from error
                    raise
            else:
                if running.fired:
                    task.uncancel()
                now = clock()
                if generation == state.generation:
                    if state.probing:
                        state.succeed()
                    elif attempt == 1:
                        if now >= state.quiet_until:
                            state.advance(now)
                        state.calls += 1
                if attempt == 1 and state.tokens < 10.0:
                    state.tokens = min(10.0, state.tokens + 0.1)
                return result
            finally:
                del all_running[running]
                state.in_flight -= 1
                # The frame is on the traceback of an error that its task keeps.
                del task, running
            await asyncio.sleep(backoff(attempt))
            attempt += 1

    return call
