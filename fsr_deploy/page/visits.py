"""The files of the page's visitors, and what stops their work: nothing stays when a visitor goes."""

from __future__ import annotations

import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class _Work:
    """What a part of the page holds of a visitor: the uploaded file, the folder of results, what stops the work."""

    upload: Path
    folder: Path | None = None
    stop: threading.Event = field(default_factory=threading.Event)


class Visits:
    """All visitors' work; results lie in folders of their own below ``home``. May be called from several threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._works: dict[tuple[str, str], _Work] = {}  # by visitor and part of the page
        self._lock = threading.Lock()
        self._closed = False

    def bring(self, visitor: str, part: str, upload: Path) -> None:
        """Remember a file that a visitor uploaded; what this part of the page had before is stopped and removed."""
        with self._lock:
            self._bring(visitor, part, upload)

    def begin(self, visitor: str, part: str, upload: Path) -> tuple[Path, threading.Event]:
        """As ``bring``; returns an empty folder for the results, and the event that says stop."""
        with self._lock:
            work = self._bring(visitor, part, upload)
            work.folder = Path(tempfile.mkdtemp(prefix=f"{part}-", dir=self._home))
            return work.folder, work.stop

    def clear(self, visitor: str, part: str) -> None:
        """Stop and remove what a part of the page holds of a visitor."""
        with self._lock:
            self._remove(visitor, part)

    def leave(self, visitor: str) -> None:
        """Stop and remove everything of a visitor."""
        with self._lock:
            for who, part in [*self._works]:
                if who == visitor:
                    self._remove(visitor, part)

    def stop_all(self) -> None:
        """Stop everybody's work, and what begins from now on."""
        with self._lock:
            self._closed = True
            for work in self._works.values():
                work.stop.set()

    def _bring(self, visitor: str, part: str, upload: Path) -> _Work:
        self._remove(visitor, part, keep=upload)
        work = self._works[visitor, part] = _Work(upload)
        if self._closed:
            work.stop.set()
        return work

    def _remove(self, visitor: str, part: str, keep: Path | None = None) -> None:
        work = self._works.pop((visitor, part), None)
        if work is None:
            return
        work.stop.set()
        if work.folder:
            shutil.rmtree(work.folder, ignore_errors=True)
        # Two visitors who upload the same file share it: Gradio names files by their content.
        if work.upload not in (keep, *(other.upload for other in self._works.values())):
            with suppress(OSError):
                work.upload.unlink()
                work.upload.parent.rmdir()
