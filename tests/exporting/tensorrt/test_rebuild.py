"""fsr-export --rebuild: the plan of an existing bundle, proven and put in place, or nothing changed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.info import ONNX_NAME, PLAN_NAME, REFERENCE_NAME, read_bundle, write_info
from fsr_deploy.cli.export import main
from fsr_deploy.errors import InputError, MissingError, ParityError
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.plan import rebuild_plan, why_no_plan
from fsr_deploy.runtime.cuda.driver import has_gpu
from fsr_deploy.runtime.open import open_session
from tests.contract.table import RELEASES
from tests.engines import repeat_pixels
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import describe, lr_faces, write_bundle


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("release", RELEASES)
def test_a_bundle_gets_a_plan_that_runs_and_is_proven_at_every_batch_size_of_its_profiles(
    machine: MachineFactory, tmp_path: Path, release: str
) -> None:
    machine(release)
    directory = tmp_path / "bundle"
    write_bundle(directory)
    before = contents(directory)
    rebuild_plan(directory, PlanOptions(profiles=((1, 1, 1), (2, 8, 16))))
    info = read_bundle(directory).info
    assert info.plan is not None and info.plan.tensorrt.startswith(release)
    assert [row["batch"] for row in info.parity] == [1, 2, 8, 16]
    assert all(row["engine"].startswith("TensorRT") and row["psnr_db"] is None for row in info.parity)
    assert info.parity_passed
    after = contents(directory)
    assert all(after[name] == content for name, content in before.items() if name != "bundle.json")
    session = open_session(directory, "cuda")
    assert session.in_flight == 2, "both lanes have to share a profile"
    assert np.array_equal(session.upscale(lr_faces(9)), repeat_pixels(lr_faces(9)))


def test_a_second_rebuild_replaces_plan_and_figures(machine: MachineFactory, tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    write_bundle(directory)
    kept = {"engine": "ONNX Runtime 1.32.0 (CPUExecutionProvider)", "batch": 1, "psnr_db": 60.0}
    write_info(directory, replace(read_bundle(directory).info, parity=[kept]))
    machine("10.16")
    rebuild_plan(directory, PlanOptions())
    machine("11.4")
    rebuild_plan(directory, PlanOptions(profiles=((1, 2, 2),)))
    info = read_bundle(directory).info
    assert info.plan is not None and info.plan.tensorrt == "11.4.0.106"
    assert [(row["engine"].split()[0], row["batch"]) for row in info.parity] == [
        ("ONNX", 1),
        ("TensorRT", 1),
        ("TensorRT", 2),
    ]


def test_a_rebuild_keeps_the_profiles_of_the_plan_that_it_replaces(machine: MachineFactory, tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    write_bundle(directory)
    machine("10.16")
    rebuild_plan(directory, PlanOptions(profiles=((1, 1, 1), (2, 8, 16))))
    machine("11.4")
    rebuild_plan(directory, PlanOptions())
    plan = read_bundle(directory).info.plan
    assert plan is not None and plan.profiles == ((1, 1, 1), (2, 8, 16))


def write_wrong_reference(directory: Path, error: int) -> None:
    faces = lr_faces(8)
    wrong = np.clip(repeat_pixels(faces).astype(int) + error, 0, 255).astype(np.uint8)
    np.savez_compressed(directory / REFERENCE_NAME, lr=faces, sr=wrong)
    write_info(directory, read_bundle(directory).info)


def test_a_plan_over_its_budget_is_not_published(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    write_wrong_reference(directory, error=2)
    before = contents(directory)
    with pytest.raises(ParityError, match=r"off by up to 2.00 levels"):
        rebuild_plan(directory, PlanOptions())
    assert contents(directory) == before


def test_a_plan_over_its_budget_is_published_by_force_and_marked(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    write_wrong_reference(directory, error=2)
    rebuild_plan(directory, PlanOptions(), force=True)
    info = read_bundle(directory).info
    assert not info.parity_passed and any("published by force" in note for note in info.notes)


def test_a_plan_is_held_to_the_truth_that_the_bundle_carries(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    faces = lr_faces(8)
    truth = repeat_pixels(faces)
    eager = np.clip(truth.astype(int) + np.random.default_rng(0).integers(-1, 2, truth.shape), 0, 255).astype(np.uint8)
    write_info(directory, replace(read_bundle(directory).info, precision="int8", budget={"min_psnr_db": 40.0}))
    for known, lost in ((eager, True), (truth, False)):  # the plan gives `truth`: it loses where that is another face
        np.savez_compressed(directory / REFERENCE_NAME, lr=faces, sr=eager, truth=known)
        write_info(directory, read_bundle(directory).info)
        before = contents(directory)
        if lost:
            with pytest.raises(
                ParityError, match=r"batch \d+: .* dB lost against the truth, the budget is at most 0\.1 dB"
            ):
                rebuild_plan(directory, PlanOptions())
            assert contents(directory) == before
        else:
            rebuild_plan(directory, PlanOptions())
            assert read_bundle(directory).info.parity[-1]["loss_db"] < 0


def test_the_plan_is_judged_by_the_budget_of_the_bundle(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    write_wrong_reference(directory, error=2)
    write_info(directory, replace(read_bundle(directory).info, budget={"max_levels": 3.0}))
    rebuild_plan(directory, PlanOptions())
    assert read_bundle(directory).info.parity_passed


def test_a_bundle_whose_graph_was_changed_is_refused_untouched(machine: MachineFactory, tmp_path: Path) -> None:
    gpu = machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    (directory / ONNX_NAME).write_bytes((directory / ONNX_NAME).read_bytes() + b"\0")
    before = contents(directory)
    with pytest.raises(InputError, match=r"model.onnx: its SHA-256 is not the one in bundle.json"):
        rebuild_plan(directory, PlanOptions())
    assert contents(directory) == before and not gpu.tensorrt.builds


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip file", b"PK\x03\x04 cut off"],
    ids=["empty", "text", "cut off"],
)
def test_reference_faces_that_cannot_be_read_are_named(machine: MachineFactory, tmp_path: Path, content: bytes) -> None:
    gpu = machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    (directory / REFERENCE_NAME).write_bytes(content)
    write_info(directory, read_bundle(directory).info)
    with pytest.raises(InputError, match=r"reference.npz: not the reference faces of this bundle"):
        rebuild_plan(directory, PlanOptions())
    assert PLAN_NAME not in contents(directory) and not gpu.tensorrt.builds, "known before minutes are spent"


def test_a_machine_without_a_gpu_says_so_in_one_sentence(no_driver: None, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    with pytest.raises(MissingError) as caught:
        rebuild_plan(tmp_path / "bundle", PlanOptions())
    assert str(caught.value) == why_no_plan() == "this machine has no NVIDIA driver (libcuda.so.1 is not found)"


def test_a_machine_without_tensorrt_is_told_what_to_install(
    machine: MachineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("10.16")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert why_no_plan().startswith("TensorRT is not installed")
    assert why_no_plan().endswith("install it with: pip install 'fsr-deploy[gpu]'")


def test_an_old_tensorrt_is_refused(machine: MachineFactory) -> None:
    machine("8.6").tensorrt.__version__ = "8.5.3.1"
    assert why_no_plan().startswith("TensorRT 8.5.3.1 is too old; 8.6, 10 and 11 are supported")


def test_the_command_rebuilds_and_reports(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    result = CliRunner().invoke(main, ["--rebuild", str(directory), "--profile", "1,2,4", "--level", "1", "--json"])
    assert result.exit_code == 0, result.output
    assert '"tensorrt": "10.16.1.11"' in result.stdout
    assert f"run it: fsr-run {directory}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["aminet", "--rebuild", "bundle"], 2, "--rebuild takes a bundle as it is; leave MODEL out"),
        (["--rebuild", "bundle", "--device", "cpu"], 2, "a plan is built for a GPU; name cuda:0, cuda:1"),
        (["--rebuild", "bundle", "--hardware", "volta"], 2, "--hardware volta: not one of none, same-compute-"),
        (["--rebuild", "bundle", "--profile", "4,2,1"], 2, "--profile 4,2,1: not MIN,OPT,MAX"),
        (["--rebuild", "nowhere"], 4, "nowhere: no bundle.json here"),
        (["--rebuild", "bundle"], 3, "this machine has no NVIDIA driver"),
    ],
)
def test_the_command_says_what_is_wrong(
    no_driver: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "bundle")
    result: Any = CliRunner().invoke(main, arguments)
    assert result.exit_code == code
    assert text in result.stderr


@pytest.mark.skipif(has_gpu(), reason="with a GPU it goes on and needs TensorRT and CUDA")
def test_a_rebuild_imports_neither_torch_nor_onnx(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    script = f"""
import sys
sys.argv = ["fsr-export", "--rebuild", {str(tmp_path / "bundle")!r}]
from fsr_deploy.cli.export import main
try:
    main()
except SystemExit as end:
    print(end.code, [name for name in ("torch", "onnx", "onnxruntime", "tensorrt", "cuda") if name in sys.modules])
"""
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "3 []"


def test_the_description_of_the_test_bundles_is_a_valid_one(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    assert replace(read_bundle(tmp_path / "bundle").info, files={}) == describe()
