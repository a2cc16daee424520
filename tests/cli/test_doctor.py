from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy.cli import doctor
from fsr_deploy.cli.doctor import main
from tests.fakes.machine import MachineFactory


def findings(*arguments: str) -> Any:
    result = CliRunner().invoke(main, ["--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def states(found: Any) -> dict[str, str]:
    return {part["name"]: part["state"] for part in found["parts"]}


def lacking(found: Any, does: str) -> list[str]:
    return next(job["missing"] for job in found["jobs"] if job["does"] == does)


def test_a_machine_without_a_gpu_can_do_all_but_plans_and_pip_cannot_help(no_driver: None) -> None:
    found = findings()
    assert states(found)["GPU"] == "no: this machine has no NVIDIA driver (libcuda.so.1 is not found)"
    assert "CPUExecutionProvider" in states(found)["onnxruntime"]
    assert lacking(found, "run model.onnx with ONNX Runtime") == []
    assert "GPU" in lacking(found, "run engine.plan with TensorRT")
    assert found["install"] is None


def test_a_machine_with_everything_can_do_everything(machine: MachineFactory) -> None:
    machine("10.16", count=2)
    found = findings()
    assert states(found)["GPU"] == "cuda:0 NVIDIA H100, sm_90, 80 GiB; cuda:1 NVIDIA H100, sm_90, 80 GiB"
    assert states(found)["TensorRT"] == "10.16.1.11"
    assert "up to CUDA 13.0" in states(found)["driver"]
    assert [job for job in found["jobs"] if job["missing"]] == []


def test_one_command_adds_all_that_is_missing(machine: MachineFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("10.16")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    version = metadata.version

    def without_torch(name: str) -> str:
        if name == "torch":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor.metadata, "version", without_torch)
    found = findings()
    assert lacking(found, "build and prove a bundle's engine.plan") == ["TensorRT"]
    assert found["install"] == "pip install 'fsr-deploy[export,gpu]'"


def test_a_gpu_without_onnx_runtime_is_offered_the_one_for_gpus(
    no_driver: None, machine: MachineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert findings()["install"] == "pip install 'fsr-deploy[cpu]'"
    machine("10.16")
    assert findings()["install"] == "pip install 'fsr-deploy[gpu]'"


def test_a_person_reads_one_line_for_each_part_and_job(no_driver: None) -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("fsr-deploy ")
    assert "  fsr-run               run model.onnx with ONNX Runtime: yes" in lines
    assert any(
        line.startswith("  fsr-run               run engine.plan with TensorRT: no, it lacks GPU") for line in lines
    )
