"""Measure what the library costs, and write it down for the Python that this runs on.

Each part has a page with one section per Python, of which a run replaces its own: `calls`
OVERHEAD.md, `flat` FLAT.md, `footprint` FOOTPRINT.md. TARGETS.md and the figures are drawn anew
from what is known of all Pythons.
"""

from __future__ import annotations

import argparse
import warnings

from benchmarks.overhead import calls, figures, flat_page, footprint, results, targets

PARTS = {
    "calls": calls.measured,
    "flat": flat_page.measured,
    "footprint": footprint.measured,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds, printed only: no page is written"
    )
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"a part is one of {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    # hyx asks datetime for what Python 3.12 deprecates; that is its own affair.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="hyx")
    for part in options.parts or PARTS:
        page = PARTS[part](quick=options.quick)
        print(page.section)
        if not options.quick:
            page.write()
            results.store(part, page.values)
    if not options.quick:
        known = results.load()
        targets.write(known)
        figures.write(known)


if __name__ == "__main__":
    main()
