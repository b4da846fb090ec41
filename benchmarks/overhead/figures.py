"""Figures as SVG: dots on a logarithmic axis, and lines. The same results give the same bytes."""

from __future__ import annotations

from html import escape
from math import ceil, floor, log10
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "figures"
WIDTH = 760
ROW = 24
# Colours that differ in lightness too, on light and on dark ground.
COLOURS = ("#1f77b4", "#e07b00", "#2a9d3a", "#b03a7a")
STYLE = (
    "text{font:13px sans-serif;fill:#333}.title{font-weight:bold}.end{text-anchor:end}"
    ".middle{text-anchor:middle}.grid{stroke:#8884;stroke-width:1}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)


def text(x, y, words, kind=""):
    plain = escape(str(words).replace("**", "").replace("`", ""))
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{plain}</text>'


def line(x, y, to_x, to_y):
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="grid"/>'


def dot(x, y, colour, hint):
    title = f"<title>{escape(hint)}</title>"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}">{title}</circle>'


def legend(names, y):
    """A row of dots with their names."""
    parts = []
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        x = 20 + 130 * number
        parts += [dot(x, y - 4, colour, name), text(x + 12, y, name)]
    return parts


def drawing(title, height, parts):
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img">'
    )
    top = [head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>"]
    return "\n".join([*top, text(20, 22, title, "title"), *parts, "</svg>"]) + "\n"


def decades(values):
    return floor(log10(min(values))), ceil(log10(max(values)))


def dots(title, unit, series):
    """One row for each name, with a dot for each series: `series` is {name: {row: value}}."""
    rows = list(dict.fromkeys(row for values in series.values() for row in values))
    low, high = decades([value for values in series.values() for value in values.values()])
    left, right, top = 260, WIDTH - 30, 70
    bottom = top + ROW * len(rows)

    def place(value):
        return left + (right - left) * (log10(value) - low) / (high - low)

    parts = legend(series, 48)
    for decade in range(low, high + 1):
        x = place(10.0**decade)
        parts += [line(x, top - 8, x, bottom), text(x, bottom + 18, f"{10**decade:g}", "middle")]
    parts.append(text((left + right) / 2, bottom + 38, unit, "middle"))
    for number, row in enumerate(rows):
        y = top + ROW * (number + 0.5)
        parts += [text(left - 16, y + 4, row, "end"), line(left, y, right, y)]
        parts += [
            dot(place(values[row]), y, colour, f"{row}, {name}: {values[row]:g}")
            for (name, values), colour in zip(series.items(), COLOURS, strict=False)
            if row in values
        ]
    return drawing(title, bottom + 52, parts)


def lines(title, x_name, y_name, series):
    """One line for each series over the same places: `series` is {name: {place: value}}."""
    places = list(dict.fromkeys(place for values in series.values() for place in values))
    highest = max(value for values in series.values() for value in values.values())
    step = 10.0 ** floor(log10(highest))
    step = next(step * part for part in (0.2, 0.5, 1.0, 2.0) if highest / (step * part) <= 6)
    left, right, top, bottom = 70, WIDTH - 40, 70, 350
    ceiling = step * ceil(highest / step)

    def across(place):
        return left + (right - left) * places.index(place) / max(1, len(places) - 1)

    def up(value):
        return bottom - (bottom - top) * value / ceiling

    parts = legend(series, 48)
    for number in range(round(ceiling / step) + 1):
        y = up(number * step)
        parts += [line(left, y, right, y), text(left - 10, y + 4, f"{number * step:g}", "end")]
    parts += [text(across(place), bottom + 20, place, "middle") for place in places]
    parts.append(text((left + right) / 2, bottom + 42, f"{x_name}; upwards: {y_name}", "middle"))
    for (name, values), colour in zip(series.items(), COLOURS, strict=False):
        points = [(across(place), up(value)) for place, value in values.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        )
        parts += [
            dot(x, y, colour, f"{name}, {place}: {value:g}")
            for (x, y), (place, value) in zip(points, values.items(), strict=True)
        ]
    return drawing(title, 406, parts)


def draw(known):
    """Return each figure by its name, from the results of each Python."""

    def of(part, name):
        return {
            f"Python {version}": results[part][name]
            for version, results in known.items()
            if part in results
        }

    figures = {}
    if of("calls", "four"):
        times_bare = "times a bare await, logarithmic"
        figures["four"] = dots("Four policies, asyncio", times_bare, of("calls", "four"))
        figures["alone"] = dots(
            "Each policy alone, execute, asyncio", times_bare, of("calls", "alone")
        )
        figures["ways"] = dots(
            "Each way in, four policies, asyncio", times_bare, of("calls", "ways")
        )
        figures["stacks"] = lines(
            "Stacks of policies, asyncio", "policies", "times a bare await", of("calls", "stacks")
        )
    if of("flat", "in flight"):
        figures["flight"] = lines(
            "Calls that are in flight together, four policies, asyncio",
            "calls in flight",
            "nanoseconds each, tasks included ÷ those of 100",
            of("flat", "in flight"),
        )
        figures["windows"] = lines(
            "A breaker by its window of calls, asyncio",
            "calls in the window",
            "time of a call ÷ that with 10",
            of("flat", "windows"),
        )
    return figures


def write(known):
    FOLDER.mkdir(exist_ok=True)
    for name, figure in draw(known).items():
        (FOLDER / f"{name}.svg").write_text(figure, encoding="utf-8")
