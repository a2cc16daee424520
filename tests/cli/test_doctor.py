from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy._util.import_trial import try_imports
from fsr_deploy._util.imports import LIBRARIES, ONNXRUNTIMES
from fsr_deploy.cli.doctor import main
from fsr_deploy.runtime import checkup
from tests.broken import STATES, WHOLE, fsr, write
from tests.fakes.machine import MachineFactory


@pytest.fixture(autouse=True)
def without_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the imports in another process out, which take seconds and see none of a test's stand-ins."""
    monkeypatch.setattr(checkup, "try_imports", lambda modules: {})


def findings(*arguments: str) -> Any:
    result = CliRunner().invoke(main, ["--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def states(found: Any) -> dict[str, str]:
    return {part["name"]: part["state"] for part in found["parts"]}


def lacking(found: Any, does: str) -> list[str]:
    return next(job["missing"] for job in found["jobs"] if job["does"] == does)


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Make distributions appear installed, or with None not."""
    real = metadata.version

    def version(name: str) -> str:
        chosen = versions.get(name.replace("-", "_"), real(name) if name.replace("-", "_") not in versions else None)
        if chosen is None:
            raise metadata.PackageNotFoundError(name)
        return chosen

    monkeypatch.setattr(checkup.metadata, "version", version)


def test_a_machine_without_a_gpu_can_do_all_but_plans_and_pip_cannot_help(no_driver: None) -> None:
    found = findings()
    assert states(found)["GPU"] == "no: this machine has no NVIDIA driver (libcuda.so.1 is not found)"
    assert "CPUExecutionProvider" in states(found)["onnxruntime"]
    assert lacking(found, "run model.onnx with ONNX Runtime") == []
    assert "GPU" in lacking(found, "run engine.plan with TensorRT")
    assert found["install"] is None


def test_a_machine_with_everything_can_do_everything(machine: MachineFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("10.16", count=2)
    installed(monkeypatch, ray="2.60.0", gradio="6.31.0")
    found = findings()
    assert states(found)["GPU"] == "cuda:0 NVIDIA H100, sm_90, 80 GiB; cuda:1 NVIDIA H100, sm_90, 80 GiB"
    assert states(found)["TensorRT"] == "10.16.1.11"
    assert "up to CUDA 13.0" in states(found)["driver"]
    assert [job for job in found["jobs"] if job["missing"]] == []


def test_gradio_is_named_and_not_among_what_every_machine_should_install(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, gradio=None)
    found = findings()
    assert states(found)["gradio"] == "no: Gradio is not installed; install it with: pip install 'fsr-deploy[demo]'"
    assert lacking(found, "show a bundle in the browser") == ["gradio"]
    assert "demo" not in (found["install"] or "")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--need", "onnxruntime", "--need", "NumPy"), 0, ""),
        (("--need", "onnxruntime", "--need", "GPU"), 3, "error: GPU: no: this machine has no NVIDIA driver"),
        (("--need", "CUDA"), 2, "error: --need CUDA: not one of processor, cache, driver, GPU, NumPy"),
        (("bundle", "--need", "GPU"), 2, "error: --need asks about this machine; leave BUNDLE out"),
    ],
)
def test_a_part_that_is_needed_and_does_not_work_is_an_exit_code(
    no_driver: None, words: tuple[str, ...], code: int, message: str
) -> None:
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, message in result.stderr) == (code, True), result.output


def test_one_command_adds_all_that_is_missing(machine: MachineFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("10.16")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    installed(monkeypatch, torch=None, onnxruntime=None, onnxruntime_gpu="1.31.1")
    found = findings()
    assert lacking(found, "build and prove a bundle's engine.plan") == ["TensorRT"]
    assert found["install"] == "pip install 'fsr-deploy[export,gpu]'"


def test_a_gpu_without_onnx_runtime_is_offered_the_one_for_gpus(
    no_driver: None, machine: MachineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    installed(monkeypatch, onnxruntime=None)
    assert findings()["install"] == "pip install 'fsr-deploy[cpu]'"
    machine("10.16")
    assert findings()["install"] == "pip install 'fsr-deploy[gpu]'"


def test_a_person_reads_one_line_for_each_part_and_job(no_driver: None) -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("fsr-deploy ")
    assert "  fsr-run                  run model.onnx with ONNX Runtime: yes" in lines
    assert any(
        line.startswith("  fsr-run                  run engine.plan with TensorRT: no, it lacks GPU") for line in lines
    )


ONE_FOR_CPUS = "pip uninstall -y onnxruntime onnxruntime-gpu; pip install 'fsr-deploy[cpu]'"


def test_two_onnx_runtimes_over_each_other_are_found_and_the_line_leaves_one(
    no_driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, onnxruntime="1.32.0", onnxruntime_gpu="1.31.1")
    found = findings()
    assert "onnxruntime and onnxruntime-gpu are both installed" in states(found)["onnxruntime"]
    assert found["mend"] == [ONE_FOR_CPUS]
    assert f"To mend what is broken: {ONE_FOR_CPUS}" in CliRunner().invoke(main, []).stdout.splitlines()


def test_where_there_is_a_gpu_the_onnx_runtime_for_gpus_is_the_one_to_keep(
    machine: MachineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("10.16")
    installed(monkeypatch, onnxruntime="1.32.0", onnxruntime_gpu="1.31.1")
    assert findings()["mend"] == ["pip uninstall -y onnxruntime onnxruntime-gpu; pip install 'fsr-deploy[gpu]'"]


def test_what_a_gpu_needs_is_not_installed_over_the_onnx_runtime_for_cpus(
    machine: MachineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("10.16")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    installed(monkeypatch, onnxruntime="1.32.0", onnxruntime_gpu=None)
    assert findings()["install"] == "pip uninstall -y onnxruntime onnxruntime-gpu; pip install 'fsr-deploy[gpu]'"
    installed(monkeypatch, onnxruntime=None, onnxruntime_gpu="1.31.1")
    assert findings()["install"] == "pip install 'fsr-deploy[gpu]'"


@pytest.mark.parametrize("state", STATES)
def test_the_doctor_outlives_a_broken_library_and_names_it(tmp_path: Path, state: str) -> None:
    """As a process of its own, with the imports in another."""
    for name, content in WHOLE.items():
        write(tmp_path, name, content)
    module, content = STATES[state]
    done = fsr("doctor", "--json", libraries=write(tmp_path, module, content), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    title = {"cv2": "OpenCV", "numpy": "NumPy", "tensorrt": "TensorRT"}.get(module, module)
    broken = next(part for part in found["parts"] if part["name"] == title)
    assert broken["state"].startswith("no: broken installation: ") and not broken["works"]
    assert found["mend"] == [ONE_FOR_CPUS if module == "onnxruntime" else LIBRARIES[module].mend]
    assert any(title in job["missing"] for job in found["jobs"])


def test_an_import_that_ends_python_does_not_hide_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "cv2", "import os; os.abort()")
    monkeypatch.syspath_prepend(write(tmp_path, "onnx", "raise OSError('no library')"))
    found = try_imports(("cv2", "PIL.Image", "onnx"))
    assert {name: str(error).partition("; mend")[0] for name, error in found.items()} == {
        "cv2": "OpenCV is broken (importing it ends Python with SIGABRT)",
        "onnx": "onnx is broken (OSError: no library)",
    }


def test_cores_quota_and_cache_are_told(no_driver: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSR_CACHE", "/some/where")
    monkeypatch.setattr(checkup, "quota", lambda: 1.5)
    found = findings()
    assert found["cores"]["quota"] == 1.5 and found["cores"]["physical"] >= 1
    assert "a quota of 1.5" in states(found)["processor"]
    assert states(found)["cache"] == "/some/where"


def test_no_extra_but_one_brings_an_onnx_runtime_beside_another() -> None:
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    bringing = {name for name, needs in extras.items() if any(n.startswith(tuple(ONNXRUNTIMES)) for n in needs)}
    assert bringing == {"cpu", "gpu"}


def test_the_known_faults_of_the_tensorrt_that_is_installed_are_told(machine: MachineFactory) -> None:
    machine("10.16")
    assert findings()["known_faults"] == []
    machine("11.4").tensorrt.__version__ = "11.2.0.1"
    faults = findings()["known_faults"]
    assert any("NVIDIA/TensorRT#4854" in fault for fault in faults)
    assert f"This TensorRT has a known fault: {faults[0]}" in CliRunner().invoke(main, []).stdout.splitlines()


@pytest.mark.parametrize(
    ("flags", "worth", "line"),
    [
        (("avx2",), "it pays on CPUs with AMX, AVX512-BF16 or VNNI, and this one has none of them", None),
        (("avx2", "avx_vnni"), "this CPU has no BF16, but VNNI for INT8: fsr-profile --against openvino tells", None),
        (
            ("avx512_bf16", "avx512_vnni", "amx_bf16"),
            "this CPU has amx_bf16 and avx512_bf16: fsr-export --fastest tells whether BF16 or INT8 is faster",
            "pip install 'fsr-deploy[openvino]'",
        ),
    ],
)
def test_openvino_is_told_with_when_it_pays_and_offered_only_then(
    no_driver: None, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], worth: str, line: str | None
) -> None:
    monkeypatch.setattr(checkup, "instructions", lambda: flags)
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = findings()
    assert states(found)["OpenVINO"].startswith(
        f"no: OpenVINO is not installed; install it with: pip install 'fsr-deploy[openvino]'; {worth}"
    )
    assert lacking(found, "run model.onnx with OpenVINO") == ["OpenVINO"]
    assert found["install"] == line


def test_the_openvino_that_is_there_is_told_with_its_devices(no_driver: None) -> None:
    pytest.importorskip("openvino")
    found = findings()
    assert states(found)["OpenVINO"].startswith("20") and ": CPU; " in states(found)["OpenVINO"]
    assert lacking(found, "run model.onnx with OpenVINO") == []
