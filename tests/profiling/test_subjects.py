"""Real ONNX engines, and plans on the stand-in GPU, as the profiler opens and looks into them."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.bundle.info import write_info
from fsr_deploy.errors import InputError
from fsr_deploy.profiling import cold as starting
from fsr_deploy.profiling import subjects as opening
from fsr_deploy.profiling import yardstick as measures_of_machine
from fsr_deploy.profiling.cold import ColdStart, cold_start
from fsr_deploy.profiling.layers.attribution import LayerProfile
from fsr_deploy.profiling.statistics import PASSES
from fsr_deploy.profiling.subjects import Subject, open_subjects
from fsr_deploy.profiling.timing import MonotonicClock
from fsr_deploy.profiling.yardstick import Ceilings, Yardstick, ceilings, higher
from fsr_deploy.runtime import machine as facts_of_machine
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.machine import LoadMeter
from fsr_deploy.runtime.machine import machine as this_machine
from tests.engines import write_onnx
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import write_bundle, write_plan

PARITY = {"mean_error": 0.1, "ssim": 1.0, "share_off": 0.0, "finite": True}
COLD = ColdStart(0.1, 0.01, 100.0, None)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the processes of cold starts."""
    monkeypatch.setattr(opening, "cold_start", lambda path, device, **options: COLD)


def layers_of(subject: Subject, batch: int) -> LayerProfile | None:
    watch = subject.watch_layers(batch, 0.01, MonotonicClock())
    assert watch is not None
    for _ in range(PASSES):
        watch.visit(batch)
    return watch.finish()


def test_a_cold_start_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    cold = cold_start(write_onnx(tmp_path / "model.onnx"), "cpu", trust=False)
    assert cold.load_s > 0 and cold.first_s > 0 and cold.gpu_mib is None
    assert cold.peak_mib is not None and 10 < cold.peak_mib < 2000


def test_without_proc_a_cold_start_tells_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "Path", lambda path: Path("/nowhere") / path.lstrip("/"))
    assert starting._peak_memory() is None
    assert starting._median_of_known([None, None]) is None and starting._median_of_known([3.0, None, 1.0]) == 2.0


def test_an_engine_that_does_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"does not start in a fresh process: .*not an ONNX model, or cut off"):
        cold_start(path, "cpu", trust=False)


def test_engines_go_by_the_names_of_their_bundles(tmp_path: Path, warm: None) -> None:
    for name in ("a/fast", "b/fast"):
        write_bundle(tmp_path / name)
    foreign = write_onnx(tmp_path / "foreign.onnx")
    paths = [tmp_path / "a/fast", tmp_path / "b/fast/model.onnx", foreign]
    subjects = open_subjects(paths, "cpu", trust=False)
    assert [subject.name for subject in subjects] == ["fast", "fast #2", "foreign.onnx"]
    assert all(subject.cold_start == COLD for subject in subjects)


def test_quality_is_the_worst_of_the_bundles_parity_for_the_engine_that_runs(tmp_path: Path, warm: None) -> None:
    info = write_bundle(tmp_path)
    rows = [
        {"engine": "ONNX Runtime", "batch": 1, "psnr_db": 61.0, "max_error": 1.0, **PARITY},
        {"engine": "ONNX Runtime", "batch": 4, "psnr_db": 58.0, "max_error": 2.0, **PARITY},
        {"engine": "TensorRT 10.16", "batch": 4, "psnr_db": 44.0, "max_error": 9.0, **PARITY},
    ]
    write_info(tmp_path, replace(info, parity=rows, notes=("over its budget",)))
    subject = open_subjects([tmp_path], "cpu", trust=False)[0]
    quality = subject.quality()
    assert quality is not None and (quality.psnr_db, quality.max_error) == (58.0, 2.0)
    assert subject.notes() == ["over its budget"]


def test_an_engine_without_a_bundle_has_no_quality(tmp_path: Path, warm: None) -> None:
    subject = open_subjects([write_onnx(tmp_path / "foreign.onnx")], "cpu", trust=False)[0]
    assert subject.quality() is None and subject.notes() == []


def test_a_damaged_table_of_modules_is_named(tmp_path: Path, warm: None) -> None:
    info = write_bundle(tmp_path)
    (tmp_path / "layers.json").write_text('{"modules": {"a": 1}}')
    write_info(tmp_path, info)
    subject = open_subjects([tmp_path], "cpu", trust=False)[0]
    with pytest.raises(InputError, match=r"layers\.json: incomplete or damaged"):
        subject.watch_layers(1, 0.1, MonotonicClock())


def test_a_plan_is_measured_with_and_without_graphs_and_stage_by_stage(
    machine: MachineFactory, tmp_path: Path, warm: None
) -> None:
    gpu = machine("10.16")
    write_plan(gpu, tmp_path / "bundle")
    graphs, plain = open_subjects([tmp_path / "bundle"], "auto", trust=False)
    assert (graphs.name, plain.name) == ("bundle", "bundle, no CUDA graph")
    assert graphs.focus([1, 2, 4, 8]) == 4 and graphs.focus([1, 2]) == 1
    for subject in (graphs, plain):
        for _ in range(6):
            subject.session.upscale(np.zeros((4, 4, 4, 3), np.uint8))
        launched = gpu.cuda.calls.get("cudaGraphLaunch", 0)
    assert 0 < launched <= 6
    before = gpu.cuda.live
    watch = graphs.watch_stages(4)
    assert watch is not None
    for _ in range(PASSES):
        watch.visit(1)
        watch.visit(4)
    stages = watch.finish()
    # The stand-in's events tell a quarter of a millisecond per entry in the stream.
    assert stages is not None and stages.batch == 4
    assert (stages.upload.value, stages.download.value) == (0.25, 0.25)
    assert stages.compute.value > 0
    assert plain.watch_stages(4) is None and plain.watch_layers(4, 1.0, MonotonicClock()) is None
    graphs.session.close()
    plain.session.close()
    assert gpu.cuda.live < before


def test_a_plans_layers_come_from_tensorrts_profiler(machine: MachineFactory, tmp_path: Path, warm: None) -> None:
    write_plan(machine("10.16"), tmp_path / "bundle")
    profile = layers_of(open_subjects([tmp_path / "bundle"], "auto", trust=False)[0], 4)
    assert profile is not None and profile.runs >= PASSES
    layers = profile.total.value / 0.125  # the stand-in's layers take 0.125 ms each
    assert layers == pytest.approx(round(layers)) and layers >= 1


def test_memory_of_a_gpu_is_what_its_free_memory_shrank_by(machine: MachineFactory, tmp_path: Path) -> None:
    from fsr_deploy.profiling.cold import _measure

    gpu = machine("10.16")
    file = write_plan(gpu, tmp_path / "bundle")
    held = gpu.cuda.used
    cold = _measure(file.path, "cuda:0", None, False)
    assert cold.gpu_mib is not None and cold.gpu_mib > 0
    assert cuda.memory()[0] <= gpu.cuda.total - held


def test_the_machine_tells_its_cpu_cores_and_versions() -> None:
    facts = this_machine()
    assert facts.cpu and facts.cores >= 1 and facts.memory_gib
    assert {"fsr-deploy", "numpy", "onnxruntime"} <= set(facts.versions)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512vbmi amx_int8\n",
            ("avx2", "avx512f", "avx512_vnni", "amx_int8"),
        ),
        ("Features\t: fp asimd evtstrm asimddp\n", ("asimd", "asimddp")),
        ("", ()),
    ],
)
def test_the_machine_tells_what_int8_depends_on(
    monkeypatch: pytest.MonkeyPatch, line: str, found: tuple[str, ...]
) -> None:
    monkeypatch.setattr(facts_of_machine, "_text", lambda path: line * 2 if path == "/proc/cpuinfo" else "")
    assert this_machine().instructions == found


def test_work_of_this_process_is_not_taken_for_someone_elses() -> None:
    meter = LoadMeter()
    yardstick = Yardstick(MonotonicClock(), 1)
    for _ in range(30):
        yardstick()
    yardstick.close()
    load = meter.read()
    assert load.others is not None and 0 <= load.others < 1


def test_ceilings_are_figures_of_this_century() -> None:
    found = ceilings(MonotonicClock())
    assert 0.1 < found.gflops < 1e6 and 0.1 < found.gbytes < 1e5


def test_a_disturbed_ceiling_gives_way_to_the_higher_one() -> None:
    assert higher(Ceilings(90.0, 21.0), Ceilings(180.0, 20.0)) == Ceilings(180.0, 21.0)


def test_only_the_cores_that_this_process_may_use_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the machine has more; 32 MiB for each of them can be more than the container may have."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1 << 20)
    monkeypatch.setattr(measures_of_machine, "usable_cores", lambda: 1)
    monkeypatch.setattr(facts_of_machine, "usable_cores", lambda: 1)
    assert ceilings(MonotonicClock()).gbytes < 1000
    assert this_machine().cores == 1


def test_an_engine_is_profiled_with_the_back_end_that_is_asked_for_and_with_its_own_parity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("FSR_CACHE", str(tmp_path / "cache"))
    rows = [
        {**PARITY, "engine": name, "batch": 1, "psnr_db": psnr_db, "max_error": 1.0}
        for name, psnr_db in (("ONNX Runtime 1.32.0 (CPUExecutionProvider)", 90.0), ("OpenVINO 2025 (CPU, FP32)", 80.0))
    ]
    for kind, parity, expected in (("both", rows, 80.0), ("one", rows[:1], None)):
        info = write_bundle(tmp_path / kind)
        write_info(tmp_path / kind, replace(info, parity=parity))
        (subject,) = open_subjects([tmp_path / kind], "cpu", backend="openvino")
        assert subject.session.info.engine.startswith("OpenVINO")
        quality = subject.quality()
        assert (quality and quality.psnr_db) == expected
        assert subject.watch_layers(1, 0.01, MonotonicClock()) is None
