"""The plots of a profile's page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fsr_deploy._util.svg import Axis, Mark, Plot, linear, logarithmic, number, quality_plot, steps
from fsr_deploy.profiling.layers.attribution import LayerProfile, ModuleTime
from fsr_deploy.profiling.record import EngineProfile, Profile
from fsr_deploy.profiling.yardstick import Ceilings

BINS = 80
HISTOGRAM = 58  # pixels of height for one engine
BAR = 26  # pixels of height for one kind of module
SMALLEST = 0.01  # share of the time below which a module gets no mark of its own


def distribution(profile: Profile, batch: int) -> str:
    """Draw every engine's samples at a batch size, each as a histogram of its own, on one axis of time.

    The slowest 1 % is left out, so that one disturbance does not compress the rest.
    """
    shown = [(i, engine.name, found) for i, engine in enumerate(profile.engines) if (found := engine.at(batch))]
    low = min(min(found.samples) for _, _, found in shown)
    high = max(float(np.percentile(found.samples, 99)) for _, _, found in shown)
    time = logarithmic(low, high) if high > 5 * low else linear(low, high, 8)
    place = np.geomspace if time.logarithmic else np.linspace
    edges = place(time.low, time.high, BINS + 1).tolist()
    plot = Plot(
        time, Axis(0, len(shown), []), f"milliseconds per batch of {batch}", height=HISTOGRAM * len(shown) + 72, left=12
    )
    for row, (series, name, found) in enumerate(reversed(shown)):
        counts, _ = np.histogram(found.samples, edges)
        heights = (row + 0.62 * counts / counts.max()).tolist()
        outline = [(x, y) for i, y in enumerate(heights) for x in edges[i : i + 2]]
        plot.area(series, [(edges[0], row), *outline, (edges[-1], row)])
        median = found.latency.p50
        plot.whisker((median.value, row), (median.value, row + 0.68))
        plot.text((time.low, row + 0.74), f"{name}, median {number(median.value)} ms", dx=2, dy=0)
    return plot.svg(f"Distribution of the latency of a batch of {batch}, by engine")


def throughput(profile: Profile) -> str:
    """Draw faces per second against the batch size, one line per engine, with their intervals."""
    batches = sorted({one.batch for engine in profile.engines for one in engine.batches})
    top = max(1e3 * one.batch / one.latency.p50.low for engine in profile.engines for one in engine.batches)
    plot = Plot(steps(batches, list(map(str, batches))), linear(0, top), "faces per batch", "faces per second")
    for series, engine in enumerate(profile.engines):
        plot.line(series, [(one.batch, one.faces_per_second) for one in engine.batches])
        for one in engine.batches:
            p50 = one.latency.p50
            plot.whisker((one.batch, 1e3 * one.batch / p50.high), (one.batch, 1e3 * one.batch / p50.low))
            tip = f"{engine.name}: {number(one.faces_per_second)} faces/s at batch {one.batch}"
            plot.dot(series, (one.batch, one.faces_per_second), tip)
    return plot.svg("Throughput against batch size, by engine")


def time_by_module(layers: LayerProfile, series: int) -> str:
    """Draw a bar with its interval for every kind of module."""
    shown = [kind for kind in layers.kinds if kind.share >= SMALLEST]
    axis = linear(0, max(kind.time.high for kind in shown))
    rows, label = Axis(0, len(shown), []), f"milliseconds per batch of {layers.batch}"
    plot = Plot(axis, rows, label, height=BAR * len(shown) + 72, left=150, right=60)
    for row, kind in enumerate(reversed(shown)):
        time, middle = kind.time, row + 0.5
        plot.bar(series, (0, row + 0.2), (time.value, row + 0.8), f"{kind.kind}: {number(time.value)} ms")
        plot.whisker((time.low, middle), (time.high, middle))
        plot.text((0, middle), kind.kind, "end", dx=-8)
        plot.text((time.high, middle), f"{kind.share:.0%}", "faint", dx=6)
    return plot.svg("Time by kind of module")


def roofline(layers: LayerProfile, ceilings: Ceilings, series: int) -> str:
    """Draw each kind of module's speed over its operations per byte, below the machine's ceilings."""
    points = [(*point, kind) for kind in layers.kinds if kind.share >= SMALLEST and (point := _on_roofline(kind))]
    if not points:
        return ""
    ridge = ceilings.gflops / ceilings.gbytes
    x = logarithmic(min(ridge, *(point[0] for point in points)) / 1.5, 2 * max(ridge, *(point[0] for point in points)))
    y = logarithmic(min(point[1] for point in points) / 1.5, 1.2 * max(ceilings.gflops, *(p[1] for p in points)))
    plot = Plot(x, y, "operations per byte", "GFLOP/s", height=380)
    start = max(x.low, y.low / ceilings.gbytes)
    plot.ceiling([(start, start * ceilings.gbytes), (ridge, ceilings.gflops), (x.high, ceilings.gflops)])
    plot.text((x.high, ceilings.gflops), f"matrix product {number(ceilings.gflops)} GFLOP/s", "faint end", dy=-6)
    plot.text((ridge, ceilings.gflops), f"memory {number(ceilings.gbytes)} GB/s", "faint end", dx=-14, dy=4)
    for intensity, gflops, kind in points:
        tip = f"{kind.kind}: {number(gflops)} GFLOP/s at {number(intensity)} operations per byte"
        plot.dot(series, (intensity, gflops), tip, radius=4 + 8 * kind.share**0.5)
    for intensity, gflops, kind in points:
        plot.label((intensity, gflops), kind.kind)
    return plot.svg("Operations per second of each kind of module against the machine's ceilings")


def _on_roofline(kind: ModuleTime) -> tuple[float, float] | None:
    if kind.gflops is None or kind.gbytes is None:
        return None
    return kind.gflops / kind.gbytes, kind.gflops


def quality(engines: Sequence[tuple[int, EngineProfile]], batch: int) -> str:
    """Draw PSNR against eager over the latency of a batch; (series, engine) of those whose bundle has both.

    An engine whose faces are equal to eager's stands at the top.
    """
    marks = [
        Mark(i, f"{e.name} ({e.precision})", one.latency.p50.value, e.quality.psnr_db)
        for i, e in engines
        if e.quality and (one := e.at(batch))
    ]
    return quality_plot(marks, f"milliseconds per batch of {batch}")
