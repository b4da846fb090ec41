"""The transport that runs each request behind policies; the bindings mix it into their client's."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from seawall.core.checks import check_count, check_number
from seawall.core.clock import current_loop
from seawall.core.errors import CallTimeoutError, RejectedError
from seawall.core.policy import Policy
from seawall.http.alarm import Alarm
from seawall.http.async_only import AsyncOnly
from seawall.http.exchange import Exchange
from seawall.http.inner import (
    check_inner,
    default_transport,
    separate_origins,
    warn_of_retries,
)
from seawall.http.pool import repair
from seawall.http.pools import find_pools
from seawall.http.settings import FIELDS_OF_CLIENTS, SDK_COUNT, check_header, is_from_sdk, origin
from seawall.http.standard import limits_each_origin, standard
from seawall.policies.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from seawall.core.clock import Loop
    from seawall.core.verdict import Outcome, Verdict
    from seawall.http.settings import Idempotent

Classify: TypeAlias = "Callable[[Outcome], Verdict | None]"
Release: TypeAlias = Literal["body", "headers"]


class Resilience(AsyncOnly):
    """An async transport around another one: each request runs behind policies.

    Args:
        policy: a policy or pipeline; by default a ``standard()`` of its own.
        transport: the transport that sends the attempts; by default a new one of the client's.
            Where the policy is a ``standard()``, which limits the requests of each origin, and the
            transport has no limits but the client's usual ones, it is given a connection pool for
            each origin.
        key: called with the request, returns the key of its policies. Default: its origin.
        idempotent: whether requests may be processed twice: ``True`` or ``False`` for all, or a
            function of the request that may also return ``None``. Default: by the method, and by
            whether there is an ``Idempotency-Key`` header.
        classify: called with an outcome, returns a verdict in place of the default one, or
            ``None`` to leave it. What must not be sent again is not, whatever it says.
        release: when the slot and the verdict of an attempt are settled: at the end of the
            ``"body"``, or already at its ``"headers"``.
        deadline_header: name of a header in which each attempt tells the server what is left until
            the deadline of the call, its body included: whole milliseconds, as a number of digits.
            That is what ``Connect-Timeout-Ms`` (Connect RPC) and ``X-Envoy-Expected-Rq-Timeout-Ms``
            hold. A duration and not a time of day, for the clocks of two machines differ. Nothing
            is sent where there is no deadline, or where the request has the header already.
        buffer_response: bytes of a body that are read inside the attempt, so that a response that
            is cut off within them is an attempt that failed, and is retried. The caller gets the
            response when its body has ended, or is known to be longer. Event streams are left
            alone. Default: none.
        idle_timeout: seconds that each read may wait of a body that has no deadline (an event
            stream, or what follows a 101); ``math.inf`` for ever. Default: 300, or the request's
            own read timeout if that is longer.

    Raises:
        UsageError: the transport is none of this client's async ones.
        TypeError: an argument is of the wrong type.
        ValueError: ``release`` is neither of the two, or a number is out of range.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        transport: Any = None,
        *,
        key: Callable[[Any], Any] = origin,
        idempotent: Idempotent = None,
        classify: Classify | None = None,
        release: Release = "body",
        deadline_header: str | None = None,
        buffer_response: int | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        if policy is not None and not isinstance(policy, Policy):
            raise TypeError(f"policy must be a policy, a pipeline or None, not {policy!r}")
        if not callable(key):
            raise TypeError(f"key must be a callable of the request, not {key!r}")
        if not (idempotent is None or isinstance(idempotent, bool) or callable(idempotent)):
            raise TypeError(
                f"idempotent must be a bool, a callable of the request or None, not {idempotent!r}"
            )
        if classify is not None and not callable(classify):
            raise TypeError(f"classify must be a callable of the outcome or None, not {classify!r}")
        if release not in {"body", "headers"}:
            raise ValueError(f"release must be 'body' or 'headers', not {release!r}")
        check_header("deadline_header", deadline_header)
        check_count("buffer_response", buffer_response, at_least=1, optional=True)
        check_number("idle_timeout", idle_timeout, above=0, infinite=True, optional=True)
        self.policy: Policy = standard() if policy is None else policy
        if transport is None:
            transport = default_transport(self.family.client, self.policy)
        check_inner(transport, self.family)
        if find_retry(self.policy) is not None:
            warn_of_retries(transport, self.family.name)
        if limits_each_origin(self.policy):
            separate_origins(transport)
        self.inner: Any = transport
        self.key = key
        self.idempotent = idempotent
        self.classify = classify
        self.release = release
        self.deadline_header = deadline_header
        self.buffer_response = buffer_response
        self.idle_timeout = idle_timeout
        self._pools: tuple[Iterable[Any], ...] | None = None
        self._alarm: Alarm | None = None
        # The loop that it was last closed on, and when.
        self._closed: tuple[Loop, float] | None = None
        self._warned = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.policy!r}, {self.inner!r})"

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request through the policies.

        Raises:
            RejectedError: a policy refused the request.
            CallTimeoutError: a ``Timeout`` ended it.
            UsageError: its ``extensions["seawall"]`` are not understood.
            Exception: the last error of the transport inside.
        """
        ours: RejectedError | CallTimeoutError
        try:
            exchange = Exchange(self, request)
            fields = self.family.fields(request.headers)
            from_sdk = len(fields) > FIELDS_OF_CLIENTS and is_from_sdk(fields)
            if from_sdk:
                self._pay(exchange.started, request.headers[SDK_COUNT])
            policy = self.policy
            if exchange.asked_total is not None:
                policy = policy.bind(timeout=exchange.asked_total)
            exchange.pipeline = policy
            # What `conduct` does, without a coroutine more.
            try:
                response = await policy.entry()(exchange)
            except GeneratorExit:
                try:
                    exchange.fail()
                finally:
                    exchange.drop()
                raise
            except BaseException:
                # A listener that ends the program may be heard there.
                try:
                    exchange.fail()
                finally:
                    await exchange.close()
                raise
            if exchange.bodies and exchange.hand_out(response):
                await exchange.close()
            exchange.tell(response)
            if from_sdk and exchange.is_final(response):
                # The retries of the SDK would multiply those that were just given up.
                response.headers["x-should-retry"] = "false"
            return response
        except (RejectedError, CallTimeoutError) as error:
            ours = error
        # Raised out here, or the error would be the context of its own twin.
        try:
            raise self.family.adopt(ours, request)
        finally:
            del ours

    def repair(self, extensions: object) -> list[Any]:
        """Drop what the attempt with these extensions has left in the pools beneath.

        Returns:
            The connections that are to be closed.
        """
        if self._pools is None:
            self._pools = find_pools(self.inner)
        return [
            dropped
            for pools in self._pools
            for pool in pools
            for dropped in repair(pool, extensions)
        ]

    def was_closed_since(self, loop: Loop, started: float) -> bool:
        """Say whether it was closed while a request was on its way that began then."""
        closed = self._closed
        return closed is not None and closed[0] is loop and closed[1] >= started

    def alarm(self, loop: Any) -> Alarm:
        """Return what ends open bodies at their deadlines on this asyncio loop."""
        alarm = self._alarm
        if alarm is None or alarm.loop is not loop:
            # An earlier loop still has the one of its own, as long as there is something to end.
            alarm = self._alarm = Alarm(loop)
        return alarm

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._note_closing()
        await self.inner.__aexit__(kind, error, traceback)

    async def aclose(self) -> None:
        """Close the transport inside."""
        self._note_closing()
        await self.inner.aclose()

    def _note_closing(self) -> None:
        loop = current_loop()
        self._closed = loop, loop.time()

    def _pay(self, now: float, sdk_count: str) -> None:
        """Let a retry of an SDK, which adds to the load like one of ours, cost the budget."""
        if sdk_count == "0":
            return
        retry = find_retry(self.policy)
        if retry is not None and retry.budget is not None:
            retry.budget.spend(now)
        if not self._warned:
            self._warned = True
            warnings.warn(
                "the SDK repeats requests that are repeated here already; give it max_retries=0",
                RuntimeWarning,
                stacklevel=2,
            )


def find_retry(policy: Policy) -> Retry | None:
    """Return the outermost ``Retry`` of a policy or pipeline, if there is one."""
    find = getattr(policy, "find", None)
    try:
        retry = policy if find is None else find(Retry)
    except LookupError:
        return None
    return retry if isinstance(retry, Retry) else None
