"""The command: read the arguments, run, sum up."""

from __future__ import annotations

import asyncio
import sys

from rich.console import Console

from benchmarks.demo.arguments import parse
from benchmarks.demo.client import ClientError
from benchmarks.demo.lines import Lines
from benchmarks.demo.run import run
from benchmarks.demo.summary import sum_up
from benchmarks.demo.view import View, fits


def run_command() -> int:
    """Run the demonstration on this terminal, or without one, and return the status."""
    arguments = parse()
    console = Console()
    screen = View(console) if fits(console) else Lines(arguments.seed)
    try:
        script, lanes = asyncio.run(run(arguments, screen))
    except ClientError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    for lane in lanes:
        if lane.complaints:
            print(lane.complaints, file=sys.stderr)
    sum_up(console, script, lanes)
    return 0
