"""Several devices as one session: each batch goes to a device that is free, and a device that fails is left out."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, zip_longest

from fsr_deploy._util.log import warn
from fsr_deploy.errors import FsrError, InputError, UsageError
from fsr_deploy.runtime.session import Batch, EngineInfo, OutOfMemory, Session


class SeveralSessions:
    """The same engine on several devices, behind the Session protocol; ``sessions`` are its parts, one for each device.

    A device that raises anything but InputError and OutOfMemory is left out from then on, with one warning, and another
    one does its batch; the error of the last one is raised. Raises UsageError where the engines are not the same: their
    faces would differ, and a face would depend on which device was free.
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        _refuse_other_engines([session.info for session in sessions])
        self.sessions = tuple(sessions)
        first = self.sessions[0].info
        notes = dict.fromkeys(note for session in self.sessions for note in session.info.notes)
        self.info = replace(
            first, device=",".join(session.info.device for session in self.sessions), notes=tuple(notes)
        )
        # One place for each batch that may be under way, by the number of its session. Each session has its first place
        # before any has its second, so that few batches are spread over all devices.
        places = zip_longest(*([number] * session.in_flight for number, session in enumerate(self.sessions)))
        self._free = deque(number for number in chain.from_iterable(places) if number is not None)
        self.in_flight = len(self._free)
        self._working = set(range(len(self.sessions)))
        self._over: Exception | None = None  # why no session is left
        self._changed = threading.Condition()

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces on a device that is free.

        Waits for one where all are busy. Raises what a single session raises.
        """
        while True:
            number = self._take()
            try:
                return self.sessions[number].upscale(batch)
            except Exception as error:
                if not self._goes_elsewhere(number, batch, error):
                    raise
            finally:
                self._give_back(number)

    def close(self) -> None:
        """Free what the engine holds on all devices; the session cannot be used afterwards."""
        with self._changed:
            working, self._working = self._working, set()
            self._over = RuntimeError("the session is closed")
            self._changed.notify_all()
        with ExitStack() as stack:
            for number, session in enumerate(self.sessions):
                if number not in working:  # a device that failed may also fail at this
                    stack.enter_context(contextlib.suppress(Exception))
                stack.callback(session.close)

    def _take(self) -> int:
        """Return a session that is free, and take one of its places; raises the last error where none is left."""
        with self._changed:
            while self._working:
                if self._free:
                    return self._free.popleft()
                self._changed.wait()
            assert self._over is not None
            raise self._over

    def _give_back(self, number: int) -> None:
        with self._changed:
            if number in self._working:
                self._free.append(number)
                self._changed.notify()

    def _goes_elsewhere(self, number: int, batch: Batch, error: Exception) -> bool:
        """Tell whether another device is to do a batch that failed on this one, which is then left out."""
        if isinstance(error, InputError):
            return False
        with self._changed:
            others = self._working - {number}
            if isinstance(error, OutOfMemory) and (len(batch) > 1 or not others):
                return False  # a smaller batch may fit
            if number in self._working:
                self._leave_out(number, error)
            return bool(others)

    def _leave_out(self, number: int, error: Exception) -> None:
        self._working.remove(number)
        self._free = deque(other for other in self._free if other != number)
        self._over = error
        self._changed.notify_all()
        if self._working:
            line = (
                f"{self.sessions[number].info.device} (device {number + 1} of {len(self.sessions)}) failed and is left"
                f" out, the others do its work: {_first_line(error)}"
            )
            self.info = replace(self.info, notes=(*self.info.notes, line))  # for what is told at the end of a run
            warn(line)


def _refuse_other_engines(infos: Sequence[EngineInfo]) -> None:
    first, *others = (replace(info, device="", notes=()) for info in infos)
    for info, other in zip(infos[1:], others, strict=True):
        if other != first:
            both = " and ".join(f"{one.engine} on {one.device}" for one in (infos[0], info))
            raise UsageError(f"--device: {both} would not give the same faces; name devices that run the same engine")


def _first_line(error: Exception) -> str:
    told = (str(error).strip().splitlines() or [""])[0]
    return told if isinstance(error, FsrError | OutOfMemory) else f"{type(error).__name__}: {told}"
