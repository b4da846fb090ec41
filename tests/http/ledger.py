"""A policy that writes down what becomes of each attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from seawall import Call, Policy, Proceed, Verdict


@dataclass
class Ledger(Policy):
    """A policy that holds something for each attempt and writes down how each of them ended."""

    verdicts: list[Verdict] = field(default_factory=list)
    held: int = 0
    given_back: int = 0

    async def run(self, call: Call[Any], proceed: Proceed[Any]) -> Any:
        self.held += 1
        try:
            result = await proceed(call)
        except BaseException as error:
            self.verdicts.append(call.judge_error(error))
            self._give_back()
            raise
        verdict = call.judge_result(result)
        if call.open is None:
            self.verdicts.append(verdict)
            self._give_back()
        else:
            call.open.on_settle(self.verdicts.append)
            call.open.on_release(self._give_back)
        return result

    @property
    def kinds(self) -> list[str]:
        return [verdict.kind.value for verdict in self.verdicts]

    def _give_back(self) -> None:
        self.held -= 1
        self.given_back += 1
