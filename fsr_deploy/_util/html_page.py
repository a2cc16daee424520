"""Self-contained HTML pages in one style: no script, no file or address that is referred to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #181c24; --faint: #667085; --line: #e4e7ec; --paper: #fff; --tint: #f6f7f9;
  --good: #067647; --bad: #b42318; --warn: #93590a; --warn-tint: #fdf5e3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --faint: #98a2b3; --line: #2d333f; --paper: #14171d;
  --tint: #1d2129; --good: #47cd89; --bad: #f97066; --warn: #fec84b; --warn-tint: #2c2614; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 40px 24px 64px; max-width: 920px; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 30px; letter-spacing: -0.02em; }
h2 { margin: 40px 0 10px; font-size: 18px; }
.lead { margin: 4px 0 20px; color: var(--faint); }
.badge { display: inline-block; margin-left: 12px; padding: 2px 12px; border: 1px solid; border-radius: 99px;
  font-size: 14px; font-weight: 600; letter-spacing: 0; vertical-align: 5px; }
.good { color: var(--good); } .bad { color: var(--bad); }
.note { margin: 8px 0; padding: 10px 14px; border-left: 3px solid var(--warn); background: var(--warn-tint); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 8px; }
.tile { padding: 12px 16px; border-radius: 8px; background: var(--tint); }
.tile b { display: block; font-size: 22px; letter-spacing: -0.01em; }
.tile span { color: var(--faint); font-size: 13px; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td:not(.number) { min-width: 9em; }
th { color: var(--faint); font-size: 13px; font-weight: 600; }
td.number, th.number { text-align: right; }
img { display: block; width: 100%; border: 1px solid var(--line); border-radius: 6px; background: #fff; }
pre { margin: 8px 0; padding: 12px 14px; overflow-x: auto; border-radius: 6px; background: var(--tint); }
code, pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
"""

Cell = str | int | float | None


def document(title: str, body: str, style: str = "") -> str:
    """Return a whole page; ``body`` is HTML and ``style`` CSS, every other text here and below is plain."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Return (figure, what it is) pairs as the tiles that are looked at first."""
    cells = (f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in figures)
    return f'<div class="tiles">{"".join(cells)}</div>'


def notes(sentences: Iterable[str]) -> str:
    """Return what a reader must not miss."""
    return "".join(f'<p class="note">{escape(note[:1].upper() + note[1:])}</p>' for note in sentences)


def section(title: str, lead: str, body: str) -> str:
    """Return a titled part of the page; ``lead`` may be empty, ``body`` is HTML."""
    return f"<h2>{escape(title)}</h2>" + (f'<p class="lead">{escape(lead)}</p>' if lead else "") + body


def pairs(facts: Iterable[tuple[str, Cell]]) -> str:
    """Return a table of names and values."""
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in facts)
    return f'<div class="scroll"><table>{rows}</table></div>'


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table whose columns of figures are aligned on the right."""
    numeric = [all(_is_figure(row[column]) for row in rows) for column in range(len(headers))]
    classes = [' class="number"' if number else "" for number in numeric]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(classes, headers, strict=True))
    lines = (
        "".join(f"<td{kind}>{escape(str(cell))}</td>" for kind, cell in zip(classes, row, strict=True)) for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _is_figure(cell: Cell) -> bool:
    return not isinstance(cell, str) or cell.lstrip("+-")[:1].isdigit() or cell in ("", "equal")
