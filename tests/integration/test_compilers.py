"""Every network in FP16, and the main ones in other precisions, through the compiler of TensorRT for RTX.

The whole table is benchmarks/compilers.py's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compilers import TURING_HAS_NOT, compile_all
from fsr_deploy.bundle.info import MIXED
from fsr_deploy.exporting.tensorrt.gpus import TURING, gpus_for
from fsr_deploy.models import registry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

# Parts of MFSPNet are in MFSPNet; each network with other operators is here once.
NETWORKS = [name for name in registry.names() if not name.startswith("mfspnet.")]
CELLS = [(network, "fp16") for network in NETWORKS]
CELLS += [(network, precision) for network in ("aminet", "aminet-tiny", "sparnet") for precision in ("fp32", "bf16")]
CELLS += [("aminet", MIXED)]


@pytest.mark.parametrize(("network", "precision"), CELLS)
def test_a_graph_is_compiled_for_every_gpu_and_for_turing(tmp_path: Path, network: str, precision: str) -> None:
    rows = list(compile_all(network, precision, tmp_path))
    assert [(row.gpus, row.reason) for row in rows] == [
        (gpus, "") for gpus in (gpus_for(precision), (TURING,))[: 1 if precision in TURING_HAS_NOT else 2]
    ]
