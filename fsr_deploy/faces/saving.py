"""The file of ``--save-boxes``: written when a run is through, and never over a file of somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util.files import read_file, status, write_file
from fsr_deploy.errors import InputError
from fsr_deploy.runtime.folder.journal import Journal


@dataclass(frozen=True)
class SavedBoxes:
    """Where the faces that were found go; ``overwrite`` allows to replace any file there."""

    path: Path
    overwrite: bool = False

    def check(self, journal: Journal | None) -> None:
        """Raise InputError where a file is in that place that no run with this journal wrote."""
        found = status(self.path, follow=False)
        if found and not self.overwrite and not (journal and journal.is_our_boxes(read_file(self.path))):
            raise InputError(f"{self.path}: already exists; name another file with --save-boxes, or add --overwrite")

    def write(self, content: bytes, journal: Journal | None) -> None:
        """Write the file; raises InputError where that is impossible."""
        if journal:
            journal.add_boxes(content)
        write_file(self.path, content)
