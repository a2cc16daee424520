"""What half precision does to each block of a network, and the fewest blocks back to FP32 until the budget holds.

Blocks are ranked on the FP32 graph, in which the operations of one block alone read and store rounded values: what a
half-precision unit would do there, without an export for each block. What is then returned to FP32 is exported and
proven like any other engine; the ranking only says where to begin.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto
from torch import nn

from fsr_deploy._util.log import progress, say
from fsr_deploy.bundle.info import LAYERS_NAME, ONNX_NAME
from fsr_deploy.errors import ParityError
from fsr_deploy.exporting.graph.onnx_writer import module_of_node
from fsr_deploy.exporting.graph.sessions import CHUNK, run_graph
from fsr_deploy.exporting.graph.write import graph_in, write_graph
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.exporting.precision.blocks import find_blocks, holds, in_network, innermost
from fsr_deploy.exporting.precision.cast import PrecisionMap, precision_map
from fsr_deploy.exporting.precision.emulate import round_nodes
from fsr_deploy.exporting.precision.search import Damage, rank, repair
from fsr_deploy.exporting.proof.engines import open_engines
from fsr_deploy.exporting.proof.parity import refuse_unless_forced
from fsr_deploy.exporting.proof.quality import Judge, Quality
from fsr_deploy.exporting.rewrite.rewrites import Target, rewrite
from fsr_deploy.models.source import Source

RANKED = 4  # faces, the hardest, that rank the blocks; what is decided on is proven with all


@dataclass(frozen=True)
class HalfPrecision:
    """A network that is to compute in ``options.precision``, "fp16" or "bf16", for a target; ``judge`` rates faces."""

    options: ExportOptions
    source: Source
    target: Target
    judge: Judge

    @cached_property
    def blocks(self) -> dict[str, str]:
        """The class of each block by its name in the network."""
        return find_blocks(self.source.network, self._rewritten, self._fallbacks)

    @cached_property
    def damages(self) -> list[Damage]:
        """What each block does to the faces when it alone is in half precision, the worst first."""
        with progress("blocks one by one", len(self.blocks)) as advance:
            return rank(self.blocks, self.estimate, self.blocks.__getitem__, advance)

    def estimate(self, reduced: Collection[str]) -> Quality:
        """Return the quality of the hardest faces with these blocks alone in half precision."""
        return self._hardest(run_graph(self.partly(reduced), self._hardest.inputs))

    def partly(self, reduced: Collection[str]) -> ModelProto:
        """Return the FP32 graph with the operations of these blocks alone rounded to half precision."""
        nodes = {node.name for node in self._graph.graph.node if self._block(node.name) in reduced}
        return round_nodes(self._graph, nodes, self.options.precision)

    def repair(self, path: Path) -> PrecisionMap:
        """Return the fewest blocks to FP32 until the budget holds, and replace the graph and its layers.json by that.

        Returns what stays in FP32 and why. Raises ParityError, the files untouched, where the budget cannot be kept.
        """
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder) / ONNX_NAME

            def measure(reduced: Collection[str]) -> Quality:
                if not (quality := self.estimate(reduced)).within(self.options.budget):
                    return quality
                returned = dict.fromkeys((block for block in self.blocks if block not in reduced), "on trial")
                write_graph(self.options, self.source, self.target, trial, returned, self.blocks)
                return self._prove(trial)

            returned, quality = repair(list(self.blocks), measure, self.options.budget, lambda: self.damages)
            for block, reason in returned.items():
                say(f"    back to FP32: {block or 'the network itself'} ({self.blocks[block]}), {reason}")
            say(f"    {quality}")
            for name in (ONNX_NAME, LAYERS_NAME):
                shutil.copyfile(trial.with_name(name), path.with_name(name))
        return precision_map(self._rewritten, self.options.precision, returned, self.blocks, self.target)

    def _prove(self, path: Path) -> Quality:
        """Return the quality of a written graph in the strictest way that it can be run here."""
        inputs, budget = self.judge.inputs, self.options.budget
        chunks = [inputs[start : start + CHUNK] for start in range(0, len(inputs), CHUNK)]
        engines = open_engines(path, self.options.precision, self.options.io, target=self.target)
        found = [self.judge(np.concatenate([engine.run(chunk) for chunk in chunks])) for engine in engines]
        return max(found, key=lambda quality: (not quality.within(budget), quality.error))

    @cached_property
    def _hardest(self) -> Judge:
        return self.judge.hardest(run_graph(self.partly(self.blocks), self.judge.inputs), RANKED)

    @cached_property
    def _rewritten(self) -> nn.Module:
        return rewrite(self.source.network, self.target)

    @cached_property
    def _fallbacks(self) -> PrecisionMap:
        return precision_map(self._rewritten, self.options.precision, target=self.target)

    @cached_property
    def _graph(self) -> ModelProto:
        return graph_in("fp32", self.options, self.source, self.target)

    def _block(self, node: str) -> str | None:
        """Return the block of a node, None for one that stays in FP32 anyway."""
        name = in_network(module_of_node(node), self.options.io)
        if name is None or any(holds(fallback, name) for fallback in self._fallbacks):
            return None
        return innermost(name, self.blocks)


@dataclass(frozen=True)
class Reduced:
    """What a graph in reduced precision became: ``kept`` are the modules in float, ``damages`` those of --analyze.

    ``compared`` are the precisions that were measured side by side.
    """

    kept: PrecisionMap
    damages: list[Damage] = field(default_factory=list)
    compared: list[dict[str, Any]] = field(default_factory=list)


def repair_half(options: ExportOptions, half: HalfPrecision, directory: Path, kept: PrecisionMap) -> PrecisionMap:
    """Return the fewest blocks of a graph in half precision to FP32; returns what is kept now, and was kept before.

    Raises ParityError, unless forced, where the budget cannot be kept.
    """
    try:
        return half.repair(directory / ONNX_NAME)
    except ParityError as error:
        refuse_unless_forced(error, forced=options.force)
        return kept
