"""INT8 on this CPU: our post-training quantisation, and ONNX Runtime's own recipe, next to the FP32 session.

    python benchmarks/int8.py aminet
    python benchmarks/int8.py weights/aminet-tiny-faces.safetensors --turns 40

Prints one line an engine: milliseconds of one batch (least and median of the turns, engines in turn), the speed-up
over the FP32 session, PSNR against eager in the worst face, and what is lost on the truth (drawn faces that neither
training nor calibration has seen).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from fsr_deploy.exporting.graph.costs import module_table
from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.exporting.graph.trace import INPUT
from fsr_deploy.exporting.int8.calibration import calibration_faces
from fsr_deploy.exporting.int8.ranges import CALIBRATORS
from fsr_deploy.exporting.int8.scheme import make_scheme, quantise
from fsr_deploy.exporting.precision.cast import precision_map
from fsr_deploy.exporting.proof.parity import BUDGETS
from fsr_deploy.exporting.proof.quality import Judge
from fsr_deploy.exporting.proof.reference import lr_faces, true_faces
from fsr_deploy.models.eager import Eager
from fsr_deploy.models.source import load_source


class Reader(CalibrationDataReader):
    """The calibration faces as ONNX Runtime's quantiser wants them."""

    def __init__(self, faces: list[tuple[str, np.ndarray]]) -> None:
        self._faces = iter(faces)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next face, None after the last."""
        face = next(self._faces, None)
        return None if face is None else {INPUT: face[1][None]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--calibrator", choices=CALIBRATORS, default="max")
    parser.add_argument("--calibration-faces", type=int, default=64)
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--turns", type=int, default=20)
    arguments = parser.parse_args()

    source = load_source(arguments.model)
    size, scale = source.lr_size, source.scale
    deployable, _ = prepare(source.network, lr_size=size, upsampling=source.upsampling, target="onnxruntime")
    lr, truth = lr_faces(None, arguments.faces, size, scale), true_faces(arguments.faces, size * scale)
    eager = Eager(source.network, source.upsampling)
    judge = Judge(lr, np.concatenate([eager.run(lr[i : i + 4]) for i in range(0, len(lr), 4)]), truth)
    calibration = calibration_faces(None, arguments.calibration_faces, size, scale, source.upsampling, "uint8")
    with tempfile.TemporaryDirectory() as folder:
        path, naive_path = Path(folder) / "fp32.onnx", Path(folder) / "naive.onnx"
        export_onnx(
            deployable, path, lr_size=size, batches=(1, 8, 32), precision="fp32", opset=17, upsampling=source.upsampling
        )
        model = onnx.load(path)
        table = module_table(model, deployable, source.network)
        reasons = {name: kept["reason"] for name, kept in precision_map(deployable, "fp16").items()}
        scheme = make_scheme(model, table, reasons, calibration, arguments.calibrator, timed=True)
        ours, _, _ = quantise(scheme, table, judge, BUDGETS["int8"], repaired=True)
        quantize_static(str(path), str(naive_path), Reader(calibration), op_types_to_quantize=["Conv"])
        engines = {"FP32": model, "INT8, ours": ours, "INT8, ONNX Runtime's recipe": onnx.load(naive_path)}
    report(engines, judge, arguments.batch, arguments.turns)
    print("INT8 convolutions kept in float:", dict(Counter(reason.split(":")[0] for reason in scheme.reasons.values())))


def report(engines: dict[str, onnx.ModelProto], judge: Judge, batch: int, turns: int) -> None:
    runs = {name: runner(model, judge.inputs[np.arange(batch) % len(judge.inputs)]) for name, model in engines.items()}
    times = np.array([[run() for run in runs.values()] for _ in range(turns)])
    least = times.min(axis=0)
    print(f"batch {batch}, {turns} turns, milliseconds")
    for index, (name, model) in enumerate(engines.items()):
        session = session_of(model)
        outputs = np.concatenate([session.run(None, {INPUT: face[None]})[0] for face in judge.inputs])
        print(
            f"{name:28} least {least[index]:7.1f}  median {np.median(times[:, index]):7.1f}"
            f"  {least[0] / least[index]:5.2f}x  {judge(outputs)}"
        )


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    try:
        return open_graph(model)
    except Fail:  # convolutions that share INT8 weights, as in ONNX Runtime's recipe, cannot be made exact
        return open_graph(model, exact=False)


def runner(model: onnx.ModelProto, batch: np.ndarray) -> Callable[[], float]:
    session = session_of(model)
    session.run(None, {INPUT: batch})

    def run() -> float:
        start = time.perf_counter()
        session.run(None, {INPUT: batch})
        return 1e3 * (time.perf_counter() - start)

    return run


if __name__ == "__main__":
    main()
