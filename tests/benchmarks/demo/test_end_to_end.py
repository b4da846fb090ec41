"""The whole demonstration, as a user starts it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from benchmarks.demo.client import Client, ClientError
from benchmarks.demo.script import Script
from benchmarks.demo.server import Server

ROOT = Path(__file__).parents[3]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "benchmarks.demo", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background of a shell, an interrupt is ignored, and that is
        # handed down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def gone(group):
    """Say whether no process of a group is left, within a moment."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_wrong_value():
    """A wrong value ends it at once with status 2 and one line."""
    process = start("--seconds", "1")
    output, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output == ""
    assert error.count("\n") == 1
    assert "5 to 300" in error


@pytest.mark.slow
def test_run_without_a_terminal():
    """A short run prints a plain line for each second, the tables and one sentence."""
    process = start("--seconds", "5", "--seed", "2")
    output, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "Traceback" not in error
    assert "\x1b" not in output
    lines = output.splitlines()
    seconds = [line.split()[:2] for line in lines if line[:5].strip().isdigit()]
    assert [number for number, _ in seconds[:5]] == ["1", "2", "3", "4", "5"]
    assert seconds[0][1] == "healthy"
    assert "Behind seawall" in output
    assert output.rstrip().endswith(".")
    assert gone(process.pid)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups on Windows")
@pytest.mark.parametrize("lines_before", [0, 7])
def test_interrupt(lines_before):
    """Ctrl-C ends it within a moment, with one line and nothing left running."""
    process = start("--seconds", "100")
    if lines_before:
        for _ in range(lines_before):
            process.stdout.readline()
    else:
        # Something has been printed, so that the interpreter is up; nothing has been read.
        assert select.select([process.stdout], [], [], 30)[0]
    # A terminal interrupts all processes of the group.
    os.killpg(process.pid, signal.SIGINT)
    # It would else go on for more than a minute.
    output, error = process.communicate(timeout=40)
    assert process.returncode == 130
    assert output.splitlines()[-1].startswith("Stopped")
    assert not any(word in error for word in ("Traceback", "Warning", "destroyed", "never"))
    assert gone(process.pid)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_client_ends_with_its_input():
    """A client ends by itself, in the middle of its traffic, when whoever started it is gone."""
    async with Server(Script(300.0), Random(1)) as server:
        client = await Client.start("alone", server.url, "1", "300")
        await client.ready()
        client.begin()
        assert await anext(client.lines()) == "circuit none\n"
        client._input.close()
        async with asyncio.timeout(10.0):
            assert await client._end() == 1
        assert client.complaints == ""


@pytest.mark.asyncio
async def test_a_client_that_fails():
    """What a client's process dies of is said."""
    client = await Client.start("nobody", "http://127.0.0.1:1/", "1", "5")
    with pytest.raises(ClientError, match="KeyError: 'nobody'"):
        await client.ready()
    await client.stop()


@pytest.mark.slow
def test_output_that_nobody_reads():
    """Where the reader of the output has gone, as `head` does, it ends without a traceback."""
    process = start("--seconds", "100")
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=40) == 1
    assert gone(process.pid)
