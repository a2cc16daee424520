"""The last step of the frame pipeline: write an SR face to its file."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util.files import CannotWrite, part_of, place_part, status, write_part
from fsr_deploy.images.codec import encode_frame
from fsr_deploy.runtime.folder.journal import Journal, face_key
from fsr_deploy.runtime.folder.steps import Failed, Loaded, Upscaled

# Errors of one name, where other names in the same folder can be written.
_ONE_OUTPUT = {
    *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.ENOENT, errno.ELOOP, errno.EBUSY, errno.ETXTBSY),
}
_REFUSED = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Write:
    """SR face -> file, recorded in the journal just before it is moved into place. ``taken`` are the targets that
    existed when the run began and may be replaced; None allows all.
    """

    journal: Journal | None
    folder: Path | None
    made_with: str
    taken: Collection[Path] | None

    def __call__(self, upscaled: Upscaled) -> Loaded | Failed:
        """Encode and write a face; raises InputError where no face can be written, or where the single one cannot."""
        frame = upscaled.frame
        target = frame.job.target
        key = face_key(frame.sha256, target.suffix, self.made_with, upscaled.batch)
        return self.put(frame, {target: encode_frame(upscaled.faces[0], target.suffix)}, key)

    def put(self, frame: Loaded, contents: Mapping[Path, bytes], key: str) -> Loaded | Failed:
        """Write the outputs of a frame; raises InputError where none can be written, or where the single one cannot."""
        try:
            for target, content in contents.items():
                self._put(target, content, key)
        except CannotWrite as error:
            return self._failed(frame, error)
        return frame

    def place(self, upscaled: Upscaled, written: str | CannotWrite) -> Loaded | Failed:
        """Record a face that is ``written`` beside its target, its SHA-256, and move it there; or tell why it is not.

        Raises InputError as ``__call__`` does.
        """
        frame, target = upscaled.frame, upscaled.frame.job.target
        key = face_key(frame.sha256, target.suffix, self.made_with, upscaled.batch)
        try:
            if isinstance(written, CannotWrite):
                raise written
            put_in_place(target, key, written, self.journal, self.taken)
        except CannotWrite as error:
            return self._failed(frame, error)
        return frame

    def _failed(self, frame: Loaded, error: CannotWrite) -> Failed:
        if self.folder and is_about_one(error, self.folder):
            return Failed(frame.job.source, str(error))
        raise error

    def _put(self, target: Path, content: bytes, key: str) -> None:
        write_part(target, content)
        put_in_place(target, key, hashlib.sha256(content).hexdigest(), self.journal, self.taken)


def put_in_place(target: Path, key: str, sha256: str, journal: Journal | None, taken: Collection[Path] | None) -> None:
    """Record an output that ``write_part`` wrote and move it to its target. Where that fails it is removed.

    Raises CannotWrite, ``refuse_new``'s included, and InputError where the journal cannot be written.
    """
    try:
        refuse_new(target, taken)
        if journal:
            journal.add_hashed(target, key, sha256)
        place_part(target)
    except BaseException:
        with suppress(OSError):
            part_of(target).unlink()
        raise


def refuse_new(target: Path, taken: Collection[Path] | None) -> None:
    """Raise CannotWrite where a file has appeared at an output's place since the run began; see ``Write``."""
    if taken is not None and target not in taken and status(target, follow=False):
        raise CannotWrite(f"{target}: was made by something else during this run and is not replaced", errno.EEXIST)


def is_about_one(error: CannotWrite, folder: Path) -> bool:
    """Tell whether only this output cannot be written, and not the whole folder."""
    effective = os.access in os.supports_effective_ids
    return error.number in _ONE_OUTPUT or (
        error.number in _REFUSED and os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)
    )
