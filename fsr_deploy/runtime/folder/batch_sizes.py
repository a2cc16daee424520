"""How many faces a run gives its engine at a time, and what earlier runs had to use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fsr_deploy.errors import UsageError
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.session import EngineInfo, OutOfMemory


def choose_batch(engine: EngineInfo, wanted: int | None, faces: int | None) -> int:
    """Return the batch size: ``wanted``, or the engine's best one, and at most the number of faces, where it is known.

    Raises UsageError for a batch that the engine does not take.
    """
    if wanted and engine.max_batch and wanted > engine.max_batch:
        raise UsageError(f"--batch {wanted}: this engine takes at most {engine.max_batch}")
    batch = wanted or engine.best_batch
    return batch if faces is None else min(batch, faces)


def batches_to_accept(
    journal: Journal | None, made_with: str, asked: int, resume: bool, notice: Callable[[str], None]
) -> Sequence[int]:
    """Return the batch to begin with, then the batches of earlier runs whose faces count as done. If an earlier run had
    to reduce the batch that was ``asked`` for, begin with the smallest one that it used: the larger one would run out
    of memory again, and the existing faces were made with the smaller one.
    """
    earlier = journal.batches(made_with, asked) if journal else []
    if not journal or not earlier:
        return [asked]
    if not resume:
        journal.add_batch(made_with, asked, asked)
        return [asked]
    if earlier[-1] < asked:
        notice(f"batch {earlier[-1]}: an earlier run ran out of memory; --no-resume does all again at {asked}")
    return list(dict.fromkeys((*reversed(earlier), asked)))


def note_halving(
    journal: Journal | None, made_with: str, asked: int, notice: Callable[[str], None]
) -> Callable[[int, OutOfMemory], None]:
    """Return what is done where a batch was too large: say it, and record the smaller one."""

    def halved(batch: int, error: OutOfMemory) -> None:
        notice(f"out of memory at batch {batch}, going on with {batch // 2}: {error}")
        if journal:
            journal.add_batch(made_with, asked, batch // 2)

    return halved
