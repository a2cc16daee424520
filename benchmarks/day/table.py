"""The table of a day: each figure beside the goal that the project has for it, "not measured" where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.day.figures import Figures
from benchmarks.day.journal import DONE, Journal
from benchmarks.day.lines import Line, lines
from benchmarks.day.steps import Step


def table(rows: Path, journal: Journal, steps: Sequence[Step]) -> str:
    """Return the whole table as Markdown, with what the machine is above it and the steps that are not done below."""
    figures = Figures(rows, journal)
    text = ["# A GPU day", "", *machine(figures), "", "| what | goal | measured | met |", "| --- | --- | --- | --- |"]
    text += [_as_markdown(line) for line in lines(figures)]
    ends = [(step.name, *journal.last(step.name)) for step in steps]
    text += ["", f"Steps done: {', '.join(name for name, outcome, _ in ends if outcome == DONE) or 'none'}."]
    text += [
        f"- {name}: {outcome or 'not begun'}{reason and ', '}{reason}"
        for name, outcome, reason in ends
        if outcome != DONE
    ]
    return "\n".join(text) + "\n"


def machine(figures: Figures) -> list[str]:
    """Return what the figures were measured on, a line each."""
    facts = [f"- {row['fact']}: {row['value']}" for row in figures.all("facts")]
    seen = [
        f"- measured on {row['gpu']['name']} with driver {row['driver']}, TensorRT {row['tensorrt']}"
        for row in figures.all("circumstances")
        if "tensorrt" in row
    ]
    beside = [f"- beside PyTorch {row['torch']}" for row in figures.all("circumstances") if "torch" in row]
    return [*facts, *dict.fromkeys(seen), *dict.fromkeys(beside)]


def _as_markdown(line: Line) -> str:
    cells = [" ".join(cell.replace("|", "/").split()) for cell in line[:3]]
    return f"| {' | '.join(cells)} | {'' if line.met is None else 'yes' if line.met else '**no**'} |"
