"""What a run makes of its frames: the steps around the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fsr_deploy.images.resize import Fit
from fsr_deploy.runtime.folder.jobs import Job, Work
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Load, Loaded
from fsr_deploy.runtime.folder.write import Write, WriteFaces
from fsr_deploy.runtime.session import EngineInfo

Read = Callable[[Job], Loaded | AlreadyDone | Failed]


class Task(Protocol):
    """What is made of each frame."""

    @property
    def recipe(self) -> str:
        """What the outputs depend on, beside the frames, the engine and the libraries."""
        ...

    @property
    def whole_frames(self) -> bool:
        """Whether a frame holds any number of faces, instead of being one."""
        ...

    @property
    def unit(self) -> str:
        """What the engine upscales, in the plural."""
        ...

    def targets(self, work: Work) -> Sequence[Path]:
        """Return where outputs of the run go, or are already."""
        ...

    def reader(self, engine: EngineInfo, journal: Journal | None, made_with: str, batches: Sequence[int]) -> Read:
        """Return the step before the engine; see ``Load``."""
        ...

    def writer(
        self, engine: EngineInfo, journal: Journal | None, work: Work, made_with: str, taken: Collection[Path] | None
    ) -> Write:
        """Return the step after the engine; see ``Write``."""
        ...

    def close(self, journal: Journal | None) -> None:
        """Do what is left when all frames are through."""
        ...


@dataclass(frozen=True)
class FaceTask:
    """Each frame is a face: an SR face is made of it. ``fit`` says how other proportions are fitted."""

    fit: Fit = "crop"
    whole_frames = False
    unit = "faces"

    @property
    def recipe(self) -> str:
        """How frames are fitted."""
        return self.fit

    def targets(self, work: Work) -> Sequence[Path]:
        """Return the place of each SR face."""
        return [job.target for job in work.jobs]

    def reader(self, engine: EngineInfo, journal: Journal | None, made_with: str, batches: Sequence[int]) -> Read:
        """Return the step that reads a frame and makes it an LR face."""
        return Load(engine, journal, made_with, batches, self.fit)

    def writer(
        self, engine: EngineInfo, journal: Journal | None, work: Work, made_with: str, taken: Collection[Path] | None
    ) -> WriteFaces:
        """Return the step that writes SR faces."""
        return WriteFaces(journal, work.folder, made_with, taken)

    def close(self, journal: Journal | None) -> None:
        """Nothing is left to do."""
