"""What each command can do with a bundle here, and on which GPUs at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.info import read_bundle, write_info
from fsr_deploy.cli.doctor import main
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan
from fsr_deploy.runtime import bundle_checkup
from fsr_deploy.runtime.bundle_checkup import uses_of
from tests.contract.table import RTX
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import write_bundle


@pytest.fixture
def bundle(machine: MachineFactory, tmp_path: Path) -> Path:
    """A bundle with a plan of TensorRT for RTX for one kind of GPU."""
    machine(RTX, count=0)
    write_bundle(tmp_path / "bundle")
    rebuild_plan(tmp_path / "bundle", PlanOptions(flavour="rtx", gpus=("sm_89",)))
    return tmp_path / "bundle"


def problems(bundle: Path) -> dict[str, str]:
    return {use.command: use.problem for use in uses_of(bundle)}


def test_a_cpu_runs_the_graph_and_compiles_for_cards_that_it_does_not_have(bundle: Path) -> None:
    found = problems(bundle)
    assert [command for command, problem in found.items() if not problem] == [
        "fsr-run --device cpu",
        "fsr-export --rebuild --target rtx",
    ]
    assert "no device is called cuda:0" in found["fsr-run --device cuda"]
    (plan,) = [use for use in uses_of(bundle) if use.command == "fsr-run --device cuda"]
    assert plan.does == "run engine.plan of TensorRT for RTX 1.7.1.116 on sm_89, not proven yet"


def test_a_card_that_the_plan_is_for_runs_it_and_another_says_why_not(machine: MachineFactory, bundle: Path) -> None:
    machine(RTX, capability=(8, 9), name=b"NVIDIA L4")
    assert problems(bundle)["fsr-run --device cuda"] == ""
    machine(RTX, capability=(8, 6), name=b"NVIDIA RTX A6000")
    assert "built for sm_89 / TensorRT for RTX" in problems(bundle)["fsr-run --device cuda"]


def test_a_file_that_was_changed_is_named(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"changed")
    assert "its SHA-256 is not the one in bundle.json" in problems(bundle)["fsr-run --device cpu"]


def test_bf16_and_floats_do_not_run_on_a_cpu(bundle: Path) -> None:
    info = read_bundle(bundle).info
    for change, reason in (({"precision": "bf16"}, "no BF16 on a CPU"), ({"io": "float"}, "fsr-run needs faces")):
        write_info(bundle, replace(info, **change))  # type: ignore[arg-type]
        assert reason in problems(bundle)["fsr-run --device cpu"]


def test_a_graph_for_openvino_runs_with_openvino_where_the_cpu_computes_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    info = replace(read_bundle(bundle).info, graph_target="openvino")
    for precision, can, problem in (
        ("fp32", False, ""),
        ("bf16", True, ""),
        ("bf16", False, "no instructions for BF16"),
    ):
        monkeypatch.setattr(bundle_checkup, "computes_bf16", lambda can=can: can)
        write_info(bundle, replace(info, precision=precision))
        use = uses_of(bundle)[0]
        assert use.does == "run model.onnx with OpenVINO"
        assert problem in use.problem and bool(problem) == bool(use.problem)


def test_the_doctor_looks_at_a_bundle(bundle: Path) -> None:
    result = CliRunner().invoke(main, [str(bundle)])
    assert (
        result.exit_code == 0
        and "fsr-run --device cpu: run model.onnx with ONNX Runtime\n    yes, here" in result.stdout
    )
    assert CliRunner().invoke(main, [str(bundle / "nowhere")]).exit_code == 4
