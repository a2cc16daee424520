"""The baseline in another Python: what is measured, how it is started, and that it is fair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_eager, gpu_speed
from benchmarks.other_python import ROOT, clean_environment, run_in
from benchmarks.rows import read_rows
from tests.fakes.machine import Machine, MachineFactory
from tests.fakes.plans import write_plan
from tests.networks import register

WORK = {"model": "pixel", "options": {}, "lr_size": 4, "scale": 8}


@pytest.fixture
def gpu(machine: MachineFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.chdir(tmp_path)
    return machine("10.16")


@pytest.fixture
def _tf32() -> Iterator[None]:
    """TF32 is allowed, and put back after the test."""
    parts = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [part.allow_tf32 for part in parts]
    for part in parts:
        part.allow_tf32 = True
    yield
    for part, allowed in zip(parts, before, strict=True):
        part.allow_tf32 = allowed


def script(path: Path, text: str) -> Path:
    """Write a stand-in for another Python."""
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{text}\n")
    path.chmod(0o755)
    return path.absolute()


@pytest.mark.usefixtures("_tf32")
def test_eager_is_measured_in_both_precisions_the_most_important_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(monkeypatch)
    options = ["--batches", "2,1,3", "--seconds", "0", "--device", "-1", "--without-compile", "-o", str(tmp_path / "r")]
    assert gpu_eager.main([json.dumps(WORK), *options]) == 0
    around, *rows = read_rows(tmp_path / "r")
    assert [(row["engine"], row["batch"]) for row in rows] == [
        (gpu_eager.FP16, 2),
        (gpu_eager.FP16, 1),
        (gpu_eager.FP32, 2),
        (gpu_eager.FP32, 1),
        (gpu_eager.FP16, 3),
    ]
    assert around["torch"] == torch.__version__
    assert around["tf32"] is False, "FP32 is measured as FP32"


def test_each_size_is_compiled_by_itself_and_never_dynamic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    monkeypatch.setattr(gpu_eager, "use_exact_fp32", lambda: None)
    compiled: list[dict[str, Any]] = []

    def compile_module(module: Any, **options: Any) -> Any:
        compiled.append(options)
        return module

    monkeypatch.setattr(torch, "compile", compile_module)
    gpu_eager.main(
        [json.dumps(WORK), "--batches", "2,1,3", "--seconds", "0", "--device", "-1", "-o", str(tmp_path / "r")]
    )
    modes = ["reduce-overhead"] * 2 + ["max-autotune"] * 3
    assert compiled == [{"mode": mode, "dynamic": False} for mode in modes]
    rows = [row for row in read_rows(tmp_path / "r") if row.get("engine", "").startswith("torch.compile")]
    assert [row["batch"] for row in rows] == [2, 1, 2, 1, 3]


class GrowingPlace(gpu_eager.Place):
    """A place whose peak, as PyTorch's, is that of all sizes since it was last forgotten."""

    peak = 0

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        self.used = shape[0]
        self.given = [*getattr(self, "given", []), super().host(shape, dtype)]
        return self.given[-1]

    def wait(self) -> None:
        self.peak = max(self.peak, self.used)

    def forget_peak(self) -> None:
        self.peak = 0

    def peak_mib(self) -> float:
        return self.peak


def test_the_peak_of_a_size_is_not_that_of_a_larger_one_before_it() -> None:
    place = GrowingPlace(-1)
    peaks = [gpu_eager.measure(lambda batch: batch, place, 4, size, 0)["gpu_mib"] for size in (64, 1)]
    assert peaks == [64, 1]


def test_results_land_in_the_host_memory_of_the_place() -> None:
    """On a GPU that is pinned memory, as a plan's session has it."""
    place = GrowingPlace(-1)
    gpu_eager.measure(lambda batch: batch + 1, place, 4, 2, 0)
    source, target = place.given
    assert torch.equal(target, source + 1)


def test_a_variant_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    monkeypatch.setattr(gpu_eager, "use_exact_fp32", lambda: None)
    monkeypatch.setattr(gpu_eager, "Half", lambda network: 1 / 0)
    options = ["--batches", "1", "--seconds", "0", "--device", "-1", "--without-compile", "-o", str(tmp_path / "r")]
    assert gpu_eager.main([json.dumps(WORK), *options]) == 1
    rows = read_rows(tmp_path / "r")[1:]
    assert [("failed" in row, row["engine"]) for row in rows] == [(True, gpu_eager.FP16), (False, gpu_eager.FP32)]


def test_the_baseline_needs_nothing_but_pytorch_and_numpy() -> None:
    unwanted = ("cv2", "PIL", "filelock", "typer", "rich", "onnx", "onnxruntime", "safetensors", "tensorrt", "cuda")
    code = f"import sys; sys.modules.update(dict.fromkeys({unwanted})); import benchmarks.gpu_eager as eager; "
    code += "eager.registry.build('aminet')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_speed_lets_another_python_add_its_rows(gpu: Machine, tmp_path: Path) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    text = "rows = open(sys.argv[sys.argv.index('--output') + 1], 'a')\nprint(sys.argv[3], file=rows)"
    other = script(Path("python"), text)
    failure = gpu_speed.eager(other, Path("tiny-fp32"), Path("rows"), [1, 4], 0.5, 0, 30)
    assert failure == ""
    assert read_rows(Path("rows")) == [{"model": "tiny", "options": {}, "lr_size": 4, "scale": 8}]


def test_another_python_that_fails_is_a_row_that_says_so(gpu: Machine, tmp_path: Path) -> None:
    write_plan(gpu, Path("tiny-fp32"))
    with pytest.raises(Exception) as ended:
        gpu_speed.main(
            [Path("tiny-fp32")], batches="4", seconds=0, eager_python=Path("/bin/false"), output=Path("rows")
        )
    assert ended.value.exit_code == 1  # type: ignore[attr-defined]
    assert read_rows(Path("rows"))[-1]["failed"] == "/bin/false ended with 1"


def test_another_python_finds_nothing_of_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    given = {
        "PYTHONHOME": str(kit),
        "PYTHONPATH": f"{kit}/site",
        "PYTHONNOUSERSITE": "1",
        "LD_LIBRARY_PATH": f"{kit}/lib:{kit}/site/nvidia/cublas/lib:/usr/local/nvidia/lib64",
        "PATH": "/usr/bin",
    }
    assert clean_environment(given, "/usr") == {"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
    del given["PYTHONHOME"]
    given["LD_LIBRARY_PATH"] = f"{kit}/lib"
    assert clean_environment(given, str(kit)) == {"PATH": "/usr/bin"}
    for name, value in given.items():
        monkeypatch.setenv(name, value if name != "PATH" else os.environ["PATH"])
    other = script(tmp_path / "python", "sys.exit(any(name in os.environ for name in ('PYTHONPATH', 'PYTHONHOME')))")
    assert run_in(other, [], 30) == ""


def test_another_python_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    child = f"import os, time; open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(600)"
    text = f"import subprocess\nsubprocess.Popen([sys.executable, '-S', '-c', {child!r}])\ntime.sleep(600)"
    for seconds in (1, 5, 25):  # as long as its child needs to begin
        assert f"did not end within {seconds} s" in run_in(script(tmp_path / "python", text), [], seconds)
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(pid)


def test_another_python_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert run_in(tmp_path / "nowhere", [], 5) == f"{tmp_path}/nowhere cannot be started: No such file or directory"


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not asked after yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
