"""Policies in a row, the first one outermost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from seawall.core.checks import check_name
from seawall.core.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from seawall.core.call import Call, Proceed
    from seawall.core.snapshot import PipelineSnapshot
    from seawall.core.verdict import Classify

T = TypeVar("T")
AnyPolicy = TypeVar("AnyPolicy", bound=Policy)


class Pipeline(Policy):
    """``Pipeline(A, B, C)`` runs ``A(B(C(function)))``: the first policy is the outermost.

    A pipeline is a policy itself, so pipelines nest. The advised order, outermost first, is total
    ``Timeout``, ``Retry``, ``CircuitBreaker``, ``Bulkhead``, ``Timeout`` per attempt.

    Args:
        policies: policies and pipelines, outermost first. None at all is a pipeline that only
            runs the function.
        name: shown in errors.
        classify: what outcomes mean; a :class:`~seawall.Classifier`, or any callable that takes an
            :class:`~seawall.Outcome` and returns a :class:`~seawall.Verdict`. In nested pipelines
            the innermost one given decides. Default: the rules of :class:`~seawall.Classifier`.

    Raises:
        TypeError: an argument is not what it must be.
    """

    def __init__(
        self,
        *policies: Policy,
        name: str | None = None,
        classify: Classify | None = None,
    ) -> None:
        for position, policy in enumerate(policies):
            _check_policy(position, policy)
        check_name(name)
        if classify is not None and not callable(classify):
            message = f"classify must be callable or None, not {classify!r}"
            raise TypeError(message)
        self.policies = policies
        self.name = name
        self._classify = classify
        self._linked: tuple[Proceed[Any], Proceed[Any]] | None = None

    def __repr__(self) -> str:
        name = [] if self.name is None else [f"name={self.name!r}"]
        return f"Pipeline({', '.join([*map(repr, self.policies), *name])})"

    @classmethod
    def standard(
        cls,
        *,
        timeout: float = 30.0,
        attempts: int = 3,
        attempt_timeout: float = 10.0,
        limit: int | Policy | None = None,
        name: str | None = None,
    ) -> Pipeline:
        """Return the pipeline that suits most calls over a network.

        ``Timeout(timeout)``, ``Retry(attempts)``, ``CircuitBreaker()``, then ``Bulkhead(limit)``
        if a limit is given, then ``Timeout(attempt_timeout)``.

        Args:
            timeout: seconds for the whole call, waits and retries included.
            attempts: attempts at most, the first one counted.
            attempt_timeout: seconds for one attempt.
            limit: calls at a time, or a policy that limits them; unlimited by default.
            name: shown in errors, and the name of each policy in it.

        Raises:
            ValueError: a number is out of range.
            TypeError: an argument is of the wrong type.
        """
        from seawall.policies.standard import standard  # noqa: PLC0415 - core knows no policies

        policies = standard(
            timeout=timeout,
            attempts=attempts,
            attempt_timeout=attempt_timeout,
            limit=limit,
            name=name,
        )
        return cls(*policies, name=name)

    def find(self, kind: type[AnyPolicy]) -> AnyPolicy:
        """Return the outermost policy of this type, in this pipeline or one nested in it.

        Raises:
            LookupError: there is none.
        """
        for policy in self._walk():
            if isinstance(policy, kind):
                return policy
        message = f"{self!r} has no {kind.__name__}"
        raise LookupError(message)

    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        """Run all policies of this pipeline around the rest of another one."""
        linked = self._linked
        if linked is None or linked[0] is not proceed:
            linked = self._linked = (proceed, self._link_all(proceed))
        result: T = await linked[1](call)
        return result

    def link(self, proceed: Proceed[T]) -> Proceed[T]:
        """Put all policies around the rest of a pipeline, the first one outermost."""
        # A subclass with a `run` of its own is a policy like any other.
        own = type(self).run is not Pipeline.run
        return super().link(proceed) if own else self._link_all(proceed)

    def link_between(
        self, before: Sequence[Policy], following: Sequence[Policy], proceed: Proceed[T]
    ) -> Proceed[T]:
        """Put some policies, those of this pipeline and some others around the rest of another."""
        kind = type(self)
        if kind.run is not Pipeline.run or kind.link is not Pipeline.link:
            return super().link_between(before, following, proceed)
        return self._link_all(proceed, before, following)

    def _link_all(
        self,
        proceed: Proceed[T],
        before: Sequence[Policy] = (),
        following: Sequence[Policy] = (),
    ) -> Proceed[T]:
        from seawall.policies.fused import link_all  # noqa: PLC0415 - core knows no policies

        proceed = link_all((*before, *self.policies, *following), proceed)
        classify = self._classify
        if classify is None:
            return proceed
        inner = proceed

        def step(call: Call[T]) -> Awaitable[T]:
            call.classifier = classify
            return inner(call)

        return step

    def speakers(self) -> Iterator[Policy]:
        """Yield this pipeline, and every policy in it."""
        yield self
        for policy in self.policies:
            yield from policy.speakers()

    def snapshot(self) -> PipelineSnapshot:
        """Return what each policy of this pipeline is doing now; it changes nothing."""
        from seawall.core.snapshot import PipelineSnapshot  # noqa: PLC0415 - seldom needed

        return PipelineSnapshot(
            policy=type(self).__name__,
            name=self.name,
            policies=tuple([policy.snapshot() for policy in self.policies]),
        )

    def matters(self, now: float) -> bool:
        """Say whether forgetting one of the policies would lose what callers rely on."""
        return any(policy.matters(now) for policy in self.policies)

    def _walk(self) -> Iterator[Policy]:
        for policy in self.policies:
            yield policy
            if isinstance(policy, Pipeline):
                yield from policy._walk()


def _check_policy(position: int, policy: object) -> None:
    if isinstance(policy, Policy):
        return
    message = f"policies[{position}] must be a Policy, not {policy!r}"
    if isinstance(policy, type) and issubclass(policy, Policy):
        name = policy.__name__
        message += f"\n  wrong: Pipeline({name}, ...)\n  right: Pipeline({name}(...), ...)"
    raise TypeError(message)
