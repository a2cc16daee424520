"""Plans of TensorRT for RTX on stand-ins: compiled without a GPU, not proven until one has run them, proven there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.info import ONNX_NAME, PLAN_NAME, REPORT_NAME, read_bundle, write_info
from fsr_deploy.bundle.signature import sign, verify
from fsr_deploy.cli.export import main as export
from fsr_deploy.cli.run import main as run
from fsr_deploy.errors import InputError, MissingError, ParityError, UsageError
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.gpus import EVERY_GPU, check_gpus
from fsr_deploy.exporting.tensorrt.rebuild import prove_bundle, rebuild_plan
from fsr_deploy.images.codec import write_frame
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.tensorrt.availability import why_no_plan
from fsr_deploy.runtime.tensorrt.flavour import RTX
from tests.contract.table import RTX as RELEASE
from tests.engines import repeat_pixels
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import lr_faces, write_bundle
from tests.keys import write_keys

ADA = {"capability": (8, 9), "name": b"NVIDIA GeForce RTX 4090"}
NO_GPU = {"count": 0}


def compiled(directory: Path, machine: MachineFactory, **options: object) -> Path:
    """Return a bundle whose plan was compiled on a machine without a GPU."""
    machine(RELEASE, **NO_GPU)
    write_bundle(directory)
    rebuild_plan(directory, PlanOptions(flavour="rtx", **options))  # type: ignore[arg-type]
    return directory


def test_a_plan_is_compiled_without_a_gpu_and_says_that_it_is_not_proven(
    machine: MachineFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    said = capsys.readouterr().err
    plan = read_bundle(bundle).info.plan
    assert plan is not None and plan.library == "TensorRT for RTX 1.7.1.116" and not plan.proven
    assert plan.gpus == EVERY_GPU == ("sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
    assert (bundle / PLAN_NAME).read_bytes().startswith(b"vtrt")
    sentence = "not proven: no GPU has run it yet; fsr-export --prove, or the first fsr-run on a GPU, proves it"
    assert f"engine.plan is {sentence} (no device is called cuda:0 here" in said
    assert sentence in (bundle / REPORT_NAME).read_text()
    assert "TensorRT for RTX 1.7.1.116 for sm_80, sm_86, sm_89, sm_120, sm_121; not proven" in (
        (bundle / REPORT_NAME).read_text()
    )


def test_the_gpus_that_are_named_are_those_it_is_compiled_for(machine: MachineFactory, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    gpu = machine(RELEASE, **NO_GPU)
    rebuild_plan(tmp_path / "bundle", PlanOptions(flavour="rtx", gpus=("sm_86", "sm_120")))
    plan = read_bundle(tmp_path / "bundle").info.plan
    assert plan is not None and plan.gpus == ("sm_86", "sm_120")
    assert gpu.tensorrt.builds[0][1]._capabilities == ("SM86", "SM120")


def test_the_first_proof_on_a_gpu_is_written_into_the_bundle(machine: MachineFactory, tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    before = (bundle / PLAN_NAME).read_bytes()
    machine(RELEASE, **ADA)
    session = open_session(bundle, "cuda")
    assert any(note.startswith("engine.plan is not proven") for note in session.info.notes)
    session.close()
    prove_bundle(bundle)
    info = read_bundle(bundle).info
    assert info.plan is not None and info.plan.proven and (bundle / PLAN_NAME).read_bytes() == before
    assert [(row["engine"], row["batch"]) for row in info.parity] == [
        ("TensorRT for RTX 1.7.1.116 (NVIDIA GeForce RTX 4090)", batch) for batch in (1, 4, 8)
    ]
    assert "not proven" not in (bundle / REPORT_NAME).read_text()
    session = open_session(bundle, "cuda")
    assert session.info.notes == ()
    assert np.array_equal(session.upscale(lr_faces(5)), repeat_pixels(lr_faces(5)))
    session.close()


def test_a_plan_that_fails_its_proof_leaves_the_bundle_untouched(machine: MachineFactory, tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    faces = lr_faces(8)
    np.savez_compressed(bundle / "reference.npz", lr=faces, sr=255 - repeat_pixels(faces))
    before = json.dumps(read_bundle(bundle).info.parity), write_info(bundle, read_bundle(bundle).info)
    machine(RELEASE, **ADA)
    with pytest.raises(ParityError, match="by more than its budget"):
        prove_bundle(bundle)
    assert (json.dumps(read_bundle(bundle).info.parity), read_bundle(bundle).info) == before
    prove_bundle(bundle, force=True)
    assert not read_bundle(bundle).info.parity_passed


def test_a_gpu_that_the_plan_is_not_for_is_refused_before_the_library_sees_it(
    machine: MachineFactory, tmp_path: Path
) -> None:
    bundle = compiled(tmp_path / "bundle", machine, gpus=("sm_86",))
    machine(RELEASE, **ADA)
    with pytest.raises(InputError, match=r"for sm_86 / TensorRT for RTX 1\.7.*is sm_89 / 1\.7.*--target rtx$"):
        open_session(bundle, "cuda")


def test_the_librarys_own_reasons_against_a_plan_are_told(machine: MachineFactory, tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    machine(RELEASE, **ADA).tensorrt.invalid = ("OLD_CUDA_DRIVER",)
    with pytest.raises(InputError, match=r"engine\.plan: TensorRT for RTX 1\.7\.1\.116 cannot run it.*old cuda driver"):
        open_session(bundle, "cuda")


def test_kernels_that_were_made_in_a_run_are_there_in_the_next(machine: MachineFactory, tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    kernels = []
    for _ in range(2):
        gpu = machine(RELEASE, **ADA)
        open_session(bundle, "cuda").close()
        (config,) = gpu.tensorrt.configs
        kernels.append(config._cache.serialize())
        assert config.cuda_graph_strategy.name == "WHOLE_GRAPH_CAPTURE"
        assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
    assert kernels == [b"k", b"kk"]


def test_one_batch_is_on_its_way_at_once(machine: MachineFactory, tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    machine(RELEASE, **ADA)
    session = open_session(bundle, "cuda")
    assert session.in_flight == 1
    session.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gpus": ("sm_86",)}, "--gpus names what TensorRT for RTX compiles for; give --target rtx too"),
        ({"flavour": "rtx", "hardware": "ampere_plus"}, "--hardware is nothing that TensorRT for"),
        ({"flavour": "rtx", "version_compatible": True}, "--version-compatible is nothing that TensorRT for RTX knows"),
        ({"flavour": "rtx", "timing_cache": Path("x")}, "--timing-cache is nothing that TensorRT for RTX knows"),
        ({"flavour": "rtxx"}, "flavour rtxx: not one of tensorrt, rtx"),
    ],
)
def test_options_that_it_does_not_have_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        PlanOptions(**options)


def test_fp8_is_compiled_for_the_gpus_that_have_it(machine: MachineFactory, tmp_path: Path) -> None:
    machine(RELEASE, **NO_GPU)
    write_bundle(tmp_path / "bundle", "fp8+fp16")
    plan = rebuild_plan(tmp_path / "bundle", PlanOptions(flavour="rtx")).plan
    assert plan is not None and plan.gpus == ("sm_89", "sm_120", "sm_121")
    with pytest.raises(UsageError, match="--gpus sm_80,sm_86: multiplies no FP8"):
        rebuild_plan(tmp_path / "bundle", PlanOptions(flavour="rtx", gpus=("sm_80", "sm_86", "sm_89")))


@pytest.mark.parametrize(
    ("gpu", "precision", "sentence"),
    [
        (
            "sm_90",
            "fp16",
            r"TensorRT for RTX has no kernels for Hopper \(H100, H200\); build its plan there, with TensorRT",
        ),
        ("sm_61", "fp16", "not one of sm_75, sm_80, sm_86, sm_89, sm_120, sm_121"),
        ("sm_75", "bf16", "Turing has no BF16; take --fp16"),
        *(
            (gpu, "fp8+fp16", r"multiplies no FP8, which began with Ada \(sm_89, sm_120, sm_121\); take --int8 --fp16")
            for gpu in ("sm_75", "sm_80", "sm_86")
        ),
    ],
)
def test_gpus_that_it_does_not_compile_for_are_refused(gpu: str, precision: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"--gpus {gpu}: {sentence}"):
        check_gpus((gpu,), precision)


def test_the_two_libraries_are_not_taken_for_each_other(machine: MachineFactory, tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    machine("11.4", **ADA)  # its TensorRT comes beside the other one
    assert why_no_plan() == why_no_plan(flavour=RTX) == ""
    rebuild_plan(bundle, PlanOptions())
    plan = read_bundle(bundle).info.plan
    assert plan is not None and (plan.library, plan.gpus, plan.proven) == ("TensorRT 11.4.0.106", (), True)
    session = open_session(bundle, "cuda")
    assert session.info.engine.startswith("TensorRT 11.4.0.106")
    session.close()


def test_without_the_library_the_install_line_is_named(
    machine: MachineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(RELEASE, **NO_GPU)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    from fsr_deploy.runtime.tensorrt import library

    library.load.cache_clear()
    assert why_no_plan(flavour=RTX) == (
        "TensorRT for RTX is not installed; install it with: pip install 'fsr-deploy[rtx]'"
    )


def test_on_a_cpu_the_graph_runs_with_one_line(
    machine: MachineFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    machine(RELEASE, **NO_GPU)
    capsys.readouterr()
    session = open_session(bundle)
    assert session.info.device == "cpu" and session.info.notes == ()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].endswith(f"running {ONNX_NAME} instead")
    assert lines[0].count(PLAN_NAME) == 1
    assert replace(session.info).precision == "fp32"


def test_a_bundle_without_a_plan_has_nothing_to_prove(machine: MachineFactory, tmp_path: Path) -> None:
    machine(RELEASE, **ADA)
    write_bundle(tmp_path / "bundle")
    with pytest.raises(InputError, match=r"the bundle has no engine\.plan"):
        prove_bundle(tmp_path / "bundle")
    machine(RELEASE, **NO_GPU)
    with pytest.raises(MissingError):
        prove_bundle(compiled(tmp_path / "other", machine))


def faces_folder(directory: Path) -> Path:
    for index, face in enumerate(lr_faces(3)):
        write_frame(directory / f"{index}.png", face)
    return directory


def test_the_first_run_on_a_gpu_proves_the_plan_and_the_next_does_not(machine: MachineFactory, tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    machine(RELEASE, **ADA)
    faces = faces_folder(tmp_path / "faces")
    runs = [
        CliRunner().invoke(run, [str(bundle), str(faces), "-o", str(tmp_path / out), "--device", "cuda"])
        for out in ("one", "two")
    ]
    assert [result.exit_code for result in runs] == [0, 0], runs[0].output
    sentence = "engine.plan runs for the first time: proving it against the eager model's faces"
    assert [sentence in result.stderr for result in runs] == [True, False]
    assert read_bundle(bundle).info.plan.proven  # type: ignore[union-attr]


def test_a_signed_bundle_stays_as_it_is_and_its_plan_is_proven_in_each_run(
    machine: MachineFactory, tmp_path: Path
) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    private, public = write_keys(tmp_path)
    sign(bundle, private)
    machine(RELEASE, **ADA)
    faces = faces_folder(tmp_path / "faces")
    for out in ("one", "two"):
        words = [bundle, faces, "-o", tmp_path / out, "--device", "cuda", "--verify", public]
        result = CliRunner().invoke(run, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        assert "runs for the first time" in result.stderr
        assert f"{bundle}: is signed; fsr-export --prove {bundle} --sign KEY ends this; its plan" in result.stderr
    result = CliRunner().invoke(export, ["--prove", str(bundle), "--sign", str(private)])
    assert result.exit_code == 0, result.output
    assert read_bundle(bundle).info.plan.proven  # type: ignore[union-attr]
    verify(bundle, public)


def test_a_new_plan_takes_the_signature_of_the_old_one_away_and_says_so(
    machine: MachineFactory, tmp_path: Path
) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    sign(bundle, write_keys(tmp_path)[0])
    machine(RELEASE, **ADA)
    result = CliRunner().invoke(export, ["--prove", str(bundle)])
    assert result.exit_code == 0, result.output
    assert "model.sig: is of the old plan, and goes with it; --sign KEY makes a new one" in result.stderr
    assert not (bundle / "model.sig").exists()


def test_a_first_run_whose_proof_fails_stops_and_names_the_way_on(machine: MachineFactory, tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle", machine)
    faces = lr_faces(8)
    np.savez_compressed(bundle / "reference.npz", lr=faces, sr=255 - repeat_pixels(faces))
    write_info(bundle, read_bundle(bundle).info)
    machine(RELEASE, **ADA)
    arguments = [str(bundle), str(faces_folder(tmp_path / "faces")), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(run, arguments)
    assert result.exit_code == 5 and "--device cpu runs its model.onnx" in result.stderr
    assert not read_bundle(bundle).info.plan.proven  # type: ignore[union-attr]
    assert CliRunner().invoke(run, [*arguments, "--device", "cpu"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rebuild", "b", "--prove", "b"], "--rebuild proves what it builds; leave --prove out"),
        (["aminet", "--prove", "b"], "--prove takes a bundle as it is; leave MODEL out"),
        (["--prove", "b", "--plan"], "--prove takes a bundle as it is; leave --plan/--no-plan out"),
        (["aminet", "--gpus", "sm_86"], "--gpus names what TensorRT for RTX compiles for; give --target rtx too"),
        (["aminet", "--target", "rtx", "--gpus", "sm_90"], "no kernels for Hopper"),
        (
            ["aminet", "--target", "rtx", "--hardware", "ampere-plus"],
            "--hardware is nothing that TensorRT for RTX knows",
        ),
        (["aminet", "--target", "onnxruntime", "--check-tensorrt"], "leave --target onnxruntime out"),
    ],
)
def test_options_that_contradict_each_other_are_one_sentence(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(export, arguments)
    assert result.exit_code == 2 and sentence in " ".join(result.stderr.split())


def test_what_the_compiler_told_of_the_graph_outlives_a_plan_that_tells_nothing(
    machine: MachineFactory, tmp_path: Path
) -> None:
    machine("10.16")
    write_bundle(tmp_path / "bundle")
    told = {"count": 3, "activation_bytes": 0, "weight_bytes": 0, "modules": []}
    write_info(tmp_path / "bundle", replace(read_bundle(tmp_path / "bundle").info, kernels=told))
    rebuild_plan(tmp_path / "bundle", PlanOptions())
    assert read_bundle(tmp_path / "bundle").info.kernels == told
