"""What the page of the fault server says in tables and in tests of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import seawall
from seawall.testing import FaultServer, faults, steps
from tests.pages import examples, table
from tests.testing.test_fault_table import TABLE

PAGE = "fault-server.md"
CODE = re.compile(r"`(\w+)")


def test_its_table_has_every_fault_and_the_error_that_it_shows_as() -> None:
    """In the order in which they strike, with a class that the table of exceptions has as well."""
    rows = table(PAGE, "Faults")
    assert [row[0].strip("`") for row in rows] == list(faults.BY_NAME)
    for name, said, error in rows:
        _, plain, tls, http2 = TABLE[name.strip("`")]
        # Over TLS where the fault is one of TLS.
        expected = (tls if "tls" in name else plain) or tls or http2
        assert error.strip("`") == expected, name
        assert said.startswith("HTTP/2: ") == (plain is tls is None)


def test_its_tables_name_what_there_is() -> None:
    """Every attribute of the server, and every step."""
    server = {name for name in dir(FaultServer) if not name.startswith("_")}
    server |= {"script", "proxy_script"}
    named: set[str] = set()
    for heading in ("Where to send requests", "What is counted"):
        named |= {name for row in table(PAGE, heading) for name in CODE.findall(row[0])}
    assert named <= server
    assert server - named == {"play", "play_proxy", "forget", "until"}
    made = {name for name, step in vars(steps).items() if callable(step) and name.islower()}
    rows = table(PAGE, "Faults of your own")
    assert {name for row in rows for name in CODE.findall(row[0])} == made


def test_its_tests_pass(tmp_path: Path) -> None:
    """The fixture serves tests of pytest-asyncio, of anyio's plugin and without a loop."""
    for code, _ in examples(PAGE):
        if written := re.match(r"# (\w+\.py)\n", code):
            (tmp_path / written[1]).write_text(code, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    source = str(Path(seawall.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source},
        cwd=tmp_path,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr
