"""The figures of a profile as tables of text, for the page and for Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fsr_deploy._util.svg import number
from fsr_deploy.profiling.layers.attribution import LayerProfile
from fsr_deploy.profiling.record import EngineProfile, Profile
from fsr_deploy.profiling.statistics import Estimate
from fsr_deploy.runtime.machine import Machine

MODULES = 15


@dataclass(frozen=True)
class TextTable:
    """Headers and rows; the first column names what a row is about."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def latency(profile: Profile) -> TextTable:
    """Return latency and rate of every engine at every batch size."""
    headers = ("Engine", "Batch", "Median, ms", "95 %", "p90", "p99", "Max", "Faces/s", "Samples")
    rows = [
        (
            engine.name,
            str(one.batch),
            number(one.latency.p50.value),
            _interval(one.latency.p50),
            number(one.latency.p90),
            "" if one.latency.p99 is None else number(one.latency.p99),
            number(one.latency.max),
            number(one.faces_per_second),
            str(one.latency.samples),
        )
        for engine in profile.engines
        for one in engine.batches
    ]
    return TextTable(headers, rows)


def ratios(profile: Profile, batch: int) -> TextTable:
    """Return how many times as fast as each column's engine each row's is."""
    names = [engine.name for engine in profile.engines if engine.at(batch)]
    return TextTable(("", *names), [(row, *(_ratio(profile, row, column, batch) for column in names)) for row in names])


def _ratio(profile: Profile, engine: str, other: str, batch: int) -> str:
    times = profile.ratio(other, engine, batch)
    return f"{times.value:.2f}x {_interval(times, '.2f')}" if times else ""


def starts(profile: Profile) -> TextTable:
    """Return cold start and memory."""
    headers = ("Engine", "Load, s", "First face, s", "Peak memory, MiB", "GPU memory, MiB")
    rows = [
        (
            engine.name,
            f"{cold.load_s:.2f}",
            f"{cold.first_s:.2f}",
            *("" if mib is None else f"{mib:.0f}" for mib in (cold.peak_mib, cold.gpu_mib)),
        )
        for engine in profile.engines
        if (cold := engine.cold_start)
    ]
    return TextTable(headers, rows)


def stages(profile: Profile) -> TextTable:
    """Return transfers and computation of the engines that time them separately."""
    rows = [
        (engine.name, str(found.batch), *(number(one.value) for one in (found.upload, found.compute, found.download)))
        for engine in profile.engines
        if (found := engine.stages)
    ]
    return TextTable(("Engine", "Batch", "Upload, ms", "Compute, ms", "Download, ms"), rows)


def modules(layers: LayerProfile) -> TextTable:
    """Return the modules that take most of the time."""
    headers = ("Module", "Kind", "ms", "95 %", "Share", "GFLOP/s", "GB/s")
    rows = [
        (
            entry.module or "(outermost)",
            entry.kind,
            number(entry.time.value),
            _interval(entry.time),
            f"{entry.share:.1%}",
            "" if entry.gflops is None else number(entry.gflops),
            "" if entry.gbytes is None else number(entry.gbytes),
        )
        for entry in layers.modules[:MODULES]
    ]
    return TextTable(headers, rows)


def best_batches(profile: Profile) -> TextTable:
    """Return each engine's batch size of the highest rate, and the one within the latency budget if there is one."""
    headers = ["Engine", "Best batch"]
    if profile.budget_ms is not None:
        headers.append(f"Best batch within {number(profile.budget_ms)} ms")
    rows = []
    for engine in profile.engines:
        row = [engine.name, _best(engine, None)]
        if profile.budget_ms is not None:
            row.append(_best(engine, profile.budget_ms))
        rows.append(row)
    return TextTable(headers, rows)


def _best(engine: EngineProfile, budget_ms: float | None) -> str:
    best = engine.best(budget_ms)
    if best is None:
        return "none"
    return f"{best.batch}: {number(best.faces_per_second)} faces/s, {number(best.bound)} ms at worst"


def facts(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield what the figures depend on besides the engines."""
    machine, load = profile.machine, profile.load
    yield "Measured", f"{profile.measured}, for {profile.seconds:.0f} s"
    clock = f" at {machine.clock_mhz:.0f} MHz" if machine.clock_mhz else ""
    governor = f", governor {machine.governor}" if machine.governor else ""
    yield "CPU", f"{machine.cpu}, {machine.cores} cores{clock}{governor}"
    yield "Instructions", _instructions(machine)
    for gpu in machine.gpus:
        yield "GPU", gpu
    if machine.memory_gib:
        yield "Memory", f"{machine.memory_gib:.1f} GiB"
    yield "System", machine.system
    if load.others is not None and load.stolen is not None:
        yield "CPU taken by others", f"{load.others:.0%} by other processes, {load.stolen:.0%} by other machines"
    yield "Load average", f"{load.before} before, {load.after} after"
    yield "Yardstick", f"{number(profile.yardstick.value)} ms {_interval(profile.yardstick)} for fixed NumPy work"
    yield "Warm-up", _warm_up(profile)
    yield "Versions", ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    for engine in profile.engines:
        yield engine.name, f"{engine.engine} on {engine.device}, {engine.precision}{_digest(engine)}"


def _instructions(machine: Machine) -> str:
    """Say which instructions the CPU has, and whether those for fast INT8 are missing."""
    if not machine.instructions:
        return "unknown"
    has_int8 = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"} & set(machine.instructions)
    return ", ".join(machine.instructions) + ("" if has_int8 else "; none for products of INT8")


def _warm_up(profile: Profile) -> str:
    """Say how long the warm-ups took together, and which took longest."""
    seconds = [(one.warm_up.seconds, engine.name, one.batch) for engine in profile.engines for one in engine.batches]
    longest, name, batch = max(seconds)
    return f"{sum(one[0] for one in seconds):.1f} s in all; longest {name} at batch {batch}, {longest:.1f} s"


def _digest(engine: EngineProfile) -> str:
    return f", SHA-256 {engine.sha256[:16]}..." if engine.sha256 else ""


def _interval(estimate: Estimate, form: str = "") -> str:
    low, high = (format(v, form) if form else number(v) for v in (estimate.low, estimate.high))
    return f"[{low}, {high}]"
