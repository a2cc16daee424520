"""An engine's time by module of the network instead of by kernel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.bundle.layers import ModuleTable, owners
from fsr_deploy.profiling.statistics import Estimate, typical
from fsr_deploy.profiling.timing import Clock
from fsr_deploy.runtime.kernel_times import KernelRun

BETWEEN = "(between kernels)"
FEWEST_PEERS = 5  # fewest modules whose median says how slow a whole run was
Times = NDArray[np.float64]
RESOLUTION_MS = 1e-3  # of ONNX Runtime's profile
MIN_RUNS, MAX_RUNS = 2, 25  # per visit; the first, after other engines have run, is not counted


class Recorder(Protocol):
    """Runs an engine repeatedly under its own profiler."""

    def run(self) -> None:
        """Run once."""
        ...

    def finish(self) -> list[KernelRun]:
        """Return all runs in order and free the engine."""
        ...


@dataclass(frozen=True)
class ModuleTime:
    """The time of one module per batch, without that of the modules inside it, in milliseconds.

    ``share`` is of the whole run. ``gflops`` (two per multiply-accumulate) and ``gbytes`` per second follow from the
    costs of the exported graph; None where it has none. Kernel fusion moves fewer bytes than counted here.
    ``beside_others`` is the time relative to the other modules: each run's time is divided by the factor by which its
    other modules were slower than usual, in the median. This removes what disturbs all modules equally. None where
    there are too few other modules, and for the time between kernels, which is disturbed in other ways.
    """

    module: str
    kind: str
    time: Estimate
    share: float
    gflops: float | None
    gbytes: float | None
    beside_others: Estimate | None = None


@dataclass(frozen=True)
class LayerProfile:
    """Time by module: ``modules`` one by one, ``kinds`` all modules of one class (LGFI, SKAF, ...) together.

    ``total`` is the time of a run under the profiler, which is longer than without. Both lists are sorted by time.
    """

    batch: int
    runs: int
    total: Estimate
    modules: tuple[ModuleTime, ...]
    kinds: tuple[ModuleTime, ...]


class LayerWatch:
    """Runs a recorder at every visit of one batch size, between the engines that are timed. ``seconds`` is about how
    long a visit takes.
    """

    def __init__(self, recorder: Recorder, table: ModuleTable, batch: int, seconds: float, clock: Clock) -> None:
        self._recorder, self._table, self._batch = recorder, table, batch
        self._seconds, self._clock = seconds, clock
        self._visits: list[int] = []

    def visit(self, batch: int) -> None:
        """Run a few times if this is the batch size."""
        if batch != self._batch:
            return
        start, runs = self._clock.now(), 0
        while runs < MIN_RUNS or (runs < MAX_RUNS and self._clock.now() - start < self._seconds):
            self._recorder.run()
            runs += 1
        self._visits.append(runs)

    def finish(self) -> LayerProfile | None:
        """Return the times by module, None where the batch size was never visited."""
        runs = iter(self._recorder.finish())
        passes = [list(islice(runs, count))[1:] for count in self._visits]
        return layer_profile(passes, self._table, self._batch) if passes else None


def layer_profile(passes: Sequence[Sequence[KernelRun]], table: ModuleTable, batch: int) -> LayerProfile:
    """Sum the kernels of each run by module and by kind of module."""
    runs = [run for part in passes for run in part]
    ends = np.cumsum([len(part) for part in passes])[:-1]
    by_module = _by_module(runs, table)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for module in by_module:
        by_kind[table.kind(module)].append(module)
    total = np.array([run.seconds for run in runs])

    def milliseconds(seconds: Times) -> Estimate:
        parts = np.split(np.maximum(1e3 * seconds, RESOLUTION_MS), ends)
        return typical([part.tolist() for part in parts])

    def entry(module: str, kind: str, members: list[str]) -> ModuleTime:
        times = np.sum([by_module[member] for member in members], axis=0)
        operations, moved = table.costs(members, batch)
        seconds = float(np.median(times))
        slowness = None if kind == BETWEEN else _slowness(by_module, members)
        return ModuleTime(
            module=module,
            kind=kind,
            time=milliseconds(times),
            share=seconds / float(np.median(total)),
            gflops=1e-9 * operations / seconds if operations else None,
            gbytes=1e-9 * moved / seconds if moved else None,
            beside_others=None if slowness is None else milliseconds(times / slowness),
        )

    modules = [entry(module, table.kind(module), [module]) for module in by_module]
    kinds = [entry("", kind, members) for kind, members in by_kind.items()]
    return LayerProfile(batch, len(runs), milliseconds(total), _by_time(modules), _by_time(kinds))


def _by_module(runs: Sequence[KernelRun], table: ModuleTable) -> dict[str, Times]:
    """Return the seconds of each module in each run, and the rest that is in no kernel."""
    times: dict[str, Times] = defaultdict(lambda: np.zeros(len(runs)))
    owned: dict[tuple[str, ...], list[str]] = {}
    for index, run in enumerate(runs):
        names = tuple(name for name, _ in run.kernels)
        if names not in owned:
            owned[names] = owners(names, table)
        for module, (_, seconds) in zip(owned[names], run.kernels, strict=True):
            times[module][index] += seconds
        times[BETWEEN][index] += run.seconds - sum(seconds for _, seconds in run.kernels)
    return {module: values for module, values in times.items() if np.median(values) > 0}


def _slowness(by_module: dict[str, Times], members: Sequence[str]) -> Times | None:
    """Return the factor by which each run's modules, except the members, were slower than usual, in the median. If a
    module were compared with itself, it would sometimes be the median and seem to take exactly its usual time.
    """
    others = (times for module, times in by_module.items() if module not in (BETWEEN, *members))
    peers = [times / np.median(times) for times in others]
    if len(peers) < FEWEST_PEERS:
        return None
    return np.maximum(np.median(peers, axis=0), np.finfo(float).tiny)


def _by_time(entries: list[ModuleTime]) -> tuple[ModuleTime, ...]:
    return tuple(sorted(entries, key=lambda entry: -entry.time.value))
