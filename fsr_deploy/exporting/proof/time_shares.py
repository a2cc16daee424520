"""Which block an engine's time goes to, by the engine's own profiler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fsr_deploy._util.json_records import decode, read_json
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import LAYERS_NAME
from fsr_deploy.bundle.layers import ModuleCost, ModuleTable, owners
from fsr_deploy.exporting.precision.blocks import in_network, innermost
from fsr_deploy.exporting.precision.search import Damage
from fsr_deploy.runtime.kernel_times import KernelRun, OnnxRecorder

RUNS = 8  # beside the first, in which memory is laid out


def record_on_cpu(graph: Path, batch: int) -> list[KernelRun]:
    """Run a written graph of uint8 faces on the CPU a few times while ONNX Runtime records its kernels."""
    recorder = OnnxRecorder(read_engine_file(graph), batch)
    for _ in range(1 + RUNS):
        recorder.run()
    return recorder.finish()[1:]


def add_shares(damages: Sequence[Damage], runs: Sequence[KernelRun], graph: Path) -> list[Damage]:
    """Return the damages with each block's share of the recorded runs, without that of the blocks inside it.

    ``graph`` is what was recorded, with its layers.json beside it.
    """
    table: ModuleTable = decode(ModuleTable, read_json(graph.with_name(LAYERS_NAME)), "")
    blocks = [damage.module for damage in damages]
    # Layers that are blocks of their own are no modules of the paper; the table has to know them.
    layers = {f"network.{block}": ModuleCost("", 0, 0, 0) for block in blocks if block}
    table = replace(table, modules={**layers, **table.modules})
    shares = np.median([_shares(run, table, blocks) for run in runs], axis=0)
    return [replace(damage, share=float(share)) for damage, share in zip(damages, shares, strict=True)]


def _shares(run: KernelRun, table: ModuleTable, blocks: Sequence[str]) -> list[float]:
    """Return each block's share of the seconds of a run."""
    seconds = dict.fromkeys(blocks, 0.0)
    modules = owners([name for name, _ in run.kernels], table)
    for module, (_, taken) in zip(modules, run.kernels, strict=True):
        path = in_network(module, "uint8")
        block = None if path is None else innermost(path, blocks)
        if block is not None and (block or path == block):  # what is in no block does not belong to the network either
            seconds[block] += taken
    return [seconds[block] / run.seconds for block in blocks]
