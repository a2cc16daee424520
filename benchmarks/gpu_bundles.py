"""Export the networks whose plans are measured, on a machine with PyTorch; no GPU is needed.

    python -m benchmarks.gpu_bundles bundles

The bundles hold ONNX that every TensorRT from 8.6 on reads, and eager's faces to prove the plans with. Carry them to
the GPU machine; benchmarks.gpu_build makes the plans there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy.exporting.options import EXPORT_OPSET, ExportOptions
from fsr_deploy.exporting.pipeline import run_export

MODELS = "aminet,aminet-s,mfspnet"
BATCHES = (1, 32, 128)
OPSET = 17  # TensorRT 8.6 reads no later one; it has no BF16


def main(
    output: Annotated[Path, typer.Argument(help="folder for the bundles")],
    models: Annotated[str, typer.Option(help="registered names, with commas")] = MODELS,
    precisions: Annotated[str, typer.Option(help="fp32, fp16, bf16, int8+fp16, with commas")] = "fp32,fp16",
    lr_size: Annotated[int, typer.Option(help="side of the LR faces")] = 16,
) -> None:
    """Export bundles for the GPU benchmarks."""
    for model in models.split(","):
        for precision in precisions.split(","):
            bundle = run_export(
                ExportOptions(
                    model=model,
                    precision=precision,
                    lr_size=lr_size,
                    batches=BATCHES,
                    target="tensorrt",
                    opset=EXPORT_OPSET if precision == "bf16" else OPSET,
                    output=output / f"{model}-{precision.replace('+', '-')}",
                )
            )
            print(bundle.path, flush=True)


if __name__ == "__main__":
    typer.run(main)
