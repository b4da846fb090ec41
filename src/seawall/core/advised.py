"""What a policy says of itself: what it does, and what is likely to be wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seawall.advice import Explanation, Finding
    from seawall.core.policy import Policy


class Advised:
    """Gives every policy :meth:`explain` and :meth:`lint`; neither needs a running loop."""

    def explain(self, *, key: Any = None, requests_per_second: float | None = None) -> Explanation:
        """Return in words what this policy and those in it do, and what a call comes to at worst.

        ``print(pipeline.explain())`` shows a line for each policy, the outermost first, and then
        the longest duration of a call, the most attempts, and by what the load is multiplied while
        everything fails.

        Args:
            key: a key to show the policies of. The factory of a ``Keyed`` is called with it unless
                the key is in use, and what it returns is not kept. By default a key in use is
                shown, and no factory is called.
            requests_per_second: usual calls per second, above 0; with it, what a retry budget lets
                pass is told as a share of the load.

        Raises:
            ValueError: a number is out of range.
            TypeError: a number is none.
            UsageError: a factory returned something else than a policy for this key.
        """
        from seawall.advice.explain import explain  # noqa: PLC0415 - core knows no advice

        return explain(cast("Policy", self), key=key, requests_per_second=requests_per_second)

    def lint(
        self,
        *,
        requests_per_second: float | None = None,
        latency: float | None = None,
        restart_seconds: float | None = None,
        capacity: float | None = None,
        clients: int | None = None,
        user_facing: bool = False,
        keys: Iterable[Any] = (),
    ) -> tuple[Finding, ...]:
        """Return what is likely to be wrong with this policy and those in it; at best nothing.

        Each finding has a code that ``docs/lint.md`` explains. The arguments are facts about the
        deployment; a check that needs one that is not given says nothing.

        Args:
            requests_per_second: usual calls per second of this process; for policies per key,
                those of one key.
            latency: seconds that an attempt usually takes.
            restart_seconds: seconds that a restart of the dependency takes until it is as fast as
                before.
            capacity: calls per second that the dependency can serve.
            clients: how many processes use such a pipeline for the same dependency.
            user_facing: whether what it raises reaches people.
            keys: some keys of dependencies that are called through it. The factory of a ``Keyed``
                is called with each that is not in use, and what it returns is not kept. Keys in
                use are looked at in any case.

        Returns:
            the findings, in the order of the policies they are about, the outermost first.

        Raises:
            ValueError: a number is out of range.
            TypeError: an argument is of the wrong type.
            UsageError: a factory returned something else than a policy for one of the keys.
        """
        from seawall.advice.lint import Facts, lint  # noqa: PLC0415 - core knows no advice

        facts = Facts(
            requests_per_second=requests_per_second,
            latency=latency,
            restart_seconds=restart_seconds,
            capacity=capacity,
            clients=clients,
            user_facing=user_facing,
            keys=tuple(keys),
        )
        return lint(cast("Policy", self), facts)
