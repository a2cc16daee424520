"""The GPU benchmarks from end to end on the stand-in machine: their logic, not their figures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks import gpu_build, gpu_bundles, gpu_layers, gpu_parity, gpu_pipeline, gpu_speed
from benchmarks.gpu_common import bundles_in
from benchmarks.rows import read_rows
from fsr_deploy.bundle.info import REFERENCE_NAME, read_bundle, write_info
from fsr_deploy.exporting.tensorrt import plan_proof
from fsr_deploy.runtime.tensorrt.session import TensorRTSession
from tests.fakes.cuda import cudaError_t
from tests.fakes.machine import Machine, MachineFactory
from tests.fakes.plans import lr_faces, write_bundle, write_plan

RESULT = Path("result.jsonl")


@pytest.fixture
def gpu(machine: MachineFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_parity, "RANDOM_BATCHES", 20)
    return machine("10.16")


def invoke(main: Any, *arguments: object, code: int = 0) -> list[dict[str, Any]]:
    """Run a benchmark and return the rows of its figures."""
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [*map(str, arguments), "-o", str(RESULT)])
    assert result.exit_code == code, result.output
    return [row for row in read_rows(RESULT) if row["question"] != "circumstances"]


def test_building_reports_both_builds_and_the_circumstances(gpu: Machine) -> None:
    write_bundle(Path("tiny-fp32"))
    rows = invoke(gpu_build.main, "tiny-fp32", "--profiles", "1,1,1;2,4,8")
    around = read_rows(RESULT)[0]
    assert (around["of"], around["tensorrt"], around["gpu"]["name"]) == ("build", "10.16.1.11", "NVIDIA H100")
    assert [(row["bundle"], row["timings"]) for row in rows] == [
        ("tiny-fp32", "none"),
        ("tiny-fp32", "of the first build"),
    ]
    assert all(row["within_budget"] and row["max_error_levels"] == 0 for row in rows)
    assert len(gpu.tensorrt.builds) == 2
    plan = read_bundle(Path("tiny-fp32")).info.plan
    assert plan is not None and plan.profiles == ((1, 1, 1), (2, 4, 8))


def test_the_seconds_of_a_build_are_without_the_proof(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(Path("tiny-fp32"))
    prove = plan_proof.prove_plan

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return prove(*arguments, **options)

    monkeypatch.setattr(plan_proof, "prove_plan", slowly)
    (row,) = invoke(gpu_build.main, "tiny-fp32", "--timing-cache", "timings", "--level", 1)
    assert row["with_proof_s"] - row["build_s"] > 0.3
    assert (row["level"], row["timings"]) == (1, "kept")
    assert Path("timings").is_file()


def test_a_bundle_that_does_not_build_is_a_row_that_says_why_and_the_next_is_built(gpu: Machine) -> None:
    write_bundle(Path("good"))
    rows = invoke(gpu_build.main, "nowhere", "good", "--timing-cache", "timings", "--profiles", "1,4,8", code=1)
    assert "no bundle.json here" in rows[0]["failed"] and rows[1]["within_budget"]
    assert (
        "--profile 8,4,1: not MIN,OPT,MAX" in invoke(gpu_build.main, "good", "--profiles", "8,4,1", code=1)[0]["failed"]
    )


def test_parity_finds_a_right_plan_right(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    rows = invoke(gpu_parity.main, "tiny-fp32", "--batches", "1,3,8,64")
    assert all(row["right"] for row in rows)
    assert [row["batch"] for row in rows if "batch" in row] == [1, 3, 8], "64 is more than the plan takes"
    assert [row["batches"] for row in rows if "batches" in row] == [20]


def test_parity_finds_a_wrong_plan_wrong(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    np.savez(Path("tiny-fp32") / REFERENCE_NAME, lr=lr_faces(8), sr=np.zeros((8, 32, 32, 3), np.uint8))
    write_info(Path("tiny-fp32"), read_bundle(Path("tiny-fp32")).info)
    rows = invoke(gpu_parity.main, "tiny-fp32", "--batches", "2", code=5)
    assert [row["right"] for row in rows] == [False, True, True, True]


@pytest.mark.parametrize("benchmark", [gpu_parity.main, gpu_speed.main])
def test_a_bundle_without_a_plan_does_not_end_the_others(gpu: Machine, benchmark: Any) -> None:
    write_bundle(Path("no-plan"))
    write_plan(gpu, Path("with-plan"))
    seconds = ("--seconds", "0") if benchmark is gpu_speed.main else ()
    rows = invoke(benchmark, "no-plan", "with-plan", "--batches", "4", *seconds, code=1)
    assert [row["bundle"] for row in rows if "failed" in row] == ["no-plan"]
    assert "engine.plan" in rows[0]["failed"]
    assert len([row for row in rows if row["bundle"] == "with-plan"]) >= 3


def test_speed_measures_the_plan_in_each_way_it_can_run(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    rows = invoke(gpu_speed.main, "tiny-fp32", "--batches", "4,8,64", "--seconds", "0")
    assert [(row["engine"], row["batch"]) for row in rows] == [
        ("TensorRT, CUDA graph", 1),
        ("TensorRT, no CUDA graph", 1),
        ("TensorRT, batches in flight", 4),
        ("TensorRT, batches in flight", 8),
    ]
    assert all(row["faces_per_s"] > 0 and row["gpu_mib"] > 2 and row["in_flight"] == 2 for row in rows[2:])
    assert rows[0]["graph_failure"] == ""


def test_the_reason_of_a_refused_capture_is_kept(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    refusal = cudaError_t.cudaErrorStreamCaptureUnsupported
    monkeypatch.setattr(gpu.cuda, "cudaStreamBeginCapture", lambda stream, mode: (refusal,))
    rows = invoke(gpu_speed.main, "tiny-fp32", "--batches", "4", "--seconds", "0")
    with_graph, without, in_flight = rows
    assert "streamcaptureunsupported" in with_graph["graph_failure"]
    assert "graph_failure" not in without
    assert "streamcaptureunsupported" in in_flight["graph_failure"]


def test_what_was_measured_before_the_end_is_there(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark that is ended in the middle of a figure leaves those before it, and goes on with that one."""
    write_plan(gpu, Path("tiny-fp32"))
    throughput = gpu_speed.throughput

    def ended(session: TensorRTSession, size: int, *others: Any) -> Any:
        if size == 8:
            raise KeyboardInterrupt
        return throughput(session, size, *others)

    monkeypatch.setattr(gpu_speed, "throughput", ended)
    options = ("tiny-fp32", "--batches", "4,8", "--seconds", "0")
    before = invoke(gpu_speed.main, *options, code=130)
    assert [row["batch"] for row in before] == [1, 1, 4]
    monkeypatch.setattr(gpu_speed, "throughput", throughput)
    after = invoke(gpu_speed.main, *options, "--go-on")
    assert after[:3] == before and [row["batch"] for row in after] == [1, 1, 4, 8]
    assert invoke(gpu_speed.main, *options, "--go-on") == after
    assert len(invoke(gpu_speed.main, *options)) == 4, "without --go-on it begins anew"


def test_a_machine_without_a_gpu_is_told_so_in_one_line(
    no_driver: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        gpu_speed.main([tmp_path], output=tmp_path / "rows")
    assert ended.value.exit_code == 3
    assert capsys.readouterr().err == "error: this machine has no NVIDIA driver (libcuda.so.1 is not found)\n"


def test_the_pipeline_runs_from_files_to_files(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny-fp32")
    gpu_pipeline.write_faces(tmp_path / "lr", 12, 4)
    row = gpu_pipeline.run(tmp_path / "tiny-fp32", tmp_path / "lr", tmp_path / "sr", "jpg", "4", "cpu")
    assert row["faces"] == 12 and row["efficiency"] > 0 and row["bottleneck"]
    with pytest.raises(RuntimeError, match="fsr-run ended with 4"):
        gpu_pipeline.run(tmp_path / "nowhere", tmp_path / "lr", tmp_path / "sr2", "jpg", "4", "cpu")


def test_the_pipelines_faces_are_drawn_and_not_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_pipeline, "DRAWN", 2)
    gpu_pipeline.write_faces(tmp_path, 5, 64)
    files = sorted(tmp_path.iterdir())
    faces = [cv2.imread(str(path)).astype(int) for path in files]
    assert len(files) == 5 and np.array_equal(faces[0], faces[4]) and not np.array_equal(faces[0], faces[1])
    assert np.abs(np.diff(faces[0], axis=0)).mean() < 20, "neighbours of noise are 85 levels apart"


def test_layers_are_listed_with_their_modules_and_tensorrts_description(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    times, description = invoke(gpu_layers.main, "tiny-fp32", "--batch", "4")
    assert sum(row["share"] for row in times["modules"]) == pytest.approx(1)
    assert [layer["Name"] for layer in description["layers"]] == [layer["layer"] for layer in times["layers"]]


def test_layer_times_are_there_where_the_description_cannot_be_read(
    gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    monkeypatch.setattr(TensorRTSession, "inspect", lambda self: json.loads("not JSON"))
    times, description = invoke(gpu_layers.main, "tiny-fp32", "--batch", "4", code=1)
    assert times["modules"] and "JSONDecodeError" in description["failed"]


def test_a_fused_layer_counts_for_the_module_that_holds_all_its_nodes() -> None:
    layers = [("enc1.sa/Mul_3 + enc1.sa.qkv/Conv_4", 2.0), ("enc1.rdfe/Conv_7", 1.0), ("Reformatting CopyNode", 1.0)]
    rows = gpu_layers.by_module(layers, depth=2)
    assert [(row["module"], row["share"]) for row in rows] == [
        ("enc1.sa", 0.5),
        ("enc1.rdfe", 0.25),
        ("(TensorRT's own)", 0.25),
    ]


@pytest.mark.parametrize(
    ("name", "tensorrt", "precision", "opset"),
    [
        ("aminet-fp32", "10", "fp32", None),
        ("aminet-int8-fp16", "10", "int8+fp16", None),
        ("aminet-int8-fp16", "8.6", "int8+fp16", 17),
        ("tiny-fp16", "8.6", "fp16", 17),
    ],
)
def test_bundles_are_in_the_form_that_their_tensorrt_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, tensorrt: str, precision: str, opset: int | None
) -> None:
    exported: list[Any] = []

    def export(options: Any) -> Any:
        exported.append(options)
        return type("Bundle", (), {"path": options.output})

    monkeypatch.setattr(gpu_bundles, "run_export", export)
    gpu_bundles.main(tmp_path, names=name, tensorrt=tensorrt)
    (options,) = exported
    assert (options.precision, options.opset, options.target, options.with_plan) == (
        precision,
        opset,
        "tensorrt",
        False,
    )
    assert options.output == tmp_path / name
    if name.startswith("tiny"):
        assert Path(options.model).is_file()


def test_hidden_folders_and_files_are_no_bundles(tmp_path: Path) -> None:
    for name in ("tiny-fp16", ".tiny-fp16.building"):
        write_bundle(tmp_path / name)
    (tmp_path / "README").write_text("")
    (tmp_path / "empty").mkdir()
    assert bundles_in(tmp_path) == [tmp_path / "tiny-fp16"]


def test_results_are_json_lines(gpu: Machine) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    invoke(gpu_layers.main, "tiny-fp32", "--batch", "4")
    assert [json.loads(line)["question"] for line in RESULT.read_text().splitlines()] == [
        "circumstances",
        "layers",
        "layers",
    ]
