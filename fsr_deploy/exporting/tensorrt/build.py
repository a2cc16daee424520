"""One build: an ONNX file in, a plan out, with what has to be known about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fsr_deploy._util.log import say, warn
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import PlanInfo
from fsr_deploy.bundle.onnx_wire import Outline, read_outline
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.exporting.tensorrt.config import PlanOptions, Range, default_profiles, make_config
from fsr_deploy.exporting.tensorrt.gpus import check_gpu, check_gpus, gpus_for
from fsr_deploy.exporting.tensorrt.kernels import Kernels, listen
from fsr_deploy.exporting.tensorrt.network import check_supported, network_flags, parse, where, write_precision
from fsr_deploy.exporting.tensorrt.progress import watch
from fsr_deploy.exporting.tensorrt.timing_cache import attach, default_path, keep
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.driver import Gpu, find_driver, find_gpu
from fsr_deploy.runtime.tensorrt.faults import faults_of
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS, named
from fsr_deploy.runtime.tensorrt.library import load, log, operation, ran_out_of_memory, said
from fsr_deploy.runtime.tensorrt.preflight import this_platform

if TYPE_CHECKING:
    import tensorrt


@dataclass(frozen=True)
class BuiltPlan:
    """A serialised plan, what it is bound to, its kernels where TensorRT tells, and how long the build took."""

    content: bytes
    info: PlanInfo
    seconds: float
    kernels: Kernels | None = None


def build_plan(
    path: Path,
    precision: str,
    batches: Range,
    options: PlanOptions,
    in_fp32: Callable[[str], bool] = lambda module: False,
) -> BuiltPlan:
    """Build a plan of an ONNX file in this process: for one of this machine's GPUs, or for those that options name.

    The graph holds its precision; ``precision`` names it for TensorRT 8.6, which wants to be told, and ``in_fp32``
    tells of a module of the graph that it stays in FP32. ``batches`` make the profiles where ``options`` name none.

    Raises MissingError without a GPU, TensorRT or cuda-bindings, or where the GPU has too little memory or not the
    precision, UsageError for named GPUs without it, and InputError for a graph that refers to other files, and with
    TensorRT's own words for a graph or a setting that it refuses.
    """
    flavour = FLAVOURS[options.flavour]
    gpu = None if flavour.builds_anywhere else find_gpu(options.device)
    if gpu is None:
        options = replace(options, gpus=options.gpus or gpus_for(precision))
        check_gpus(options.gpus, precision)
    else:
        check_gpu(gpu, precision)
    trt = load(flavour)
    if gpu is not None:
        cuda.use_device(options.device)
    model = read_engine_file(path).content
    outline = _outline(model, path.name)
    check_supported(trt, precision, outline, path.name)
    builder = trt.Builder(log(flavour))
    network = builder.create_network(network_flags(trt))
    parse(trt, network, model, path.name)
    profiles = options.profiles or default_profiles(batches, options.flavour)
    with operation():
        config = make_config(trt, builder, network, profiles, options)
    write_precision(trt, network, config, precision, outline, in_fp32)
    cache = (options.timing_cache or default_path(trt.__version__, gpu)) if gpu else None
    if gpu is not None:
        attach(config, cache)
    known = [f"{named(trt)} has a known fault: {fault}" for fault in faults_of(trt.__version__, precision)]
    for fault in known:
        warn(fault)
    target = f"{gpu.name} ({gpu.sm})" if gpu else ", ".join(options.gpus)
    say(f"building the plan of {path.name} for {target} with {named(trt)}")
    start = time.perf_counter()
    try:
        plan, kernels = _build(trt, builder, network, config)
    except (InputError, MissingError) as error:
        reasons = "; ".join([f"{path.name}: {error}{where(str(error), outline.nodes)}", *known])
        raise type(error)(reasons) from None
    finally:  # what an interrupted build has measured is worth as much
        keep(config, cache)
    info = _plan_info(trt, gpu, profiles, options)
    return BuiltPlan(plan, info, time.perf_counter() - start, kernels)


def _build(
    trt: ModuleType,
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    config: tensorrt.IBuilderConfig,
) -> tuple[bytes, Kernels | None]:
    """Return the plan and its kernels; raises InputError or MissingError, with TensorRT's words, where there is none.

    Raises KeyboardInterrupt where the build was ended on the way; the timings that it took are still to be had.
    """
    monitor = watch(trt, config)
    details: list[str] = []
    with operation(details.append):
        plan = builder.build_serialized_network(network, config)
        if monitor is not None and monitor.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            kind = MissingError if ran_out_of_memory() else InputError
            raise kind(f"{named(trt)} built no plan: {said()}")
    return bytes(plan), listen(details)


def _outline(model: bytes, name: str) -> Outline:
    try:
        return read_outline(model)
    except ValueError as error:
        raise InputError(f"{name}: not an ONNX model, or cut off ({error})") from error


def _plan_info(trt: ModuleType, gpu: Gpu | None, profiles: tuple[Range, ...], options: PlanOptions) -> PlanInfo:
    facts: dict[str, Any] = {"gpus": options.gpus, "proven": False}
    if gpu is not None:
        driver = find_driver()
        facts = {"cuda": "{}.{}".format(*driver.cuda), "driver": driver.version}
    return PlanInfo(
        tensorrt=trt.__version__,
        compute_capability="{}.{}".format(*gpu.compute_capability) if gpu else "",
        gpu=gpu.name if gpu else "",
        platform=this_platform(),
        hardware_compatibility=options.hardware,
        version_compatible=options.version_compatible,
        profiles=profiles,
        flavour=options.flavour,
        **facts,
    )
