"""``python -m benchmarks.demo``: run the command, whenever it may be interrupted."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line and return the status to exit with."""
    try:
        # Imported here, so that Ctrl-C has one answer while the libraries are loaded too.
        from benchmarks.demo.command import run_command

        return run_command()
    except KeyboardInterrupt:
        print("Stopped before the end; nothing is left running.")
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does. The interpreter would flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
