"""What driver and actors tell each other: plain records, which are rows of Ray Data's tables."""

from __future__ import annotations

from dataclasses import dataclass

from fsr_deploy import errors
from fsr_deploy.errors import FsrError
from fsr_deploy.images.resize import Fit
from fsr_deploy.runtime.session import EngineInfo

WRITTEN = "written"  # beside its place, which is the driver's to put it into
DONE_BEFORE = "done before"
FAILED = "failed"
FAULT = "fault"  # of the run: no file is to blame


@dataclass(frozen=True)
class Orders:
    """What an actor is for. ``folder`` is that of the outputs; ``asked`` is the batch that was asked for, None for the
    engine's best, and ``files`` how many files there are.
    """

    engine: str
    device: str
    backend: str | None
    trust: bool
    cores: int
    fit: Fit
    folder: str
    asked: int | None
    files: int


@dataclass(frozen=True)
class Facts:
    """What runs on a node: ``made_with`` as the journal has it, and ``about`` it, in words. They have to be the same on
    all nodes.
    """

    info: EngineInfo
    made_with: str
    about: str


@dataclass(frozen=True)
class Given:
    """A file to do: its number, its path, its output's, and the journal's key of the output that is there already."""

    number: int
    source: bytes
    target: bytes
    key: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of a file, or of the actor, and then ``number`` is -1. ``seconds`` are from reading to writing, the
    wait for a batch included; ``height`` and ``width`` are the frame's; ``changes`` are names of ColourChange.
    ``again`` says that the actor's process took the place of one that died.
    """

    number: int
    state: str
    device: str
    process: str
    again: bool
    reason: bytes = b""
    key: str = ""
    sha256: str = ""
    size: int = 0
    batch: int = 0
    height: int = 0
    width: int = 0
    changes: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ErrorData:
    """An error of ours as plain data: not every exception survives the way between processes."""

    kind: str
    text: str

    @classmethod
    def of(cls, error: FsrError) -> ErrorData:
        """Return the plain data of an error, of the nearest kind in fsr_deploy.errors."""
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        return cls(kind.__name__, str(error))

    def error(self) -> Exception:
        """Return the error again; RuntimeError for what is a defect of ours."""
        kind = getattr(errors, self.kind, RuntimeError)
        return kind(self.text)
