import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from fsr_deploy.bundle.info import BundleInfo, TensorInfo
from fsr_deploy.errors import MissingError, UsageError
from fsr_deploy.metrics.pixel import psnr
from fsr_deploy.profiling.baselines import open_baseline

INFO = BundleInfo(
    model="aminet-tiny",
    precision="fp16",
    scale=8,
    lr_size=8,
    batches=(1, 2, 4),
    inputs=(TensorInfo("lr", "uint8", ("N", 8, 8, 3)),),
    outputs=(TensorInfo("sr", "uint8", ("N", 64, 64, 3)),),
    trained=True,
)
FACES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)


def test_eager_runs_a_bundles_network_in_fp32() -> None:
    session = open_baseline(INFO, "eager", "cpu")
    faces = session.upscale(FACES)
    assert (faces.shape, faces.dtype, faces.flags.c_contiguous) == ((2, 64, 64, 3), np.uint8, True)
    assert (session.info.precision, session.info.lr_shape, session.info.sr_shape) == ("fp32", (8, 8), (64, 64))
    assert np.array_equal(faces, open_baseline(INFO, "eager", "cpu").upscale(FACES))


def test_a_network_of_a_file_of_its_own_cannot_be_built_by_name() -> None:
    with pytest.raises(UsageError, match="--against eager builds the network by its name, and Compact came from"):
        open_baseline(replace(INFO, model="Compact"), "eager", "cpu")


def _same(way: str) -> None:
    ours, eager = (open_baseline(INFO, name, "cpu").upscale(FACES) for name in (way, "eager"))
    assert np.abs(ours.astype(int) - eager).max() <= 1
    assert ours.flags.c_contiguous


def test_channels_last_computes_the_same() -> None:
    _same("channels-last")


def test_bf16_by_autocast_is_as_close_as_bf16_is() -> None:
    ours, eager = (open_baseline(INFO, way, "cpu") for way in ("autocast-bf16", "eager"))
    assert ours.info.precision == "bf16"
    assert 40 < psnr(ours.upscale(FACES), eager.upscale(FACES)) < 70


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_in_bf16_is_as_close_as_bf16_is() -> None:
    ours, eager = (open_baseline(INFO, way, "cpu") for way in ("compile-bf16", "eager"))
    assert ours.info.precision == "bf16"
    assert 40 < psnr(ours.upscale(FACES), eager.upscale(FACES)) < 70


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compile_computes_the_same() -> None:
    _same("compile")


def test_a_compiler_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: object, dynamic: bool) -> object:
        def run(batch: object) -> object:
            raise RuntimeError("no working C++ compiler found\nlong story")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(
        MissingError, match=r"--against compile: .* does not work here: no working C\+\+ compiler found$"
    ):
        open_baseline(INFO, "compile", "cpu")


def test_random_numbers_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    open_baseline(INFO, "eager", "cpu")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this PyTorch has CUDA")
def test_a_pytorch_without_cuda_is_told() -> None:
    with pytest.raises(MissingError, match="--against eager: this PyTorch has no CUDA"):
        open_baseline(INFO, "eager", "cuda:0")
