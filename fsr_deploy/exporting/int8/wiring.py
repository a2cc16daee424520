"""Who gives and who reads each tensor of a graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from onnx import ModelProto, NodeProto


class Wiring:
    """A graph's tensors: ``producer`` and ``readers`` by name, ``constants`` the shapes of its initializers by name."""

    def __init__(self, model: ModelProto) -> None:
        self.constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self.producer: dict[str, NodeProto] = {}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            self.producer.update(dict.fromkeys(node.output, node))
            for name in node.input:
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
