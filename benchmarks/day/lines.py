"""The lines of a day's table, the most important first; the goals are AMINet's in FP16 on an H100 (docs/gpu.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.day.figures import Figures

LATENCY_MS, RATE, LARGE, AGAINST_COMPILE, EFFICIENCY = 1.2, 6000.0, 64, 1.5, 0.90
MAIN, MAIN_INT8 = "aminet-fp16", "aminet-int8-fp16"
NAMES = {
    "aminet-fp16": "AMINet FP16",
    "tiny-fp16": "tiny FP16",
    "aminet-fp16@3": "AMINet FP16 at level 3",
    "aminet-int8-fp16": "AMINet INT8+FP16",
    "tiny-int8-fp16": "tiny INT8+FP16",
    "sparnet-fp16": "SPARNet FP16",
    "mfspnet-fp16": "MFSPNet FP16",
}
BUDGET_DB = {"aminet-fp16": 50, "tiny-fp16": 50, "aminet-int8-fp16": 40, "tiny-int8-fp16": 40}
LATENCIES = ("aminet-fp16", "tiny-fp16", "aminet-fp16@3")
RATES = {
    "aminet-fp16": (8, 32, 64),
    "tiny-fp16": (8, 32, 64),
    "aminet-fp16@3": (8, 32, 64),
    "aminet-int8-fp16": (64,),
    "sparnet-fp16": (64,),
    "mfspnet-fp16": (64,),
}
IN_FLIGHT = "TensorRT, batches in flight"
SHOWN_MODULES = 5


class Line(NamedTuple):
    """A line of the table; ``met`` is None where there is no goal or no figure."""

    what: str
    goal: str
    measured: str
    met: bool | None = None


def lines(figures: Figures) -> Iterator[Line]:
    """Yield all lines."""
    for bundle in NAMES:
        yield build_line(figures, bundle)
    for bundle in BUDGET_DB:
        yield from parity_lines(figures, bundle)
    for bundle in LATENCIES:
        for engine in ("CUDA graph", "no CUDA graph"):
            yield latency_line(figures, bundle, engine)
    for bundle, batches in RATES.items():
        for batch in batches:
            yield rate_line(figures, bundle, batch)
    yield from eager_lines(figures)
    yield compile_line(figures)
    yield int8_line(figures)
    yield from run_lines(figures)
    for batch in (64, 1):
        yield layers_line(figures, batch)
    yield tests_line(figures)


def absent(figures: Figures, steps: list[str], question: str, **key: object) -> str:
    """Return that a figure was not measured, and why."""
    return f"not measured ({figures.why_not(steps, question, **key)})"


def build_line(figures: Figures, bundle: str) -> Line:
    """Return how long a plan took to build."""
    what = f"{NAMES[bundle]}: the plan's build"
    if row := figures.one("build", bundle=bundle):
        figure = f"{row['build_s']:.0f} s at level {row['level']}, {row['plan_mib']:.1f} MiB"
        return Line(what, "within its parity budget", figure, row["within_budget"])
    return Line(what, "within its parity budget", absent(figures, [f"build-{bundle}"], "build", bundle=bundle))


def parity_lines(figures: Figures, bundle: str) -> Iterator[Line]:
    """Yield how right a plan is: against eager, and against itself run in another way."""
    what, goal, key = f"{NAMES[bundle]} against eager FP32", f"{BUDGET_DB[bundle]} dB", {"bundle": bundle}
    steps = [f"parity-{bundle}"]
    if rows := figures.all("parity", **key, comparison="eager in FP32"):
        decibels = [row["psnr_db"] for row in rows if row["psnr_db"] is not None]
        worst = f"{min(decibels):.1f} dB at worst" if decibels else "equal"
        figure = f"{worst}, batches {', '.join(str(row['batch']) for row in rows)}"
        yield Line(what, goal, figure, all(row["right"] for row in rows))
    else:
        yield Line(what, goal, absent(figures, steps, "parity", **key))
    what, goal = f"{NAMES[bundle]}: in flight with graphs, alone without", "equal to the bit"
    if row := figures.one("parity", **key, comparison="in flight with graphs, one at a time without"):
        yield Line(what, goal, f"{row['differing']} of {row['batches']} batches differ", row["right"])
    else:
        yield Line(what, goal, absent(figures, steps, "parity", **key))


def latency_line(figures: Figures, bundle: str, engine: str) -> Line:
    """Return the latency of batch 1, and why it was not launched as a graph where it should have been."""
    with_goal = bundle == MAIN and engine == "CUDA graph"
    what, goal = f"{NAMES[bundle]}: batch 1, {engine}", f"under {LATENCY_MS} ms" if with_goal else ""
    key = {"bundle": bundle, "engine": f"TensorRT, {engine}"}
    if row := figures.one("speed", **key):
        refused = f", captured no graph: {row['graph_failure']}" if row.get("graph_failure") else ""
        met = row["ms"] < LATENCY_MS and not refused if with_goal else None
        return Line(what, goal, f"{row['ms']:.3f} ms, p99 {row['p99_ms']:.3f} ms{refused}", met)
    return Line(what, goal, absent(figures, [f"speed-{bundle}"], "speed", **key))


def rate_line(figures: Figures, bundle: str, batch: int) -> Line:
    """Return the faces per second at a batch size."""
    with_goal = bundle == MAIN and batch >= LARGE
    what, goal = f"{NAMES[bundle]}: batch {batch}", f"{RATE:.0f} faces/s at {LARGE} or more" if with_goal else ""
    if row := figures.one("speed", bundle=bundle, engine=IN_FLIGHT, batch=batch):
        figure = f"{row['faces_per_s']:.0f} faces/s, {row['gpu_mib']:.0f} MiB"
        return Line(what, goal, figure, row["faces_per_s"] >= RATE if with_goal else None)
    return Line(what, goal, absent(figures, [f"speed-{bundle}"], "speed", bundle=bundle, engine=IN_FLIGHT, batch=batch))


def eager_lines(figures: Figures) -> Iterator[Line]:
    """Yield what PyTorch does on the same GPU."""
    rows = sorted(figures.all("eager", model="aminet"), key=lambda row: (row["engine"], row["batch"]))
    for row in rows:
        figure = f"{row['ms']:.3f} ms, {row['faces_per_s']:.0f} faces/s"
        yield Line(f"AMINet, PyTorch {row['engine']}: batch {row['batch']}", "", figure)
    if not rows:
        yield Line("AMINet in PyTorch", "", absent(figures, ["eager"], "eager"))


def compile_line(figures: Figures) -> Line:
    """Return how many times faster than the best of torch.compile the plan is at the same batch size."""
    what, goal = f"AMINet FP16 against torch.compile: batch {LARGE}", f"{AGAINST_COMPILE} times"
    plan = rate_of(figures, MAIN)
    rows = figures.all("eager", model="aminet", batch=LARGE)
    compiled = [row["faces_per_s"] for row in rows if row["engine"].startswith("torch.compile")]
    if plan and compiled:
        ratio = plan / max(compiled)
        return Line(what, goal, f"{ratio:.2f} times", ratio >= AGAINST_COMPILE)
    if plan:
        return Line(what, goal, absent(figures, ["eager"], "eager", batch=LARGE))
    return Line(what, goal, absent(figures, [f"speed-{MAIN}"], "speed", bundle=MAIN, engine=IN_FLIGHT, batch=LARGE))


def int8_line(figures: Figures) -> Line:
    """Return whether INT8 with FP16 around it is faster than FP16 alone."""
    what, goal = f"AMINet INT8+FP16 against FP16: batch {LARGE}", "faster"
    rates = {bundle: rate_of(figures, bundle) for bundle in (MAIN, MAIN_INT8)}
    for bundle, rate in rates.items():
        if not rate:
            return Line(what, goal, absent(figures, [f"speed-{bundle}"], "speed", bundle=bundle, batch=LARGE))
    ratio = rates[MAIN_INT8] / rates[MAIN]
    return Line(what, goal, f"{ratio:.2f} times", ratio > 1)


def rate_of(figures: Figures, bundle: str) -> float:
    """Return the faces per second at LARGE of a bundle's fastest plan, of whatever effort; 0 for none."""
    names = [name for name in RATES if name.partition("@")[0] == bundle]
    rows = [figures.one("speed", bundle=name, engine=IN_FLIGHT, batch=LARGE) for name in names]
    return max((float(row["faces_per_s"]) for row in rows if row), default=0.0)


def run_lines(figures: Figures) -> Iterator[Line]:
    """Yield what fsr-run does from files to files."""
    rows = figures.all("pipeline")
    for row in rows:
        what = f"fsr-run, {NAMES.get(row['bundle'], row['bundle'])}: {row['faces']} {row['format']} files"
        figure = f"{row['end_to_end']:.0f} faces/s, efficiency {row['efficiency']:.2f}, bottleneck {row['bottleneck']}"
        yield Line(what, f"efficiency {EFFICIENCY:.2f}", figure, row["efficiency"] >= EFFICIENCY)
    if not rows:
        steps = [f"run-{MAIN}", "run-tiny-fp16"]
        yield Line("fsr-run", f"efficiency {EFFICIENCY:.2f}", absent(figures, steps, "pipeline"))


def layers_line(figures: Figures, batch: int) -> Line:
    """Return the modules that take the most time."""
    if row := figures.one("layers", batch=batch, what="times"):
        largest = ", ".join(f"{module['module']} {module['share']:.0%}" for module in row["modules"][:SHOWN_MODULES])
        return Line(f"{NAMES.get(row['bundle'], row['bundle'])}: where batch {batch} takes its time", "", largest)
    steps = [f"layers-{batch}-{MAIN}", f"layers-{batch}-tiny-fp16"]
    return Line(f"where batch {batch} takes its time", "", absent(figures, steps, "layers", batch=batch))


def tests_line(figures: Figures) -> Line:
    """Return how many of the tests on the GPU passed, and the names of those that failed."""
    what, goal = "tests on the GPU", "all pass"
    outcomes = {(row["test"], row["when"]): row["outcome"] for row in figures.all("tests")}
    if not outcomes:
        return Line(what, goal, absent(figures, ["tests"], "tests"))
    counts = Counter(outcomes.values())
    failed = sorted({test.rpartition("::")[2] for (test, _), outcome in outcomes.items() if outcome == "failed"})
    figure = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    return Line(what, goal, f"{figure}{': ' if failed else ''}{', '.join(failed)}", not failed)
