"""Rebuilding as a command, and on machines that lack what it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy.cli.export import main
from fsr_deploy.errors import MissingError
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan
from fsr_deploy.runtime.cuda.driver import has_gpu
from fsr_deploy.runtime.tensorrt.availability import why_no_plan
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import write_bundle


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
    assert why_no_plan().startswith("TensorRT 8.5.3.1 is too old; 8.6 and later are supported")


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
        *(
            (["--rebuild", "bundle", *given], 2, f"--rebuild takes a bundle as it is; leave {named} out")
            for given, named in (
                (["aminet"], "MODEL"),
                (["--fp16"], "--fp16"),
                (["--no-plan"], "--plan/--no-plan"),
                (["--target", "tensorrt"], "--target"),
                (["--batch", "1,2,4"], "--batch"),
                (["--budget-db", "40"], "--budget-db"),
                (["-o", "other"], "-o/--output"),
            )
        ),
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
