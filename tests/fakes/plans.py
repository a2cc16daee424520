"""Plans for the stand-in TensorRT, in bundles as fsr-export writes them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fsr_deploy.bundle.engine_file import EngineFile, read_engine_file
from fsr_deploy.bundle.info import ONNX_NAME, PLAN_NAME, REFERENCE_NAME, BundleInfo, PlanInfo, TensorInfo, write_info
from fsr_deploy.runtime.tensorrt.preflight import this_platform
from tests.engines import repeat_pixels, write_onnx
from tests.fakes.machine import Machine

LR_SIZE = 4
VERSIONS = {"8.6": "8.6.0", "10.16": "10.16.1.11", "11.4": "11.4.0.106", "rtx-1.7": "1.7.1.116"}
Range = tuple[int, int, int]


def lr_faces(count: int, seed: int = 0) -> Any:
    """Return random LR faces, (count, 4, 4, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, LR_SIZE, LR_SIZE, 3), np.uint8)


def describe(precision: str = "fp32", batches: Range = (1, 4, 8)) -> BundleInfo:
    """Return the description of a bundle with the tiny engine of tests.engines."""
    return BundleInfo(
        model="tiny",
        precision=precision,
        scale=8,
        lr_size=LR_SIZE,
        batches=batches,
        inputs=(TensorInfo("lr", "uint8", ("N", LR_SIZE, LR_SIZE, 3)),),
        outputs=(TensorInfo("sr", "uint8", ("N", 32, 32, 3)),),
        trained=True,
        graph_target="tensorrt",
    )


def plan_info(release: str = "10.16", profiles: tuple[Range, ...] = ((1, 4, 8),), **changes: Any) -> PlanInfo:
    """Return the record of a plan that was built on the stand-in machine."""
    info = PlanInfo(VERSIONS[release], "9.0", "NVIDIA H100", this_platform(), profiles=profiles)
    return replace(info, **changes)


def write_bundle(directory: Path, precision: str = "fp32", batches: Range = (1, 4, 8)) -> BundleInfo:
    """Write a bundle without a plan, its reference faces included."""
    write_onnx(directory / ONNX_NAME, lr_size=LR_SIZE)
    faces = lr_faces(8)
    np.savez_compressed(directory / REFERENCE_NAME, lr=faces, sr=repeat_pixels(faces))
    return write_info(directory, describe(precision, batches))


def plan_bytes(
    machine: Machine, onnx: Path, profiles: tuple[Range, ...] = ((1, 4, 8),), *, sharing: bool = True
) -> bytes:
    """Build a plan with the stand-in TensorRT directly."""
    trt = machine.tensorrt

    class Silent(trt.ILogger):  # type: ignore[name-defined]
        def log(self, severity: Any, msg: str) -> None:
            raise AssertionError(msg)

    builder = trt.Builder(Silent())
    network = builder.create_network()
    assert trt.OnnxParser(network, Silent()).parse(onnx.read_bytes())
    config = builder.create_builder_config()
    for batches in profiles:
        profile = builder.create_optimization_profile()
        profile.set_shape("lr", *((batch, LR_SIZE, LR_SIZE, 3) for batch in batches))
        config.add_optimization_profile(profile)
    if sharing and "PROFILE_SHARING_0806" in trt.PreviewFeature.__members__:
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    return bytes(builder.build_serialized_network(network, config))


def write_plan(
    machine: Machine,
    directory: Path,
    release: str = "10.16",
    profiles: tuple[Range, ...] = ((1, 4, 8),),
    **changes: Any,
) -> EngineFile:
    """Write a bundle with a plan and return the plan's file; ``changes`` are to what the bundle says of the plan."""
    info = write_bundle(directory)
    (directory / PLAN_NAME).write_bytes(plan_bytes(machine, directory / ONNX_NAME, profiles))
    write_info(directory, replace(info, plan=plan_info(release, profiles, **changes)))
    return read_engine_file(directory / PLAN_NAME)


def foreign(content: bytes, path: Path = Path("foreign.plan")) -> EngineFile:
    """Return a plan that came without a bundle."""
    return EngineFile(path, content, hashlib.sha256(content).hexdigest(), None)
