"""When a load shedder begins to refuse, how much it lets pass, and when it has recovered.

It counts the calls of the last 10 s and refuses none while half of them are accepted. So when all
fail from one moment on, it begins after 5 s; and from then on a tenth passes, for that is its cap.
When all is well again, the tenth that passes must come to half of what is counted: that takes 5 s
of 10 s windows in which more and more passes.
"""

from __future__ import annotations

import pytest

from seawall import LoadShedder
from tests.effectiveness.fifo_server import FifoServer
from tests.effectiveness.rows import means, recovery, refused
from tests.effectiveness.simulation import REFUSED, simulate, simulate_server
from tests.effectiveness.traffic import changing, poisson, steady

UP, DOWN = steady(0.02), steady(0.005, errors=1.0)
SEEDS = (1, 2, 3)
OTHER_SEEDS = (51, 52, 53)
BEGIN = 20.0

pytestmark = pytest.mark.slow


def outage(rate, seconds, seeds, **settings):
    rows = []
    end = BEGIN + seconds
    for seed in seeds:
        run = simulate(
            lambda: LoadShedder(**settings),
            poisson(rate, end + 60.0),
            changing(UP, (BEGIN, DOWN), (end, UP)),
            seed=seed,
        )
        times = [call.arrival for call in run.calls if call.outcome == REFUSED]
        rows.append(
            {
                "onset": times[0] - BEGIN,
                "passes": 1 - refused(run, end - 20.0, end) / run.arrived(end - 20.0, end),
                "recovery": recovery(run, end, end + 60.0),
                "last refusal": times[-1] - end,
            }
        )
    title = f"load shedder, an outage of {seconds:g} s at {rate}/s"
    means(title, seeds, rows)
    return rows


@pytest.mark.parametrize(
    "rate, seconds, seeds",
    [
        (100, 40.0, SEEDS),
        (50, 40.0, SEEDS),
        (200, 100.0, OTHER_SEEDS),
        (100, 600.0, OTHER_SEEDS),
    ],
)
def test_onset_and_recovery(rate, seconds, seeds):
    """It begins after 5 s, lets a tenth pass, and all pass again after 15 to 19 s."""
    for row in outage(rate, seconds, seeds):
        assert row["onset"] == pytest.approx(5.0, abs=0.6)
        assert row["passes"] == pytest.approx(0.1, abs=0.02)
        assert 14.0 <= row["recovery"] <= 19.0


def test_the_window_sets_both():
    """With a window of a minute, six times as long each, or more."""
    for row in outage(100, 200.0, SEEDS[:1], window=60.0):
        assert row["onset"] > 15.0
        assert row["last refusal"] > 50.0


def test_it_asks_an_overloaded_server_for_twice_what_it_takes():
    """Of a server that takes 50 calls a second and refuses the others, 100 of 200 are asked."""
    taken = {}

    def behave(now, random):
        second = int(now)
        taken[second] = taken.get(second, 0) + 1
        return (UP if taken[second] <= 50 else DOWN)(now, random)

    rows = []
    for seed in SEEDS:
        taken.clear()
        run = simulate(LoadShedder, poisson(200, 90.0), behave, seed=seed)
        rows.append({"sent": run.attempts(30.0, 90.0) / 60.0})
    result = means("load shedder, a server that takes 50/s of 200/s", SEEDS, rows)
    assert result["sent"] == pytest.approx(100.0, rel=0.1)


def test_a_slow_server_is_not_shed():
    """Healthy but slow, 5 s a call from the first call on: nobody is refused."""
    run = simulate(LoadShedder, poisson(20, 60.0), steady(5.0), seed=1)
    assert run.count(REFUSED) == 0
    server = simulate_server(
        LoadShedder,
        poisson(20, 60.0),
        lambda random: FifoServer(random, workers=200, seconds=lambda server, now: 5.0),
        seed=1,
    )
    assert server.count(REFUSED) == 0
