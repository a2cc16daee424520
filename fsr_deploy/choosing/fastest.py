"""The fastest engine, top down: the candidates, each built and held to its budget, timed in turns, the best published.

All share the network, eager's faces and, where they have the same form, the trace of the graph.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fsr_deploy._util.log import ProgressCallback, progress, reporting, say, to_callback
from fsr_deploy.bundle.info import QUANTISED, Bundle, write_info
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.choosing.candidates import Candidate, find_candidates
from fsr_deploy.choosing.contest import SECONDS, Crowd, Times, hold
from fsr_deploy.errors import FsrError, InputError, MissingError, ParityError, UsageError, refuse_unknown
from fsr_deploy.exporting.build import Built, ExportInputs, Step, build
from fsr_deploy.exporting.export import finish, stopwatch
from fsr_deploy.exporting.graph.trace import sharing_traces
from fsr_deploy.exporting.options import OPTIONS_OF_PLAN, ExportOptions, Int8Options, changed
from fsr_deploy.exporting.proof.parity import Budget, budget_for
from fsr_deploy.profiling.rounds import duration
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.session import Session

GOALS = ("latency", "throughput")
SHARED = ("checkpoint", "key", "lr_size", "batches", "faces", "plan", "int8", "repair", "output")
FIGURES = {"budget_db": "min_psnr_db", "budget_levels": "max_levels", "budget_loss": "max_loss_db"}


@dataclass(frozen=True)
class FastestOptions:
    """What the candidates share, ``export`` but for its precision and target, and what they are timed for.

    ``goal`` is one of GOALS: "latency", one batch of the smallest size on all cores, or "throughput", many batches at
    the same time as ``fsr-run`` has them. ``budget`` has the figures that stand in place of each precision's own.
    """

    export: ExportOptions
    goal: str = "latency"
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        refuse_unknown("--for", self.goal, GOALS)

    def of(self, candidate: Candidate) -> ExportOptions:
        """Return the options of one candidate."""
        precision = candidate.precision
        return replace(
            self.export,
            precision=precision,
            target=candidate.target,
            budget=budget_for(precision, *(getattr(self.budget, one.name) for one in fields(Budget))),
            int8=self.export.int8 if precision in QUANTISED else Int8Options(),
            repair=self.export.repair or precision == "fp32",  # where there is nothing to repair
        )


def fastest(
    model: str | os.PathLike[str],
    *,
    goal: str = "latency",
    progress: ProgressCallback | None = None,
    budget_db: float | None = None,
    budget_levels: float | None = None,
    budget_loss: float | None = None,
    **options: Any,
) -> Bundle:
    """Export a network as the fastest engine that this machine runs within its budget; ``run_fastest`` with names.

    ``goal`` is "latency" or "throughput". The three budgets stand in place of each precision's own. ``options`` are
    those fields of ExportOptions that choose no engine: SHARED. ``progress`` is called with what is counted, how many
    are done and how many there are. Raises UsageError for others, and what ``run_fastest`` raises.
    """
    budget = Budget(budget_db, budget_levels, budget_loss)
    if wrong := sorted(set(options) - set(SHARED)):
        raise UsageError(f"fastest has no option {wrong[0]!r}; it has goal, {', '.join((*FIGURES, *SHARED))}")
    with reporting(to_callback(progress) if progress else None):
        return run_fastest(FastestOptions(shared_options(str(model), budget=budget, **options), goal, budget))


def shared_options(model: str, *, budget: Budget, **options: Any) -> ExportOptions:
    """Return the options that all candidates share; of them, only precision, target and budget are changed."""
    return ExportOptions(model, precision="int8", budget=budget, **options)


@dataclass
class Entry:
    """A candidate and what became of it; ``times`` is None for one that was not built or is over its budget."""

    candidate: Candidate
    built: Built | None = None
    error: FsrError | None = None
    times: Times | None = None

    @property
    def psnr_db(self) -> float | None:
        """PSNR against eager in the worst face of all rows that its budget holds for, None where all are equal."""
        rows = self.built.info.parity if self.built else []
        return min((row["psnr_db"] for row in rows if row["psnr_db"] is not None), default=None)

    def outcome(self, published: bool) -> str:
        """Say in some words what became of it."""
        if self.error is not None:
            return " ".join(str(self.error).split())
        return "published" if published else "slower"

    def as_dict(self, goal: str, published: bool) -> dict[str, Any]:
        """Return the candidate as flat, plain data for ``precisions`` in ``bundle.json``."""
        ms = self.times.ms if self.times else None
        return {
            "precision": self.candidate.precision,
            "batch": self.times.faces if self.times else None,
            "ms": ms.value if ms else None,
            "psnr_db": self.psnr_db,
            "engine": self.built.engines[0].name if self.built else self.candidate.title,
            "low_ms": ms.low if ms else None,
            "high_ms": ms.high if ms else None,
            "left_early": self.times.left_early if self.times else False,
            "measured": self.built is not None,
            "goal": goal,
            "outcome": self.outcome(published),
        }


def run_fastest(options: FastestOptions) -> Bundle:
    """Build all candidates of this machine, time those within their budget in turns, and publish the fastest.

    Raises UsageError and InputError for what cannot be exported, and, with nothing published, ParityError where no
    candidate keeps its budget.
    """
    candidates, left_out = find_candidates(options.export.plan.device)
    on_gpu = candidates[0].target == "tensorrt"
    if not on_gpu and (given := changed(options.export.plan, OPTIONS_OF_PLAN)):
        raise UsageError(f"{given[0]} says how a plan is built, and this machine builds none; leave it out")
    say(f"candidates: {'; '.join(candidate.title for candidate in candidates)}")
    for line in left_out:
        say(f"    {line}")
    step = stopwatch()
    step("load the network and faces to prove with")
    work = ExportInputs(options.export)
    destination = options.export.output or Path(f"{work.source.name}-fastest")
    with staged_directory(destination) as directory, tempfile.TemporaryDirectory() as folder:
        entries = _build_all(options, candidates, work, Path(folder), step)
        best = _time(entries, options.goal, Path(folder), step)
        assert best.built is not None
        for path in (Path(folder) / best.candidate.folder).iterdir():
            shutil.move(path, directory / path.name)
        rows = [entry.as_dict(options.goal, entry is best) for entry in entries]
        built = replace(best.built, info=replace(best.built.info, precisions=rows))
        info = finish(built, work, directory, destination.name, step)
    step("done")
    return Bundle(destination, info)


def _build_all(
    options: FastestOptions, candidates: Sequence[Candidate], work: ExportInputs, folder: Path, step: Step
) -> list[Entry]:
    """Build and prove each candidate in a directory of its own; raises what the first one raised where all failed."""
    entries, start = [Entry(candidate) for candidate in candidates], time.monotonic()
    with sharing_traces() as traces, progress("candidates", len(entries)) as advance:
        for number, entry in enumerate(entries, 1):
            step(f"candidate {number} of {len(entries)}: {entry.candidate.title}")
            directory = folder / entry.candidate.folder
            directory.mkdir()
            try:
                entry.built = build(options.of(entry.candidate), work, directory, step, alone=False)
            except (ParityError, MissingError, InputError) as error:
                entry.error = error
                say(f"    left out: {entry.outcome(published=False)}")
            advance(1)
            if left := candidates[number:]:
                seconds = forecast(candidates[:number], left, time.monotonic() - start, traces.seconds)
                how_long = duration(seconds + SECONDS * len(entries))
                say(f"    {len(left)} left, and the timing: about {how_long}")
    if not any(entry.built for entry in entries):
        errors = [entry.error for entry in entries if entry.error]
        if any(isinstance(error, ParityError) for error in errors):
            lines = "\n  ".join(f"{entry.candidate.title}: {entry.outcome(published=False)}" for entry in entries)
            raise ParityError(f"no candidate keeps its budget:\n  {lines}")
        raise errors[0]
    return entries


def forecast(done: Sequence[Candidate], left: Sequence[Candidate], seconds: float, traces: Sequence[float]) -> float:
    """Return the seconds that candidates will take if they are like those that took ``seconds``.

    ``traces`` are the seconds of the traces in these: each new form takes another one.
    """
    new = {candidate.form for candidate in left} - {candidate.form for candidate in done}
    return len(new) * sum(traces) / max(len(traces), 1) + len(left) * (seconds - sum(traces)) / len(done)


def _time(entries: Sequence[Entry], goal: str, folder: Path, step: Step) -> Entry:
    """Time the candidates that were built in turns; returns the fastest, of equally fast ones the closest to eager."""
    step(f"time the candidates in turns, for {goal}")
    running = {entry.candidate.title: entry for entry in entries if entry.built}
    by_quality = sorted(running, key=lambda title: -_psnr(running[title]))
    with ExitStack() as opened:
        sessions: dict[str, Session] = {}
        for title in by_quality:
            sessions[title] = _open(running[title], goal, folder)
            opened.callback(sessions[title].close)
        built = next(iter(running.values())).built
        assert built is not None
        crowds = [session.faces for session in sessions.values() if isinstance(session, Crowd)]
        times, best = hold(sessions, max(crowds, default=built.options.batches[0]))
    for title, entry in running.items():
        entry.times = times[title]
        psnr = "equal to eager" if entry.psnr_db is None else f"{entry.psnr_db:.2f} dB"
        say(f"    {title}: {entry.times}, {psnr}{'; published' if title == best else ''}")
    return running[best]


def _psnr(entry: Entry) -> float:
    return float("inf") if entry.psnr_db is None else entry.psnr_db


def _open(entry: Entry, goal: str, folder: Path) -> Session:
    """Open a candidate as ``fsr-run`` would: with what it was proven with."""
    assert entry.built is not None
    directory, throughput = folder / entry.candidate.folder, goal == "throughput"
    info = write_info(directory, entry.built.info)
    device = f"cuda:{entry.built.options.plan.device}" if info.plan else "cpu"
    session = open_session(directory, device, throughput=throughput)
    return Crowd(session) if throughput else session
