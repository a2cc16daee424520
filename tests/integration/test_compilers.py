"""Every network in FP16, and the main ones in all precisions, through the compiler of TensorRT for RTX.

The whole table is benchmarks/compilers.py's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compilers import OF_TENSORRT, TURING_HAS_NOT, compile_all
from fsr_deploy.exporting.tensorrt.gpus import TURING, gpus_for
from fsr_deploy.models import registry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

# Parts of MFSPNet are in MFSPNet; each network with other operators is here once.
NETWORKS = [name for name in registry.names() if not name.startswith("mfspnet.")]
IN_ALL_PRECISIONS = ("aminet", "mfspnet")  # SPARNet is in MFSPNet


@pytest.mark.parametrize("network", NETWORKS)
def test_its_graphs_are_compiled_for_every_gpu_and_for_turing(tmp_path: Path, network: str) -> None:
    precisions = OF_TENSORRT if network in IN_ALL_PRECISIONS else ("fp16",)
    compiled = [
        (row.precision, row.gpus, row.reason) for rows in compile_all(network, precisions, tmp_path) for row in rows
    ]
    assert compiled == [
        (precision, gpus, "")
        for precision in precisions
        for gpus in (gpus_for(precision), (TURING,))[: 1 if precision in TURING_HAS_NOT else 2]
    ]
