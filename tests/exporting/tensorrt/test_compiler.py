"""The real compiler of TensorRT for RTX, in a child process: what it takes, what it refuses, and how a build ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.exporting.tensorrt import child
from fsr_deploy.exporting.tensorrt.child import BuildRequest
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from tests.contract.table import RTX, recorded

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
VALUES = np.random.default_rng(0)


def build(graph: Path, *gpus: str, precision: str = "fp32") -> child.Answer:
    options = PlanOptions(flavour="rtx", gpus=gpus or ("sm_86",))
    return child.build(BuildRequest(graph, graph.with_suffix(".plan"), precision, (1, 2, 4), options, {}))


def write(
    path: Path,
    *nodes: onnx.NodeProto,
    dtype: int = FLOAT,
    shape: tuple[object, ...] = ("N", 8, 8, 8),
    opset: int = 17,
    **constants: np.ndarray,
) -> Path:
    """Write a graph of nodes from "x" to "y"."""
    values = [helper.make_tensor_value_info("x", dtype, shape), helper.make_tensor_value_info("y", dtype, None)]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def node(operator: str, inputs: str, output: str = "y", name: str = "", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name or f"encoder.0/{operator}_0", **attributes)


def kernel(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return VALUES.standard_normal(shape).astype(dtype)


def convolution(path: Path, dtype: int = FLOAT) -> Path:
    half = dtype == HALF
    weight = kernel(8, 8, 3, 3, dtype=np.float16 if half else np.float32)
    relu, conv = node("Relu", "z", name="encoder.0/Relu_1"), node("Conv", "x w", "z", pads=[1, 1, 1, 1])
    return write(path, conv, relu, dtype=dtype, w=weight)


def test_a_plan_is_compiled_and_its_kernels_are_those_of_the_graphs_modules(tmp_path: Path) -> None:
    graph = convolution(tmp_path / "model.onnx", HALF)
    answer = build(graph, "sm_86", "sm_120", precision="fp16")
    assert graph.with_suffix(".plan").read_bytes().startswith(b"vtrt")
    assert answer.info.tensorrt == recorded(RTX)["version"] and answer.info.gpus == ("sm_86", "sm_120")
    assert answer.kernels is not None
    module = next(module for module in answer.kernels.modules if module.module == "encoder.0")
    assert (module.convolutions, module.fp32) == (1, [])
    assert answer.kernels.activation_bytes >= 0 and answer.kernels.count >= 1


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "Col2Im": (
        lambda path: write(
            path,
            node("Col2Im", "x image block"),
            shape=("N", 36, 64),
            opset=18,
            image=np.array([10, 10]),
            block=np.array([3, 3]),
        ),
        r"cannot read this graph:\n  module encoder\.0, node encoder\.0/Col2Im_0 \(Col2Im\): ",
    ),
    "a dynamic height": (
        lambda path: write(path, node("Relu", "x"), shape=("N", 8, "h", "w")),
        r"its input x is \(-1, 8, -1, -1\), a plan takes faces of one size; export it with a fixed height and width",
    ),
    "nothing at all": (lambda path: path, "file is empty"),
    "an FP32 product on Turing": (
        lambda path: write(path, node("MatMul", "x w"), w=kernel(8, 8)),
        r"FP32 GEMM is not supported.*\(module encoder\.0, node encoder\.0/MatMul_0\)",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_graph_that_it_does_not_take_is_one_sentence_that_names_the_module(tmp_path: Path, what: str) -> None:
    make, sentence = REFUSED[what]
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=sentence):
        build(make(path), "sm_75")
    assert not path.with_suffix(".plan").exists()


def test_weights_in_other_files_are_refused_before_the_parser_opens_any(tmp_path: Path) -> None:
    path = convolution(tmp_path / "model.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(InputError, match=r"keeps weights in other files"):
        build(path)


def test_a_compiler_that_breaks_down_is_one_sentence(tmp_path: Path) -> None:
    """Attention of one tensor with itself ends the library's process (1.7.1), so that no error can be caught there."""
    attention = node("Attention", "x x x", name="encoder.0/Attention_0")
    graph = write(tmp_path / "model.onnx", attention, shape=("N", 2, 16, 8), opset=23)
    with pytest.raises(InputError, match=r"model\.onnx: TensorRT for RTX broke down over this graph \(SIG\w+\)"):
        build(graph)


BROKEN = """
import os, signal
__version__ = "1.7.1.116"
class ILogger: pass
class Builder:
    def __init__(self, *arguments):
        {ending}
"""


@pytest.mark.parametrize(
    ("ending", "error", "sentence"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", InputError, r"broke down over this graph \(SIGSEGV\)"),
        ("os.write(2, b'assertion x > 0'); os.abort()", InputError, r"\(SIGABRT\); its last words: .*assertion x > 0"),
        ("os._exit(7)", InputError, r"\(exit code 7\)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", MissingError, r"ended by the system \(SIGKILL\), for lack of memory"),
    ],
)
def test_however_a_library_ends_the_child_the_parent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, error: type[Exception], sentence: str
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text(BROKEN.format(ending=ending))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=sentence):
        build(convolution(tmp_path / "model.onnx"))


def test_no_file_of_the_current_directory_is_taken_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the current directory was run')")
    monkeypatch.chdir(tmp_path)
    assert build(convolution(tmp_path / "model.onnx")).info.gpus == ("sm_86",)


PARENT = """
import sys
from pathlib import Path
from fsr_deploy.exporting.tensorrt import child
from fsr_deploy.exporting.tensorrt.config import PlanOptions
graph = Path(sys.argv[1])
child.build(child.BuildRequest(graph, graph.with_suffix(".plan"), "fp32", (1, 2, 4), PlanOptions(flavour="rtx"), {}))
"""


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("seconds", [0.0, 0.4, 0.8])
def test_a_build_that_is_ended_leaves_no_process_behind(tmp_path: Path, ending: signal.Signals, seconds: float) -> None:
    graph = convolution(tmp_path / "model.onnx")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(graph)],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while not (found := children(parent)):
        assert parent.poll() is None, "it ended before it began to build"
        time.sleep(0.001)
    time.sleep(seconds)
    parent.send_signal(ending)
    parent.wait()
    _, alive = psutil.wait_procs(found, timeout=60)
    assert alive == []
    assert build(graph).info.flavour == "rtx"  # the next one works
