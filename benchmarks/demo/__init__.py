"""A demonstration over real sockets: one client alone and one behind seawall meet the same trouble.

Run it with ``make demo``, or ``python -m benchmarks.demo --seed 1 --seconds 20``.

Each of the two clients lives in a process of its own and talks to a server of its own, so that
neither pays for the trouble of the other. Both servers follow the same script, and both clients
are sent the same arrivals, whether the calls before them have ended or not.
"""
