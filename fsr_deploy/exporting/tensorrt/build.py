"""One build: an ONNX file in, a plan out, with what has to be known about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util.log import say, warn
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import PlanInfo
from fsr_deploy.bundle.onnx_wire import Outline, read_outline
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.exporting.tensorrt.config import PlanOptions, Range, make_config
from fsr_deploy.exporting.tensorrt.network import check_supported, network_flags, parse, write_precision
from fsr_deploy.exporting.tensorrt.progress import watch
from fsr_deploy.exporting.tensorrt.timing_cache import attach, default_path, keep
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.driver import Gpu, find_driver, find_gpu
from fsr_deploy.runtime.tensorrt.faults import faults_of
from fsr_deploy.runtime.tensorrt.library import load, log, operation, ran_out_of_memory, said
from fsr_deploy.runtime.tensorrt.preflight import this_platform


@dataclass(frozen=True)
class Built:
    """A serialised plan, what it is bound to, and how long the build took."""

    content: bytes
    info: PlanInfo
    seconds: float


def build_plan(
    path: Path,
    precision: str,
    batches: Range,
    options: PlanOptions,
    in_fp32: Callable[[str], bool] = lambda module: False,
) -> Built:
    """Build a plan of an ONNX file for one of this machine's GPUs.

    The graph holds its precision; ``precision`` names it for TensorRT 8.6, which wants to be told, and ``in_fp32``
    tells of a module of the graph that it stays in FP32. ``batches`` is the profile where ``options`` name none. Raises
    MissingError without a GPU, TensorRT or cuda-bindings, or where the GPU
    has too little memory, and InputError for a graph that refers to other files, and with TensorRT's own words for a
    graph or a setting that it refuses.
    """
    gpu = find_gpu(options.device)
    trt = load()
    cuda.use_device(options.device)
    model = read_engine_file(path).content
    check_supported(trt, precision, _outline(model, path.name), path.name)
    builder = trt.Builder(log())
    network = builder.create_network(network_flags(trt))
    parse(trt, network, model, path.name)
    profiles = options.profiles or (batches,)
    with operation():
        config = make_config(trt, builder, network, profiles, options)
    write_precision(trt, network, config, precision, in_fp32)
    cache = options.timing_cache or default_path(trt.__version__, gpu)
    attach(config, cache)
    start = time.perf_counter()
    known = faults_of(trt.__version__, precision)
    for fault in known:
        warn(f"TensorRT {trt.__version__} has a known fault: {fault}")
    say(f"building the plan of {path.name} for {gpu.name} ({gpu.sm}) with TensorRT {trt.__version__}")
    monitor = watch(trt, config)
    with operation():
        plan = builder.build_serialized_network(network, config)
        if monitor is not None and monitor.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            kind = MissingError if ran_out_of_memory() else InputError
            reasons = [said(), *(f"TensorRT {trt.__version__} has a known fault: {fault}" for fault in known)]
            raise kind(f"{path.name}: TensorRT built no plan: {'; '.join(reasons)}")
    keep(config, cache)
    return Built(bytes(plan), _plan_info(trt.__version__, gpu, profiles, options), time.perf_counter() - start)


def _outline(model: bytes, name: str) -> Outline:
    try:
        return read_outline(model)
    except ValueError as error:
        raise InputError(f"{name}: not an ONNX model, or cut off ({error})") from error


def _plan_info(version: str, gpu: Gpu, profiles: tuple[Range, ...], options: PlanOptions) -> PlanInfo:
    driver = find_driver()
    return PlanInfo(
        tensorrt=version,
        compute_capability="{}.{}".format(*gpu.compute_capability),
        gpu=gpu.name,
        platform=this_platform(),
        cuda="{}.{}".format(*driver.cuda),
        driver=driver.version,
        hardware_compatibility=options.hardware,
        version_compatible=options.version_compatible,
        profiles=profiles,
    )
