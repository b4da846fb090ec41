"""The command line: what may be asked of a run."""

from __future__ import annotations

import pytest

from benchmarks.demo.arguments import Arguments, parse


def test_defaults():
    """Without arguments a run lasts 20 seconds."""
    assert parse([]) == Arguments(seed=1, seconds=20.0)


def test_given():
    """Both can be given, and a part of a second too."""
    assert parse(["--seed", "7", "--seconds", "7.5"]) == Arguments(seed=7, seconds=7.5)


@pytest.mark.parametrize(
    "words,named",
    [
        (["--seconds", "4.9"], ("--seconds", "'4.9'", "5 to 300")),
        (["--seconds", "301"], ("--seconds", "'301'", "5 to 300")),
        (["--seconds", "nan"], ("--seconds", "'nan'", "5 to 300")),
        (["--seconds", "inf"], ("--seconds", "'inf'", "5 to 300")),
        (["--seconds", "soon"], ("--seconds", "'soon'", "5 to 300")),
        (["--seconds", ""], ("--seconds", "''", "5 to 300")),
        (["--seconds=-1"], ("--seconds", "'-1'", "5 to 300")),
        (["--seed", "x"], ("--seed", "'x'", "whole number")),
        (["--seed", "1.5"], ("--seed", "'1.5'", "whole number")),
        (["--seed=-1"], ("--seed", "'-1'", "whole number")),
        (["--seed", "9" * 5000], ("--seed", "9...'", "whole number")),
        (["--seed"], ("--seed", "expected one argument")),
        (["--rate", "5"], ("--rate", "unrecognized")),
        (["9"], ("9", "unrecognized")),
    ],
)
def test_wrong_values(words, named, capsys):
    """A wrong value ends the program with status 2 and one short line that says what is allowed."""
    with pytest.raises(SystemExit) as ended:
        parse(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.count("\n") == 1
    assert len(error) < 120
    assert all(part in error for part in named)
