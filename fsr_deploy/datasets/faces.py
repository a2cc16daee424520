"""Faces for training and evaluation, from a folder or drawn, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from fsr_deploy._util.log import warn
from fsr_deploy._util.sizes import Shape, Size, as_shape, by
from fsr_deploy.bundle.info import Template
from fsr_deploy.datasets.layouts import FaceFile, find_faces, refuse_unknown_layout
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.images.codec import frame_header, read_frame, read_picture
from fsr_deploy.images.pillow import Image
from fsr_deploy.images.resize import Face, cropped_shape, lr_face, resize
from fsr_deploy.models.tensors import to_pair
from fsr_deploy.synthetic import draw_face

Square = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture
DRAWN = "faces:"
SPLITS = ("train", "val", "test")
AUGMENTATIONS = ("scale", "mirror", "rotate")


class FaceSource(Protocol):
    """HR faces by number."""

    @property
    def name(self) -> str:
        """What the faces are, for the log."""
        ...

    @property
    def template(self) -> Template | None:
        """Where their landmarks lie on average, see BundleInfo; None where no landmarks are known."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> Face:
        """Return one face, (H, W, 3) uint8 RGB; raises InputError that names an unreadable file."""
        ...


@dataclass(frozen=True)
class DrawnFaces:
    """Faces of fsr_deploy.synthetic; the three splits share none."""

    count: int
    split: str
    size: Size
    template = None

    @property
    def name(self) -> str:
        """What the faces are."""
        return f"{self.count} drawn faces ({self.split})"

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Face:
        """Draw one face."""
        return draw_face((SPLITS.index(self.split), index), self.size)


@dataclass(frozen=True)
class FolderFaces:
    """Faces cut from pictures and brought to ``size`` as LR faces are."""

    name: str
    files: Sequence[FaceFile]
    size: Size
    template: Template | None = None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Face:
        """Decode, cut out and resize one face; raises InputError that names a damaged file."""
        file = self.files[index]
        # Boxes are in stored pixels, before the EXIF orientation is applied.
        picture = read_frame(file.path, upright=file.box is None)
        left, top, right, bottom = _box(file, (picture.shape[1], picture.shape[0]))
        return lr_face(picture[top:bottom, left:right], as_shape(self.size))


def open_faces(spec: str, split: str, size: Size = 128, layout: str = "auto", limit: int | None = None) -> FaceSource:
    """Open ``faces:COUNT`` or a folder, its faces of ``size``, for "train", "val" or "test".

    ``limit`` keeps the first so many. Raises UsageError for a wrong count or layout, InputError for a folder that is
    missing, has no faces or has unreadable ones. Faces of less than half the size are left out with a warning.
    """
    refuse_unknown_layout(layout)
    if spec.startswith(DRAWN):
        count = spec.removeprefix(DRAWN)
        if not count.isdecimal() or int(count) == 0:
            raise UsageError(f"--data {spec}: write {DRAWN}COUNT, for example {DRAWN}1000")
        return DrawnFaces(min(int(count), limit or int(count)), split, size)
    root = Path(spec)
    name, files = find_faces(root, split, layout)
    boxes = _large_enough(root, files[:limit], size)
    title = f"{len(boxes)} faces of {root} ({name} layout, {split})"
    return FolderFaces(title, list(boxes), size, _template(boxes, as_shape(size)))


def _large_enough(root: Path, files: list[FaceFile], size: Size) -> dict[FaceFile, Square]:
    """Read every picture's header once, so that a bad data set fails at once and not after an hour.

    Returns the faces that are large enough and what is cut out of their pictures.
    """
    height, width = as_shape(size)
    least = by((height // 2, width // 2))
    boxes, broken = {}, []
    for file in files:
        try:
            boxes[file] = _box(file, _stored_size(file.path))
        except InputError:
            broken.append(file.path)
    if broken:
        raise InputError(
            f"{broken[0]}: cannot be read as a picture ({len(broken)} of {len(files)} files here); "
            "repair or remove them"
        )
    kept = {
        file: box for file, box in boxes.items() if 2 * min((box[2] - box[0]) / width, (box[3] - box[1]) / height) >= 1
    }
    if not kept:
        raise InputError(f"{root}: all {len(files)} faces are smaller than {least}; HR faces of {by(size)} are needed")
    if len(kept) < len(files):
        warn(f"{root}: {len(files) - len(kept)} of {len(files)} faces left out, smaller than {least}")
    return kept


def _stored_size(path: Path) -> tuple[int, int]:
    """Return a picture's (width, height) as stored; raises InputError where it cannot be read."""
    try:
        with Image.open(path) as picture:  # reads the header only
            if picture.format != "TIFF":  # whose size Pillow gives as shown
                return picture.size
    except (OSError, ValueError, Image.DecompressionBombError):
        pass  # Pillow may lack what we read
    header = frame_header(read_picture(path), path)
    return header.width, header.height


def _template(boxes: Mapping[FaceFile, Square], shape: Shape) -> Template | None:
    """Return the mean place of the landmarks that are known in faces of ``shape``, before they are augmented.

    A data set's coordinates are taken as they are: whether they count from a pixel's corner or its middle is mostly not
    known, and half a pixel is nothing here.
    """
    places = []
    for file, (left, top, right, bottom) in boxes.items():
        if file.landmarks:
            height, width = cropped_shape((bottom - top, right - left), shape)
            corner = left + (right - left - width) // 2, top + (bottom - top - height) // 2
            places.append((np.array(file.landmarks) - corner) / (width, height))
    return tuple((float(x), float(y)) for x, y in np.mean(places, 0).round(6)) if places else None


def _box(file: FaceFile, picture_size: tuple[int, int]) -> Square:
    """Return the square to cut out, moved and shrunk to fit into the picture; the whole picture without a box."""
    width, height = picture_size
    if file.box is None and file.centre == 1:
        return 0, 0, width, height
    left, top, right, bottom = file.box or (0, 0, width, height)
    side = min(right - left, bottom - top, width, height) * file.centre
    x = np.clip((left + right - side) / 2, 0, width - side)
    y = np.clip((top + bottom - side) / 2, 0, height - side)
    return round(x), round(y), round(x + side), round(y + side)


class TrainingPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs (input, target) for training, both (3, S, S) float32 RGB in [-1, 1].

    An item is requested by (epoch, index) and depends only on these and the seed. A run that is resumed, or split over
    processes, therefore sees the same items as an uninterrupted one. ``augment`` is any of "scale" (1 to 1.3, then a
    random crop), "mirror" and "rotate" (multiples of 90 degrees), as in both papers.
    """

    def __init__(self, source: FaceSource, lr_size: int, augment: Sequence[str] = (), seed: int = 0) -> None:
        if unknown := set(augment) - set(AUGMENTATIONS):
            raise UsageError(f"no augmentation is called {sorted(unknown)[0]!r}; there are {', '.join(AUGMENTATIONS)}")
        self.source = source
        self.lr_size = lr_size
        self.augment = tuple(augment)
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        return to_pair(_augmented(self.source.read(index), self.augment, rng), self.lr_size)


def _augmented(face: Face, augment: Sequence[str], rng: np.random.Generator) -> Face:
    size = face.shape[0]
    if "scale" in augment:
        side = round(size * rng.uniform(1, 1.3))
        x, y = rng.integers(0, side - size + 1, 2)
        face = resize(face, (side, side))[y : y + size, x : x + size]
    if "mirror" in augment and rng.random() < 0.5:
        face = face[:, ::-1]
    if "rotate" in augment:
        face = np.rot90(face, int(rng.integers(4)))
    return np.ascontiguousarray(face)


class StepSampler(Sampler[list[tuple[int, int]]]):
    """The keys of each batch, from step ``start`` to step ``stop``: every epoch another permutation of the faces.

    The global batch of a step is the same for any number of processes; process ``rank`` of ``world`` takes every
    world-th of its keys.
    """

    def __init__(self, count: int, batch: int, start: int, stop: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.batch, self.start, self.stop = count, batch, start, stop
        self.seed, self.rank, self.world = seed, rank, world

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.empty(0, int)
        for step in range(self.start, self.stop):
            keys = []
            for position in range(step * self.batch + self.rank, (step + 1) * self.batch, self.world):
                if position // self.count != epoch:
                    epoch = position // self.count
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
                keys.append((epoch, int(order[position % self.count])))
            yield keys
