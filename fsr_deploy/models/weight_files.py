"""Files of weights, whatever trainer wrote them, read as one flat dictionary of tensors; nothing in them can run code.

The format is told by a file's first bytes, not by its name. PyTorch's files are read with ``weights_only``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fsr_deploy.errors import InputError

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")  # what a checkpoint is usually called
MAX_DEPTH = 10  # of dictionaries and lists in each other
MAX_ITEMS = 250_000  # tensors and containers; a small file can refer to one again and again
SHOWN = 3
HEAD = 262  # bytes; a tar archive is told by the last of them
ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd")
# What an optimiser remembers has the shapes of the weights and may have their names, but is none.
OPTIMISER = re.compile(r"optimi[sz]er|optim(_|$|s)", re.IGNORECASE)


def may_be_checkpoint(path: Path) -> bool:
    """Return whether a file is called or begins like one of weights."""
    return path.suffix.lower() in SUFFIXES or (path.is_file() and _kind(_head(path)) is not None)


def is_safetensors(path: Path) -> bool:
    """Return whether a file is safetensors; raises InputError for one that is missing or no file of weights at all."""
    if path.is_dir():
        raise InputError(f"{path}: a folder; name the file of weights in it")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    head = _head(path)
    if not head:
        raise InputError(f"{path}: the file is empty")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: only a pointer of Git LFS; fetch the file itself with: git lfs pull")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise InputError(f"{path}: a web page and not weights; download the file again")
    if head.startswith(ARCHIVES) or head[257:262] == b"ustar":
        raise InputError(f"{path}: an archive; unpack it and name the file of weights in it")
    kind = _kind(head)
    if kind is None:
        raise InputError(f"{path}: not a checkpoint: it begins neither like safetensors nor like a file of torch.save")
    return kind == "safetensors"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file, on the CPU, each by the names that lead to it, joined by dots.

    What optimisers remember is left out. Raises InputError for a file that is damaged, holds no tensors, or, for a
    pickle, more than plain data.
    """
    loaded = _load_safetensors(path) if is_safetensors(path) else _load_pickle(path)
    tensors = _flatten(loaded, path)
    if not tensors:
        what = f"a {type(loaded).__name__}"
        if isinstance(loaded, Mapping):
            what = some(map(_printable, loaded)) or "an empty dictionary"
        raise InputError(f"{path}: no weights in it, only {what}")
    return tensors


def some(names: Any) -> str:
    """Return the first few names, with dots where there are more."""
    names = list(names)
    return ", ".join(names[:SHOWN] + ["..."] * (len(names) > SHOWN))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _kind(head: bytes) -> str | None:
    """Tell safetensors (the header's length in 8 bytes, then JSON) from a pickle, bare or in a zip archive."""
    if head[8:9] == b"{":
        return "safetensors"
    return "torch" if head.startswith((b"PK\x03\x04", b"\x80")) else None


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: cut off or not a safetensors file ({error})") from error


def _load_pickle(path: Path) -> Any:
    try:
        # torch.load looks at the name too, but not at that of a stream.
        with warnings.catch_warnings(record=True) as said, path.open("rb") as stream:
            warnings.simplefilter("always")
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything
        raise InputError(f"{path}: {_why(str(error), ' '.join(str(one.message) for one in said))}") from error


def _why(error: str, said: str) -> str:
    """Return why ``weights_only`` refused a file, and what to do."""
    apart = "if you trust it, torch.load it with weights_only=False and save the state dict alone, best as safetensors"
    if found := re.search(r"GLOBAL (\S+)", error):
        return f"refused: it holds more than weights ({found[1]}), and loading that could run code; {apart}"
    if "file in archive is not in a subdirectory" in error:
        return "a zip archive that torch.save did not write; unpack it and name the file of weights in it"
    if "TorchScript" in error:
        return "a TorchScript archive, which is a program and not weights; save the network's state_dict() instead"
    if "DTensor" in error:
        return "the weights in it are spread over several processes; save the full state dict instead"
    if found := re.search(r"pickle protocol (\d+)", said):
        return f"refused: pickled with protocol {found[1]}, of which only 2 is read safely; {apart}"
    return "cut off or not a PyTorch checkpoint"


def _printable(key: object) -> str:
    """Return a key as text that a terminal and a bundle can show; a file may hold anything."""
    text = str(key)
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _flatten(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors in dictionaries and lists in each other, by the keys that lead to them."""
    tensors: dict[str, Tensor] = {}
    inside: dict[int, list[tuple[str, Any]]] = {}  # a list may be referred to again and again, and by itself
    waiting, items = [("", loaded, 0)], 0
    while waiting:
        place, value, depth = waiting.pop()
        if isinstance(value, Tensor):
            tensors[place] = value.detach()
        elif depth < MAX_DEPTH:
            found = inside[id(value)] if id(value) in inside else inside.setdefault(id(value), _inside(value))
            items += len(found)
            if items > MAX_ITEMS:
                raise InputError(f"{path}: more than {MAX_ITEMS:,} entries; this is no file of weights")
            waiting += [(f"{place}.{key}" if place else key, item, depth + 1) for key, item in reversed(found)]
    tensors.pop("", None)
    return tensors


def _inside(value: Any) -> list[tuple[str, Any]]:
    """Return what in a dictionary or list may be or hold tensors of a network; nothing in anything else."""
    if not isinstance(value, Mapping | list | tuple):
        return []
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    kinds = (Tensor, Mapping, list, tuple)
    return [
        (_printable(key), item) for key, item in pairs if isinstance(item, kinds) and not OPTIMISER.search(str(key))
    ]
