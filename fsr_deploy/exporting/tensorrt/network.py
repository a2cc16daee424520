"""From a typed ONNX graph to a TensorRT network: the part of a build that differs between TensorRT 8.6, 10 and 11."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from fsr_deploy.bundle.info import MIXED
from fsr_deploy.bundle.onnx_wire import FLOAT, Node, Outline, read_outline
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.runtime.tensorrt.flavour import flavour_of, named
from fsr_deploy.runtime.tensorrt.library import log, operation, said, version

if TYPE_CHECKING:
    import tensorrt

FLAG_GONE_SINCE = 11  # TensorRT for RTX, of another count, still has it
WEAKLY_TYPED_OPSET = 17
WEAKLY_TYPED_FLAGS = {
    "fp32": (),
    "fp16": ("FP16", "OBEY_PRECISION_CONSTRAINTS"),
    "int8": ("INT8",),
    MIXED: ("INT8", "FP16", "OBEY_PRECISION_CONSTRAINTS"),
}
_COPY = re.compile(r"(/[^/]*_[0-9]+)_[0-9]+$")
UNPINNED_LAYERS = ("CONSTANT", "SHAPE", "CAST", "QUANTIZE", "DEQUANTIZE")
SHOWN_ERRORS = 3


def strongly_typed(trt: ModuleType) -> bool:
    """Tell whether this TensorRT computes each tensor in the type that the graph gives it."""
    return version(trt.__version__)[0] >= flavour_of(trt).typed_since


def network_flags(trt: ModuleType) -> int:
    """Return the creation flags: explicit batch before 10, strongly typed since; in 11 both are always on."""
    flags = trt.NetworkDefinitionCreationFlag
    if not strongly_typed(trt):
        return 1 << int(flags.EXPLICIT_BATCH)
    if version(trt.__version__)[0] < FLAG_GONE_SINCE:
        return 1 << int(flags.STRONGLY_TYPED)
    return 0


def check_supported(trt: ModuleType, precision: str, outline: Outline, name: str) -> None:
    """Refuse what this TensorRT would misread without an error or cannot compute.

    TensorRT 8.6 takes the axes of a reduction from its attribute only; since opset 18 they are an input, and 8.6 then
    reduces over all axes. For 8.6, INT8 and FP16 in one graph is an FP32 graph with pairs, which TensorRT 10 would
    compute in FP32 as written. Raises InputError for such graphs, MissingError for a precision that 8.6 lacks.
    """
    if strongly_typed(trt):
        if precision == MIXED and outline.opset <= WEAKLY_TYPED_OPSET:
            raise InputError(
                f"{name}: {precision} of opset {outline.opset} is for TensorRT 8.6; {named(trt)} would compute in "
                f"FP32 what is not in INT8; export it again without --opset {WEAKLY_TYPED_OPSET}"
            )
        return
    if precision not in WEAKLY_TYPED_FLAGS:
        raise MissingError(f"TensorRT {trt.__version__} has no {precision}; export with --fp16, or install TensorRT 10")
    if precision == "fp16" and not all(node.type for node in outline.nodes):
        raise InputError(
            f"{name}: does not say of every node which type it computes in, so that TensorRT {trt.__version__} cannot "
            "be told which ones stay in FP32; export it again with fsr-export, or install TensorRT 10"
        )
    if outline.opset > WEAKLY_TYPED_OPSET:
        raise InputError(
            f"{name}: has ONNX opset {outline.opset}, TensorRT {trt.__version__} reads up to {WEAKLY_TYPED_OPSET}; "
            f"export it again with --opset {WEAKLY_TYPED_OPSET}"
        )


def parse(trt: ModuleType, network: tensorrt.INetworkDefinition, model: bytes, name: str) -> None:
    """Read a serialised ONNX model into a network.

    Raises InputError that names the PyTorch modules of the nodes that TensorRT cannot read.
    """
    with operation():
        parser = trt.OnnxParser(network, log(flavour_of(trt)))
        if not parser.parse(model):
            nodes = read_outline(model).nodes
            errors = [parser.get_error(index) for index in range(min(parser.num_errors, SHOWN_ERRORS))]
            reasons = "\n  ".join(_explain(error, nodes) for error in errors) or said()
            raise InputError(f"{name}: {named(trt)} cannot read this graph:\n  {reasons}")
        _check_tensors(trt, network, name)


def _check_tensors(trt: ModuleType, network: tensorrt.INetworkDefinition, name: str) -> None:
    """Raise InputError for what a parser takes and no build can do with: nothing at all, or faces of any size."""
    if network.num_inputs != 1 or network.num_outputs != 1:
        raise InputError(
            f"{name}: {named(trt)} reads {network.num_inputs} inputs and {network.num_outputs} outputs in it; "
            "an engine has one of each"
        )
    source = network.get_input(0)
    if min(tuple(source.shape)[1:], default=-1) < 1:
        raise InputError(
            f"{name}: its input {source.name} is {tuple(source.shape)}, a plan takes faces of one size; "
            "export it with a fixed height and width"
        )


def where(reason: str, nodes: tuple[Node, ...]) -> str:
    """Return the module of the node that a refusal names, "" for none: compilers add letters to our nodes' names."""
    found = max((node for node in nodes if node.name and node.name in reason), key=lambda n: len(n.name), default=None)
    return f" (module {found.module or '(top level)'}, node {found.name})" if found else ""


def _explain(error: tensorrt.ParserError, nodes: tuple[Node, ...]) -> str:
    index, reason = error.node(), " ".join(error.desc().split())
    if not 0 <= index < len(nodes):
        return reason
    node = nodes[index]
    return f"module {node.module or '(top level)'}, node {node.name} ({node.operator}): {reason}"


def write_precision(
    trt: ModuleType,
    network: tensorrt.INetworkDefinition,
    config: tensorrt.IBuilderConfig,
    precision: str,
    outline: Outline,
    in_fp32: Callable[[str], bool],
) -> None:
    """Make the builder compute in the graph's precision.

    FP32 means FP32: TF32 would round the sums that the graph keeps in FP32 to 10 bits. The rest is in the graph where
    networks are strongly typed. TensorRT 8.6 drops a graph's types as it parses (every float tensor is FP32 then), so
    that its flags allow the precision and the layers of the nodes whose result is FP32 in the file are pinned. A graph
    of INT8 and FP16 is all FP32 there: ``in_fp32`` tells of a module, by its path in the graph, that it stays so.
    """
    config.clear_flag(trt.BuilderFlag.TF32)
    if strongly_typed(trt):
        return
    for name in WEAKLY_TYPED_FLAGS[precision]:
        config.set_flag(trt.BuilderFlag.__members__[name])
    if precision == "fp16":
        types = {node.name: node.type for node in outline.nodes}
        pin_fp32_layers(trt, network, layers_of(network, lambda node: types[node] == FLOAT if node in types else None))
    elif precision == MIXED:
        pin_fp32_layers(trt, network, layers_of(network, lambda node: in_fp32(node.rpartition("/")[0])))


def layers_of(network: tensorrt.INetworkDefinition, chosen: Callable[[str], bool | None]) -> list[int]:
    """Return the layers that came from the nodes that ``chosen`` accepts; None is for a node of which nothing is known.

    TensorRT names a layer after its node, "module.path/Operator_index", with a number behind it where a node becomes
    several. Helpers that its parser adds around them have other names: they count for the nodes on both their sides.
    """
    names = [network.get_layer(index).name for index in range(network.num_layers)]
    known = [chosen(_COPY.sub(r"\1", name)) if "/" in name else None for name in names]
    before = _last_known(known)
    after = _last_known(known[::-1])[::-1]
    return [index for index, sides in enumerate(zip(before, after, strict=True)) if any(sides)]


def _last_known(values: Sequence[bool | None]) -> list[bool]:
    """Return each value, or where it is None the last one before it that is not, False for none."""
    result: list[bool] = []
    for value in values:
        result.append((bool(result) and result[-1]) if value is None else value)
    return result


def pin_fp32_layers(trt: ModuleType, network: tensorrt.INetworkDefinition, layers: Iterable[int]) -> None:
    """Hold those of these layers whose results are floating-point numbers to FP32 (TensorRT 8 only)."""
    unpinned = {trt.LayerType.__members__[name] for name in UNPINNED_LAYERS}
    for index in layers:
        layer = network.get_layer(index)
        outputs = range(layer.num_outputs)
        if layer.type in unpinned or any(layer.get_output(i).dtype != trt.DataType.FLOAT for i in outputs):
            continue
        layer.precision = trt.DataType.FLOAT
        for i in outputs:
            layer.set_output_type(i, trt.DataType.FLOAT)
