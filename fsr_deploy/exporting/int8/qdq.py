"""Quantize/Dequantize pairs written into a float graph; what computes in 8 bits is thereby part of the file.

Every engine reads the pairs the same way: a convolution between a DequantizeLinear of its input and one of its weights
is a convolution in INT8, or in FP8 (formats.py). Symmetric, zero point 0 (but see timing.py for CPUs with AMX, and
``unsigned`` for OpenVINO), one scale per tensor and per output channel of the weights, which is all that TensorRT
takes. The scales have the type of the float graph, FP32 or FP16, because strongly typed TensorRT computes what the
types say. A pair is used by the convolutions that read a tensor; all other nodes read the float tensor.

ONNX Runtime gets weights of 8 bits. TensorRT 8.4 refused such constants ("invalid weights type of Int8", NVIDIA's issue
2163): its weights are floats that a pair of their own turns into the same 8 bits exactly, as NVIDIA's tools write them.
Weights in FP8, which begins with TensorRT 10, are constants of 8 bits always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fsr_deploy.exporting.int8.formats import INT8, NumberFormat
from fsr_deploy.exporting.int8.sites import Site
from fsr_deploy.exporting.int8.weights import in_steps, scales_in, scales_of, to_floats, weight_scales, with_spare

# ONNX Runtime's direct INT8 convolution gives results of a multiple of 4 channels, with AVX2 of 8 (MLAS, convsym.cpp).
# Other numbers use copies and a matrix product: 28 channels from 28, 7x7, took 1.9 times as long as 32.
CHANNELS = 8


def insert(
    model: ModelProto,
    sites: Collection[Site],
    ranges: Mapping[str, float],
    *,
    results: bool,
    weights: Mapping[str, NDArray[np.float32]] | None = None,
    number_format: NumberFormat = INT8,
    unsigned: bool = False,
) -> ModelProto:
    """Return the graph with these convolutions in a format of 8 bits; without any, a copy of the graph as it is.

    ``ranges`` gives the largest magnitude, in float, of each tensor that is quantised. ``results`` rounds the results
    of private convolutions too, which ONNX Runtime needs to run a convolution in INT8; TensorRT does better without.
    ``weights`` are the weights before they were rounded to the graph's float type, by the names that they have in it.
    ``unsigned`` counts activations from 128 in uint8: the same numbers, which OpenVINO computes right where values
    counted from 0 in int8 may be wrong (openvino_pairs.py), also in a program that is not ours.
    """
    writer = _Writer(model, ranges, weights or {}, results=results, number_format=number_format, unsigned=unsigned)
    position = {node.name: at for at, node in enumerate(model.graph.node)}
    for site in sorted(sites, key=lambda site: position[site.node]):  # one may read another's result, rounded by then
        writer.quantise(site)
    return writer.finish()


class _Writer:
    """Builds the quantised graph: new nodes stand right before or after the node that they serve."""

    def __init__(
        self,
        model: ModelProto,
        ranges: Mapping[str, float],
        exact: Mapping[str, NDArray[np.float32]],
        *,
        results: bool,
        number_format: NumberFormat,
        unsigned: bool,
    ) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.ranges, self.exact, self.results, self.format = ranges, exact, results, number_format
        self.unsigned = unsigned
        self.nodes = {node.name: node for node in self.model.graph.node}
        self.weights = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.shapes = {
            value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            for value in (*self.model.graph.value_info, *self.model.graph.input)
        }
        self.before: dict[str, list[NodeProto]] = {}
        self.after: dict[str, list[NodeProto]] = {}
        self.replaced: dict[str, str] = {}  # results by what their readers get instead, rounded
        self.count = len(self.nodes)
        self.readers: Counter[str] = Counter()
        self.rounded: set[str] = set()

    def quantise(self, site: Site) -> None:
        """Put a convolution in 8 bits."""
        node = self.nodes[site.node]
        weights = numpy_helper.to_array(self.weights[node.input[1]])
        before = self._round_source(site, self.replaced.get(node.input[0], node.input[0]), weights.dtype)
        self.before.setdefault(site.node, []).extend(before)
        node.input[0] = before[-1].output[0]
        private = self.results and site.private
        self._quantise_weights(site, node, weights, spare=-len(weights) % CHANNELS if private else 0)
        if private:
            after = self.after[site.node] = self._round_result(site, node, len(weights), weights.dtype)
            self.replaced[site.result] = after[-1].output[0]

    def finish(self) -> ModelProto:
        """Return the graph."""
        ordered = []
        for node in self.model.graph.node:
            node.input[:] = [self.replaced.get(name, name) for name in node.input]
            ordered += [*self.before.get(node.name, ()), node, *self.after.get(node.name, ())]
        if self.before:
            ordered = [_copy(node) for node in ordered]
            del self.model.graph.node[:]
            self.model.graph.node.extend(ordered)
            used = {name for node in ordered for name in node.input}
            for tensor in [tensor for tensor in self.model.graph.initializer if tensor.name not in used]:
                self.model.graph.initializer.remove(tensor)
        return self.model

    def _pair(self, module: str, tensor: str, measured: str, dtype: np.dtype[Any]) -> list[NodeProto]:
        """Return the two nodes that round a tensor to the range that was ``measured`` of a float tensor."""
        value = scales_in(self._scale(measured), dtype, self.format)
        scale = self._constant(f"{measured}/scale_{self.readers[measured]}", value)
        zero = self._middle() if self.unsigned else self._zero(f"{self.format.name}/zero", ())
        quantised = self._node(module, "QuantizeLinear", [tensor, scale, zero])
        return [quantised, self._node(module, "DequantizeLinear", [quantised.output[0], scale, zero])]

    def _round_source(self, site: Site, source: str, dtype: np.dtype[Any]) -> list[NodeProto]:
        """Return the nodes that round what a convolution reads; for ONNX Runtime with the channels last.

        ONNX Runtime computes INT8 in that layout. By itself it transposes the 8-bit tensor, with threads that write to
        the same cache lines: 28 channels of 128x128 take 0.6 ms with two threads and 0.16 ms with one. Float tensors
        get that order for free when they leave the blocked layout. The Flatten prevents ONNX Runtime from moving the
        rounding before the transpose.
        """
        if not self.results:
            return self._pair(site.module, source, site.source, dtype)
        _, channels, height, width = self.shapes[site.source]
        shape = self._constant(f"int8/{height}x{width}x{channels}", np.array([-1, height, width, channels], np.int64))
        turned = self._node(site.module, "Transpose", [source], perm=[0, 2, 3, 1])
        flat = self._node(site.module, "Flatten", [turned.output[0]], axis=3)
        pair = self._pair(site.module, flat.output[0], site.source, dtype)
        shaped = self._node(site.module, "Reshape", [pair[-1].output[0], shape])
        back = self._node(site.module, "Transpose", [shaped.output[0]], perm=[0, 3, 1, 2])
        return [turned, flat, *pair, shaped, back]

    def _round_result(self, site: Site, node: NodeProto, channels: int, dtype: np.dtype[Any]) -> list[NodeProto]:
        """Return the nodes that round a convolution's result and leave its spare channels out."""
        if channels % CHANNELS == 0:
            return self._pair(site.module, site.result, site.result, dtype)
        node.output[0] = f"{site.result}/spare"
        pair = self._pair(site.module, node.output[0], site.result, dtype)
        bounds = [self._constant(f"int8/{at}", np.array([at], np.int64)) for at in (0, channels, 1)]
        return [*pair, self._node(site.module, "Slice", [pair[-1].output[0], *bounds])]

    def _scale(self, tensor: str) -> NDArray[np.float32]:
        """Return a tensor's scale; it is above 0, as engines require.

        Where results are rounded, for ONNX Runtime, it is one rounding step larger for each reader: it merges equal
        pairs of one tensor, and then finds none of their convolutions any more. For TensorRT pairs stay equal, so that
        one rounding can serve all readers.
        """
        scale = scales_of(np.float64(self.ranges[tensor]), self.format.largest)
        if self.results:
            for _ in range(self.readers[tensor]):
                scale = np.nextafter(scale, np.float32(np.inf))
            self.readers[tensor] += 1
        return np.asarray(scale)

    def _quantise_weights(self, site: Site, node: NodeProto, given: NDArray[np.floating[Any]], *, spare: int) -> None:
        """Round a convolution's weights, with ``spare`` output channels of zeros.

        They become a tensor of their own: ONNX Runtime fails where two convolutions share INT8 weights (where a CPU
        needs its exact products, "Attempt to replace the existing tensor").
        """
        name = node.input[1] if node.input[1] not in self.rounded else f"{node.name}/{node.input[1]}"
        self.rounded.add(name)
        weights = with_spare(self.exact.get(node.input[1], given).astype(np.float32), spare)
        if spare and len(node.input) > 2:
            bias = numpy_helper.to_array(self.weights[node.input[2]])
            node.input[2] = self._constant(f"{node.name}/{node.input[2]}", with_spare(bias, spare))
        largest = site.weight_levels or self.format.largest
        scales = scales_in(weight_scales(weights, largest), given.dtype, self.format)
        codes = self.format.codes(in_steps(weights, scales), largest)
        if site.weight_zero:  # the same numbers, counted from another one
            codes = (codes.astype(np.int16) + site.weight_zero).astype(codes.dtype)
        zero = self._zero(f"{name}/zero", scales.shape, site.weight_zero)
        step = [self._constant(f"{name}/scale", scales), zero]
        before = self.before[node.name]
        if self.results or self.format.floating:
            quantised = self._add(self.format.tensor(f"{name}/{self.format.name}", codes))
        else:
            floats = to_floats(self.format.numbers(codes), scales)
            inputs = [self._constant(f"{name}/rounded", floats), *step]
            before.append(self._node(site.module, "QuantizeLinear", inputs, axis=0))
            quantised = before[-1].output[0]
        before.append(self._node(site.module, "DequantizeLinear", [quantised, *step], axis=0))
        node.input[1] = before[-1].output[0]

    def _constant(self, name: str, value: NDArray | np.generic) -> str:
        return self._add(numpy_helper.from_array(np.asarray(value), name))

    def _zero(self, name: str, shape: tuple[int, ...], value: int = 0) -> str:
        return self._add(self.format.tensor(name, self.format.codes(np.full(shape, value, np.float32))))

    def _middle(self) -> str:
        return self._constant("uint8/middle", np.uint8(128))

    def _add(self, tensor: TensorProto) -> str:
        if tensor.name not in self.weights:
            self.model.graph.initializer.append(tensor)
            self.weights[tensor.name] = tensor
        return str(tensor.name)

    def _node(self, module: str, operation: str, inputs: list[str], **attributes: Any) -> NodeProto:
        self.count += 1
        name = f"{module}/{operation}_{self.count}"
        return helper.make_node(operation, inputs, [name], name, **attributes)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
