"""Which convolutions may compute in 8 bits at all, by what the graph says around them.

The parts that matter most for quality stay in float: the trunk with its residual sums and skips, attention, norms, the
first and the last convolutions. The others are dense convolutions, which do nearly all of the multiplications.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from fsr_deploy.exporting.graph.onnx_writer import module_of_node
from fsr_deploy.exporting.int8.formats import INT8, NumberFormat

# Sums, products and joins of two activations: an edge into one of them may be a residual, a skip or a gate.
MEETINGS = {"Add", "Sub", "Mul", "Div", "MatMul", "Max", "Min"}
SHAPES = {"Reshape", "Transpose", "Split", "Concat", "Flatten", "Squeeze", "Unsqueeze", "Slice"}

INT7_MAX = 63  # the largest value of 7 bits

DEPTHWISE = "depthwise and grouped convolutions are slower in 8 bits"
FLAT = "a convolution over a line of values multiplies too little to gain"
RIM = "the first and the last convolutions touch the picture itself"
ATTENTION = "inside attention, where rounding turns the weights of whole channels or positions"


@dataclass(frozen=True)
class Site:
    """A dense convolution: its module's path, its node, the tensor that it reads and the one that it gives.

    ``private`` tells that its result has one reader and meets no other activation before the next operation: it may be
    rounded to 8 bits without touching a residual, skip or gate. (With two readers, ONNX Runtime leaves the convolution
    in float.) ``weight_levels`` is the largest value that its weights take, None for all that their format has.
    ``weight_zero`` is what stands for a weight of 0, which decides how ONNX Runtime computes (timing.py).
    """

    module: str
    node: str
    source: str
    result: str
    private: bool
    weight_levels: int | None = None
    weight_zero: int = 0


def find_sites(
    model: ModelProto, float_modules: Mapping[str, str], number_format: NumberFormat = INT8
) -> tuple[list[Site], dict[str, str]]:
    """Return the convolutions that may compute in 8 bits, in order, and the reasons of all others by module.

    ``float_modules`` are modules that have to stay in float, with their reasons; a module covers those inside it.
    """
    flow = Dataflow(model)
    sites, reasons = [], {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            module = module_of_node(node.name)
            if reason := _reason(node, flow, number_format) or _given(module, float_modules):
                reasons[module] = reason
            else:
                sites.append(Site(module, node.name, node.input[0], node.output[0], _is_private(node, flow)))
    return sites, reasons


def _reason(node: NodeProto, flow: Dataflow, number_format: NumberFormat) -> str | None:
    """Return why a convolution stays in float whatever it measures, None where it need not."""
    if node.op_type == "ConvTranspose":
        return "transposed convolutions have no kernel of 8 bits in ONNX Runtime"
    if node.input[1] not in flow.constants:
        return "its weights are computed"
    if len(flow.constants[node.input[1]]) != 4:
        return FLAT
    if _group(node) != 1:
        return DEPTHWISE
    taps, most = math.prod(flow.constants[node.input[1]][2:]), number_format.most_taps
    if most and taps > most:
        return f"a kernel of {taps} positions; TensorRT has {number_format.title} kernels of at most {most}"
    before = flow.upstream(node, lambda at: not _is_dense(at))
    after = flow.downstream(node, lambda at: not _is_dense(at))
    if not any(map(_is_dense, before)) or not any(map(_is_dense, after)):
        return RIM
    attended = flow.upstream(node, lambda at: at.op_type in SHAPES)
    if any(_is_attention(at, flow) for at in (*after, *attended)):
        return ATTENTION
    return None


def _given(module: str, float_modules: Mapping[str, str]) -> str | None:
    return next((why for name, why in float_modules.items() if f"{module}.".startswith(f"{name}.")), None)


def _is_dense(node: NodeProto) -> bool:
    return node.op_type in ("Conv", "ConvTranspose") and _group(node) == 1


def _is_attention(node: NodeProto, flow: Dataflow) -> bool:
    return node.op_type == "MatMul" and len(flow.activations(node)) == 2


def _is_private(node: NodeProto, flow: Dataflow) -> bool:
    """Tell whether a convolution's result goes into one activation, convolution or reduction only.

    Changes of shape are looked through; joining the branches of one block, which read one tensor, is such a change.
    """
    if node.output[0] in flow.outputs or len(flow.readers[node.output[0]]) > 1:
        return False
    reached = flow.downstream(node, lambda at: at.op_type in SHAPES)
    return not any(at.op_type in MEETINGS and len(flow.activations(at)) > 1 for at in reached) and all(
        at.op_type != "Concat" or _joins_siblings(at, flow) for at in reached
    )


def _joins_siblings(concat: NodeProto, flow: Dataflow) -> bool:
    """Tell whether a concatenation joins nothing but convolutions of one tensor, padded as it may be."""
    before = flow.upstream(concat, lambda at: at.op_type in SHAPES)
    leaves = [at for at in before if at.op_type not in SHAPES]
    return all(map(_is_dense, leaves)) and len({_root(at, flow) for at in leaves}) == 1


def _root(node: NodeProto, flow: Dataflow) -> str:
    """Return the tensor that a convolution reads, before it was padded."""
    name = node.input[0]
    while name in flow.producer and flow.producer[name].op_type == "Pad":
        name = flow.producer[name].input[0]
    return name


def _group(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


class Dataflow:
    """A graph's tensors: ``producer`` and ``readers`` by name, ``constants`` the shapes of its initializers by name."""

    def __init__(self, model: ModelProto) -> None:
        self.constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self.producer: dict[str, NodeProto] = {}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            self.producer.update(dict.fromkeys(filter(None, node.output), node))
            for name in filter(None, node.input):
                self.readers[name].append(node)

    def activations(self, node: NodeProto) -> list[str]:
        """Return the inputs of a node that depend on the graph's input."""
        return [name for name in node.input if name and name not in self.constants]

    def downstream(self, node: NodeProto, passes: Callable[[NodeProto], bool]) -> list[NodeProto]:
        """Return the nodes that a node's results reach, through nodes that ``passes`` accepts."""
        return self._walk(node, lambda at: [reader for name in at.output for reader in self.readers[name]], passes)

    def upstream(self, node: NodeProto, passes: Callable[[NodeProto], bool]) -> list[NodeProto]:
        """Return the nodes that a node's results depend on, through nodes that ``passes`` accepts."""
        return self._walk(node, lambda at: [self.producer[name] for name in at.input if name in self.producer], passes)

    def _walk(
        self,
        node: NodeProto,
        neighbours: Callable[[NodeProto], list[NodeProto]],
        passes: Callable[[NodeProto], bool],
    ) -> list[NodeProto]:
        seen: dict[str, NodeProto] = {}
        waiting = neighbours(node)
        while waiting:
            at = waiting.pop()
            if at.name not in seen:
                seen[at.name] = at
                if passes(at):
                    waiting += neighbours(at)
        return list(seen.values())
