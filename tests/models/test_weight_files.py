"""A file of weights is known by its content; what is damaged or hostile is refused with the next step."""

from __future__ import annotations

import argparse
import gzip
import os
import pickle
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from fsr_deploy.errors import ExitCode, InputError
from fsr_deploy.models.checkpoints import load_weights
from fsr_deploy.models.weight_files import may_be_checkpoint
from fsr_deploy.models.weight_search import Wanted

WEIGHTS = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.ones(2)}
WANTED = Wanted.by(nn.ModuleDict({"head": nn.Linear(3, 2)}), "net")
APART = "if you trust it, torch.load it with weights_only=False and save the state dict alone, best as safetensors"


def load(path: Path) -> dict[str, Tensor]:
    return load_weights(WANTED, path).weights


def write_legacy(path: Path) -> None:
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "torch.save": lambda path: torch.save(WEIGHTS, path),
    "torch.save of old": write_legacy,
    "torch.save of parameters": lambda path: torch.save({k: nn.Parameter(v) for k, v in WEIGHTS.items()}, path),
    "torch.save of an ordered dictionary": lambda path: torch.save(OrderedDict(WEIGHTS), path),
    "safetensors": lambda path: save_file(WEIGHTS, path),
    "safetensors with metadata": lambda path: save_file(WEIGHTS, path, {"format": "pt", "author": "me"}),
}


@pytest.mark.parametrize("name", ["w.pth", "w.pth.tar", "w.ckpt", "w.bin", "w.safetensors", "W.SAFETENSORS", "weights"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_is_known_by_its_content_whatever_it_is_called(
    tmp_path: Path, write: Callable[[Path], Any], name: str
) -> None:
    write(tmp_path / name)
    loaded = load(tmp_path / name)
    assert all(torch.equal(loaded[key], tensor) for key, tensor in WEIGHTS.items())
    assert may_be_checkpoint(tmp_path / name)


class Malicious:
    """A pickle of this would make a directory when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def write_code(path: Path) -> None:
    torch.save({"params": WEIGHTS, "hook": Malicious(path.with_name("owned"))}, path)


def write_plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious(path.with_name("owned")), protocol=2))


def write_whole_module(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def write_truncated_zip(path: Path) -> None:
    torch.save(WEIGHTS, path)
    cut(path, 0.6)


def write_truncated_safetensors(path: Path) -> None:
    save_file(WEIGHTS, path)
    cut(path, 0.9)


def write_tar(path: Path) -> None:
    torch.save(WEIGHTS, path.with_suffix(".pth"))
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_suffix(".pth"), "weights.pth")


def write_nan(path: Path) -> None:
    torch.save({**WEIGHTS, "head.bias": torch.tensor([0.0, float("nan")])}, path)


def write_infinity(path: Path) -> None:
    save_file({**WEIGHTS, "head.bias": torch.tensor([0.0, float("inf")]).half()}, path)


BAD = {
    "no such file": ("a.pth", lambda path: None, "no such file"),
    "a folder": ("a.pth", lambda path: path.mkdir(), "a folder; name the file of weights in it"),
    "an empty pickle": ("a.pth", lambda path: path.touch(), "the file is empty"),
    "an empty safetensors": ("a.safetensors", lambda path: path.touch(), "the file is empty"),
    "a picture": (
        "a.png",
        lambda path: path.write_bytes(b"\x89PNG"),
        "not a checkpoint: it begins neither like safetensors nor like a file of torch.save",
    ),
    "a text": (
        "a.pth",
        lambda path: path.write_text("no weights"),
        "not a checkpoint: it begins neither like safetensors nor like a file of torch.save",
    ),
    "a pointer of Git LFS": (
        "a.pth",
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n"),
        "only a pointer of Git LFS; fetch the file itself with: git lfs pull",
    ),
    "a web page": (
        "a.safetensors",
        lambda path: path.write_text("\n<!DOCTYPE html><html>Virus scan warning</html>"),
        "a web page and not weights; download the file again",
    ),
    "a tar archive": ("a.pth.tar", write_tar, "an archive; unpack it and name the file of weights in it"),
    "a compressed file": (
        "a.pth.gz",
        lambda path: path.write_bytes(gzip.compress(b"weights")),
        "an archive; unpack it and name the file of weights in it",
    ),
    "a zip archive of others": (
        "a.zip",
        lambda path: np.savez(path.open("wb"), weights=np.zeros(3)),
        "a zip archive that torch.save did not write; unpack it and name the file of weights in it",
    ),
    "whole numbers": (
        "a.pth",
        lambda path: torch.save({name: tensor.to(torch.int8) for name, tensor in WEIGHTS.items()}, path),
        "head.weight holds int8, no fractions; take the weights from before quantisation",
    ),
    "a TorchScript archive": (
        "a.pt",
        lambda path: torch.jit.save(torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3)), path),
        "a TorchScript archive, which is a program and not weights; save the network's state_dict() instead",
    ),
    "another pickle protocol": (
        "a.pth",
        lambda path: torch.save(WEIGHTS, path, pickle_protocol=4),
        f"refused: pickled with protocol 4, of which only 2 is read safely; {APART}",
    ),
    "an object beside the weights": (
        "a.ckpt",
        lambda path: torch.save({"state_dict": WEIGHTS, "opt": argparse.Namespace(lr=1)}, path),
        f"refused: it holds more than weights (argparse.Namespace), and loading that could run code; {APART}",
    ),
    "sparse tensors": (
        "a.pth",
        lambda path: torch.save({**WEIGHTS, "head.weight": WEIGHTS["head.weight"].to_sparse()}, path),
        "head.weight is empty, sparse or quantised; save the weights as plain tensors",
    ),
    "a truncated pth": ("a.pth", write_truncated_zip, "cut off or not a PyTorch checkpoint"),
    "a truncated safetensors": (
        "a.safetensors",
        write_truncated_safetensors,
        "cut off or not a safetensors file (Error while deserializing header: incomplete metadata, file not fully "
        "covered)",
    ),
    "a pickle with code": (
        "a.pth",
        write_code,
        f"refused: it holds more than weights (posix.mkdir), and loading that could run code; {APART}",
    ),
    "a bare pickle with code": (
        "a.ckpt",
        write_plain_pickle,
        f"refused: it holds more than weights (posix.mkdir), and loading that could run code; {APART}",
    ),
    "a whole module": (
        "a.pt",
        write_whole_module,
        "refused: it holds more than weights (torch.nn.modules.linear.Linear), and loading that could run code; "
        f"{APART}",
    ),
    "no tensors": (
        "a.pth",
        lambda path: torch.save({"epoch": 1, "lr": 0.1, "loss": 2.0, "best": 3}, path),
        "no weights in it, only epoch, lr, loss, ...",
    ),
    "an empty dictionary": (
        "a.pth",
        lambda path: torch.save({}, path),
        "no weights in it, only an empty dictionary",
    ),
    "a lone tensor": ("a.pth", lambda path: torch.save(torch.ones(3), path), "no weights in it, only a Tensor"),
    "NaN": (
        "a.pth",
        write_nan,
        "head.bias holds NaN or infinity; take a checkpoint from before the training broke",
    ),
    "infinity": (
        "a.safetensors",
        write_infinity,
        "head.bias holds NaN or infinity; take a checkpoint from before the training broke",
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("name", "write", "message"), BAD.values(), ids=BAD)
def test_a_bad_checkpoint_is_refused_by_name(
    tmp_path: Path, name: str, write: Callable[[Path], Any], message: str
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {message}"
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert not (tmp_path / "owned").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_refused_or_loads_but_never_breaks(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(WEIGHTS, path) if suffix == ".pth" else save_file(WEIGHTS, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        load(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
