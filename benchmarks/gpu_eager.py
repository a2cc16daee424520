"""The baselines of benchmarks.gpu_speed, in a Python with CUDA PyTorch: eager FP16 and FP32, compiled FP16.

    python -m benchmarks.gpu_eager '{"model": "aminet", "options": {}, "lr_size": 16, "scale": 8}'

Each takes LR faces in host memory to SR faces there, pre- and postprocessing included, as a plan does; both lie in
pinned memory, as a plan's do. FP16 is the network in half precision and channels-last memory, as it is commonly
deployed; FP32 is without TF32. The weights are random. Needs nothing but PyTorch and NumPy.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.rows import Rows
from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.models import registry

WARM_UP = 10
FP32, FP16 = "eager FP32", "eager FP16 channels-last"
COMPILED = "torch.compile {} FP16 channels-last, dynamic=False"
# What is measured, and at how many of the batch sizes, the most important first: time may run out.
ORDER = (
    (FP16, 2),
    (FP32, 2),
    (COMPILED.format("reduce-overhead"), 2),
    (COMPILED.format("max-autotune"), 3),
    (FP16, None),
)


class Half(nn.Module):
    """A network in half precision that takes and gives FP32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half().to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """Return the SR faces."""
        return self.network(image.half().to(memory_format=torch.channels_last)).float()


class Place:
    """Where a network runs: the CPU, or a GPU with the host memory that it copies from and to by itself."""

    def __init__(self, number: int) -> None:
        self.gpu = number >= 0
        self.device = torch.device(f"cuda:{number}" if self.gpu else "cpu")

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return host memory, pinned beside a GPU."""
        return torch.empty(shape, dtype=dtype, pin_memory=self.gpu)

    def wait(self) -> None:
        """Wait until the GPU has done its work."""
        if self.gpu:
            torch.cuda.current_stream(self.device).synchronize()

    def forget_peak(self) -> None:
        """Begin to look for the peak of memory anew."""
        if self.gpu:
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_mib(self) -> float | None:
        """Return the most memory that PyTorch had in use since then; None on the CPU."""
        return torch.cuda.max_memory_allocated(self.device) / 2**20 if self.gpu else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure eager and compiled PyTorch.")
    parser.add_argument("work", type=json.loads, help="model, options, lr_size and scale as JSON")
    parser.add_argument("--batches", default="64,1,128,32,8", help="batch sizes with commas, the most important first")
    parser.add_argument("--seconds", type=float, default=3.0, help="measuring time of each figure")
    parser.add_argument("--device", type=int, default=0, help="number of the GPU, -1 for the CPU")
    parser.add_argument("--without-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file of JSON lines to write")
    parser.add_argument("--go-on", action="store_true", help="measure only what the file does not have yet")
    given = parser.parse_args(arguments)
    place = Place(given.device)
    use_exact_fp32()
    rows = Rows(given.output, "eager", go_on=given.go_on)
    rows.note(circumstances(place))
    module: tuple[str, Callable[[Tensor], Tensor]] | None = None
    for name, size in figures([int(size) for size in given.batches.split(",")], compiled=not given.without_compile):
        key = {"model": given.work["model"], "engine": name, "batch": size}
        if not rows.has(**key):
            with rows.attempt(**key):
                if module is None or module[0] != name or name.startswith("torch.compile"):
                    module = None  # frees the one before, whose memory is not this one's
                    module = (name, build(name, given.work, place))
                rows.measure(key, partial(measure, module[1], place, given.work["lr_size"], size, given.seconds))
    return 1 if rows.failures else 0


def use_exact_fp32() -> None:
    """Compute FP32 as FP32: by default PyTorch's convolutions take TF32, with 10 bits of mantissa."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def figures(batches: list[int], *, compiled: bool) -> Iterator[tuple[str, int]]:
    """Yield (name, batch size) in the order of importance, none twice."""
    chosen = [(name, size) for name, most in ORDER for size in batches[:most]]
    yield from dict.fromkeys(pair for pair in chosen if compiled or not pair[0].startswith("torch.compile"))


def circumstances(place: Place) -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "gpu": {"name": torch.cuda.get_device_name(place.device)} if place.gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def build(name: str, work: dict[str, Any], place: Place) -> Callable[[Tensor], Tensor]:
    """Return the module of a name: (N, h, w, 3) uint8 to (N, H, W, 3) uint8 on the device."""
    network = registry.build(work["model"], **work["options"]).eval()
    inner = network if name == FP32 else Half(network)
    module = Deployable(inner, work["lr_size"], work["scale"]).eval().to(place.device)
    if not name.startswith("torch.compile"):
        return module
    torch._dynamo.reset()  # each size is compiled by itself: a second one would be made dynamic, which is slower
    return torch.compile(module, mode=name.split()[1], dynamic=False)


@torch.inference_mode()
def measure(
    module: Callable[[Tensor], Tensor], place: Place, lr_size: int, size: int, seconds: float
) -> dict[str, Any]:
    """Return the figures of one batch size: the median milliseconds of a batch and the faces per second."""
    source = place.host((size, lr_size, lr_size, 3), torch.uint8)
    source.copy_(torch.from_numpy(np.random.default_rng(0).integers(0, 256, tuple(source.shape), np.uint8)))
    start = time.perf_counter()
    first = module(source.to(place.device))
    target = place.host(tuple(first.shape), first.dtype)
    del first
    place.wait()
    first_seconds = time.perf_counter() - start
    for _ in range(WARM_UP):
        run(module, source, target, place)
    place.forget_peak()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        run(module, source, target, place)
        times.append(time.perf_counter() - start)
    typical = statistics.median(times)
    return {
        "ms": typical * 1e3,
        "faces_per_s": size / typical,
        "samples": len(times),
        "first_call_s": first_seconds,
        "gpu_mib": place.peak_mib(),
    }


def run(module: Callable[[Tensor], Tensor], source: Tensor, target: Tensor, place: Place) -> None:
    """Take a batch through upload, computation and download; the result is in ``target`` when this returns."""
    target.copy_(module(source.to(place.device, non_blocking=True)), non_blocking=True)
    place.wait()


if __name__ == "__main__":
    sys.exit(main())
