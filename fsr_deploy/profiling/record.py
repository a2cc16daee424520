"""A profile: everything that one run measured, written to ``profile.json`` and read back for comparison."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from fsr_deploy._util.json_records import decode, json_text, read_json
from fsr_deploy.errors import InputError
from fsr_deploy.profiling.cold import ColdStart
from fsr_deploy.profiling.layers.attribution import LayerProfile
from fsr_deploy.profiling.layers.gpu_stages import StageTimes
from fsr_deploy.profiling.statistics import Estimate, Latency
from fsr_deploy.profiling.timing import WarmUp
from fsr_deploy.profiling.yardstick import Ceilings
from fsr_deploy.runtime.machine import Machine, MachineLoad

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class BatchProfile:
    """One engine at one batch size; ``samples`` are the milliseconds of every batch in order of time."""

    batch: int
    latency: Latency
    warm_up: WarmUp
    samples: list[float]

    @property
    def faces_per_second(self) -> float:
        """The rate at the median latency, one batch after the other."""
        return 1e3 * self.batch / self.latency.p50.value

    @property
    def bound(self) -> float:
        """The latency in milliseconds that is compared with a budget: p99, or the largest of fewer than 100 samples."""
        return self.latency.max if self.latency.p99 is None else self.latency.p99


@dataclass(frozen=True)
class ParityFigures:
    """An engine against the eager FP32 module, from its bundle: the worst face's PSNR in dB, None where all are equal.

    ``max_error`` is the largest error in 8-bit levels.
    """

    psnr_db: float | None
    max_error: float


@dataclass(frozen=True)
class EngineProfile:
    """One engine: what it is, how it starts, and its latency at each batch size.

    ``notes`` are sentences for the reader.
    """

    name: str
    engine: str
    device: str
    precision: str
    sha256: str
    lr_shape: tuple[int, int]
    sr_shape: tuple[int, int]
    trained: bool | None
    batches: list[BatchProfile]
    cold_start: ColdStart | None = None
    stages: StageTimes | None = None
    layers: LayerProfile | None = None
    quality: ParityFigures | None = None
    notes: list[str] = field(default_factory=list)

    def at(self, batch: int) -> BatchProfile | None:
        """Return the figures at a batch size, None where it was not measured."""
        return next((one for one in self.batches if one.batch == batch), None)

    def best(self, budget_ms: float | None = None) -> BatchProfile | None:
        """Return the batch size of the highest rate among those within a latency budget; None if there is none."""
        kept = [one for one in self.batches if budget_ms is None or one.bound <= budget_ms]
        return max(kept, key=lambda one: one.faces_per_second, default=None)


@dataclass(frozen=True)
class EngineRatio:
    """``times`` as long as ``base`` takes ``engine`` for a batch; paired by round."""

    engine: str
    base: str
    batch: int
    times: Estimate


@dataclass(frozen=True)
class Profile:
    """One run. ``yardstick`` is the time of fixed NumPy work during it, in milliseconds, to compare runs."""

    measured: str
    seconds: float
    machine: Machine
    load: MachineLoad
    yardstick: Estimate
    engines: list[EngineProfile]
    ratios: list[EngineRatio]
    ceilings: Ceilings | None = None
    budget_ms: float | None = None
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA_VERSION

    def ratio(self, engine: str, base: str, batch: int) -> Estimate | None:
        """Return how many times as long as ``base`` an engine takes, None where they do not share the batch size."""
        for one in self.ratios:
            if one.batch == batch and (one.engine, one.base) == (engine, base):
                return one.times
            if one.batch == batch and (one.base, one.engine) == (engine, base):
                return Estimate(1 / one.times.value, 1 / one.times.high, 1 / one.times.low)
        return None


def to_json(profile: Profile) -> str:
    """Return the profile as ``profile.json`` has it."""
    return json_text(asdict(profile), indent=1) + "\n"


def read_profile(path: Path) -> Profile:
    """Read a ``profile.json``; raises InputError for anything else."""
    path = path / "profile.json" if path.is_dir() else path
    try:
        data = read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a profile.json that fsr-profile -o wrote") from None
    if not isinstance(data, dict) or type(data.get("schema")) is not int:
        raise InputError(f"{path}: not a profile; name a profile.json that fsr-profile -o wrote")
    if data["schema"] > SCHEMA_VERSION:
        raise InputError(f"{path}: written by a newer fsr-deploy (schema {data['schema']}); upgrade fsr-deploy")
    try:
        profile: Profile = decode(Profile, data, "")
    except TypeError as error:
        raise InputError(f"{path}: incomplete or damaged: {error}; measure again") from error
    return profile
