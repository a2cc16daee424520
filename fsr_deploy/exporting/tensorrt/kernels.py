"""What TensorRT made of a graph, module by module: read from what the compiler of TensorRT for RTX says in a build.

Its log lists the kernels of the plan, each with its types and the ONNX nodes that it computes. No GPU is needed for
that, and nothing is known of speed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

LIST = "Layers:"
BY_ITSELF = ""  # the module of what the compiler adds and of what comes from no module
CONVOLUTIONS = ("correlation", "deconv")
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
FUSIBLE = 2  # nodes in a kernel that make it a fused one

_KERNEL = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: (?P<inputs>.*?), (?:Constants: (?P<constants>.*?), )?"
    r"Outputs: (?P<outputs>.*?), TacticName: .*?Metadata: ?(?P<nodes>.*)$"
)
_TYPE = re.compile(r"Datatype: (\w+)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_BYTES = {
    "activation_bytes": re.compile(r"Total Activation Memory: (\d+) bytes"),
    "weight_bytes": re.compile(r"Total Weights Memory: (\d+) bytes"),
}


@dataclass(frozen=True)
class Kernel:
    """One kernel: its kind, the types of its inputs and outputs ("Half"), and the ONNX nodes that it computes."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass
class ModuleKernels:
    """The kernels that compute one module: how many, of how many nodes, and which of its nodes are in FP32.

    ``fused`` counts kernels of several nodes, ``int8`` and ``fp8`` the convolutions whose input is in that type.
    ``fp32`` are nodes in kernels whose results are all FP32, ``unfused`` are quantising nodes in a kernel of their own,
    which cost a pass over memory.
    """

    module: str
    nodes: int = 0
    kernels: int = 0
    fused: int = 0
    convolutions: int = 0
    int8: int = 0
    fp8: int = 0
    fp32: list[str] = field(default_factory=list)
    unfused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kernels:
    """All of a plan: how many kernels, the memory of activations at the largest batch and of weights, the modules."""

    count: int
    activation_bytes: int
    weight_bytes: int
    modules: list[ModuleKernels]


def listen(messages: Iterable[str]) -> Kernels | None:
    """Return what the messages of a build tell of its kernels, None where they list none."""
    messages = list(messages)
    lists = [message for message in messages if message.startswith(LIST)]
    if not lists:
        return None
    sizes = dict.fromkeys(_BYTES, 0)
    for message in messages:
        for name, pattern in _BYTES.items():
            if found := pattern.search(message):
                sizes[name] = max(sizes[name], int(found[1]))
    kernels = [kernel for line in lists[-1].split("\n") if (kernel := read_kernel(line))]
    return Kernels(len(kernels), modules=by_module(kernels), **sizes)


def read_kernel(line: str) -> Kernel | None:
    """Return the kernel that one line of the list describes, None for another line."""
    found = _KERNEL.match(line.strip())
    if found is None:
        return None
    inputs, outputs = (tuple(_TYPE.findall(found[side])) for side in ("inputs", "outputs"))
    return Kernel(found["name"], found["kind"], inputs, outputs, tuple(dict.fromkeys(_NODE.findall(found["nodes"]))))


def by_module(kernels: Sequence[Kernel]) -> list[ModuleKernels]:
    """Return the modules that the kernels compute, in their order.

    A kernel counts for the module of its first node, a convolution with what is fused into it for the convolution's.
    """
    modules: dict[str, ModuleKernels] = defaultdict(lambda: ModuleKernels(BY_ITSELF))
    for kernel in kernels:
        name = _module_of_kernel(kernel)
        found = modules[name]
        found.module = name
        found.kernels += 1
        found.nodes += len(kernel.nodes)
        found.fused += len(kernel.nodes) >= FUSIBLE
        if kernel.kind in CONVOLUTIONS:
            found.convolutions += 1
            found.int8 += kernel.inputs[:1] == ("Int8",)
            found.fp8 += kernel.inputs[:1] == ("FP8",)
        elif all(_operator(node) in QUANTIZING for node in kernel.nodes) and kernel.nodes:
            found.unfused += kernel.nodes
        if kernel.outputs and set(kernel.outputs) == {"Float"}:
            found.fp32 += kernel.nodes
    return list(modules.values())


def _module_of_kernel(kernel: Kernel) -> str:
    convolutions = [node for node in kernel.nodes if _operator(node).startswith("Conv")]
    return module_of((convolutions or list(kernel.nodes))[0]) if kernel.nodes else BY_ITSELF


def module_of(node: str) -> str:
    """Return the dotted path of the PyTorch module that a node came from."""
    return node.rpartition("/")[0]


def _operator(node: str) -> str:
    return node.rpartition("/")[2].rpartition("_")[0]
