"""Networks of the real spandrel, from checkpoints on disk to proven engines; in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fsr_deploy._util.sizes import Size
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.export import run_export
from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.models.source import load_source

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]

foreign = pytest.importorskip("benchmarks.foreign")
pytest.importorskip("spandrel")


@pytest.mark.parametrize(
    ("name", "size"), [("Compact", (24, 40)), ("SwinIR", 32), ("SPAN", 32), ("NAFNet", 32)], ids=str
)
def test_a_checkpoint_is_exported_within_its_budget_in_fp32_and_fp16(tmp_path: Path, name: str, size: Size) -> None:
    path = foreign.write_checkpoint(name, tmp_path)
    for precision in ("fp32", "fp16"):
        options = ExportOptions(
            str(path),
            precision=precision,
            lr_size=size,
            batches=(1, 2, 4),
            with_plan=False,
            output=tmp_path / precision,
        )
        assert run_export(options).info.parity_passed


@pytest.mark.parametrize("name", ["RestoreFormer", "GFPGAN"])
def test_a_face_restorer_is_written_as_it_computes(tmp_path: Path, name: str) -> None:
    source = load_source(str(foreign.write_checkpoint(name, tmp_path)))
    assert (source.scale, source.lr_size) == (1, 512)
    deployable, _ = prepare(source.network, lr_size=512, upsampling=1, target="tensorrt")
    export_onnx(deployable, tmp_path / "m.onnx", lr_size=512, batches=(1, 1, 1), precision="fp32", upsampling=1)
    lr = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 3), np.uint8)
    with torch.inference_mode():
        x = torch.from_numpy(lr).float().permute(0, 3, 1, 2) / 127.5 - 1
        expected = ((source.network(x) + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    sr = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"lr": lr})[0]
    off = np.abs(sr.astype(int) - expected)
    assert sr.std() > 10 and (off <= 1).mean() > 0.999, "a codebook's vector may be another where two are equally near"


def test_weights_that_no_architecture_has_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"some.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: neither a registered model nor one of the \d+ architectures"):
        load_source(str(tmp_path / "other.pth"))
