"""The last step of the frame pipeline: write an SR face to its file."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util.files import CannotWrite, place_part, remove_part, suffix_of, write_part
from fsr_deploy.errors import InputError
from fsr_deploy.images.codec import encode_frame
from fsr_deploy.images.resize import Face
from fsr_deploy.runtime.folder.journal import Journal, face_key
from fsr_deploy.runtime.folder.steps import Failed, Loaded, Upscaled

# Errors of one name, where other names in the same folder can be written.
_ONE_OUTPUT = {
    *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.ENOENT, errno.ELOOP, errno.EBUSY, errno.ETXTBSY),
}
_REFUSED = {errno.EACCES, errno.EPERM}
# The SHA-256 of a face that is written beside its target, or why it is not.
Written = str | InputError


@dataclass(frozen=True)
class Write:
    """SR faces of a frame -> files, recorded in the journal just before they are moved into place. ``taken`` are the
    targets that existed when the run began and may be replaced; None allows all.
    """

    journal: Journal | None
    folder: Path | None
    made_with: str
    taken: Collection[Path] | None

    def __call__(self, upscaled: Upscaled) -> Loaded | Failed:
        """Write what becomes of a frame; raises InputError where none can be written, or where the single one cannot.

        This is for tasks that make more of a frame than one face.
        """
        raise NotImplementedError

    def all(self, group: Sequence[Upscaled]) -> list[Loaded | Failed]:
        """As ``__call__``, for each frame of a group."""
        return [self(upscaled) for upscaled in group]

    def put(self, frame: Loaded, contents: Mapping[Path, bytes], key: str) -> Loaded | Failed:
        """Write the outputs of a frame; raises InputError where none can be written, or where the single one cannot."""
        try:
            for target, content in contents.items():
                self._put(target, content, key)
        except CannotWrite as error:
            return self._failed(frame, error)
        return frame

    def _failed(self, frame: Loaded, error: InputError) -> Failed:
        if self.folder and isinstance(error, CannotWrite) and is_about_one(error, self.folder):
            return Failed(frame.job.source, str(error))
        raise error

    def _put(self, target: Path, content: bytes, key: str) -> None:
        write_part(target, content)
        put_in_place(target, key, hashlib.sha256(content).hexdigest(), self.journal, self.taken)


@dataclass(frozen=True)
class WriteFaces(Write):
    """Frames that became one SR face each -> files, a group at a time."""

    def all(self, group: Sequence[Upscaled]) -> list[Loaded | Failed]:
        """Encode and write faces; raises InputError where no face can be written, or where the single one cannot."""
        return self.place(group, write_beside([(target_of(upscaled), upscaled.faces[0]) for upscaled in group]))

    def place(self, group: Sequence[Upscaled], written: Sequence[Written]) -> list[Loaded | Failed]:
        """Record what ``write_beside`` returned for a group, and move its faces into their places; or tell why not.

        Raises InputError as ``all`` does; then faces before that one are in their places, and nothing is left of those
        after it.
        """
        results: list[Loaded | Failed] = []
        try:
            if self.journal:
                self.journal.add_all(
                    (target_of(upscaled), self._key(upscaled), sha256)
                    for upscaled, sha256 in zip(group, written, strict=True)
                    if isinstance(sha256, str)
                )
            for upscaled, sha256 in zip(group, written, strict=True):
                results.append(self._place(upscaled.frame, sha256))
        except BaseException:
            for upscaled in group[len(results) :]:
                remove_part(target_of(upscaled))
            raise
        return results

    def _place(self, frame: Loaded, written: Written) -> Loaded | Failed:
        try:
            if isinstance(written, InputError):
                raise written
            move_new(str(frame.job.target), self.taken)
        except CannotWrite as error:
            return self._failed(frame, error)
        return frame

    def _key(self, upscaled: Upscaled) -> str:
        frame = upscaled.frame
        return face_key(frame.sha256, suffix_of(target_of(upscaled)), self.made_with, upscaled.batch)


def target_of(upscaled: Upscaled) -> str:
    """Return where a frame's output goes."""
    return str(upscaled.frame.job.target)


def write_beside(faces: Sequence[tuple[str, Face]]) -> list[Written]:
    """Encode faces and write each beside its target, for ``WriteFaces.place``, in this process or in another."""
    return [_write_beside(target, face) for target, face in faces]


def _write_beside(target: str, face: Face) -> Written:
    try:
        content = encode_frame(face, suffix_of(target))
        write_part(target, content)
    except InputError as error:
        return error
    return hashlib.sha256(content).hexdigest()


def put_in_place(target: Path, key: str, sha256: str, journal: Journal | None, taken: Collection[Path] | None) -> None:
    """Record an output that ``write_part`` wrote and move it to its target. Where that fails it is removed.

    Raises CannotWrite, as ``move_new`` does, and InputError where the journal cannot be written.
    """
    try:
        if journal:
            journal.add_hashed(target, key, sha256)
        move_new(target, taken)
    except BaseException:
        remove_part(target)
        raise


def move_new(target: str | Path, taken: Collection[Path] | None) -> None:
    """Move what ``write_part`` wrote to its target; see ``Write``.

    Raises CannotWrite, also where a file has appeared there since the run began; then nothing is left behind.
    """
    if taken is not None and os.path.lexists(target) and Path(target) not in taken:
        remove_part(target)
        raise CannotWrite(f"{target}: was made by something else during this run and is not replaced", errno.EEXIST)
    place_part(target)


def is_about_one(error: CannotWrite, folder: Path) -> bool:
    """Tell whether only this output cannot be written, and not the whole folder."""
    effective = os.access in os.supports_effective_ids
    return error.number in _ONE_OUTPUT or (
        error.number in _REFUSED and os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)
    )
