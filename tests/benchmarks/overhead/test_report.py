from __future__ import annotations

from benchmarks.overhead import page, report


def test_a_run_replaces_only_the_section_of_its_python():
    """The sections of other versions stay as they were, and the order is that of the versions."""
    first = page.merge("", "## CPython 3.13\n\nnewest\n", "# Title\n")
    second = page.merge(first, "## CPython 3.11\n\noldest\n", "# Title\n")
    third = page.merge(second, "## CPython 3.13\n\nmeasured again\n", "# Title\n")
    assert third == "# Title\n\n## CPython 3.11\n\noldest\n\n## CPython 3.13\n\nmeasured again\n"


def test_a_table_is_aligned():
    """Words stand to the left and numbers to the right."""
    assert report.aligned([["what", "ns"], ["a", "100"]]) == (
        "| what |  ns |\n| ---- | --: |\n| a    | 100 |"
    )
