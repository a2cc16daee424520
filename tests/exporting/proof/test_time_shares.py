"""The time of an engine, block by block: each operation counts once, for the innermost block that it is in."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from fsr_deploy.bundle.layers import ModuleCost, ModuleTable
from fsr_deploy.exporting.precision.search import Damage, as_table
from fsr_deploy.exporting.proof.quality import Quality
from fsr_deploy.exporting.proof.time_shares import add_shares
from fsr_deploy.runtime.kernel_times import KernelRun

MODULES = {"": "Deployable", "bicubic": "Bicubic", "network": "Net", "network.a": "LGFI", "network.a.b": "FRM"}
MODULES |= {"network.a.b.c": "ConvBlock", "network.d": "SA"}
KERNELS = {
    "bicubic/MatMul_0": 1.0,  # around the network
    "network.head/Conv_1": 2.0,
    "network.a/Add_2": 4.0,
    "network.a.b.c/Conv_3": 8.0,
    "network.d/MatMul_4": 16.0,
    "network/Add_5": 32.0,
}


@pytest.mark.parametrize(
    ("blocks", "seconds"),
    [
        (("", "head", "a", "a.b", "d"), (32, 2, 4, 8, 16)),
        (("", "a.b"), (34, 8)),  # as in INT8: SA is in no block, the head in none but the network itself
        (("a",), (12,)),
    ],
)
def test_each_kernel_counts_for_the_innermost_block(
    tmp_path: Path, blocks: tuple[str, ...], seconds: tuple[int, ...]
) -> None:
    table = ModuleTable({path: ModuleCost(kind, 0, 0, 0) for path, kind in MODULES.items()})
    (tmp_path / "layers.json").write_text(json.dumps(asdict(table)))
    damages = [Damage(block, "Kind", Quality(50.0)) for block in blocks]
    usual, slow = KernelRun(list(KERNELS.items()), 100.0), KernelRun(list(KERNELS.items()), 300.0)
    found = add_shares(damages, [usual, slow, usual], tmp_path / "model.onnx")
    assert [damage.share for damage in found] == [pytest.approx(part / 100) for part in seconds]


def test_the_table_shows_what_is_known_and_leaves_the_rest_empty() -> None:
    lines = as_table(
        [
            Damage("", "Net", Quality(12.0, finite=False)),
            Damage("a", "LGFI", Quality(41.234), 0.1251),
            Damage("a.b", "FRM", Quality(float("inf")), 0.002),
        ]
    )
    assert lines == [
        "block                 class  PSNR alone    time",
        "(the network itself)  Net    NaN or Inf",
        "a                     LGFI     41.23 dB  12.5 %",
        "a.b                   FRM         equal   0.2 %",
    ]
