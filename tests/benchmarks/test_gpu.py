"""The GPU benchmarks from end to end on the stand-in machine: their logic, not their figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import gpu_build, gpu_bundles, gpu_eager, gpu_layers, gpu_parity, gpu_pipeline, gpu_speed
from fsr_deploy.bundle.info import REFERENCE_NAME, read_bundle, write_info
from tests.fakes.machine import Machine, MachineFactory
from tests.fakes.plans import lr_faces, write_bundle, write_plan
from tests.networks import register


@pytest.fixture
def gpu(machine: MachineFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.chdir(tmp_path)
    return machine("10.16")


def invoke(main: Any, *arguments: object, code: int = 0) -> Any:
    """Run a benchmark and return what it wrote."""
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [*map(str, arguments), "-o", "result.json"])
    assert result.exit_code == code, result.output
    return json.loads(Path("result.json").read_text())


def test_building_reports_both_builds_and_the_circumstances(gpu: Machine) -> None:
    write_bundle(Path("tiny-fp32"))
    written = invoke(gpu_build.main, "tiny-fp32", "--profiles", "1,1,1;2,4,8")
    assert (written["tensorrt"], written["gpu"]["name"]) == ("10.16.1.11", "NVIDIA H100")
    (row,) = written["rows"]
    assert row["bundle"] == "tiny-fp32" and row["within_budget"] and row["max_error_levels"] == 0
    assert len(gpu.tensorrt.builds) == 2
    plan = read_bundle(Path("tiny-fp32")).info.plan
    assert plan is not None and plan.profiles == ((1, 1, 1), (2, 4, 8))


def test_a_bundle_that_does_not_build_is_a_row_that_says_why(gpu: Machine) -> None:
    write_bundle(Path("tiny-fp32"))
    written = invoke(gpu_build.main, "tiny-fp32", "nowhere", "--profiles", "8,4,1")
    assert "refuses the profile" in written["rows"][0]["failed"]
    assert "no bundle.json here" in written["rows"][1]["failed"]


def test_parity_finds_a_right_plan_right(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    rows = invoke(gpu_parity.main, "tiny-fp32", "--batches", "1,3,8,64")["rows"]
    assert all(row["right"] for row in rows)
    assert [row["batch"] for row in rows if "batch" in row] == [1, 3, 8], "64 is more than the plan takes"
    assert [row["batches"] for row in rows if "batches" in row] == [200]


def test_parity_finds_a_wrong_plan_wrong(gpu: Machine) -> None:
    import numpy as np

    write_plan(gpu, Path("tiny-fp32"))
    np.savez(Path("tiny-fp32") / REFERENCE_NAME, lr=lr_faces(8), sr=np.zeros((8, 32, 32, 3), np.uint8))
    write_info(Path("tiny-fp32"), read_bundle(Path("tiny-fp32")).info)
    rows = invoke(gpu_parity.main, "tiny-fp32", "--batches", "2", code=5)["rows"]
    assert [row["right"] for row in rows] == [False, True, True, True]


def test_speed_measures_the_plan_in_each_way_it_can_run(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    rows = invoke(gpu_speed.main, "tiny-fp32", "--batches", "4,8,64", "--seconds", "0")["rows"]
    assert [(row["engine"], row["batch"]) for row in rows] == [
        ("TensorRT, CUDA graph", 1),
        ("TensorRT, no CUDA graph", 1),
        ("TensorRT, 2 in flight", 4),
        ("TensorRT, 2 in flight", 8),
    ]
    assert all(row["faces_per_s"] > 0 and row["gpu_mib"] > 2 for row in rows[2:])


def test_speed_takes_eagers_figures_from_another_python(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    other = Path("python")
    other.write_text(
        f"#!{sys.executable}\nimport json, sys\nprint('noise')\nprint(json.dumps([{{'engine': sys.argv[3]}}]))\n"
    )
    other.chmod(0o755)
    options = ("--batches", "4", "--seconds", "0", "--eager-python")
    last = invoke(gpu_speed.main, "tiny-fp32", *options, other.absolute())["rows"][-1]
    assert json.loads(last["engine"]) == {"model": "tiny", "options": {}, "lr_size": 4, "scale": 8}
    last = invoke(gpu_speed.main, "tiny-fp32", *options, "/bin/false")["rows"][-1]
    assert last["failed"] == "/bin/false ended with 1"


def test_eager_is_measured_in_both_precisions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register(monkeypatch)
    work = json.dumps({"model": "pixel", "options": {}, "lr_size": 4, "scale": 8})
    options = ["--batches", "1,2", "--seconds", "0", "--device", "-1", "--without-compile"]
    gpu_eager.main([work, *options])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["engine"].split(" ", 3)[2:], row["batch"]) for row in rows] == [
        (["eager", "FP32"], 1),
        (["eager", "FP32"], 2),
        (["eager", "FP16 channels-last"], 1),
        (["eager", "FP16 channels-last"], 2),
    ]


def test_the_pipeline_runs_from_files_to_files(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny-fp32")
    gpu_pipeline.write_faces(tmp_path / "lr", 12, 4)
    row = gpu_pipeline.run(tmp_path / "tiny-fp32", tmp_path / "lr", tmp_path / "sr", "jpg", "4", "cpu")
    assert row["faces"] == 12 and row["efficiency"] > 0 and row["bottleneck"]
    row = gpu_pipeline.run(tmp_path / "nowhere", tmp_path / "lr", tmp_path / "sr2", "jpg", "4", "cpu")
    assert row["failed"] == "fsr-run ended with 4"


def test_layers_are_listed_with_their_modules_and_tensorrts_description(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    rows = invoke(gpu_layers.main, "tiny-fp32", "--batch", "4")["rows"]
    assert sum(row["share"] for row in rows if "share" in row) == pytest.approx(1)
    assert all(row["about"]["Name"] == row["layer"] for row in rows if "layer" in row)


def test_a_fused_layer_counts_for_the_module_that_holds_all_its_nodes() -> None:
    layers = [("enc1.sa/Mul_3 + enc1.sa.qkv/Conv_4", 2.0), ("enc1.rdfe/Conv_7", 1.0), ("Reformatting CopyNode", 1.0)]
    rows = gpu_layers.by_module(layers, depth=2)
    assert [(row["module"], row["share"]) for row in rows] == [
        ("enc1.sa", 0.5),
        ("enc1.rdfe", 0.25),
        ("(TensorRT's own)", 0.25),
    ]


def test_bundles_are_exported_for_every_tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    monkeypatch.setattr(gpu_bundles, "BATCHES", (1, 2, 3))
    gpu_bundles.main(tmp_path, models="pixel", precisions="fp16", lr_size=4)
    from fsr_deploy.bundle.onnx_wire import read_outline

    assert read_outline((tmp_path / "pixel-fp16" / "model.onnx").read_bytes()).opset == 17
    assert (tmp_path / "pixel-fp16" / REFERENCE_NAME).is_file()
