"""fsr-export --int8 --fp16 as a user meets it, and what each TensorRT makes of the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.info import REPORT_NAME, BundleInfo, read_bundle
from fsr_deploy.cli.export import main
from fsr_deploy.cli.run import main as run_main
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.int8.sites import RIM
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan
from fsr_deploy.models import registry
from fsr_deploy.models.registry import ModelRecord
from fsr_deploy.runtime.backends import onnxruntime
from fsr_deploy.synthetic import write_faces
from tests.exporting.int8.test_mixed import Attentive
from tests.exporting.int8.test_quantise import Chain
from tests.fakes.machine import MachineFactory
from tests.networks import register

OPTIONS = ("--int8", "--fp16", "--lr-size", "4", "--batch", "1,2,2", "--calib-images", "4")


class Loud(Chain):
    """The chain with one channel beyond what FP16 holds."""

    def __init__(self) -> None:
        super().__init__(loud=1e6)


@pytest.fixture(scope="module", autouse=True)
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for builder in (Attentive, Loud):
            name = builder.__name__.lower()
            patch.setitem(registry._RECORDS, name, ModelRecord(name, builder, "for tests", "none"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("exports"))
        yield


def export(*arguments: str) -> Any:
    return CliRunner().invoke(main, [*arguments])


@pytest.fixture(scope="module")
def typed(networks: None) -> tuple[Path, Any]:
    """The bundle for strongly typed TensorRT, and what its export said."""
    result = export("attentive", *OPTIONS, "--check-tensorrt")
    assert result.exit_code == 0, result.output
    return Path("attentive-int8-fp16").absolute(), result


@pytest.fixture(scope="module")
def untyped(networks: None) -> tuple[Path, Any]:
    """The bundle for TensorRT 8.6, and what its export said."""
    result = export("attentive", *OPTIONS, "--opset", "17", "-o", "attentive-8.6")
    assert result.exit_code == 0, result.output
    return Path("attentive-8.6").absolute(), result


def facts(path: Path) -> tuple[BundleInfo, onnx.ModelProto]:
    return read_bundle(path).info, onnx.load(path / "model.onnx")


@pytest.mark.parametrize(("form", "opset"), [("typed", 19), ("untyped", 17)])
def test_the_bundle_says_which_module_computes_in_what(request: Any, form: str, opset: int) -> None:
    info, model = facts(request.getfixturevalue(form)[0])
    assert (info.precision, info.graph_target, model.opset_import[0].version) == ("int8+fp16", "tensorrt", opset)
    assert {entry.value for entry in model.metadata_props if entry.key == "fsr.precision"} == {"int8+fp16"}
    assert info.precision_map["head"] == {"precision": "fp16", "reason": RIM}
    assert info.precision_map["attention.matrix"]["precision"] == "fp32"
    assert not {"body.0", "body.2", "mend.0"} & set(info.precision_map)
    assert "INT8" in request.getfixturevalue(form)[1].stderr


def test_the_real_compiler_makes_int8_convolutions_of_the_pairs(typed: tuple[Path, Any]) -> None:
    modules = {module["module"]: module for module in facts(typed[0])[0].kernels["modules"]}
    assert modules["network.body.0"]["int8"] == 1 and modules["network.head"]["int8"] == 0
    assert "convolutions in INT8" in typed[1].stderr


def test_int8_alone_is_written_for_a_gpu_where_that_is_asked_for() -> None:
    result = export("attentive", *OPTIONS[:1], *OPTIONS[2:], "--target", "tensorrt", "-o", "for-a-gpu")
    assert result.exit_code == 0, result.output
    info, model = facts(Path("for-a-gpu"))
    assert (info.precision, info.graph_target, info.parity_passed) == ("int8", "tensorrt", True)
    assert not info.precisions, "nothing is chosen by how fast it is on this CPU"
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    assert not [tensor.name for tensor in model.graph.initializer if tensor.name.endswith("/int8")]
    assert "fsr-export --rebuild for-a-gpu" in result.stderr


@pytest.mark.parametrize("form", ["typed", "untyped"])
def test_both_forms_are_proven_as_a_cpu_and_as_a_gpu_computes_them(request: Any, form: str) -> None:
    info, _ = facts(request.getfixturevalue(form)[0])
    rounded = [", rounded to fp16" in row["engine"] for row in info.parity]
    assert sorted(rounded) == [False, False, True, True]
    assert all(row["psnr_db"] > 40 for row in info.parity)
    assert info.parity_passed


def test_both_forms_are_calibrated_once(typed: tuple[Path, Any], untyped: tuple[Path, Any]) -> None:
    assert sum("ranges of an earlier calibration" in said.stderr for _, said in (typed, untyped)) == 1


def test_a_cpu_runs_it_and_says_that_it_is_for_gpus(typed: tuple[Path, Any], tmp_path: Path) -> None:
    write_faces(tmp_path / "frames", 1, lr_size=4)
    result = CliRunner().invoke(run_main, [str(typed[0]), str(tmp_path / "frames"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "a CPU computes int8+fp16 in fp32 and converts in between" in result.stderr


def test_an_onnx_runtime_that_would_cut_values_off_is_refused(
    typed: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "rounds_fp16", lambda version: False)
    write_faces(tmp_path / "frames", 1, lr_size=4)
    result = CliRunner().invoke(run_main, [str(typed[0]), str(tmp_path / "frames"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 3
    assert "pip install 'onnxruntime>=1.30'" in result.stderr


@pytest.mark.parametrize(("version", "rounds"), [("1.23.2", False), ("1.29.0", False), ("1.30.0", True), ("2.0", True)])
def test_which_onnx_runtime_rounds_is_told_by_its_version(version: str, rounds: bool) -> None:
    assert onnxruntime.rounds_fp16(version) is rounds


@pytest.mark.parametrize("release", ["10.16", "11.4"])
def test_strongly_typed_tensorrt_builds_the_typed_bundle_and_refuses_the_other(
    machine: MachineFactory, typed: tuple[Path, Any], untyped: tuple[Path, Any], release: str
) -> None:
    gpu = machine(release)
    assert rebuild_plan(typed[0], PlanOptions()).plan is not None
    assert not {flag.name for flag in gpu.tensorrt.builds[0][1]._flags}
    with pytest.raises(InputError, match="export it again without --opset 17"):
        rebuild_plan(untyped[0], PlanOptions())


def test_8_6_builds_the_other_bundle_with_the_fallback_held_to_fp32_and_refuses_the_typed_one(
    machine: MachineFactory, typed: tuple[Path, Any], untyped: tuple[Path, Any]
) -> None:
    gpu = machine("8.6")
    assert rebuild_plan(untyped[0], PlanOptions()).plan is not None
    network, config = gpu.tensorrt.builds[0]
    assert {flag.name for flag in config._flags} == {"INT8", "FP16", "OBEY_PRECISION_CONSTRAINTS"}
    pinned = {layer.name.rpartition("/")[0] for layer in network._layers if layer.precision and "/" in layer.name}
    assert pinned == {"", "bicubic", "network.attention.matrix"}
    with pytest.raises(InputError, match="export it again with --opset 17"):
        rebuild_plan(typed[0], PlanOptions())


def test_a_network_without_a_convolution_for_int8_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    result = export("pixel", *OPTIONS[:1], *OPTIONS[2:])
    assert result.exit_code == 4
    message = "nothing of this network goes to INT8, export it without --int8 (network.body.0: "
    assert message in result.stderr and RIM in result.stderr


def test_opset_18_is_refused_with_what_to_do() -> None:
    result = export("attentive", *OPTIONS, "--opset", "18")
    assert result.exit_code == 2
    assert "leave it out, which is 19, or take 17 for TensorRT 8.6" in result.stderr


@pytest.mark.slow
def test_where_fp16_alone_overflows_it_is_repaired_before_int8_is_chosen() -> None:
    result = export("loud", *OPTIONS)
    assert result.exit_code == 0, result.output
    assert "back to FP32" in result.stderr
    info, model = facts(Path("loud-int8-fp16"))
    assert any(entry["precision"] == "fp32" for entry in info.precision_map.values())
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}


def test_a_network_is_exported_in_fp8_compiled_for_ada_and_run_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = tmp_path / "bundle"
    result = export("attentive", "--fp8", *OPTIONS[2:], "--target", "rtx", "--gpus", "sm_89", "-o", str(bundle))
    assert result.exit_code == 0, result.output
    assert "3 convolutions in FP8" in result.stderr
    info = read_bundle(bundle).info
    assert (info.precision, info.graph_target, info.parity_passed) == ("fp8+fp16", "tensorrt", True)
    assert sorted(", rounded to fp16" in row["engine"] for row in info.parity) == [False, False, True, True]
    assert info.plan is not None and info.plan.gpus == ("sm_89",) and not info.plan.proven
    assert sum(module["fp8"] for module in info.kernels["modules"]) == 3
    assert "Convolutions compute in FP8 and everything else in FP16" in (bundle / REPORT_NAME).read_text()
    write_faces(tmp_path / "frames", 1, lr_size=4)
    shown = CliRunner().invoke(run_main, [str(bundle), str(tmp_path / "frames"), "-o", str(tmp_path / "out")])
    assert shown.exit_code == 0 and "a CPU computes fp8+fp16 in fp32" in shown.stderr
