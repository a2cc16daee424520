"""Which of the convolutions that may compute in INT8 do so: on a CPU those that measure faster, one by one.

A convolution and its activation are timed alone, with the rounding before and after it: inside a chain of INT8
convolutions they can only be cheaper. Equal shapes are timed once. One thread's computing time is measured, so that the
choice does not depend on other load.

Without VNNI a CPU adds two products of 8 bits in 16, which overflow; ONNX Runtime then multiplies 8-bit weights in
another way, exact and slower. Weights of 7 bits cannot overflow: there they are timed too, and taken where that is much
faster. With VNNI both take the same time, and only noise would choose them.

With AMX the fastest way is a matrix product, and ONNX Runtime 1.32 goes another one, with VNNI, where weights are
counted from 0. Counted from -1 they are the same weights, exactly, and it multiplies matrices. That is up to 1.7 times
as fast for wide 3x3 convolutions and less than half as fast for 1x1: there both ways are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto, NodeProto, helper

from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.exporting.graph.shapes import tensor_shapes
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.sites import INT7_MAX, Site
from fsr_deploy.runtime.machine import AMX, instructions, multiplies_int8_exactly

TURNS = 9
NARROW_GAIN = 0.9  # of the time with 8-bit weights, which 7-bit ones have to stay below to be worth their rounding
MATRIX_PRODUCT = -1  # the weights' zero point with which ONNX Runtime multiplies matrices; -127 becomes -128
ACTIVATIONS = {"Relu", "LeakyRelu", "Sigmoid", "Clip"}


@dataclass(frozen=True)
class ConvolutionTiming:
    """Milliseconds of one convolution for one face in FP32 and in INT8, the least of several turns.

    ``weight_levels`` and ``weight_zero`` are those of the site in INT8.
    """

    float_ms: float
    int8_ms: float
    weight_levels: int | None = None
    weight_zero: int = 0

    @property
    def pays(self) -> bool:
        """Whether INT8 is faster."""
        return self.int8_ms < self.float_ms


def choose(
    model: ModelProto, sites: Sequence[Site], advance: Callable[[int], None] = lambda count: None
) -> tuple[list[Site], dict[str, str]]:
    """Return the convolutions that are faster in INT8 on this CPU, and the reasons of the others by module.

    Only private ones: ONNX Runtime computes in INT8 where the result is rounded too, and a residual must not be.
    """
    shapes = tensor_shapes(model)
    timings: dict[str, ConvolutionTiming] = {}
    chosen, reasons = [], {}
    for site in sites:
        advance(1)
        if not site.private:
            reasons[site.module] = "its result has several readers or meets a residual, skip or gate, in float"
            continue
        alone = unit(model, site, shapes)
        key = _key(alone)
        if key not in timings:
            timings[key] = measure(alone, site)
        timing = timings[key]
        if timing.pays:
            chosen.append(replace(site, weight_levels=timing.weight_levels, weight_zero=timing.weight_zero))
        else:
            reasons[site.module] = f"slower in INT8 here: {timing.int8_ms:.2f} ms, {timing.float_ms:.2f} ms in FP32"
    return chosen, reasons


def measure(unit: ModelProto, site: Site) -> ConvolutionTiming:
    """Time a graph of one convolution in FP32 and in INT8, in each way that may be fastest here, turn by turn.

    That is with weights of 8 bits, without VNNI of 7 bits too, and with AMX as a matrix product too.
    """
    ranges = {site.source: 4.0, site.result: 4.0}
    ways = [replace(site, weight_levels=None)]
    if not multiplies_int8_exactly():
        ways.append(replace(site, weight_levels=INT7_MAX))
    if AMX in instructions():
        ways.append(replace(site, weight_zero=MATRIX_PRODUCT))
    runs = [_runner(model) for model in (unit, *(insert(unit, [one], ranges, results=True) for one in ways))]
    turns = [[run() for run in runs] for _ in range(TURNS)]
    float_ms, wide_ms, *others = np.min(turns, axis=0).tolist()
    best, ms = ways[0], wide_ms
    for way, way_ms in zip(ways[1:], others, strict=True):
        if way_ms < (NARROW_GAIN * wide_ms if way.weight_levels else ms):
            best, ms = way, way_ms
    return ConvolutionTiming(float_ms, ms, best.weight_levels, best.weight_zero)


def _runner(model: ModelProto) -> Callable[[], float]:
    """Return a function that runs a graph once on noise and returns its milliseconds."""
    session = open_graph(model, threads=1)
    entry = session.get_inputs()[0]
    feeds = {entry.name: np.random.default_rng(0).standard_normal(entry.shape, np.float32)}
    session.run(None, feeds)

    def run() -> float:
        start = time.thread_time()
        session.run(None, feeds)
        return 1e3 * (time.thread_time() - start)

    return run


def unit(model: ModelProto, site: Site, shapes: dict[str, list[int]]) -> ModelProto:
    """Return the graph of one convolution and the activation after it, for one face."""
    conv = next(node for node in model.graph.node if node.name == site.node)
    readers = [node for node in model.graph.node if site.result in node.input]
    nodes = [conv]
    if len(readers) == 1 and readers[0].op_type in ACTIVATIONS:
        nodes.append(readers[0])
    else:  # a reader, so that the rounding of the result is part of what is timed
        nodes.append(helper.make_node("Identity", [site.result], [f"{site.result}/read"], f"{site.node}/read"))
        shapes[f"{site.result}/read"] = shapes[site.result]
    names = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "unit",
        [helper.make_tensor_value_info(site.source, 1, shapes[site.source])],
        [helper.make_tensor_value_info(nodes[-1].output[0], 1, shapes[nodes[-1].output[0]])],
        [tensor for tensor in model.graph.initializer if tensor.name in names],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _key(unit: ModelProto) -> str:
    """Return what a unit's speed depends on: operations, attributes and shapes, no names and no weights."""
    parts: Iterable[NodeProto] = unit.graph.node
    operations = [(node.op_type, sorted(map(str, node.attribute))) for node in parts]
    return str((operations, [list(t.dims) for t in unit.graph.initializer], str(unit.graph.input[0].type)))
