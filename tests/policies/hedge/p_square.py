"""The P² algorithm, which the learned delay is compared with.

Jain and Chlamtac, "The P² algorithm for dynamic calculation of quantiles and histograms without
storing observations", CACM 28:10, 1985. Five markers; nothing is ever forgotten.
"""

from __future__ import annotations


class PSquare:
    """An estimate of one quantile."""

    def __init__(self, ratio: float) -> None:
        self._heights: list[float] = []
        self._positions = [1.0, 2.0, 3.0, 4.0, 5.0]
        self._wanted = [1.0, 1 + 2 * ratio, 1 + 4 * ratio, 3 + 2 * ratio, 5.0]
        self._steps = [0.0, ratio / 2, ratio, (1 + ratio) / 2, 1.0]

    @property
    def value(self) -> float:
        return self._heights[2]

    def add(self, sample: float) -> None:
        heights, positions = self._heights, self._positions
        if len(heights) < 5:
            heights.append(sample)
            heights.sort()
            return
        heights[0] = min(heights[0], sample)
        heights[4] = max(heights[4], sample)
        cell = next(cell for cell in range(3, -1, -1) if heights[cell] <= sample)
        cell = min(cell, 3)
        for marker in range(cell + 1, 5):
            positions[marker] += 1
        for marker in range(5):
            self._wanted[marker] += self._steps[marker]
        for marker in (1, 2, 3):
            self._move(marker)

    def _move(self, marker: int) -> None:
        heights, positions = self._heights, self._positions
        left = self._wanted[marker] - positions[marker]
        before = positions[marker] - positions[marker - 1]
        after = positions[marker + 1] - positions[marker]
        if not ((left >= 1 and after > 1) or (left <= -1 and before > 1)):
            return
        step = 1 if left >= 1 else -1
        up = (heights[marker + 1] - heights[marker]) / after
        down = (heights[marker] - heights[marker - 1]) / before
        height = heights[marker] + step / (before + after) * (
            (before + step) * up + (after - step) * down
        )
        if not heights[marker - 1] < height < heights[marker + 1]:
            height = heights[marker] + step * (up if step > 0 else down)
        heights[marker] = height
        positions[marker] += step
