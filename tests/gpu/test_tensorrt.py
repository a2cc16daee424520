"""Plans on a real GPU with a real TensorRT: pytest -m gpu tests/gpu

FSR_GPU_BUNDLES names a folder of bundles from ``python -m benchmarks.gpu_bundles``, so that neither torch nor onnx is
needed here; without it, the bundles are exported on the spot, which needs PyTorch.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.gpu_common import bundles_in, faces
from benchmarks.gpu_parity import in_flight_against_plain, on_device_against_plain
from fsr_deploy.bundle.engine_file import EngineFile, read_engine_file
from fsr_deploy.bundle.info import PLAN_NAME, read_bundle
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.tensorrt.availability import why_no_plan
from fsr_deploy.runtime.tensorrt.flavour import TENSORRT
from fsr_deploy.runtime.tensorrt.library import load, version
from fsr_deploy.runtime.tensorrt.preflight import HEADER_BYTES, header_version
from fsr_deploy.runtime.tensorrt.session import TensorRTSession

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(3600)]

GIVEN = os.environ.get("FSR_GPU_BUNDLES")
MODELS, PRECISIONS = ("aminet", "aminet-s", "mfspnet"), ("fp32", "fp16")
MADE = [f"{model}-{precision}" for model in MODELS for precision in PRECISIONS]
NAMES = [path.name for path in bundles_in(Path(GIVEN))] if GIVEN else MADE
OPTIONS = PlanOptions(profiles=((1, 8, 32),), level=0)  # a minute on TensorRT 8.6, which takes many at level 3
MIB = 1 << 20


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := why_no_plan():
        pytest.skip(reason)
    return Path(GIVEN) if GIVEN else tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module", params=NAMES)
def bundle(request: pytest.FixtureRequest, folder: Path) -> Path:
    """Return a bundle with a plan, built on this machine unless it is there; building it proves it against eager."""
    directory = folder / request.param
    if not directory.exists():
        from benchmarks.gpu_bundles import main

        main(folder, names=request.param)
    if not (directory / PLAN_NAME).is_file():
        rebuild_plan(directory, OPTIONS)
    return directory


@pytest.fixture(scope="module")
def plan(bundle: Path) -> EngineFile:
    return read_engine_file(bundle / PLAN_NAME)


def test_a_plan_keeps_its_parity_budget_at_min_opt_and_max(bundle: Path) -> None:
    info = read_bundle(bundle).info
    rows = [row for row in info.parity if row["engine"].startswith("TensorRT")]
    assert [row["batch"] for row in rows] == [1, 8, 32]
    assert info.parity_passed, rows


def test_200_random_batches_in_flight_equal_one_at_a_time(plan: EngineFile) -> None:
    session, plain = TensorRTSession(plan), TensorRTSession(plan, in_flight=1, graphs=False)
    try:
        assert session.in_flight == 2
        assert in_flight_against_plain(session, plain)["differing"] == 0
        assert session.graph_failure == ""
        assert on_device_against_plain(session, plain)["max_error"] == 0
    finally:
        session.close()
        plain.close()


def test_layer_times_carry_the_modules_names(plan: EngineFile) -> None:
    session = TensorRTSession(plan)
    try:
        times = session.layer_times(faces(8, session.info.lr_shape))
        assert sum(seconds for _, seconds in times) > 0
        assert any("/" in name for name, _ in times), "the nodes' names were lost"
        assert session.inspect()
    finally:
        session.close()


def test_memory_is_given_back(plan: EngineFile) -> None:
    def load_and_run() -> None:
        session = TensorRTSession(plan)
        for size in (8, 8, 8, 1):
            session.upscale(faces(size, session.info.lr_shape))
        session.close()

    load_and_run()  # what CUDA and TensorRT keep for the process
    gc.collect()
    before, _ = cuda.memory()
    for _ in range(3):
        load_and_run()
    gc.collect()
    assert before - cuda.memory()[0] < 32 * MIB


def test_a_plans_header_says_its_version(plan: EngineFile) -> None:
    numbers = version(load().__version__)
    if numbers < TENSORRT.header_since:
        print("header of an older plan:", plan.content[:HEADER_BYTES].hex())
        return
    assert header_version(plan)[:3] == numbers[:3]


def test_a_damaged_plan_that_is_trusted_is_refused_in_tensorrts_words(plan: EngineFile) -> None:
    damaged = EngineFile(plan.path, plan.content[: len(plan.content) // 2], "0" * 64, None)
    with pytest.raises(InputError, match=r"refuses the plan: (?!TensorRT gave no reason)"):
        TensorRTSession(damaged, trust=True)


def test_fsr_run_serves_a_plan_from_files_to_files(plan: EngineFile, tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    size = read_bundle(plan.path.parent).info.lr_size
    for index, face in enumerate(faces(100, (size, size))):
        cv2.imwrite(str(tmp_path / "lr" / f"{index}.png"), face)
    command = [sys.executable, "-m", "fsr_deploy.cli.run", str(plan.path), str(tmp_path / "lr")]
    command += ["-o", str(tmp_path / "sr"), "--device", "cuda", "--json"]
    summary = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert summary["frames"]["done"] == 100
    session = TensorRTSession(plan)
    expected = session.upscale(cv2.imread(str(tmp_path / "lr" / "7.png"))[None, :, :, ::-1].copy())[0]
    session.close()
    written = cv2.imread(str(tmp_path / "sr" / "7.png"))[:, :, ::-1]
    assert np.abs(written.astype(int) - expected).max() <= 1, "another batch size may round otherwise"


def test_pytorch_arrays_are_taken_and_given_without_a_copy(plan: EngineFile) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch has no CUDA here")
    session = TensorRTSession(plan)
    try:
        batch = faces(8, session.info.lr_shape)
        stream = torch.cuda.current_stream().cuda_stream
        sr = torch.from_dlpack(session.upscale_on_device(torch.from_numpy(batch).cuda(), stream))
        out = torch.empty_like(sr)
        session.upscale_on_device(torch.from_numpy(batch).cuda(), stream, out=out)
        assert np.array_equal(sr.cpu().numpy(), session.upscale(batch))
        assert torch.equal(sr, out)
    finally:
        session.close()
