"""What an actor does: load the engine once, then read, upscale and write files."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fsr_deploy._util.files import is_folder, write_part
from fsr_deploy.cluster.messages import DONE_BEFORE, FAILED, FAULT, WRITTEN, ErrorData, Facts, Given, Orders, Outcome
from fsr_deploy.errors import DeviceError, FsrError, UsageError
from fsr_deploy.exporting.proof.open_proven import open_proven
from fsr_deploy.images.codec import encode_frame
from fsr_deploy.images.opencv import cv2
from fsr_deploy.runtime.batches import Batches
from fsr_deploy.runtime.cuda.driver import find_gpu
from fsr_deploy.runtime.folder.batch_sizes import choose_batch
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.journal import codecs, face_key, made_with
from fsr_deploy.runtime.folder.pipeline import CODEC_THREADS_PER_CORE, Pipeline
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Load, Loaded, Upscaled
from fsr_deploy.runtime.folder.write import Write
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.session import Session, device_kind


def look(orders: Orders) -> Facts:
    """Open the engine as every actor will, prove it where that is to be done, and return what it is."""
    session = open_proven(
        orders.engine,
        orders.device,
        orders.backend,
        orders.trust,
        lambda info: choose_batch(info, orders.asked, orders.files),
        cores=orders.cores,
    )
    try:
        return _facts(session, orders)
    finally:
        session.close()


class Worker:
    """An engine on a device of a node, and the threads around it. ``batches`` are the one to begin with, then those of
    earlier runs whose faces count as done.

    Raises UsageError where the node is not like the first one, whose ``facts`` are given, and what ``open_session``
    raises.
    """

    def __init__(self, orders: Orders, facts: Facts, batches: Sequence[int], again: bool = False) -> None:
        node = socket.gethostname()
        if not is_folder(Path(orders.folder)):
            raise UsageError(f"{orders.folder}: is not there on {node}; a cluster needs a folder that all nodes share")
        cv2.setNumThreads(1)  # there is a thread for each frame already
        session = open_session(
            orders.engine,
            orders.device,
            backend=orders.backend,
            trust=orders.trust,
            throughput=True,
            cores=orders.cores,
        )
        own = _facts(session, orders)
        if (own.made_with, own.about) != (facts.made_with, facts.about):
            raise UsageError(
                f"{node}: has {own.about}; the first node has {facts.about}, and their faces would differ. Install the "
                "same versions on all nodes, and use devices of one kind"
            )
        self._load = _Load(session.info, None, facts.made_with, batches, orders.fit)
        self._write = _Write(None, Path(orders.folder), facts.made_with, None)
        self._batches = Batches(session, batches[0])
        threads = CODEC_THREADS_PER_CORE * orders.cores
        self._ahead = batches[0] + 2 * threads
        self._pipeline = Pipeline(threads, session.in_flight, threading.Event())
        self._about = Outcome(-1, FAULT, _device(session, node), f"{node} {os.getpid()}", again)

    def upscale(self, given: Iterable[Given]) -> list[Outcome]:
        """Return what became of each file; SR faces are beside their places, see ``write_part``.

        What is wrong with the run, and not with a file, is an outcome of its own, and then files are missing. Raises
        DeviceError where the device can do no more.
        """
        begun: dict[int, float] = {}
        outcomes: list[Outcome] = []

        def load(job: _GivenJob) -> Loaded | AlreadyDone | Failed:
            begun[job.number] = time.perf_counter()
            return self._load(job)

        def write(group: Sequence[Upscaled]) -> list[Outcome]:
            written = [self._write.outcome(upscaled, self._about) for upscaled in group]
            return [replace(outcome, seconds=time.perf_counter() - begun[outcome.number]) for outcome in written]

        def aside(outcome: AlreadyDone | Failed) -> None:
            if isinstance(outcome, Failed):
                number = numbers[outcome.source]
                outcomes.append(_failed(self._about, number, outcome.reason))
            else:
                number = numbers[outcome.job.source]
                outcomes.append(replace(self._about, number=number, state=DONE_BEFORE))
            outcomes[-1] = replace(outcomes[-1], seconds=time.perf_counter() - begun[number])

        jobs = [_GivenJob(_path(one.source), _path(one.target), one.number, one.key) for one in given]
        numbers = {job.source: job.number for job in jobs}
        try:
            outcomes.extend(self._pipeline.run(jobs, load, self._batches, write, aside, self._ahead))
        except DeviceError:
            raise
        except FsrError as error:
            outcomes.append(fault(ErrorData.of(error), self._about))
        except Exception:
            outcomes.append(fault(ErrorData("", traceback.format_exc()), self._about))
        return outcomes


def fault(found: ErrorData, about: Outcome | None = None) -> Outcome:
    """Return the outcome that ends a run."""
    blank = about or Outcome(-1, FAULT, "", f"{socket.gethostname()} {os.getpid()}", False)
    return replace(blank, key=found.kind, reason=os.fsencode(found.text))


def fault_of(outcome: Outcome) -> ErrorData:
    """Return the fault of such an outcome."""
    return ErrorData(outcome.key, os.fsdecode(outcome.reason))


@dataclass(frozen=True)
class _GivenJob(Job):
    number: int
    key: str | None


@dataclass(frozen=True)
class _Load(Load):
    """Job -> its frame; what is done is known by the key that came with the job."""

    def is_done(self, job: Job, sha256: str) -> bool:
        """Tell whether an earlier run has made what becomes of a job's file."""
        return isinstance(job, _GivenJob) and job.key in self.keys(job, sha256)


@dataclass(frozen=True)
class _Write(Write):
    """SR face -> file beside its place."""

    def outcome(self, upscaled: Upscaled, about: Outcome) -> Outcome:
        """Encode and write a face; raises InputError where no face can be written."""
        frame, job = upscaled.frame, upscaled.frame.job
        assert isinstance(job, _GivenJob)
        key = face_key(frame.sha256, job.target.suffix, self.made_with, upscaled.batch)
        content = encode_frame(upscaled.faces[0], job.target.suffix)
        written = self.put(frame, {job.target: content}, key)
        if isinstance(written, Failed):
            return _failed(about, job.number, written.reason)
        ((height, width),) = frame.sizes
        return replace(
            about,
            number=job.number,
            state=WRITTEN,
            key=key,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            batch=upscaled.batch,
            height=height,
            width=width,
            changes=",".join(change.name for change in frame.changes),
        )

    def _put(self, target: Path, content: bytes, key: str) -> None:
        write_part(target, content)


def _failed(about: Outcome, number: int, reason: str) -> Outcome:
    return replace(about, number=number, state=FAILED, reason=os.fsencode(reason))


def _path(name: bytes) -> Path:
    return Path(os.fsdecode(name))


def _facts(session: Session, orders: Orders) -> Facts:
    info = session.info
    kind = device_kind(info.device)
    if kind == "cuda":
        gpu = find_gpu(int(info.device.partition(":")[2]))
        kind = f"{gpu.name}, {gpu.sm}"
    about = f"{info.engine} on {kind}, {codecs()}, and the engine {info.sha256[:12]}"
    return Facts(info, made_with(info, orders.fit), about)


def _device(session: Session, node: str) -> str:
    """Return the node and device, a GPU by its number on the node, which Ray hides from the process."""
    device = session.info.device
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return f"{node} {f'cuda:{shown}' if device.startswith('cuda') and shown else device}"
