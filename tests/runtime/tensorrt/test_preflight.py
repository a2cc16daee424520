"""Plans that cannot or should not run here are refused before TensorRT sees them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.errors import ExitCode, InputError, MissingError
from fsr_deploy.runtime.cuda.driver import Gpu, has_gpu
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.tensorrt.preflight import PlanHost, check_file, check_machine, this_platform
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import describe, foreign, plan_info, write_bundle, write_plan

HERE = PlanHost("10.13.3.9", Gpu(0, "NVIDIA L4", (8, 9), 24 << 30), "linux-x86_64")


def header(*version: int) -> bytes:
    return b"ftrt" + bytes(20) + bytes(version) + b"the engine"


def plan_file(content: bytes = header(10, 13, 3, 9), **changes: Any) -> EngineFile:
    """Return a bundle's plan that fits HERE, but for ``changes`` to what the bundle says."""
    plan = plan_info(tensorrt="10.13.3.9", compute_capability="8.9", gpu="NVIDIA L4", platform="linux-x86_64")
    bundle = replace(describe(), plan=replace(plan, **changes))
    return EngineFile(Path("faces/engine.plan"), content, "0" * 64, bundle)


def test_a_plan_built_for_this_machine_passes() -> None:
    check_file(plan_file(), trust=False)
    check_machine(plan_file(), HERE)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"tensorrt": "11.1.0.5", "compute_capability": "9.0"},
            "built for sm_90 / TensorRT 11.1, this machine is sm_89 / 10.13",
        ),
        ({"compute_capability": "9.0"}, "built for sm_90 / TensorRT 10.13.3.9, this machine is sm_89 / 10.13.3.9"),
        ({"compute_capability": "12.0"}, "built for sm_120 / TensorRT 10.13.3.9, this machine is sm_89 / 10.13.3.9"),
        ({"tensorrt": "8.6.0"}, "built for sm_89 / TensorRT 8.6, this machine is sm_89 / 10.13"),
        ({"tensorrt": "10.13.2.6"}, "built for sm_89 / TensorRT 10.13.2.6, this machine is sm_89 / 10.13.3.9"),
        ({"platform": "linux-aarch64"}, "built for linux-aarch64, this machine is linux-x86_64"),
        ({"platform": "windows-amd64"}, "built for windows-amd64, this machine is linux-x86_64"),
        (
            {"tensorrt": "11.0.0.1", "version_compatible": True},
            "built for sm_89 / TensorRT 11.0, this machine is sm_89 / 10.13",
        ),
        (
            {"tensorrt": "10.14.1.4", "version_compatible": True},
            "built for sm_89 / TensorRT 10.14, this machine is sm_89 / 10.13",
        ),
    ],
)
def test_a_plan_from_another_machine_is_refused_with_the_way_out(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        check_machine(plan_file(**changes), HERE)
    assert str(caught.value) == f"faces/engine.plan: {text}: fsr-export --rebuild faces"
    assert caught.value.exit_code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    "changes",
    [
        {"compute_capability": "8.6", "hardware_compatibility": "ampere_plus"},
        {"gpu": "NVIDIA L40S", "hardware_compatibility": "same_compute_capability"},
        {"tensorrt": "10.9.0.34", "version_compatible": True},
    ],
)
def test_a_plan_that_was_built_to_run_elsewhere_passes(changes: dict[str, Any]) -> None:
    check_machine(plan_file(**changes), HERE)


@pytest.mark.parametrize(
    ("changes", "noted"),
    [
        ({}, False),
        ({"gpu": "NVIDIA H200"}, True),
        ({"gpu": ""}, False),
        ({"gpu": "NVIDIA H200", "hardware_compatibility": "same_compute_capability"}, False),
    ],
)
def test_a_plan_of_another_gpu_model_passes_with_a_note_unless_it_was_built_to(
    changes: dict[str, Any], noted: bool
) -> None:
    notes = check_machine(plan_file(**{"gpu": HERE.gpu.name, **changes}), HERE)
    assert bool(notes) == noted
    assert not notes or notes[0].startswith(f"the plan was built on NVIDIA H200 and runs on {HERE.gpu.name}: ")


def test_a_hardware_compatible_plan_still_wants_ampere() -> None:
    turing = replace(HERE, gpu=Gpu(0, "NVIDIA T4", (7, 5), 16 << 30))
    with pytest.raises(InputError, match="this machine is sm_75"):
        check_machine(plan_file(compute_capability="8.0", hardware_compatibility="ampere_plus"), turing)


def test_a_version_compatible_plan_carries_code_and_needs_trust() -> None:
    with pytest.raises(InputError, match=r"carries host code; add --trust"):
        check_file(plan_file(version_compatible=True), trust=False)
    check_file(plan_file(version_compatible=True), trust=True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"ftrt", "not a TensorRT plan, or cut off"),
        (b"ONNX" + header(10, 13, 3, 9)[4:], "not a TensorRT plan, or cut off"),
        (header(10, 13, 3, 9)[:26], "not a TensorRT plan, or cut off"),
        (
            header(11, 1, 0, 5),
            "its header says TensorRT 11.1.0.5, its bundle TensorRT 10.13.3.9; fsr-export --rebuild faces",
        ),
    ],
)
def test_a_plan_whose_header_contradicts_its_bundle_is_refused(content: bytes, text: str) -> None:
    with pytest.raises(InputError) as caught:
        check_file(plan_file(content), trust=False)
    assert str(caught.value) == f"faces/engine.plan: {text}"


def test_of_tensorrt_8_only_the_bundle_speaks() -> None:
    check_file(plan_file(b"an older header", tensorrt="8.6.0"), trust=False)


def test_a_build_number_that_does_not_fit_the_headers_byte_is_no_contradiction() -> None:
    check_file(plan_file(header(10, 13, 3, 255), tensorrt="10.13.3.300"), trust=False)


def test_a_foreign_plan_needs_trust() -> None:
    with pytest.raises(InputError) as caught:
        check_file(foreign(header(10, 13, 3, 9)), trust=False)
    assert str(caught.value) == (
        "foreign.plan: a plan without a bundle; loading a plan can run code, add --trust if you trust its origin"
    )
    check_file(foreign(header(10, 13, 3, 9)), trust=True)


def test_a_trusted_foreign_plan_is_still_held_against_this_tensorrt() -> None:
    check_machine(foreign(header(10, 13, 3, 1)), HERE)
    with pytest.raises(InputError) as caught:
        check_machine(foreign(header(11, 1, 0, 5)), HERE)
    assert str(caught.value) == (
        "foreign.plan: built for TensorRT 11.1, this machine has 10.13: build it again from its ONNX file"
    )
    with pytest.raises(InputError, match="not a TensorRT plan"):
        check_machine(foreign(b"\x08\x08\x12\x07pytorch" * 9), HERE)


@pytest.mark.parametrize(
    "damage",
    [lambda plan: plan[:-1], lambda plan: plan[:100] + b"X" + plan[101:], lambda plan: plan + b"\0"],
    ids=["truncated", "edited", "longer"],
)
def test_a_changed_plan_is_refused_before_tensorrt_sees_it(
    machine: MachineFactory, tmp_path: Path, damage: Any
) -> None:
    gpu = machine("10.16")
    path = write_plan(gpu, tmp_path / "bundle").path
    path.write_bytes(damage(path.read_bytes()))
    gpu.tensorrt.Runtime = None  # whoever asked for it would fail
    with pytest.raises(InputError, match=r"SHA-256 is not the one in bundle.json; the file was changed or cut off"):
        open_session(path, "cuda")


def test_a_plan_for_another_gpu_is_refused_before_tensorrt_sees_it(machine: MachineFactory, tmp_path: Path) -> None:
    gpu = machine("10.16")
    file = write_plan(gpu, tmp_path / "bundle", compute_capability="8.9")
    gpu.tensorrt.Runtime = None
    with pytest.raises(InputError, match=f"built for sm_89 .* fsr-export --rebuild {file.path.parent}"):
        open_session(file.path.parent, "cuda")


def test_a_plan_in_a_bundle_that_says_nothing_about_it_is_refused(machine: MachineFactory, tmp_path: Path) -> None:
    gpu = machine("10.16")
    write_plan(gpu, tmp_path)
    from fsr_deploy.bundle.info import read_bundle, write_info

    write_info(tmp_path, replace(read_bundle(tmp_path).info, plan=None))
    with pytest.raises(InputError, match="says nothing about a plan"):
        open_session(tmp_path / "engine.plan", "cuda")


@pytest.mark.skipif(has_gpu(), reason="a driver is there")
def test_without_a_driver_a_plan_is_exit_3_and_neither_tensorrt_nor_cuda_is_imported(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    (tmp_path / "engine.plan").write_bytes(header(10, 16, 1, 11))
    from fsr_deploy.bundle.info import read_bundle, write_info

    write_info(tmp_path, replace(read_bundle(tmp_path).info, plan=plan_info("10.16")))
    script = f"""
import sys
from fsr_deploy.errors import MissingError
from fsr_deploy.runtime.open import open_session
try:
    open_session({str(tmp_path / "engine.plan")!r}, "cuda")
except MissingError as error:
    print(int(error.exit_code), error)
print([name for name in ("tensorrt", "cuda", "torch", "onnx", "onnxruntime") if name in sys.modules])
"""
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    first, second = output.splitlines()
    assert first == (
        f"{int(MissingError.exit_code)} {tmp_path / 'engine.plan'}: this machine has no NVIDIA driver"
        " (libcuda.so.1 is not found); --device cpu runs a bundle's model.onnx"
    )
    assert second == "[]"


def test_the_platform_is_named_as_in_a_bundle() -> None:
    assert this_platform().count("-") == 1 and this_platform() == this_platform().lower()
