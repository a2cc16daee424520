"""A profile for people: one self-contained page, and the same tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from fsr_deploy._util import html_page, svg
from fsr_deploy._util.files import write_file
from fsr_deploy._util.svg import number
from fsr_deploy.profiling.record import EngineProfile, Profile, to_json
from fsr_deploy.profiling.report import plots, tables
from fsr_deploy.profiling.report.tables import TextTable
from fsr_deploy.profiling.statistics import PASSES

METHOD = (
    "Wall-clock time from LR faces to SR faces in main memory, with transfers, synchronised: a sample ends when its "
    "result has been read and checked. Engines were warmed up until five runs in a row (for slow engines two, if they "
    "took half a second) were no more than 2 % faster than the fastest before. Then they ran in turns in random order, "
    f"in {PASSES} passes over all batch sizes. Intervals are at 95 %: for a median, the range of the passes' medians, "
    "in which that of another run is expected; for a ratio, paired by round, from signed ranks over the passes. A p99 "
    "is given from 100 samples on."
)
LAYERS_LEAD = (
    "From the profiler of ONNX Runtime or TensorRT: kernels summed by module, without the modules inside it. Under the "
    "profiler a run takes {total} ms. Layout changes count for the module whose data they move."
)
ROOFLINE_LEAD = (
    "Operations of the exported graph, two per multiply-accumulate. Bytes are counted as if every node read and wrote "
    "memory, so fused nodes may be too far left. Ceilings are NumPy's on this machine; larger dots take more time."
)


def write(profile: Profile, folder: Path) -> None:
    """Write ``profile.json``, ``profile.md`` and ``profile.html``."""
    texts = {"profile.json": to_json(profile), "profile.md": markdown(profile), "profile.html": html(profile)}
    for name, text in texts.items():
        write_file(folder / name, text.encode())


def html(profile: Profile) -> str:
    """Return the page; it needs no other file."""
    names = [engine.name for engine in profile.engines]
    batch = focus(profile)
    body = [
        "<h1>Latency profile</h1>",
        f'<p class="lead">{escape(", ".join(names))}</p>',
        html_page.tiles(_headline(profile, batch)),
        html_page.notes(_notes(profile)),
        html_page.section(f"Latency, batch {batch}", "", plots.distribution(profile, batch)),
        html_page.section(
            "Throughput",
            "Rate at the median latency, one batch after the other.",
            svg.legend(names) + plots.throughput(profile),
        ),
        html_page.section("Best batch", "", _table(tables.best_batches(profile))),
    ]
    if len(names) > 1:
        lead = "How many times as fast the row's engine is as the column's."
        body.append(html_page.section(f"Engines compared, batch {batch}", lead, _table(tables.ratios(profile, batch))))
    if judged := [(i, engine) for i, engine in enumerate(profile.engines) if engine.quality and engine.at(batch)]:
        lead = "The worst face against the eager FP32 module, from the bundle's parity, over latency."
        body.append(html_page.section("Quality and latency", lead, plots.quality(judged, batch)))
    for series, engine in enumerate(profile.engines):
        body.append(_layers(profile, engine, series))
    body.append(html_page.section("All figures", "", _table(tables.latency(profile))))
    for title, table in (("Cold start and memory", tables.starts(profile)), ("On the GPU", tables.stages(profile))):
        if table.rows:
            body.append(html_page.section(title, "", _table(table)))
    body.append(html_page.section("How it was measured", METHOD, html_page.pairs(tables.facts(profile))))
    return html_page.document(f"Latency profile: {', '.join(names)}", "\n".join(body), svg.STYLE)


def markdown(profile: Profile) -> str:
    """Return the tables as Markdown."""
    batch = focus(profile)
    parts = ["# Latency profile", *(f"> {note}" for note in _notes(profile))]
    parts += [
        "## Latency",
        _markdown(tables.latency(profile)),
        "## Best batch",
        _markdown(tables.best_batches(profile)),
    ]
    if len(profile.engines) > 1:
        lead = f"How many times as fast the row's engine is as the column's, at batch {batch}."
        parts += ["## Engines compared", lead, _markdown(tables.ratios(profile, batch))]
    for engine in profile.engines:
        if engine.layers:
            parts += [f"## Time by module: {engine.name}", _markdown(tables.modules(engine.layers))]
    for title, table in (("Cold start and memory", tables.starts(profile)), ("On the GPU", tables.stages(profile))):
        if table.rows:
            parts += [f"## {title}", _markdown(table)]
    facts = [f"- {name}: {value}" for name, value in tables.facts(profile)]
    return "\n\n".join([*parts, "## How it was measured", METHOD, "\n".join(facts)]) + "\n"


def focus(profile: Profile) -> int:
    """Return the batch size to show engines at: of those that all of them ran, the first engine's best."""
    sizes = [{one.batch for one in engine.batches} for engine in profile.engines]
    shared = set.intersection(*sizes) or set.union(*sizes)
    known = [one for one in profile.engines[0].batches if one.batch in shared]
    return max(known, key=lambda one: one.faces_per_second).batch if known else min(shared)


def _headline(profile: Profile, batch: int) -> Iterator[tuple[str, str]]:
    """Yield the main figures of the first engine, with two other engines, baselines first."""
    first = profile.engines[0]
    if best := first.best():
        yield number(best.faces_per_second), f"faces/s, {first.name}, batch {best.batch}"
    if smallest := min(first.batches, key=lambda one: one.batch, default=None):
        yield f"{number(smallest.latency.p50.value)} ms", f"median latency, batch {smallest.batch}"
    for other in sorted(profile.engines[1:], key=lambda engine: engine.cold_start is not None)[:2]:
        if times := profile.ratio(other.name, first.name, batch):
            yield f"{times.value:.2f}x", f"as fast as {other.name}, batch {batch} [{times.low:.2f}, {times.high:.2f}]"
    if first.cold_start:
        yield f"{first.cold_start.load_s + first.cold_start.first_s:.1f} s", "from a fresh process to the first face"


def _notes(profile: Profile) -> Iterator[str]:
    for engine in profile.engines:
        if engine.trained is False:
            yield f"untrained weights in {engine.name}; its faces mean nothing, but its latency is valid"
        yield from (f"of {engine.name}: {note}" for note in engine.notes)
    yield from profile.notes


def _layers(profile: Profile, engine: EngineProfile, series: int) -> str:
    if engine.layers is None:
        return ""
    lead = LAYERS_LEAD.format(total=number(engine.layers.total.value))
    bars = plots.time_by_module(engine.layers, series) + _table(tables.modules(engine.layers))
    parts = html_page.section(f"Time by module: {engine.name}", lead, bars)
    if profile.ceilings and engine.device == "cpu":  # a GPU's ceilings are not measured
        roofline = plots.roofline(engine.layers, profile.ceilings, series)
        parts += html_page.section(f"Roofline: {engine.name}", ROOFLINE_LEAD, roofline) if roofline else ""
    return parts


def _table(table: TextTable) -> str:
    """Return the table for the page; no interval is broken over two lines."""
    unbroken = ",\N{NO-BREAK SPACE}"
    rows = [[cell.replace(", ", unbroken) if cell.endswith("]") else cell for cell in row] for row in table.rows]
    return html_page.table(table.headers, rows)


def _markdown(table: TextTable) -> str:
    lines = [table.headers, ["---"] * len(table.headers), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
