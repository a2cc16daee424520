"""INT8 and FP16 in one graph: typed as TensorRT 10 computes it, and as TensorRT 8.6 is told to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference
from torch import nn

from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import check_operators, export_onnx, module_of_node
from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.int8 import mixed as forms
from fsr_deploy.exporting.int8.formats import FP8, INT8, NumberFormat
from fsr_deploy.exporting.int8.mixed import TypedScheme, UntypedScheme, typed_scheme, untyped_scheme
from fsr_deploy.exporting.int8.qdq import scales_in
from fsr_deploy.exporting.int8.scheme import Scheme, find_ranges, prove_with
from fsr_deploy.exporting.int8.sites import Dataflow, find_sites
from fsr_deploy.exporting.int8.weights import in_steps
from fsr_deploy.exporting.precision.blocks import fp32_modules
from fsr_deploy.exporting.precision.cast import PrecisionMap
from fsr_deploy.exporting.precision.emulate import as_typed_by_8_6
from fsr_deploy.exporting.proof.parity import BUDGETS
from fsr_deploy.exporting.proof.quality import Judge
from fsr_deploy.models.aminet import SA
from tests.exporting.int8.test_quantise import LR, Chain, faces

ISLAND = "network.attention.matrix"


class Attentive(Chain):
    """The chain, with attention between its channels before it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = SA(16, heads=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(x)
        y = y + self.attention(y)
        return x + self.tail(y + self.mend(self.body(y)))


@dataclass(frozen=True)
class Mixed:
    """A network in every form that matters here, and the judge of its faces."""

    full: Scheme
    typed: TypedScheme
    untyped: UntypedScheme
    kept: PrecisionMap
    judge: Judge


def written(network: nn.Module, precision: str, opset: int, folder: Path) -> tuple[ModelProto, PrecisionMap]:
    """Return the graph of a network, written for TensorRT, and what stays in FP32 in it."""
    deployable, kept = prepare(network, lr_size=LR, precision=precision, target="tensorrt")
    path = folder / "model.onnx"
    export_onnx(deployable, path, lr_size=LR, batches=(1, 2, 4), precision=precision, opset=opset)
    return onnx.load(path), kept


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    folder = tmp_path_factory.mktemp("mixed")
    network = Attentive().eval()
    full, _ = written(network, "fp32", 17, folder)
    half, kept = written(network, "fp16", 19, folder)
    sites, reasons = find_sites(full, {f"network.{name}": entry["reason"] for name, entry in kept.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        ranges = find_ranges(full, sites, faces(), "max")
    scheme = Scheme(full, {site.module: [site] for site in sites}, ranges, reasons, False)
    inputs = np.stack([face for _, face in faces()])
    untyped = untyped_scheme(scheme, fp32_modules(kept, "uint8"))
    return Mixed(scheme, typed_scheme(scheme, half), untyped, kept, Judge(inputs, run_graph(full, inputs)))


def in_int8(model: ModelProto) -> set[str]:
    return {module_of_node(node.name) for node in model.graph.node if node.op_type == "QuantizeLinear"}


def tensors_of(model: ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def constants_of(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_both_forms_put_the_same_convolutions_in_int8(mixed: Mixed) -> None:
    chosen = in_int8(mixed.full.write(mixed.full.blocks))
    assert chosen == {"network.body.0", "network.body.2", "network.mend.0"}
    assert (
        in_int8(mixed.typed.write(mixed.typed.blocks)) == in_int8(mixed.untyped.write(mixed.untyped.blocks)) == chosen
    )


def test_no_residual_skip_gate_or_attention_edge_is_rounded(mixed: Mixed) -> None:
    model = mixed.typed.write(mixed.typed.blocks)
    flow = Dataflow(model)
    met = 0
    for node in model.graph.node:
        meets = node.op_type in ("Add", "Sub", "Mul", "Div", "MatMul") and len(flow.activations(node)) == 2
        if meets or node.op_type == "Softmax":
            met += 1
            givers = [flow.producer[name].op_type for name in node.input if name in flow.producer]
            assert "DequantizeLinear" not in givers, node.name
    assert met >= 6
    assert not [module for module in in_int8(model) if "attention" in module]


def test_the_typed_graph_is_valid_and_its_scales_are_fp16_above_zero(mixed: Mixed) -> None:
    model = mixed.typed.write(mixed.typed.blocks)
    onnx.checker.check_model(model, full_check=True)
    check_operators(model)
    constants = constants_of(model)
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) == 4 * len(in_int8(model))
    for node in pairs:
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        assert scale.dtype == np.float16 and np.isfinite(scale).all() and (scale > 0).all()
        assert zero.dtype == np.int8 and not zero.any()


def test_fallbacks_stay_in_fp32_and_the_rest_of_the_network_in_fp16(mixed: Mixed) -> None:
    model = mixed.typed.write(mixed.typed.blocks)
    values = shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    in_fp32 = fp32_modules(mixed.kept, "uint8")
    found = {True: 0, False: 0}
    for node in model.graph.node:
        if node.op_type not in ("Cast", "QuantizeLinear"):
            pinned = in_fp32(module_of_node(node.name))
            found[pinned] += 1
            for name in node.output:
                assert types[name] == (TensorProto.FLOAT if pinned else TensorProto.FLOAT16), node.name
    assert in_fp32(ISLAND) and min(found.values()) > 4


def test_without_any_block_the_fp16_graph_is_recovered_to_the_byte(mixed: Mixed) -> None:
    same = mixed.typed.write([])
    assert same.SerializeToString(deterministic=True) == mixed.typed.model.SerializeToString(deterministic=True)


def test_weights_are_rounded_once_from_fp32(mixed: Mixed) -> None:
    constants = constants_of(mixed.typed.write(mixed.typed.blocks))
    twice = 0
    for name, exact in mixed.typed.weights.items():
        scales = constants[f"{name}/scale"].astype(np.float32)[:, None, None, None]
        steps = np.round(constants[f"{name}/rounded"].astype(np.float32) / scales)
        assert np.array_equal(steps, np.round(exact / scales)), name
        twice += int((np.round(exact.astype(np.float16) / scales) != steps).sum())
    assert twice > 0, "rounding to FP16 first would have made no difference, which proves nothing"


@pytest.mark.parametrize(("scale", "fitted"), [(1e-9, 2**-24), (2**-24, 2**-24), (0.5, 0.5), (1e9, 65504.0)])
def test_scales_beyond_fp16_stay_above_zero_and_finite(scale: float, fitted: float) -> None:
    assert scales_in(np.asarray(scale, np.float32), np.dtype(np.float16)) == np.float16(fitted)


def test_no_scale_gets_smaller_in_fp16_so_that_nothing_is_clipped() -> None:
    scales = np.random.default_rng(0).lognormal(-6, 4, 1000).astype(np.float32)
    narrow = scales_in(scales, np.dtype(np.float16))
    assert narrow.dtype == np.float16
    assert (narrow >= scales).all()
    normal = scales > 2**-14
    assert (narrow[normal] <= scales[normal] * (1 + 2**-10)).all()


def test_both_forms_keep_the_faces(mixed: Mixed) -> None:
    budget, inputs = BUDGETS["int8"], mixed.judge.inputs
    half = mixed.judge(run_graph(mixed.typed.computed([]), inputs))
    forms = {
        "typed, rounded": mixed.typed.computed(mixed.typed.blocks),
        "for TensorRT 8.6, as it is": mixed.untyped.write(mixed.untyped.blocks),
        "for TensorRT 8.6, rounded": mixed.untyped.computed(mixed.untyped.blocks),
    }
    for form, graph in forms.items():
        quality = mixed.judge(run_graph(graph, inputs))
        assert quality.within(budget), form
        assert quality.psnr_db < half.psnr_db, f"{form}: INT8 costs something"


@pytest.fixture
def in_fp8(mixed: Mixed) -> TypedScheme:
    """The scheme of the FP16 graph, for FP8."""
    return replace(mixed.typed, number_format=FP8)


def test_the_convolutions_of_int8_are_in_fp8_with_scales_in_fp16(mixed: Mixed, in_fp8: TypedScheme) -> None:
    model = in_fp8.write(in_fp8.blocks)
    onnx.checker.check_model(model, full_check=True)
    check_operators(model)
    assert in_int8(model) == in_int8(mixed.typed.write(mixed.typed.blocks)) != set()
    constants = tensors_of(model)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = (constants[name] for name in node.input[1:])
            assert (scale.data_type, zero.data_type) == (TensorProto.FLOAT16, TensorProto.FLOAT8E4M3FN)
            assert zero.raw_data == bytes(max(1, *zero.dims, 0))


def test_weights_are_fp8_constants_rounded_from_fp32_whose_largest_is_448(in_fp8: TypedScheme) -> None:
    constants = tensors_of(in_fp8.write(in_fp8.blocks))
    assert len(in_fp8.weights) == 3
    for name, exact in in_fp8.weights.items():
        stored = constants[f"{name}/fp8"]
        codes = np.frombuffer(stored.raw_data, np.uint8).reshape(stored.dims)
        scales = onnx.numpy_helper.to_array(constants[f"{name}/scale"])
        assert np.array_equal(codes, FP8.codes(in_steps(exact, scales)))
        assert (np.abs(FP8.numbers(codes)).reshape(len(codes), -1).max(axis=1) == FP8.largest).all()


def test_a_scale_is_a_normal_fp16_number_so_that_small_numbers_times_it_are_none_of_few_bits() -> None:
    scales = scales_in(np.array([1e-9, 1e-5, 0.25], np.float32), np.dtype(np.float16), FP8)
    assert scales.tolist() == [2**-14, 2**-14, 0.25]
    least = FP8.numbers(np.array([1], np.uint8))
    assert np.array_equal((least * scales[:1]).astype(np.float16).astype(np.float32), least * scales[:1])


def test_without_any_block_in_fp8_the_fp16_graph_is_recovered_to_the_byte(in_fp8: TypedScheme) -> None:
    assert in_fp8.write([]).SerializeToString(deterministic=True) == in_fp8.model.SerializeToString(deterministic=True)


def test_faces_in_fp8_keep_the_budget_as_a_cpu_and_as_a_gpu_computes_them(mixed: Mixed, in_fp8: TypedScheme) -> None:
    for graph in (in_fp8.write(in_fp8.blocks), in_fp8.computed(in_fp8.blocks)):
        quality = mixed.judge(run_graph(graph, mixed.judge.inputs))
        assert quality.within(BUDGETS["fp8+fp16"])
    half = mixed.judge(run_graph(in_fp8.computed([]), mixed.judge.inputs))
    assert quality.psnr_db < half.psnr_db, "FP8 costs something"


@pytest.mark.parametrize("form", ["typed", "untyped"])
def test_blocks_are_returned_by_the_worst_of_the_ways_in_which_the_engine_is_proven(mixed: Mixed, form: str) -> None:
    scheme = getattr(mixed, form)
    found = [mixed.judge(run_graph(graph, mixed.judge.inputs)) for graph in scheme.proven(scheme.blocks)]
    assert len(found) == 2 and found[0] != found[1]
    worst = prove_with(scheme, mixed.judge, BUDGETS["int8+fp16"])(scheme.blocks)
    assert worst == min(found, key=lambda quality: quality.psnr_db)


def test_a_graph_of_two_precisions_says_so_to_sessions(mixed: Mixed) -> None:
    facts = {entry.key: entry.value for entry in mixed.typed.write(mixed.typed.blocks).metadata_props}
    assert facts["fsr.precision"] == "int8+fp16"


def test_an_onnx_runtime_that_cuts_values_off_does_not_decide(mixed: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "rounds_fp16", lambda version: False)
    assert len(mixed.typed.proven([])) == 1
    assert len(replace(mixed.typed, number_format=FP8).proven([])) == 2  # it rounds to FP8


def test_graphs_of_two_networks_are_not_taken_for_one(mixed: Mixed) -> None:
    half = ModelProto()
    half.CopyFrom(mixed.typed.model)
    node = next(node for node in half.graph.node if node.name.startswith("network.body.2/"))
    node.name = node.name.replace("body.2", "body.3")
    with pytest.raises(AssertionError, match=r"network\.body\.2/.* is network\.body\.3/"):
        typed_scheme(mixed.full, half)


@pytest.mark.parametrize("pinned", [True, False])
def test_8_6_overflows_where_a_module_is_not_held_to_fp32(pinned: bool) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "large"], ["y"], "network.loud/Mul_0"),
        helper.make_node("Div", ["y", "large"], ["z"], "network.loud/Div_1"),
        helper.make_node("Identity", ["z"], ["out"], "network.quiet/Identity_2"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "out")]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [helper.make_tensor("large", TensorProto.FLOAT, [], [3e4])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    kept = {"loud": {"precision": "fp32", "reason": "loud"}} if pinned else {}
    result = run_graph(as_typed_by_8_6(model, fp32_modules(kept, "uint8")), np.array([7.0], np.float32))
    assert bool(result[0] == 7.0) is pinned


KEPT = {
    "a": {"precision": "fp32", "reason": "sums"},
    "a.b": {"precision": "fp16", "reason": "harmless"},
    "a.b.c": {"precision": "fp32", "reason": "norms"},
}


@pytest.mark.parametrize(
    ("path", "io", "stays"),
    [
        ("", "uint8", True),
        ("bicubic", "uint8", True),
        ("network", "uint8", False),
        ("network.a", "uint8", True),
        ("network.a.x", "uint8", True),
        ("network.ab", "uint8", False),
        ("network.a.b.x", "uint8", False),
        ("network.a.b.c.x", "uint8", True),
        ("", "float", False),
        ("a.x", "float", True),
        ("a.b", "float", False),
    ],
)
def test_the_innermost_entry_of_the_map_decides_on_a_module(path: str, io: str, stays: bool) -> None:
    assert fp32_modules(KEPT, io)(path) is stays


@pytest.mark.parametrize(("size", "number_format", "chosen"), [(5, FP8, True), (7, FP8, False), (7, INT8, True)])
def test_a_kernel_that_tensorrt_has_not_in_fp8_stays_in_fp16(
    size: int, number_format: NumberFormat, chosen: bool
) -> None:
    weights = {name: np.zeros((16, 16, k, k), np.float32) for name, k in (("a", 3), ("b", size), ("c", 3))}
    names = ["x", "p", "q", "y"]
    nodes = [
        helper.make_node("Conv", [source, name], [result], f"network.{name}/Conv_0")
        for source, result, name in zip(names[:-1], names[1:], weights, strict=True)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 16, None, None]) for name in ("x", "y")]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    sites, reasons = find_sites(
        helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)), {}, number_format
    )
    assert [site.module for site in sites] == (["network.b"] if chosen else [])
    assert chosen or "a kernel of 49 positions; TensorRT has FP8 kernels of at most 32" in reasons["network.b"]
