"""When a circuit is silent: rule 10, with the details that the design leaves to the code."""

from __future__ import annotations

from copy import copy


class Silence:
    """What is known of the answers, whatever generation their calls are of.

    Attributes:
        youngest: when the youngest answered call was sent; ``None`` before the first answer.
        mean: mean of the samples of the lag, as in RFC 6298.
        deviation: their mean deviation.
        sampled: whether there is a sample.
        least: what the patience is at least.
        suspected: when the youngest answered call was sent, when silence was first found.
        believed_from: from when on that silence is believed.
    """

    def __init__(self) -> None:
        self.youngest: float | None = None
        self.mean = self.deviation = 0.0
        self.sampled = False
        self.least = 1.0
        self.suspected: float | None = None
        self.believed_from = 0.0

    def copy(self) -> Silence:
        return copy(self)

    @property
    def q(self) -> float | None:
        """How long an answer may take; ``None`` before the second answer."""
        if not self.sampled:
            return None
        return max(self.least, 3.0 * (self.mean + 4.0 * self.deviation))

    def silent(self, now: float) -> bool:
        """Say whether nothing that was sent during the last q has been answered."""
        if self.q is None or self.youngest is None:
            return False
        return now - self.youngest > self.q

    def believed(self, latest: float | None, now: float) -> bool:
        """Say whether silence has been looked at for as long as no call had come before it.

        Open: for how long at most. For q, also where nothing was sent since it has closed.
        """
        assert self.q is not None
        if self.suspected != self.youngest:
            self.suspected = self.youngest
            self.believed_from = now + self.q
            if latest is not None:
                self.believed_from = now + min(now - latest, self.q)
        return now >= self.believed_from

    def answer(self, sent: float, now: float) -> None:
        """Learn from an answer to a call that had not stalled."""
        if self.youngest is None:
            self.youngest = sent
        elif sent > self.youngest:
            lag = now - self.youngest
            self.youngest = sent
            if self.q is None:
                self._learn(lag)
            elif self.q > 1.0 or lag > 1 / 15:
                self._learn(min(lag, self.q))

    def answer_late(self, sent: float, now: float, *, found: bool) -> None:
        """Learn from an answer to a call that had stalled: its duration, however long.

        Of one that an arrival had found stalled, that is remembered, with a margin. Open: for how
        long. For ten minutes, which no enumeration lasts.
        """
        assert self.youngest is not None
        if found:
            self.least = max(self.least, 1.5 * (now - sent))
        self.youngest = max(self.youngest, sent)
        self._learn(now - sent)

    def _learn(self, sample: float) -> None:
        if not self.sampled:
            self.sampled = True
            self.mean = sample
            self.deviation = sample / 2
            return
        error = sample - self.mean
        self.mean += error / 8
        self.deviation += (abs(error) - self.deviation) / 4

    def key(self, now: float) -> tuple:
        return (
            self.youngest if self.youngest is None else now - self.youngest,
            self.sampled,
            self.mean,
            self.deviation,
            self.least,
            max(self.believed_from - now, 0.0) if self.suspected == self.youngest else None,
        )
