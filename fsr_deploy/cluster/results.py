"""What the driver does with what comes back: outputs are recorded and put in place, and each file gets its row."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fsr_deploy._util.files import CannotWrite, part_of
from fsr_deploy._util.log import warn
from fsr_deploy.cluster.messages import DONE_BEFORE, FAILED, FAULT, WRITTEN, Given, Outcome
from fsr_deploy.cluster.status import DONE, LEFT, FileStatus
from fsr_deploy.cluster.worker import fault_of
from fsr_deploy.images.colour import ColourChange
from fsr_deploy.runtime.folder.jobs import Job, Work
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Loaded
from fsr_deploy.runtime.folder.tally import Tally
from fsr_deploy.runtime.folder.write import is_about_one, put_in_place

# Renaming waits for the file system, which on a network does many at a time.
PLACING_THREADS = 8


@dataclass
class Results:
    """The driver's books of a run. Only the driver writes to the journal and to final names: of an actor that the
    driver has lost sight of, nothing but a hidden file can be left. ``taken`` is that of ``Write``, ``asked`` the batch
    that was asked for, ``accepted`` what ``batches_to_accept`` returned.
    """

    work: Work
    folder: Path
    journal: Journal
    taken: Collection[Path] | None
    made_with: str
    asked: int
    accepted: Sequence[int]
    tally: Tally
    resume: bool = True
    rows: dict[int, FileStatus] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)  # processes that took the place of others
    batch: int = field(init=False)  # the smallest that is in use

    def __post_init__(self) -> None:
        self.batch = self.accepted[0]

    @property
    def left(self) -> list[int]:
        """The numbers of the files that nothing has come back for."""
        return [number for number in range(len(self.work.jobs)) if number not in self.rows]

    def given(self, numbers: Iterable[int]) -> Iterator[Given]:
        """Yield files as an actor gets them, with absolute paths: its current folder is another."""
        for number in numbers:
            job = self.work.jobs[number]
            done = self.journal.finished(job.target) if self.resume else None
            source, target = (os.fsencode(path.absolute()) for path in (job.source, job.target))
            yield Given(number, source, target, done[0] if done else None)

    def take(self, blocks: Iterable[Sequence[Outcome]]) -> None:
        """Record outcomes as they come and put outputs in place; raises the error of a fault, and what ``Tally`` and
        ``Write`` raise."""
        with ThreadPoolExecutor(PLACING_THREADS) as pool:
            for outcomes in blocks:
                for outcome in outcomes:
                    self._notice(outcome)
                new = [outcome for outcome in outcomes if outcome.state != FAULT and outcome.number not in self.rows]
                for outcome, result in zip(new, pool.map(self._place, new), strict=True):
                    self.rows[outcome.number] = self._row(outcome, result)
                    if isinstance(result, AlreadyDone):
                        self.tally.aside(result)
                    else:
                        self.tally.written(result)
                for outcome in outcomes:
                    if outcome.state == FAULT:
                        raise fault_of(outcome).error()

    def give_up(self, numbers: Sequence[int], reason: str) -> None:
        """Count files as failed that nothing comes back for."""
        for number in numbers:
            source = self.work.jobs[number].source
            self.rows[number] = self._row_of(source, FAILED, reason)
            self.tally.failed(Failed(source, f"{source}: {reason}"))

    def all_rows(self) -> list[FileStatus]:
        """Return one row for each file, those that could not be listed at the end."""
        missing = {number: self._row_of(self.work.jobs[number].source, LEFT, "") for number in self.left}
        listed = [row for _, row in sorted((self.rows | missing).items())]
        return listed + [self._row_of(path, FAILED, reason) for path, reason in self.work.listing.failed]

    def remove_parts(self) -> None:
        """Remove what actors wrote that has not been put in place."""
        for number in self.left:
            part = part_of(self.work.jobs[number].target)
            try:
                part.unlink(missing_ok=True)
            except OSError as error:
                warn(f"{part}: cannot be removed: {error.strerror}")

    def _notice(self, outcome: Outcome) -> None:
        """Say what an outcome shows of its actor, and record a batch that had to be reduced before its faces."""
        if outcome.again and outcome.process not in self.replaced:
            self.replaced.add(outcome.process)
            warn(f"{outcome.device}: an actor died; another does its files again")
        if 0 < outcome.batch < self.batch:
            self.tally.notice(f"out of memory at batch {self.batch}, {outcome.device} goes on with {outcome.batch}")
            self.journal.add_batch(self.made_with, self.asked, outcome.batch)
            self.batch = outcome.batch

    def _place(self, outcome: Outcome) -> Loaded | AlreadyDone | Failed:
        job = self.work.jobs[outcome.number]
        if outcome.state == DONE_BEFORE:
            return AlreadyDone(job)
        if outcome.state == FAILED:
            told = os.fsdecode(outcome.reason).replace(str(job.source.absolute()), str(job.source))
            return Failed(job.source, told)
        assert outcome.state == WRITTEN
        try:
            put_in_place(job.target, outcome.key, outcome.sha256, self.journal, self.taken)
        except CannotWrite as error:
            if is_about_one(error, self.folder):
                return Failed(job.source, str(error))
            raise
        return _loaded(job, outcome)

    def _row(self, outcome: Outcome, result: Loaded | AlreadyDone | Failed) -> FileStatus:
        job = self.work.jobs[outcome.number]
        if isinstance(result, Failed):
            return self._row_of(job.source, FAILED, result.reason, outcome)
        if isinstance(result, AlreadyDone):
            found = self.journal.finished(job.target)
            size = job.target.stat().st_size if job.target.exists() else None
            return self._row_of(job.source, DONE_BEFORE, "", outcome, job.target, found[1] if found else None, size)
        return self._row_of(job.source, DONE, "", outcome, job.target, outcome.sha256, outcome.size)

    def _row_of(
        self,
        source: Path,
        status: str,
        reason: str,
        outcome: Outcome | None = None,
        output: Path | None = None,
        sha256: str | None = None,
        size: int | None = None,
    ) -> FileStatus:
        seconds, device = (outcome.seconds, outcome.device) if outcome else (None, None)
        return FileStatus(str(source), status, reason, str(output) if output else None, sha256, size, seconds, device)


def _loaded(job: Job, outcome: Outcome) -> Loaded:
    """Return what the tally counts of a frame."""
    changes = frozenset(ColourChange[name] for name in outcome.changes.split(",") if name)
    return Loaded(job, "", [], [(outcome.height, outcome.width)], changes)
