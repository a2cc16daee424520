"""Export the networks whose plans are measured, on a machine with PyTorch; no GPU is needed.

    python -m benchmarks.gpu_bundles bundles
    python -m benchmarks.gpu_bundles bundles --tensorrt 8.6 --names tiny-fp16,aminet-fp16

The bundles hold graphs that are written for TensorRT, and eager's faces to prove the plans with. Carry them to the GPU
machine; the plans are made there. "tiny" is the trained network in weights/, the others have random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy.bundle.info import PRECISIONS
from fsr_deploy.errors import UsageError, refuse_unknown
from fsr_deploy.exporting.export import run_export
from fsr_deploy.exporting.options import UNTYPED_OPSET, ExportOptions

# Those that benchmarks.gpu_day measures, in its order.
NAMES = "tiny-fp16,aminet-fp16,tiny-int8-fp16,aminet-int8-fp16,sparnet-fp16,mfspnet-fp16"
TRAINED = {"tiny": str(Path(__file__).parents[1] / "weights" / "aminet-tiny-faces.safetensors")}
BATCHES = (1, 4, 8)  # that the graph is proven at here; plans are built for others
# TensorRT 8.6 takes a graph's types as hints: it reads INT8 and FP16 together in opset 17 only, where FP16 is its own
# choice. TensorRT 10 and later take the types that are written down, which need opset 19 or more.
OPSETS = {"8.6": UNTYPED_OPSET, "10": None}


def main(
    output: Annotated[Path, typer.Argument(help="folder for the bundles")],
    names: Annotated[str, typer.Option(help="NETWORK-PRECISION, with commas")] = NAMES,
    tensorrt: Annotated[str, typer.Option(help="what will read them: 8.6, or 10 for that and all later ones")] = "10",
    lr_size: Annotated[int, typer.Option(help="side of the LR faces")] = 16,
) -> None:
    """Export bundles for the GPU benchmarks."""
    refuse_unknown("--tensorrt", tensorrt, tuple(OPSETS))
    for name in names.split(","):
        network, precision = network_and_precision(name)
        bundle = run_export(
            ExportOptions(
                model=TRAINED.get(network, network),
                precision=precision,
                lr_size=lr_size,
                batches=BATCHES,
                target="tensorrt",
                with_plan=False,
                opset=OPSETS[tensorrt],
                output=output / name,
            )
        )
        print(bundle.path, flush=True)


def network_and_precision(name: str) -> tuple[str, str]:
    """Return ("aminet", "int8+fp16") for "aminet-int8-fp16"; raises UsageError where no precision ends the name."""
    for precision in sorted(PRECISIONS, key=len, reverse=True):
        network, ending, rest = name.rpartition(f"-{precision.replace('+', '-')}")
        if ending and not rest:
            return network, precision
    raise UsageError(f"--names {name}: not NETWORK-PRECISION, for example aminet-fp16 or aminet-int8-fp16")


if __name__ == "__main__":
    typer.run(main)
