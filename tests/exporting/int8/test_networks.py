"""Every network has an INT8 form that engines take, its convolutions in INT8 wherever they may be."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import check_operators, export_onnx
from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.sites import find_sites
from fsr_deploy.exporting.int8.timing import choose
from fsr_deploy.exporting.precision.cast import precision_map
from fsr_deploy.models import registry
from tests.engines import optimised
from tests.exporting.graph.test_onnx_writer import LR_SIZE, SMALL


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names())
def test_a_network_is_written_in_int8(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    options = inspect.signature(registry.find(name).build).parameters
    network = registry.build(name, **{key: value for key, value in SMALL.items() if key in options}).eval()
    deployable, _ = prepare(network, lr_size=LR_SIZE, target="onnxruntime")
    path = tmp_path / "model.onnx"
    export_onnx(deployable, path, lr_size=LR_SIZE, batches=(1, 2, 4), precision="int8", opset=17)
    model = onnx.load(path)
    sites, _ = find_sites(model, dict.fromkeys(precision_map(deployable, "fp16"), "needs float"))
    assert sites
    choose(model, sites)  # times each of them

    ranges = {tensor: 4.0 for site in sites for tensor in (site.source, site.result)}
    for results in (False, True):
        graph = insert(model, sites, ranges, results=results)
        onnx.checker.check_model(graph, full_check=True)
        check_operators(graph)
        faces = np.random.default_rng(0).integers(0, 256, (3, LR_SIZE, LR_SIZE, 3), np.uint8)
        assert run_graph(graph, faces).shape == (3, 8 * LR_SIZE, 8 * LR_SIZE, 3)

    private = [site for site in sites if site.private]
    kinds = Counter(node.op_type for node in optimised(insert(model, private, ranges, results=True), tmp_path))
    assert kinds["QLinearConv"] == len(private)
