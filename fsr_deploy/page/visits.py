"""The files of the page's visitors, and what stops their work: nothing stays when a visitor goes."""

from __future__ import annotations

import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class _Visit:
    """What one visitor has: by the name of a part of the page the uploaded file, and the folder of results."""

    uploads: dict[str, Path] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)


class Visits:
    """All visitors; results lie in folders of their own below ``home``. May be called from several threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._visits: dict[str, _Visit] = {}
        self._lock = threading.Lock()
        self._closed = False

    def begin(self, visitor: str, part: str, upload: Path) -> tuple[Path, threading.Event]:
        """Return an empty folder for the results from a file that a visitor uploaded, and the event that says stop.

        The upload and the results that this part of the page had before are removed.
        """
        with self._lock:
            visit = self._visits.setdefault(visitor, _Visit())
            if self._closed:
                visit.stop.set()
            self._remove(visit, part, keep=upload)
            visit.uploads[part] = upload
            visit.folders[part] = Path(tempfile.mkdtemp(prefix=f"{part}-", dir=self._home))
            return visit.folders[part], visit.stop

    def clear(self, visitor: str, part: str) -> None:
        """Remove what a part of the page holds of a visitor."""
        with self._lock:
            if visit := self._visits.get(visitor):
                self._remove(visit, part)

    def leave(self, visitor: str) -> None:
        """Stop a visitor's work and remove all files."""
        with self._lock:
            visit = self._visits.pop(visitor, None)
            if visit:
                visit.stop.set()
                for part in [*visit.folders]:
                    self._remove(visit, part)

    def stop_all(self) -> None:
        """Stop everybody's work, and what begins from now on."""
        with self._lock:
            self._closed = True
            for visit in self._visits.values():
                visit.stop.set()

    def _remove(self, visit: _Visit, part: str, keep: Path | None = None) -> None:
        folder, upload = visit.folders.pop(part, None), visit.uploads.pop(part, None)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        # Two visitors who upload the same file share it: Gradio names files by their content.
        others = [path for other in self._visits.values() for path in other.uploads.values()]
        if upload and upload != keep and upload not in others:
            with suppress(OSError):
                upload.unlink()
                upload.parent.rmdir()
