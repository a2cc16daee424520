"""What the compiler's list of kernels tells of a graph's modules."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from fsr_deploy.exporting.report.kernel_table import block_of, blocks, kernels_section, lines
from fsr_deploy.exporting.tensorrt.kernels import Kernel, by_module, listen, read_kernel
from tests.fakes.plans import describe

TENSOR = (
    "{{ Name: t{0}, Dimensions: [-1,8,16,16], Strides: [1], StrideOrder: [3], Datatype: {0}, Format: (Linear) Row }}"
)


def line(name: str, kind: str, inputs: str, outputs: str, *nodes: str) -> str:
    """Return one line of the list, in the form of TensorRT for RTX 1.7."""
    sides = [", ".join(TENSOR.format(dtype) for dtype in side.split()) for side in (inputs, outputs)]
    metadata = "\x1f".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {sides[0]}], Constants: [], Outputs: [ {sides[1]}], "
        f"TacticName: __x, StreamId: 0, Metadata: {metadata}"
    )


LIST = "\n".join(
    [
        "Layers:",
        line("e/Conv_1_U1_myl0_1", "correlation", "Int8", "Half", "network.e.0.norm/Mul_0", "network.e.0.conv/Conv_1"),
        line("__myl_CastMul_myl0_2", "kgen", "Half Float", "Float", "network.e.0.sa/Cast_2", "network.e.0.sa/Mul_3"),
        line("__myl_Quan_myl0_3", "kgen", "Half", "Int8", "network.d.1.conv/QuantizeLinear_4"),
        line("d/Conv_5_U9_myl0_4", "deconv", "FP8", "Half", "network.d.1.conv/ConvTranspose_5"),
        line("__myl_Move_myl0_5", "kgen", "", "Int32"),
        "",
        "I/O Tensors:",
        " Name: lr, IOMode: Input, DataType: UInt8",
    ]
)
SAID = ["Total Activation Memory: 1048576 bytes", "Total Weights Memory: 2097152 bytes", LIST]


def test_a_line_of_the_list_is_a_kernel() -> None:
    assert read_kernel(line("n", "gemm", "Half Int8", "Float", "a.b/MatMul_3")) == Kernel(
        "n", "gemm", ("Half", "Int8"), ("Float",), ("a.b/MatMul_3",)
    )
    assert read_kernel("Bindings:") is None


def test_kernels_are_counted_for_the_modules_that_they_compute() -> None:
    found = listen(SAID)
    assert found is not None
    assert (found.count, found.activation_bytes, found.weight_bytes) == (5, 1 << 20, 2 << 20)
    modules = {module.module: asdict(module) for module in found.modules}
    plain = {"nodes": 0, "kernels": 1, "fused": 0, "convolutions": 0, "int8": 0, "fp8": 0, "fp32": [], "unfused": []}
    assert modules == {
        "network.e.0.conv": {
            **plain,
            "module": "network.e.0.conv",
            "nodes": 2,
            "fused": 1,
            "convolutions": 1,
            "int8": 1,
        },
        "network.e.0.sa": {
            **plain,
            "module": "network.e.0.sa",
            "nodes": 2,
            "fused": 1,
            "fp32": ["network.e.0.sa/Cast_2", "network.e.0.sa/Mul_3"],
        },
        "network.d.1.conv": {
            **plain,
            "module": "network.d.1.conv",
            "nodes": 2,
            "kernels": 2,
            "convolutions": 1,
            "fp8": 1,
            "unfused": ["network.d.1.conv/QuantizeLinear_4"],
        },
        "": {**plain, "module": ""},
    }


def test_a_build_that_lists_nothing_tells_nothing() -> None:
    assert listen(SAID[:2]) is None
    assert by_module([]) == []


def test_blocks_add_their_modules_up_and_the_page_shows_them() -> None:
    found = listen(SAID)
    assert found is not None
    info = describe("int8+fp16")
    info.kernels.update(asdict(found))
    assert [(block["block"], block["kernels"]) for block in blocks(info)] == [("e.0", 2), ("d.1", 2), ("", 1)]
    page = kernels_section(info)
    assert "compiles this graph to 5 kernels" in page and "(the compiler's own)" in page.replace("&#x27;", "'")
    assert list(lines(info)) == [
        "6 nodes in 5 kernels, 2 of them fused; 1 MiB for activations at the largest batch",
        "FP32 results inside: e.0",
        "1 of 2 convolutions in INT8",
        "quantised or dequantised in kernels of their own: d.1",
    ]
    assert "1 of 2 convolutions in FP8" in list(lines(replace(info, precision="fp8+fp16")))
    assert kernels_section(describe()) == ""


@pytest.mark.parametrize(
    ("module", "block"),
    [("network.encoders.0.local.unit.0", "encoders.0"), ("network.head", "head"), ("bicubic", "bicubic"), ("", "")],
)
def test_a_block_is_the_beginning_of_a_modules_path(module: str, block: str) -> None:
    assert block_of(module) == block
