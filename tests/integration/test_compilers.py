"""Networks of all kinds in FP16, and AMINet in all precisions, through the compiler of TensorRT for RTX.

The whole table, every network in every precision, is benchmarks/compilers.py's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compilers import OF_TENSORRT, TURING_HAS_NOT, compile_all
from fsr_deploy.exporting.tensorrt.gpus import TURING, gpus_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

# Each with operators or attention that no other has; what only lacks a part or has other kernel sizes is not here, nor
# is the tiny network, which make test compiles in all precisions.
NETWORKS = (
    *("aminet", "aminet.ffn", "aminet.skaf-max", "aminet.skaf-mean", "aminet.transformer"),
    *("mfspnet", "sparnet", "sparnet.edff"),
)
# SPARNet is in MFSPNet, whose INT8 and FP16 meet in one graph.
PRECISIONS = {"aminet": OF_TENSORRT, "mfspnet": ("fp16", "int8+fp16")}


@pytest.mark.parametrize("network", NETWORKS)
def test_its_graphs_are_compiled_for_every_gpu_and_for_turing(tmp_path: Path, network: str) -> None:
    precisions = PRECISIONS.get(network, ("fp16",))
    compiled = [
        (row.precision, row.gpus, row.reason) for rows in compile_all(network, precisions, tmp_path) for row in rows
    ]
    assert compiled == [
        (precision, gpus, "")
        for precision in precisions
        for gpus in (gpus_for(precision), (TURING,))[: 1 if precision in TURING_HAS_NOT else 2]
    ]
