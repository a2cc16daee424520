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
from fsr_deploy.exporting.rewrite.rewrites import rewrite
from fsr_deploy.models.source import load_source

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]

foreign = pytest.importorskip("benchmarks.foreign")
spandrel = pytest.importorskip("spandrel")


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


@pytest.mark.parametrize(
    "name", ["DRUNet", "FDnCNN", "SeemoRe", "FFTformer", "HVI-CIDNet", "IPT", "ATD", "MoSR", "PLKSR", "GRL"]
)
def test_what_is_written_for_a_batch_is_what_spandrel_makes_of_each_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path, side = foreign.write_checkpoint(name, tmp_path), foreign.NETWORKS[name].side
    form = rewrite(load_source(str(path), lr_size=side).network, "tensorrt")
    theirs = spandrel.ModelLoader().load_from_file(path).eval()
    sort = torch.sort  # of ATD, which leaves the order of equal values to the machine
    monkeypatch.setattr(torch, "sort", lambda x, dim, stable: sort(x, dim=dim, stable=True))
    x = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        expected = torch.cat([theirs._call_fn(theirs.model, face) for face in x.split(1)])
        found = form(x * 2 - 1) * 0.5 + 0.5
    assert expected.std() > 0.02
    assert (found - expected).abs().max() < 2e-4


def test_weights_that_no_architecture_has_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"some.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: neither a registered model nor one of the \d+ architectures"):
        load_source(str(tmp_path / "other.pth"))
