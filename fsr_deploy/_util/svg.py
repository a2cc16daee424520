"""Plots drawn as inline SVG: axes, marks and labels, without external files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

SERIES = 8
STYLE = """
.plot { display: block; width: 100%; height: auto; margin: 8px 0 4px; }
.plot text { fill: var(--ink); font-size: 12px; paint-order: stroke; stroke: var(--paper); stroke-width: 3px;
  stroke-linejoin: round; }
.plot .faint { fill: var(--faint); } .plot .end { text-anchor: end; } .plot .middle { text-anchor: middle; }
.plot .grid { stroke: var(--line); stroke-width: 1; }
.plot .ceiling { stroke: var(--faint); stroke-width: 1.5; fill: none; }
.plot .line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.plot .fill { fill: var(--c); } .plot .area { fill: var(--c); fill-opacity: .28; stroke: var(--c); stroke-width: 1; }
.plot .whisker { stroke: var(--ink); stroke-width: 1.2; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0; font-size: 13px; }
.legend i { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border-radius: 3px;
  background: var(--c); vertical-align: -1px; }
.s0 { --c: #2563eb; } .s1 { --c: #d97706; } .s2 { --c: #059669; } .s3 { --c: #db2777; } .s4 { --c: #7c3aed; }
.s5 { --c: #0891b2; } .s6 { --c: #65a30d; } .s7 { --c: #9f1239; }
"""

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """The mapping of a value to an axis; ``ticks`` are (value, label)."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return 0 for the low end, 1 for the high one."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(low: float, high: float, count: int = 5) -> Axis:
    """Return an axis with about ``count`` round ticks; it ends at ticks."""
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return Axis(first * step, last * step, [(i * step, number(i * step)) for i in range(first, last + 1)])


def logarithmic(low: float, high: float) -> Axis:
    """Return an axis with ticks at 1, 2 and 5 times powers of ten; over more than three decades at the powers only."""
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    first = max(mark for mark in marks if mark <= low * 1.001)
    last = min(mark for mark in marks if mark >= high * 0.999 and mark > first)
    return Axis(first, last, [(mark, number(mark)) for mark in marks if first <= mark <= last], logarithmic=True)


def steps(values: Sequence[float], labels: Sequence[str]) -> Axis:
    """Return an axis with a tick at each of some positive values, spaced as their logarithms are."""
    room = 1.15
    return Axis(values[0] / room, values[-1] * room, list(zip(values, labels, strict=True)), logarithmic=True)


def number(value: float) -> str:
    """Return a figure with three significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass
class Plot:
    """A frame with axes; coordinates are those of the data, series are numbered from 0."""

    x: Axis
    y: Axis
    x_label: str
    y_label: str = ""
    height: int = 320
    left: int = 64
    right: int = 24
    width: int = 872
    _parts: list[str] = field(default_factory=list)
    _taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    top = 26
    bottom = 46

    def at(self, x: float, y: float) -> Point:
        """Return a point of the data in pixels."""
        across = self.left + self.x.place(x) * (self.width - self.left - self.right)
        return across, self.height - self.bottom - self.y.place(y) * (self.height - self.top - self.bottom)

    def line(self, series: int, points: Iterable[Point]) -> None:
        """Draw a line through points."""
        self._parts.append(f'<polyline class="s{series % SERIES} line" points="{self._pixels(points)}"/>')

    def area(self, series: int, points: Iterable[Point]) -> None:
        """Fill the area that points enclose."""
        self._parts.append(f'<polygon class="s{series % SERIES} area" points="{self._pixels(points)}"/>')

    def ceiling(self, points: Iterable[Point]) -> None:
        """Draw a limit."""
        self._parts.append(f'<polyline class="ceiling" points="{self._pixels(points)}"/>')

    def dot(self, series: int, point: Point, tip: str, radius: float = 4) -> None:
        """Draw a mark; ``tip`` shows when it is pointed at."""
        x, y = self.at(*point)
        self._taken.append((x - radius, y - radius, x + radius, y + radius))
        mark = f'<circle class="s{series % SERIES} fill" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
        self._parts.append(f"{mark}<title>{escape(tip)}</title></circle>")

    def bar(self, series: int, low: Point, high: Point, tip: str) -> None:
        """Fill a rectangle between two corners."""
        (left, bottom), (right, top) = self.at(*low), self.at(*high)
        box = f'x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0.5):.1f}" height="{bottom - top:.1f}"'
        self._parts.append(f'<rect class="s{series % SERIES} fill" {box}><title>{escape(tip)}</title></rect>')

    def whisker(self, start: Point, end: Point) -> None:
        """Draw a thin line, as of an interval."""
        (x1, y1), (x2, y2) = self.at(*start), self.at(*end)
        self._parts.append(f'<line class="whisker" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def text(self, point: Point, text: str, kind: str = "", dx: float = 0, dy: float = 4) -> None:
        """Write at a point; ``kind`` is any of "end", "middle", "faint"; ``dx`` and ``dy`` are pixels beside it."""
        x, y = self.at(*point)
        self._parts.append(f'<text class="{kind}" x="{x + dx:.1f}" y="{y + dy:.1f}">{escape(text)}</text>')

    def label(self, point: Point, text: str) -> None:
        """Write beside a mark where there is room: right, above, below or further away; draw all marks before."""
        x, y = self.at(*point)
        wide = 7.0 * len(text)
        left = x + 12 if x + 12 + wide < self.width else x - 12 - wide
        for dy in (4, -8, 16, -20, 28, -32, 40):
            box = (left, y + dy - 12, left + wide, y + dy)
            if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in self._taken):
                break
        self._taken.append(box)
        self._parts.append(f'<text x="{left:.1f}" y="{y + dy:.1f}">{escape(text)}</text>')

    def svg(self, title: str) -> str:
        """Return the drawing; ``title`` says what it shows to those who cannot see it."""
        head = f'<svg class="plot" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">'
        return "".join((head, *self._grid(), *self._parts, "</svg>"))

    def _grid(self) -> Iterable[str]:
        right, bottom = self.width - self.right, self.height - self.bottom
        for value, label in self.x.ticks:
            x, _ = self.at(value, self.y.low)
            yield f'<line class="grid" x1="{x:.1f}" y1="{self.top}" x2="{x:.1f}" y2="{bottom}"/>'
            yield f'<text class="faint middle" x="{x:.1f}" y="{bottom + 18}">{escape(label)}</text>'
        for value, label in self.y.ticks:
            _, y = self.at(self.x.low, value)
            yield f'<line class="grid" x1="{self.left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            yield f'<text class="faint end" x="{self.left - 8}" y="{y + 4:.1f}">{escape(label)}</text>'
        middle = (self.left + right) / 2
        yield f'<text class="faint middle" x="{middle:.1f}" y="{self.height - 8}">{escape(self.x_label)}</text>'
        yield f'<text class="faint" x="0" y="14">{escape(self.y_label)}</text>'

    def _pixels(self, points: Iterable[Point]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))


@dataclass(frozen=True)
class Mark:
    """An engine in ``quality_plot``: its milliseconds, with their interval where known, and PSNR; None where equal."""

    series: int
    name: str
    ms: float
    psnr_db: float | None
    interval: tuple[float, float] | None = None


def quality_plot(marks: Sequence[Mark], label: str) -> str:
    """Draw PSNR against eager over the time of each engine; one whose faces are equal to eager's stands at the top."""
    figures = [mark.psnr_db for mark in marks if mark.psnr_db is not None]
    y = linear(min(figures, default=40.0), max(figures, default=60.0), 4)
    equal = y.high + (y.high - y.low) / 5
    y = Axis(y.low, equal, [*y.ticks, (equal, "equal")])
    plot = Plot(linear(0, 1.15 * max(mark.ms for mark in marks)), y, label, "PSNR, dB")
    places = [(mark.ms, equal if mark.psnr_db is None else mark.psnr_db) for mark in marks]
    for mark, (ms, psnr) in zip(marks, places, strict=True):
        if mark.interval:
            plot.whisker((mark.interval[0], psnr), (mark.interval[1], psnr))
        plot.dot(mark.series, (ms, psnr), f"{mark.name}: {number(ms)} ms", radius=6)
    for mark, place in zip(marks, places, strict=True):
        plot.label(place, mark.name)
    return plot.svg("Quality against latency, by engine")


def legend(names: Sequence[str]) -> str:
    """Return the names of the series with their colours, as HTML."""
    items = (f'<span class="s{i % SERIES}"><i></i>{escape(name)}</span>' for i, name in enumerate(names))
    return f'<p class="legend">{"".join(items)}</p>'
