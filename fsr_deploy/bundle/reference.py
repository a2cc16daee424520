"""The faces in a bundle that prove a plan, read with limits because the file may be hostile.

``reference.npz`` holds the engine's input and eager's output for a few faces, and the faces themselves where they are
known. What it holds is checked against ``bundle.json`` by its headers, before any of it is unpacked.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fsr_deploy.bundle.info import TRUTH_NAME, BundleInfo, TensorInfo
from fsr_deploy.errors import InputError

MOST_FACES = 64
MOST_BYTES = 1 << 31  # 8 faces of 4096x4096 floats, the largest that fsr-export writes, are 1.6 GB
MOST_HEADER = 1 << 12


def read_reference(path: Path, info: BundleInfo) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an engine's input and eager's output for a few faces, as ``info`` describes them.

    Raises InputError where the file holds anything else, more of it than MOST_FACES and MOST_BYTES allow, or values
    that are no numbers.
    """
    arrays = _read(path, info)
    return arrays[info.inputs[0].name], arrays[info.outputs[0].name]


def read_truth(path: Path, info: BundleInfo) -> NDArray[np.uint8] | None:
    """Return the true faces, (N, H, W, 3) uint8 RGB, beside those of ``read_reference``; None where none are known."""
    return _read(path, info).get(TRUTH_NAME)


def _read(path: Path, info: BundleInfo) -> dict[str, NDArray[Any]]:
    truth = TensorInfo(TRUTH_NAME, "uint8", ("N", *info.sr_shape, 3))
    wanted = {f"{tensor.name}.npy": tensor for tensor in (*info.inputs, *info.outputs, truth)}
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, wanted)
            arrays = {name: _array(archive, name, wanted[name]) for name in sorted(archive.namelist())}
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds for what is damaged or made to harm
        raise InputError(f"{path.name}: not the reference faces of this bundle ({error}); export it again") from error
    return {tensor.name: arrays[name] for name, tensor in wanted.items() if name in arrays}


def _check_members(archive: zipfile.ZipFile, wanted: dict[str, TensorInfo]) -> None:
    names = archive.namelist()
    needed = set(list(wanted)[:-1])  # all but the truth
    if len(names) != len(set(names)) or not needed <= set(names) <= set(wanted):
        raise ValueError(f"it holds {', '.join(names[:4]) or 'nothing'} and not {', '.join(sorted(needed))}")
    if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
        raise ValueError(f"it holds more than {MOST_BYTES >> 20} MiB")
    counts = set()
    for name in names:
        with archive.open(name) as stream:
            counts.add(_header(stream, archive.getinfo(name), wanted[name]))
    if len(counts) > 1:
        raise ValueError("its arrays are of different numbers of faces")


def _header(stream: IO[bytes], member: zipfile.ZipInfo, tensor: TensorInfo) -> int:
    """Check an array's header, which only its first bytes are unpacked for; returns how many faces it holds."""
    if npy.read_magic(stream) != (1, 0):  # later versions have headers of up to 4 GiB, which NumPy reads whole
        raise ValueError(f"{member.filename} is of a version that fsr-export does not write")
    shape, _, dtype = npy.read_array_header_1_0(stream, max_header_size=MOST_HEADER)
    if dtype != np.dtype(tensor.dtype) or shape[1:] != tensor.shape[1:] or not 1 <= shape[0] <= MOST_FACES:
        raise ValueError(
            f"{member.filename} is {dtype} {shape}, and not {tensor.dtype} {tensor.shape} of up to {MOST_FACES} faces"
        )
    if member.file_size != stream.tell() + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{member.filename} has another size than its header says")
    return int(shape[0])


def _array(archive: zipfile.ZipFile, name: str, tensor: TensorInfo) -> NDArray[Any]:
    with archive.open(name) as stream:
        array = npy.read_array(stream, allow_pickle=False, max_header_size=MOST_HEADER)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{tensor.name} holds values that are no numbers")
    return np.ascontiguousarray(array)
