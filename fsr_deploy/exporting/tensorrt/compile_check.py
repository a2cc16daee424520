"""Does a TensorRT take this graph, and what does it make of it? Asked of TensorRT for RTX, which needs no GPU."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fsr_deploy._util.log import say
from fsr_deploy.bundle.info import ONNX_NAME, BundleInfo
from fsr_deploy.exporting.report.kernel_table import lines
from fsr_deploy.exporting.tensorrt import child
from fsr_deploy.exporting.tensorrt.child import BuildRequest
from fsr_deploy.exporting.tensorrt.config import PlanOptions


def check_compiler(directory: Path, info: BundleInfo, options: PlanOptions) -> dict[str, Any]:
    """Compile a directory's ``model.onnx`` with TensorRT for RTX, say what it makes of it, and return it as plain data.

    ``options`` tell the profiles and, where they name any, the GPUs. The plan is not kept. Raises InputError, with the
    module's name where the compiler tells it, for a graph that it refuses.
    """
    chosen = PlanOptions(profiles=options.profiles, flavour="rtx", gpus=options.gpus)
    with tempfile.TemporaryDirectory() as scratch:
        plan = Path(scratch) / "check.plan"
        graph = directory / ONNX_NAME
        answer = child.build(
            BuildRequest(graph, plan, info.precision, info.batches, chosen, info.precision_map, info.io)
        )
        say(f"    compiled for {', '.join(answer.info.gpus)}: {plan.stat().st_size / 2**20:.1f} MiB")
    if answer.kernels is None:
        return {}
    found = asdict(answer.kernels)
    for line in lines(replace(info, kernels=found)):
        say(f"    {line}")
    return found
