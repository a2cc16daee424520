"""The data sets of both papers as they are on disk after unpacking: files, splits, and the part of a picture to use.

Each layout is a function of (root, split) that returns its faces, or None where the root does not look like it.
``split`` is "train", "val" or "test". Data sets without a split of their own hold 5 % back for "val", by person where
the folders tell, and give everything as "test".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.images.listing import is_picture

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class FaceFile:
    """A face in a picture: a box (left, top, right, bottom) in pixels, or the middle ``centre`` of the shorter side.

    ``landmarks`` are five points (x, y) in pixels, in the order of faces.face.LANDMARKS, where the data set has them.
    """

    path: Path
    box: Box | None = None
    centre: float = 1.0
    landmarks: tuple[tuple[float, float], ...] | None = None


def celeba(root: Path, split: str) -> list[FaceFile] | None:
    """CelebA, aligned: ``img_align_celeba`` and ``list_eval_partition.txt`` (or .csv); 178x218 cut to its middle.

    Its landmarks are in ``list_landmarks_align_celeba.txt`` (or .csv), which may be missing.
    """
    listing = _list_of(root, "list_eval_partition")
    if listing is None:
        return None
    folders = [root / "img_align_celeba" / "img_align_celeba", root / "img_align_celeba", root]
    folder = _first(f for f in folders if _pictures(f, "*"))
    if folder is None:
        raise InputError(f"{root}: {listing.name} is here but no pictures; unpack img_align_celeba.zip beside it")
    wanted = {"train": "0", "val": "1", "test": "2"}[split]
    names = re.findall(rf"^(\S+\.\w+)[ ,\t]+{wanted}\s*$", listing.read_text(), re.MULTILINE)
    marks = _landmarks(_list_of(root, "list_landmarks_align_celeba"))
    return [FaceFile(folder / name, landmarks=marks.get(name)) for name in names if (folder / name).is_file()]


def widerface(root: Path, split: str) -> list[FaceFile] | None:
    """WiderFace: ``WIDER_train``/``WIDER_val`` and ``wider_face_split``; its boxes made square, "test" is its val."""
    part = "train" if split == "train" else "val"
    listing = root / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt"
    if not listing.is_file():
        return None
    files, path = [], root
    for line in listing.read_text().splitlines():
        if line.endswith(".jpg"):
            path = root / f"WIDER_{part}" / "images" / line
        elif len(numbers := line.split()) >= 4:
            x, y, w, h = map(float, numbers[:4])
            files.append(FaceFile(path, _square(x, y, x + w, y + h, grow=1.1)))
    return files


def helen(root: Path, split: str) -> list[FaceFile] | None:
    """Helen: ``trainset``/``testset`` with a .pts for each picture (300-W's), or pictures with ``annotation/*.txt``.

    The face is the square around its landmarks, grown by 1.3 to hold forehead and chin.
    """
    marks = {path.stem: path for path in root.rglob("*.pts")}
    for path in (root / "annotation").glob("*.txt"):
        marks[path.read_text().split(None, 1)[0]] = path
    if not marks:
        return None
    files = [FaceFile(p, _around_marks(marks[p.stem])) for p in _pictures(root, "**/*") if p.stem in marks]
    part = "train" if split == "train" else "test"
    chosen = [file for file in files if file.path.parent.name.removesuffix("set") == part]
    return chosen or _hold_out(files, split, person=False)


def scface(root: Path, split: str) -> list[FaceFile] | None:
    """SCface: the frontal mugshots, cropped, as HR faces."""
    folder = _first(root.rglob("mugshot_frontal_cropped_all"))
    if folder is None:
        return None
    return _hold_out([FaceFile(path) for path in _pictures(folder, "*")], split, person=False)


def people(root: Path, split: str) -> list[FaceFile] | None:
    """LFW and CASIA-WebFace: one folder per person, 250x250 with the face in the middle 0.6."""
    files = [FaceFile(path, centre=0.6) for path in _pictures(root, "**/*")]
    lfw = [f for f in files if re.fullmatch(rf"{re.escape(f.path.parent.name)}_\d{{4}}", f.path.stem)]
    webface = [f for f in files if re.fullmatch(r"\d{6,7}", f.path.parent.name) and f.path.stem.isdigit()]
    found = max(lfw, webface, key=len)
    return _hold_out(found, split, person=True) if found and len(found) == len(files) else None


def folder(root: Path, split: str) -> list[FaceFile]:
    """A folder of faces, searched recursively; ``train``, ``val`` and ``test`` sub-folders are its splits."""
    if (root / "train").is_dir():
        chosen = root / split if (root / split).is_dir() else root / ("val" if split == "test" else "test")
        return [FaceFile(path) for path in _pictures(chosen, "**/*")]
    return _hold_out([FaceFile(path) for path in _pictures(root, "**/*")], split, person=False)


LAYOUTS: dict[str, Callable[[Path, str], list[FaceFile] | None]] = {
    "celeba": celeba,
    "widerface": widerface,
    "helen": helen,
    "scface": scface,
    "people": people,
    "folder": folder,
}


def find_faces(root: Path, split: str, layout: str = "auto") -> tuple[str, list[FaceFile]]:
    """Return the layout's name and its faces, in a fixed order; "auto" takes the first layout that fits.

    Raises UsageError for an unknown layout, InputError where the folder is missing, has no faces or is not of the
    layout asked for.
    """
    refuse_unknown_layout(layout)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; name a folder of faces, or faces:COUNT for drawn ones")
    for name in LAYOUTS if layout == "auto" else (layout,):
        files = LAYOUTS[name](root, split)
        if files:
            return name, sorted(files, key=lambda file: (str(file.path), file.box or ()))
        if files is not None:
            other = "; --val names other faces to validate on" if split == "val" else ""
            raise InputError(f"{root}: no faces for {split!r} ({name} layout); it needs: {_needs(name)}{other}")
    raise InputError(f"{root}: not laid out like {layout}; it needs: {_needs(layout)}")


def refuse_unknown_layout(layout: str) -> None:
    """Raise UsageError for a layout that is neither "auto" nor one of LAYOUTS."""
    if layout not in ("auto", *LAYOUTS):
        raise UsageError(f"no layout is called {layout!r}; there are {', '.join(('auto', *LAYOUTS))}")


def _needs(layout: str) -> str:
    """Return a layout's docstring as part of a sentence."""
    return (LAYOUTS[layout].__doc__ or "").splitlines()[0].rstrip(".").replace("``", "")


def _pictures(root: Path, pattern: str) -> list[Path]:
    return sorted(p for p in root.glob(pattern) if not p.name.startswith(".") and is_picture(p))


def _around(root: Path) -> tuple[Path, ...]:
    return root, root / "Eval", root / "Anno", root.parent, root.parent / "Eval", root.parent / "Anno"


def _list_of(root: Path, name: str) -> Path | None:
    return _first(place / f"{name}{suffix}" for place in _around(root) for suffix in (".txt", ".csv"))


def _landmarks(path: Path | None) -> dict[str, tuple[tuple[float, float], ...]]:
    """Read CelebA's list: a picture's name, then x and y of the eyes, the nose and the corners of the mouth."""
    rows = re.findall(r"^(\S+?\.\w+)((?:[ ,\t]+\d+){10})\s*$", path.read_text() if path else "", re.MULTILINE)
    numbers = ((name, [float(number) for number in re.findall(r"\d+", text)]) for name, text in rows)
    return {name: tuple(zip(found[::2], found[1::2], strict=True)) for name, found in numbers}


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def _hold_out(files: list[FaceFile], split: str, person: bool) -> list[FaceFile]:
    """Leave one in twenty out of "train", chosen by name so that adding files moves none of the others."""
    if split == "test":
        return files

    def held(file: FaceFile) -> bool:
        key = file.path.parent.name if person else file.path.name
        return zlib.crc32(key.encode()) % 20 == 0

    return [file for file in files if held(file) == (split == "val")]


def _around_marks(path: Path) -> Box:
    """Read landmarks, one "x y" or "x , y" per line, and return the square around them."""
    points = re.findall(r"^\s*(\d+\.?\d*)[\s,]+(\d+\.?\d*)\s*$", path.read_text(), re.MULTILINE)
    if not points:
        raise InputError(f"{path}: holds no landmarks")
    xs, ys = zip(*((float(x), float(y)) for x, y in points), strict=True)
    return _square(min(xs), min(ys), max(xs), max(ys), grow=1.3)


def _square(left: float, top: float, right: float, bottom: float, grow: float) -> Box:
    half = max(right - left, bottom - top) / 2 * grow
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half, x + half, y + half
