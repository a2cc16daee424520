"""The faces that a bundle carries, from whoever made it: read within limits, or refused in one sentence."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy.bundle import reference
from fsr_deploy.bundle.info import BundleInfo, TensorInfo
from fsr_deploy.bundle.reference import read_reference, read_truth
from fsr_deploy.errors import InputError

LR = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
SR = np.full((2, 8, 8, 3), 7, np.uint8)
REFUSED = r"^reference\.npz: not the reference faces of this bundle \(.*\); export it again$"


def describe(dtype: str = "uint8") -> BundleInfo:
    sides = {"lr": 4, "sr": 8} if dtype == "uint8" else {"lr": 8, "sr": 8}
    shapes = {name: ("N", n, n, 3) if dtype == "uint8" else ("N", 3, n, n) for name, n in sides.items()}
    tensors = [(TensorInfo(name, dtype, shape),) for name, shape in shapes.items()]
    return BundleInfo("tiny", "fp32", 2, 4, (1, 2, 4), *tensors, trained=True)


def write(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_faces_and_truth_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = write(tmp_path / "reference.npz", lr=LR, sr=SR)
    lr, sr = read_reference(path, describe())
    assert np.array_equal(lr, LR) and np.array_equal(sr, SR)
    assert read_truth(path, describe()) is None
    truth = read_truth(write(path, lr=LR, sr=SR, truth=SR + 1), describe())
    assert truth is not None and np.array_equal(truth, SR + 1)


def test_floats_are_read_whatever_their_order_in_memory(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    path = write(tmp_path / "reference.npz", lr=np.asfortranarray(values), sr=values)
    lr, _ = read_reference(path, describe("float32"))
    assert np.array_equal(lr, values) and lr.flags.c_contiguous


WRONG = {
    "an object, which would be a pickle": {"lr": np.array([{"a": 1}], dtype=object), "sr": SR},
    "another type": {"lr": LR.astype(np.float64), "sr": SR},
    "another byte order": {"lr": LR.astype(">u2"), "sr": SR},
    "another size of faces": {"lr": LR[:, :3], "sr": SR},
    "another size of the truth": {"lr": LR, "sr": SR, "truth": SR[:, :4]},
    "other numbers of faces": {"lr": LR, "sr": SR[:1]},
    "no face": {"lr": LR[:0], "sr": SR[:0]},
    "too many faces": {"lr": np.repeat(LR, 33, axis=0), "sr": np.repeat(SR, 33, axis=0)},
    "no dimension": {"lr": np.uint8(3), "sr": SR},
    "no output": {"lr": LR},
    "something else": {"lr": LR, "sr": SR, "more": LR},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_the_bundle_does_not_describe_is_refused(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "reference.npz", **WRONG[what])
    for read in (read_reference, read_truth):
        with pytest.raises(InputError, match=REFUSED):
            read(path, describe())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    values = np.zeros((2, 3, 8, 8), np.float32)
    path = write(
        tmp_path / "reference.npz", lr=values, sr=np.where(np.arange(8) == 3, value, values).astype(np.float32)
    )
    with pytest.raises(InputError, match="sr holds values that are no numbers"):
        read_reference(path, describe("float32"))


def npy(shape: str, data: bytes, descr: str = "|u1") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def member(path: Path, lr: bytes) -> Path:
    """Write a file whose input is these bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lr.npy", lr)
        archive.writestr("sr.npy", npy("(2, 8, 8, 3)", SR.tobytes()))
    return path


BOMB = bytes(100 << 20)
BOMBS = {
    "a shape that promises much": npy("(2, 1000000, 1000000, 3)", b""),
    "so many faces": npy("(1000000, 4, 4, 3)", BOMB),
    "zeros behind the array": npy("(2, 4, 4, 3)", LR.tobytes() + BOMB),
    "zeros in place of an array": BOMB,
    "a header of zeros": b"\x93NUMPY\x02\x00\xff\xff\xff\x03" + BOMB,
    "less than the shape says": npy("(2, 4, 4, 3)", LR.tobytes()[:-1]),
    "a negative shape": npy("(-1, 4, 4, 3)", b""),
    "a shape that is code": npy("__import__('os').abort()", b""),
    "brackets without end": npy("(" * 3000, b""),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, what: str) -> None:
    path = member(tmp_path / "reference.npz", BOMBS[what])
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="not the reference faces"):
            read_reference(path, describe())
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_faces_of_any_size_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle.json may describe faces as large as it likes."""
    path = write(tmp_path / "reference.npz", lr=LR, sr=SR)
    monkeypatch.setattr(reference, "MOST_BYTES", 600)
    with pytest.raises(InputError, match="it holds more than"):
        read_reference(path, describe())


def test_a_directory_that_lies_about_a_size_gives_no_more_than_it_says(tmp_path: Path) -> None:
    lr = npy("(2, 4, 4, 3)", LR.tobytes())
    path = member(tmp_path / "reference.npz", lr + BOMB)
    said, real = len(lr).to_bytes(4, "little"), (len(lr) + len(BOMB)).to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(real) == 2, "in the member's own header and in the directory"
    path.write_bytes(content.replace(real, said))
    with pytest.raises(InputError, match="CRC"):
        read_reference(path, describe())


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "reference.npz", lr=LR, sr=SR)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("lr.npy", npy("(2, 4, 4, 3)", LR.tobytes()))
    with pytest.raises(InputError, match=r"it holds lr\.npy, sr\.npy, lr\.npy"):
        read_reference(path, describe())
