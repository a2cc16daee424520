"""How a plan is built: profiles, memory, effort, compatibility. One function per setting, each checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from fsr_deploy.errors import InputError, MissingError, UsageError, refuse_outside, refuse_unknown
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS, flavour_of, named
from fsr_deploy.runtime.tensorrt.library import said

if TYPE_CHECKING:
    import tensorrt

HARDWARE = ("none", "same_compute_capability", "ampere_plus")
EFFORT_LEVELS = range(6)
TILING = ("none", "fast", "moderate", "full")
OWN_TACTICS = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
PROFILE_SHARING = "PROFILE_SHARING_0806"
MAX_BATCH = 4096

Range = tuple[int, int, int]


@dataclass(frozen=True)
class PlanOptions:
    """What a user may choose about a plan.

    ``profiles`` are batch ranges (min, opt, max), one kernel choice each; empty stands for ``default_profiles``.
    ``workspace_gib`` bounds the scratch memory that a layer may ask for (None: all of the GPU's). ``level`` is the
    builder's effort, 0 to 5 (None: TensorRT's own, 3), ``tiling`` how hard it looks for tiles that fit into a cache,
    one of TILING. ``hardware`` makes the plan run on other GPUs too, one of
    HARDWARE; ``version_compatible`` on later TensorRT versions of the same major number. ``timing_cache`` is a file of
    kernel timings (None: one in the user's cache directory for this TensorRT and GPU). ``flavour`` "rtx" compiles the
    plan with TensorRT for RTX, for the ``gpus`` that are named ("sm_86"; empty: gpus_for), on any machine; ``device``
    and most of the rest mean nothing there.

    Raises UsageError for a flavour that there is not, and for what TensorRT for RTX does not do.
    """

    profiles: tuple[Range, ...] = ()
    workspace_gib: float | None = None
    level: int | None = None
    tiling: str = "none"
    hardware: str = "none"
    version_compatible: bool = False
    timing_cache: Path | None = None
    device: int = 0
    flavour: str = "tensorrt"
    gpus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_unknown("flavour", self.flavour, tuple(FLAVOURS))
        refuse_unknown("--tiling", self.tiling, TILING)
        refuse_unknown("--hardware", self.hardware, HARDWARE)
        if type(self.device) is not int or self.device < 0:
            raise UsageError(f"--device cuda:{self.device}: give a whole number from 0 on")
        if self.level is not None:
            refuse_outside("--level", self.level, EFFORT_LEVELS[0], EFFORT_LEVELS[-1])
        if self.workspace_gib is not None and not 0 < self.workspace_gib < math.inf:
            raise UsageError(f"--workspace {self.workspace_gib}: a size above 0 in GiB")
        ranges = tuple(batch_range("--profile", ",".join(map(str, profile))) for profile in self.profiles)
        object.__setattr__(self, "profiles", ranges)
        if self.flavour != "rtx":
            if self.gpus:
                raise UsageError("--gpus names what TensorRT for RTX compiles for; give --target rtx too")
            return
        for option, given in (
            ("--hardware", self.hardware != "none"),
            ("--version-compatible", self.version_compatible),
            ("--timing-cache", self.timing_cache is not None),
        ):
            if given:
                raise UsageError(f"{option} is nothing that TensorRT for RTX knows; leave it out, or --target rtx")


def batch_range(option: str, text: str) -> Range:
    """Return "1,8,32" as (min, opt, max), one number as all three; raises UsageError for anything else."""
    parts = text.split(",")
    sizes = [int(part) for part in parts if part.strip().isdecimal()]
    if len(sizes) == len(parts) and len(sizes) in (1, 3):
        low, best, high = sizes * (3 // len(sizes))
        if 1 <= low <= best <= high <= MAX_BATCH:
            return low, best, high
    raise UsageError(f"{option} {text}: not MIN,OPT,MAX in rising order from 1 to {MAX_BATCH}, for example 1,8,32")


def default_profiles(batches: Range, flavour: str) -> tuple[Range, ...]:
    """Return the profiles of a plan for batches (min, opt, max): kernels for single faces, and for throughput.

    TensorRT for RTX makes its kernels in the run, for each batch size; a second profile would double its plan there.
    """
    low, best, high = batches
    if flavour == "rtx" or low > 1 or best == 1:
        return (batches,)
    return ((1, 1, 1), (2, best, high))


def make_config(
    trt: ModuleType,
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    profiles: tuple[Range, ...],
    options: PlanOptions,
) -> tensorrt.IBuilderConfig:
    """Return the configuration of a build; raises InputError or MissingError for what this TensorRT refuses."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # layer names in profiles; costs no time in a run
    for profile in profiles:
        _add_profile(builder, network, config, profile)
    if flavour_of(trt).builds_anywhere:
        _name_gpus(trt, config, options.gpus)
    _share_profiles(trt, config)
    _use_own_tactics(trt, config)
    if options.workspace_gib is not None:
        _limit_workspace(trt, config, int(options.workspace_gib * 2**30))
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.tiling != "none":
        _set_tiling(trt, config, options.tiling)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    _set_hardware(trt, config, options.hardware)
    return config


def _add_profile(
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    config: tensorrt.IBuilderConfig,
    batches: Range,
) -> None:
    source = network.get_input(0)
    item = tuple(source.shape)[1:]
    profile = builder.create_optimization_profile()
    try:
        profile.set_shape(source.name, *((batch, *item) for batch in batches))
    except ValueError as error:
        raise InputError(f"batches {batches}: TensorRT refuses the profile: {error}") from error
    if config.add_optimization_profile(profile) < 0:
        raise InputError(f"batches {batches}: TensorRT refuses the profile: {said()}")


def _name_gpus(trt: ModuleType, config: tensorrt.IBuilderConfig, gpus: tuple[str, ...]) -> None:
    """Say which GPUs the plan is for; without, it would be for this machine's own."""
    known = trt.ComputeCapability.__members__
    config.num_compute_capabilities = len(gpus)
    for index, gpu in enumerate(gpus):
        capability = known.get(gpu.replace("_", "").upper())
        if capability is None or not config.set_compute_capability(capability, index):
            raise MissingError(f"{named(trt)} cannot compile for {gpu}: {said()}")


def _share_profiles(trt: ModuleType, config: tensorrt.IBuilderConfig) -> None:
    """Let two contexts run in one profile, as two batches in flight do; TensorRT 10 and later always do."""
    feature = trt.PreviewFeature.__members__.get(PROFILE_SHARING)
    if feature is not None:
        config.set_preview_feature(feature, True)


def _use_own_tactics(trt: ModuleType, config: tensorrt.IBuilderConfig) -> None:
    """Do without cuBLAS and cuDNN, which a machine that runs the plan would then have to have; 11 has no others."""
    tactics = trt.TacticSource.__members__
    if not config.set_tactic_sources(sum(1 << int(tactics[name]) for name in OWN_TACTICS)):
        raise MissingError(f"{named(trt)} refuses to do without cuBLAS and cuDNN: {said()}")


def _limit_workspace(trt: ModuleType, config: tensorrt.IBuilderConfig, nbytes: int) -> None:
    """Set the limit and read it back: a limit that TensorRT does not take is only logged."""
    pool = trt.MemoryPoolType.WORKSPACE
    config.set_memory_pool_limit(pool, nbytes)
    if config.get_memory_pool_limit(pool) != nbytes:
        raise InputError(f"TensorRT refuses a workspace of {nbytes} bytes: {said()}")


def _set_tiling(trt: ModuleType, config: tensorrt.IBuilderConfig, name: str) -> None:
    if not hasattr(trt, "TilingOptimizationLevel"):
        raise MissingError(f"{named(trt)} has no tiling levels; leave --tiling out, or install TensorRT 10.9 or newer")
    config.tiling_optimization_level = trt.TilingOptimizationLevel.__members__[name.upper()]


def _set_hardware(trt: ModuleType, config: tensorrt.IBuilderConfig, name: str) -> None:
    level = trt.HardwareCompatibilityLevel.__members__.get(name.upper())
    if level is None:
        raise MissingError(f"{named(trt)} cannot build for {name!r} hardware compatibility")
    config.hardware_compatibility_level = level
