"""fsr-export as a user meets it: bundles that run, errors that say what to do, nothing half-published."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from fsr_deploy.bundle.info import read_bundle, sha256
from fsr_deploy.cli.export import main
from fsr_deploy.cli.run import main as run_main
from fsr_deploy.exporting.proof.reference import lr_faces
from fsr_deploy.images.codec import read_frame
from fsr_deploy.models.checkpoints import Metadata, save_safetensors
from fsr_deploy.models.eager import Eager
from fsr_deploy.models.source import load_source
from fsr_deploy.runtime.open import open_session
from fsr_deploy.synthetic import write_faces
from tests.fakes.machine import MachineFactory
from tests.networks import Pixel, register, weights

SMALL = ("--lr-size", "4", "--batch", "1,2,3")


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)


def export(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> Any:
    result = export(*arguments)
    assert result.exit_code == 0, result.output
    return result


def error(result: Any) -> str:
    """Return the message that a failed command ended with."""
    return result.stderr.partition("error: ")[2].strip()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_file(weights(), tmp_path / "trained.safetensors")
    return tmp_path / "trained.safetensors"


@pytest.fixture(scope="session")
def aminet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.CompletedProcess[str]]]:
    """The main job, as a command of its own: FP16 AMINet, small."""
    folder = tmp_path_factory.mktemp("aminet")
    command = [sys.executable, "-c", "from fsr_deploy.cli.export import main; main()", "aminet-tiny", "--fp16"]
    command += ["--lr-size", "8", "--batch", "1,2,5", "--check-tensorrt", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    yield folder / "aminet-tiny-fp16", done


def test_the_main_job_writes_a_bundle_that_is_proven(aminet: tuple[Path, Any]) -> None:
    path, done = aminet
    assert done.returncode == 0, done.stderr
    info = read_bundle(path).info
    assert sorted(info.files) == ["layers.json", "model.onnx", "parity.png", "reference.npz", "report.html"]
    assert [row["batch"] for row in info.parity] == [1, 2, 5, 1, 2, 5]
    assert ["rounded to fp16" in row["engine"] for row in info.parity] == [False] * 3 + [True] * 3
    assert all(row["psnr_db"] >= 50 and row["finite"] for row in info.parity) and info.parity_passed
    (worst,) = info.worst_case
    assert worst["engine"] == "FP16 sums, rounded every 32 products" and worst["batch"] == 1
    assert 45 < worst["psnr_db"] < max(row["psnr_db"] for row in info.parity)
    assert (info.precision, info.trained, info.lr_size, info.batches) == ("fp16", False, 8, (1, 2, 5))
    assert {kept["precision"] for kept in info.precision_map.values()} == {"fp32"}
    assert [row["batch"] for row in info.latency["rows"]] == [1, 2]
    assert all(sha256(path / name) == digest for name, digest in info.files.items())


def test_the_real_compiler_tells_what_it_makes_of_each_module(aminet: tuple[Path, Any]) -> None:
    path, done = aminet
    kernels = read_bundle(path).info.kernels
    assert f"{kernels['count']} kernels, " in done.stderr and kernels["count"] > 100
    assert "compiled for sm_80, sm_86, sm_89, sm_120, sm_121: " in done.stderr
    modules = {module["module"]: module for module in kernels["modules"]}
    assert modules["network.head"]["convolutions"] == 1
    assert any("MatMul" in node for module in modules.values() for node in module["fp32"]), "attention is in FP32"
    assert "What TensorRT compiles it to" in (path / "report.html").read_text()


def test_the_summary_on_stdout_is_one_json_object_with_all_that_is_known(aminet: tuple[Path, Any]) -> None:
    path, done = aminet
    summary = json.loads(done.stdout)
    assert summary.pop("bundle") == "aminet-tiny-fp16"
    assert summary == json.loads((path / "bundle.json").read_text())


def test_the_messages_tell_the_steps_and_what_comes_next(aminet: tuple[Path, Any]) -> None:
    lines = aminet[1].stderr
    for line in (
        "warning: aminet-tiny has untrained weights, its faces mean nothing; give --checkpoint for real ones",
        "write the fp16 graph",
        "run the eager FP32 module",
        "run the engine and compare",
        "at worst on a GPU: FP16 sums, rounded every 32 products; told, not held to the budget",
        "wrote aminet-tiny-fp16: layers.json, model.onnx, ",
        "build it where the GPU is: fsr-export --rebuild aminet-tiny-fp16",
        "run it: fsr-run aminet-tiny-fp16 FRAMES -o OUT",
    ):
        assert line in lines


def test_fsr_run_runs_the_bundle_where_torch_and_onnx_are_not(aminet: tuple[Path, Any], tmp_path: Path) -> None:
    write_faces(tmp_path / "frames", 3, lr_size=8)
    script = (
        "import sys; sys.modules.update(torch=None, onnx=None)\n"
        "from fsr_deploy.cli.run import main\n"
        f"main([{str(aminet[0])!r}, 'frames', '-o', 'upscaled'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "precision fp16, 8x8 -> 64x64" in done.stderr and "NOT TRAINED" in done.stderr
    assert [read_frame(path).shape for path in sorted(Path("upscaled").glob("*.png"))] == [(64, 64, 3)] * 3


def test_the_same_export_gives_the_same_bytes_in_another_process() -> None:
    script = (
        "import pytest\n"
        "from fsr_deploy.cli.export import main\n"
        "from tests.networks import register\n"
        "register(pytest.MonkeyPatch())\n"
        f"main(['pixel', '--fp16', '-o', 'other', *{SMALL}])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, env=environment)
    succeed("pixel", "--fp16", "-o", "one", *SMALL)
    for name in ("model.onnx", "reference.npz"):
        assert Path("one", name).read_bytes() == Path("other", name).read_bytes()


def test_the_reference_in_the_bundle_is_what_eager_makes_of_the_faces(aminet: tuple[Path, Any]) -> None:
    with np.load(aminet[0] / "reference.npz", allow_pickle=False) as arrays:
        lr, sr = arrays["lr"], arrays["sr"]
    assert np.array_equal(lr, lr_faces(None, 5, 8, 8))
    assert np.array_equal(sr, Eager(load_source("aminet-tiny").network, 8).run(lr))


def test_a_checkpoint_is_exported_with_its_hash_and_no_warning(checkpoint: Path) -> None:
    result = succeed("pixel", "--checkpoint", checkpoint, *SMALL)
    assert "untrained" not in result.stderr
    info = read_bundle(Path("pixel-fp32")).info
    assert info.trained and info.checkpoint_sha256 == sha256(checkpoint)
    network = Pixel()
    network.load_state_dict(weights())
    faces = lr_faces(None, 3, 4, 8)
    difference = open_session("pixel-fp32").upscale(faces).astype(int) - Eager(network, 8).run(faces)
    assert np.abs(difference).max() <= 1


def test_a_checkpoint_that_names_its_model_is_all_that_is_needed(tmp_path: Path) -> None:
    save_safetensors(weights(channels=6), tmp_path / "best.safetensors", Metadata("pixel", {"channels": 6}))
    result = succeed(tmp_path / "best.safetensors", "--bf16", *SMALL)
    assert "--rebuild pixel-bf16" in result.stderr and "fsr-run" not in result.stderr  # no engine runs it here
    info = read_bundle(Path("pixel-bf16")).info
    assert (info.model, info.options, info.precision) == ("pixel", {"channels": 6}, "bf16")
    assert all("rounded to bf16" in row["engine"] for row in info.parity) and info.latency == {}


def test_float_tensors_in_and_out_are_the_bare_network() -> None:
    result = succeed("pixel", "--io", "float", *SMALL)
    info = read_bundle(Path("pixel-fp32")).info
    assert (info.inputs[0].dtype, info.inputs[0].shape) == ("float32", ("N", 3, 32, 32))
    assert info.parity_passed and "fsr-run" not in result.stderr


FOR_ONNX_RUNTIME = "the graph is written for ONNX Runtime; for a GPU with TensorRT export it with --target tensorrt"
FOR_TENSORRT = "build it where the GPU is: fsr-export --rebuild bundle"
FOR_RTX = "build it on any machine: fsr-export --rebuild bundle --target rtx --gpus sm_86"


@pytest.mark.parametrize(
    ("options", "target", "advice"),
    [
        ((), "onnxruntime", FOR_ONNX_RUNTIME),
        (("--fp16",), "tensorrt", FOR_TENSORRT),
        (("--bf16", "--target", "tensorrt"), "tensorrt", FOR_TENSORRT),
        (("--target", "trt", "--no-plan"), "tensorrt", f"no TensorRT plan: --no-plan\n{FOR_TENSORRT}"),
        (("--target", "rtx", "--gpus", "sm_86", "--no-plan"), "tensorrt", FOR_RTX),
        (("--fp16", "--target", "onnx"), "onnxruntime", None),
        (("--bf16", "--target", "cpu", "--no-plan"), "onnxruntime", None),
    ],
)
def test_without_a_gpu_the_graph_is_written_for_what_was_asked_and_the_advice_fits_it(
    no_driver: None, options: tuple[str, ...], target: str, advice: str | None
) -> None:
    result = succeed("pixel", *options, *SMALL, "-o", "bundle")
    info = read_bundle(Path("bundle")).info
    assert info.graph_target == target and info.parity_passed and info.plan is None
    assert advice in result.stderr if advice else "export it with" not in result.stderr
    assert ("--rebuild" in result.stderr) == ("--rebuild" in (advice or ""))


def test_a_folder_of_faces_is_what_the_engine_is_proven_with(tmp_path: Path) -> None:
    write_faces(tmp_path / "photos", 2, seed=9)
    succeed("pixel", "--faces", tmp_path / "photos", *SMALL)
    with np.load("pixel-fp32/reference.npz") as arrays:
        assert len(arrays["lr"]) == 2


def test_an_engine_over_budget_is_not_published_and_the_old_bundle_stays(tmp_path: Path) -> None:
    succeed("coarse", "-o", "engine", *SMALL)
    before = {path.name: path.read_bytes() for path in Path("engine").iterdir()}
    result = export("coarse", "--fp16", "--no-repair", "-o", "engine", *SMALL)
    assert result.exit_code == 5
    message = error(result).splitlines()
    assert message[0] == "the engine differs from the eager module by more than its budget:"
    assert all("rounded to fp16, batch " in line for line in message[1:]) and len(message) == 4
    assert all(line.endswith(" dB, the budget is at least 50 dB") for line in message[1:])
    assert {path.name: path.read_bytes() for path in Path("engine").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_force_publishes_an_engine_over_budget_and_says_so_everywhere() -> None:
    result = succeed("coarse", "--fp16", "--no-repair", "--force", *SMALL)
    info = read_bundle(Path("coarse-fp16")).info
    assert all(f"warning: {note}" in result.stderr for note in info.notes)
    assert not info.parity_passed and len(info.notes) == 3
    assert info.notes[0].startswith("over its parity budget, published by force: ONNX Runtime ")
    assert "over budget, published by force" in Path("coarse-fp16/report.html").read_text()
    write_faces(Path("frames"), 1, lr_size=4)
    run = CliRunner().invoke(run_main, ["coarse-fp16", "frames"])
    assert all(f"warning: {note}" in run.stderr for note in info.notes)


def test_a_budget_may_be_loosened_and_tightened() -> None:
    succeed("coarse", "--fp16", "--budget-db", 10, *SMALL)
    info = read_bundle(Path("coarse-fp16")).info
    assert info.budget == {"min_psnr_db": 10, "max_levels": None, "max_loss_db": None}
    assert not info.precision_map
    assert export("coarse", "--fp16", "--budget-db", 10, "--budget-levels", 3, "--no-repair", *SMALL).exit_code == 5


def test_an_engine_that_overflows_is_caught() -> None:
    result = export("overflowing", "--fp16", "--io", "float", "--no-repair", *SMALL)
    assert result.exit_code == 5
    lines = [line for line in error(result).splitlines() if line.endswith(": NaN or Inf in its output")]
    assert sum("rounded to fp16" in line for line in lines) == 3


def test_where_tensorrt_and_a_gpu_are_the_plan_is_built_proven_and_timed(machine: MachineFactory) -> None:
    machine("10.16")
    result = succeed("pixel", "--fp16", "--plan", *SMALL)
    info = read_bundle(Path("pixel-fp16")).info
    assert info.plan is not None and "engine.plan" in info.files
    assert [row["batch"] for row in info.parity if row["engine"].startswith("TensorRT")] == [1, 2, 3]
    assert info.latency["engine"].startswith("TensorRT")
    assert info.graph_target == "tensorrt"
    assert "--rebuild" not in result.stderr
    assert f"TensorRT {info.plan.tensorrt} for {info.plan.gpu}" in Path("pixel-fp16/report.html").read_text()


@pytest.mark.parametrize(
    ("options", "target", "planned"),
    [
        ((), "tensorrt", True),
        (("--no-plan",), "tensorrt", False),
        (("--target", "tensorrt"), "tensorrt", True),
        (("--target", "onnxruntime"), "onnxruntime", False),
    ],
)
def test_where_a_plan_can_be_built_it_is_unless_something_else_was_asked_for(
    machine: MachineFactory, options: tuple[str, ...], target: str, planned: bool
) -> None:
    machine("10.16")
    result = succeed("pixel", *options, *SMALL, "-o", "bundle")
    info = read_bundle(Path("bundle")).info
    assert (info.graph_target, info.plan is not None) == (target, planned)
    assert ("build it where the GPU is" in result.stderr) == (options == ("--no-plan",))


def bad(path: Path, content: object) -> Path:
    """Write what a bad checkpoint holds: bytes, or a value that PyTorch saves."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


WITHOUT = {name: tensor for name, tensor in weights().items() if name != "body.2.bias"}
NAN = {**weights(), "body.2.bias": torch.full((3,), float("nan"))}
CHECKPOINTS = {
    "code": (
        "a.pth",
        pickle.dumps(os.getcwd, protocol=2),
        "a.pth: refused: it holds more than weights (posix.getcwd), and loading that could run code; "
        "if you trust it, torch.load it with weights_only=False and save the state dict alone, best as safetensors",
    ),
    "missing": ("gone.pth", None, "gone.pth: no such file"),
    "empty": ("a.pth", b"", "a.pth: the file is empty"),
    "cut off": ("a.safetensors", b"\x40\0\0\0\0\0\0\0{", "a.safetensors: cut off or not a safetensors file"),
    "no checkpoint": ("a.png", b"\x89PNG", "a.png: not a checkpoint: it begins neither like safetensors nor"),
    "wrong keys": (
        "a.pth",
        WITHOUT,
        "a.pth: not weights of pixel: 1 missing (body.2.bias); they fit no registered model",
    ),
    "wrong shapes": (
        "a.pth",
        weights(channels=5),
        "a.pth: not weights of pixel: 3 of another shape (body.0.weight (5, 3, 3, 3) instead of (4, 3, 3, 3), "
        "body.0.bias (5,) instead of (4,), body.2.weight (3, 5, 1, 1) instead of (3, 4, 1, 1)); "
        "they fit no registered model",
    ),
    "NaN": (
        "a.pth",
        NAN,
        "a.pth: body.2.bias holds NaN or infinity; take a checkpoint from before the training broke",
    ),
}


@pytest.mark.parametrize(("name", "content", "message"), CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_a_bad_checkpoint_is_named_and_nothing_is_written(
    tmp_path: Path, name: str, content: object, message: str
) -> None:
    if content is not None:
        bad(tmp_path / name, content)
    result = export("pixel", "--checkpoint", name, *SMALL)
    assert result.exit_code == 4
    assert error(result).startswith(message)
    assert not Path("pixel-fp32").exists()


@pytest.mark.parametrize("wrap", ["module.", "params", "params_ema", "state_dict"])
def test_prefixes_and_wrappers_of_training_frameworks_are_taken_off(tmp_path: Path, wrap: str) -> None:
    content = {f"{wrap}{k}": v for k, v in weights().items()} if wrap.endswith(".") else {wrap: weights()}
    source = load_source("pixel", bad(tmp_path / "a.pth", content))
    assert all(torch.equal(tensor, weights()[name]) for name, tensor in source.network.state_dict().items())


def test_a_plan_without_a_gpu_is_refused_before_any_work(no_driver: None) -> None:
    result = export("pixel", "--plan")
    assert result.exit_code == 3
    assert error(result).startswith("--plan: this machine has no NVIDIA driver")
    assert error(result).endswith("without it, --rebuild builds the plan later, where the GPU is")
    assert "write the" not in result.stderr


def test_a_folder_that_is_no_bundle_is_refused_before_any_work(tmp_path: Path) -> None:
    write_faces(tmp_path / "photos", 1)
    result = export("pixel", "-o", "photos")
    assert result.exit_code == 4
    assert error(result) == f"{tmp_path / 'photos'}: not empty and not a bundle; name another directory with -o"
    assert "write the" not in result.stderr


@pytest.mark.parametrize(("name", "message"), [("gone", "gone: no such folder"), ("empty", "empty: no images in it (")])
def test_a_folder_without_faces_is_refused_before_any_work(name: str, message: str) -> None:
    Path("empty").mkdir()
    result = export("pixel", "--faces", name)
    assert result.exit_code == 4
    assert error(result).startswith(message)
    assert "write the" not in result.stderr
