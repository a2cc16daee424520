"""The baselines of benchmarks.gpu_speed, in a Python with CUDA PyTorch: eager FP32, eager FP16, compiled FP16.

    python -m benchmarks.gpu_eager '{"model": "aminet", "options": {}, "lr_size": 16, "scale": 8}'

Each takes LR faces in host memory to SR faces there, pre- and postprocessing included, as a plan does. FP16 is the
network in half precision and channels-last memory, as it is commonly deployed; its weights are random. The last line
printed is the JSON of all rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.models import registry

WARM_UP = 10


class Half(nn.Module):
    """A network in half precision that takes and gives FP32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half().to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """Return the SR faces."""
        return self.network(image.half().to(memory_format=torch.channels_last)).float()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure eager and compiled PyTorch.")
    parser.add_argument("work", type=json.loads, help="model, options, lr_size and scale as JSON")
    parser.add_argument("--batches", default="1,8,32,64,128", help="batch sizes, with commas")
    parser.add_argument("--seconds", type=float, default=3.0, help="measuring time of each figure")
    parser.add_argument("--device", type=int, default=0, help="number of the GPU, -1 for the CPU")
    parser.add_argument("--without-compile", action="store_true", help="leave torch.compile out")
    given = parser.parse_args(arguments)
    device = torch.device("cpu" if given.device < 0 else f"cuda:{given.device}")
    batches = [int(size) for size in given.batches.split(",")]
    rows = []
    for name, module in variants(given.work, device, compiled=not given.without_compile):
        rows += measure(name, module, device, given.work["lr_size"], batches, given.seconds)
    print(json.dumps(rows))


def variants(work: dict[str, Any], device: torch.device, *, compiled: bool) -> list[tuple[str, Callable[..., Tensor]]]:
    """Return the modules to measure, by name."""

    def network() -> nn.Module:
        return registry.build(work["model"], **work["options"]).eval()

    def deployed(inner: nn.Module) -> nn.Module:
        return Deployable(inner, work["lr_size"], work["scale"]).eval().to(device)

    version = torch.__version__
    found: list[tuple[str, Callable[..., Tensor]]] = [
        (f"PyTorch {version} eager FP32", deployed(network())),
        (f"PyTorch {version} eager FP16 channels-last", deployed(Half(network()))),
    ]
    if compiled:
        half = torch.compile(deployed(Half(network())), mode="max-autotune")
        found.append((f"PyTorch {version} torch.compile max-autotune FP16 channels-last", half))
    return found


@torch.inference_mode()
def measure(
    name: str, module: Callable[..., Tensor], device: torch.device, lr_size: int, batches: list[int], seconds: float
) -> list[dict[str, Any]]:
    """Return a row for each batch size: the median milliseconds of a batch and the faces per second."""
    rows = []
    for size in batches:
        content = np.random.default_rng(0).integers(0, 256, (size, lr_size, lr_size, 3), np.uint8)
        host = torch.from_numpy(content)
        host = host if device.type == "cpu" else host.pin_memory()
        for _ in range(WARM_UP):
            run(module, host, device)
        times = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            run(module, host, device)
            times.append(time.perf_counter() - start)
        typical = statistics.median(times)
        row = {"engine": name, "batch": size, "ms": typical * 1e3, "faces_per_s": size / typical, "samples": len(times)}
        if device.type == "cuda":
            row["gpu_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
        rows.append(row)
    return rows


def run(module: Callable[..., Tensor], host: Tensor, device: torch.device) -> Tensor:
    """Take a batch through upload, computation and download; the result is there when this returns."""
    return module(host.to(device, non_blocking=True)).cpu()


if __name__ == "__main__":
    main()
