"""Several devices as one session, with stand-ins for devices that fail as only real ones do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy._util.cores import physical_cores
from fsr_deploy.errors import DeviceError, InputError, MissingError, UsageError
from fsr_deploy.runtime import open as opening
from fsr_deploy.runtime.cuda import driver
from fsr_deploy.runtime.folder.jobs import Work
from fsr_deploy.runtime.folder.journal import made_with
from fsr_deploy.runtime.folder.run import RunSettings, run
from fsr_deploy.runtime.open import open_session, parse_device, parse_devices
from fsr_deploy.runtime.session import Batch, OutOfMemory
from fsr_deploy.runtime.several import SeveralSessions
from tests.engines import repeat_pixels, write_onnx
from tests.fakes.machine import FakeDriver, MachineFactory
from tests.fakes.plans import lr_faces, write_plan
from tests.runtime.folder.test_run import INFO, FakeSession, assert_all_right
from tests.runtime.folder.test_run import work as work

FACES = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)


class Device(FakeSession):
    """A stand-in for a session on a GPU; ``before`` is called with each batch and may raise."""

    def __init__(self, number: int, before: Callable[[Batch], None] = lambda batch: None, in_flight: int = 1) -> None:
        super().__init__(in_flight=in_flight, before=before)
        self.info = replace(INFO, device=f"cuda:{number}")
        self.closed = False

    def close(self) -> None:
        self.closed = True


def after(count: int, error: Exception) -> Callable[[Batch], None]:
    """Return what raises ``error`` from the call after ``count`` calls on."""
    calls: list[int] = []

    def fail(batch: Batch) -> None:
        calls.append(len(batch))
        if len(calls) > count:
            raise error

    return fail


LOST = DeviceError("CUDA lost the GPU\nand much more")


def test_all_devices_work_at_the_same_time_and_every_frame_gets_its_own_face(work: Work) -> None:
    together = threading.Barrier(3, timeout=60)
    first = threading.local()

    def meet(batch: Batch) -> None:
        if not hasattr(first, "met"):
            first.met = True
            together.wait()

    devices = [Device(number, meet) for number in range(3)]
    several = SeveralSessions(devices)
    assert (several.in_flight, several.info.device) == (3, "cuda:0,cuda:1,cuda:2")
    assert_all_right(work, run(several, work, RunSettings(batch=1)))
    assert all(device.batches for device in devices)


def test_few_batches_are_spread_over_all_devices() -> None:
    devices = [Device(number, in_flight=2) for number in range(2)]
    several = SeveralSessions(devices)
    for _ in range(2):
        several.upscale(FACES)
    assert [len(device.batches) for device in devices] == [1, 1]


@pytest.mark.parametrize("error", [LOST, RuntimeError("CUDA lost the GPU"), MemoryError("CUDA lost the GPU")])
@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_device_that_fails_midway_costs_no_frame_and_one_warning(
    work: Work, capsys: pytest.CaptureFixture[str], in_flight: int, error: Exception
) -> None:
    devices = [Device(0, in_flight=in_flight), Device(1, after(3, error), in_flight)]
    several = SeveralSessions(devices)
    assert_all_right(work, run(several, work, RunSettings(batch=1)))
    assert sum(map(len, (device.batches for device in devices))) == len(work.jobs)
    warning = capsys.readouterr().err
    assert warning.startswith("warning: cuda:1 (device 2 of 2) failed and is left out, the others do its work: ")
    assert warning.endswith("CUDA lost the GPU\n") and warning.count("\n") == 1
    assert several.info.notes == (warning.removeprefix("warning: ").strip(),), "what sums up the run has it too"


def test_the_last_device_that_fails_ends_the_run_with_its_error(work: Work) -> None:
    devices = [Device(0, after(2, LOST)), Device(1, after(5, DeviceError("the last one")))]
    with pytest.raises(DeviceError, match="the last one"):
        run(SeveralSessions(devices), work, RunSettings(batch=1))
    assert devices[1].batches == [1] * 5
    again = run(SeveralSessions([Device(0), Device(1)]), work, RunSettings(batch=1))
    assert again.done + again.already_done == len(work.jobs)


def test_batches_that_wait_for_a_device_end_with_it() -> None:
    """More threads than places: those that wait are told that no device is left."""
    failing = threading.Event()

    def fail(batch: Batch) -> None:
        failing.wait(10)
        raise LOST

    several = SeveralSessions([Device(0, fail), Device(1, fail)])
    with ThreadPoolExecutor(6) as pool:
        batches = [pool.submit(several.upscale, FACES) for _ in range(6)]
        failing.set()
        assert {str(batch.exception(timeout=60)) for batch in batches} == {str(LOST)}


def test_a_bad_batch_is_no_fault_of_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    several = SeveralSessions([Device(number, after(0, InputError("a batch of floats"))) for number in range(2)])
    for _ in range(4):
        with pytest.raises(InputError):
            several.upscale(FACES)
    assert capsys.readouterr().err == ""


def test_out_of_memory_on_one_device_halves_the_batch_of_all(work: Work) -> None:
    devices = [Device(0), Device(1)]
    devices[1].capacity = 3
    notices: list[str] = []
    assert_all_right(work, run(SeveralSessions(devices), work, RunSettings(batch=4), notice=notices.append))
    assert notices == ["out of memory at batch 4, going on with 2: 4 faces want 4 GiB, 3 GiB are free"]
    assert devices[1].batches and set(devices[1].batches) == {2}


def test_a_device_with_no_room_for_one_face_is_left_out(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    devices = [Device(0), Device(1)]
    devices[1].capacity = 0
    assert_all_right(work, run(SeveralSessions(devices), work, RunSettings(batch=1)))
    assert "cuda:1 (device 2 of 2) failed and is left out" in capsys.readouterr().err
    devices[0].capacity = 0
    with pytest.raises(MissingError, match="not even one face fits"):
        run(SeveralSessions(devices), work, RunSettings(batch=1, resume=False))


@pytest.mark.parametrize(
    "other", [{"sha256": "1" * 64}, {"engine": "other"}, {"sr_shape": (64, 64)}, {"best_batch": 4}, {"max_batch": None}]
)
def test_devices_with_other_engines_are_refused(other: dict[str, object]) -> None:
    devices = [Device(0), Device(1)]
    devices[1].info = replace(devices[1].info, **other)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^--device: fake on cuda:0 and .* on cuda:1 would not give the same faces"):
        SeveralSessions(devices)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_run_goes_on_with_another_number_of_devices(device: str) -> None:
    keys = {made_with(replace(INFO, device=",".join([device] * count)), "crop") for count in (1, 2, 3)}
    assert len(keys) == 1


def test_closing_frees_all_devices_and_a_failed_one_may_fail_at_it() -> None:
    class Lost(Device):
        def close(self) -> None:
            super().close()
            raise LOST

    devices = [Device(0), Lost(1, after(0, LOST)), Device(2)]
    several = SeveralSessions(devices)
    for _ in range(3):
        several.upscale(FACES)
    several.close()
    assert all(device.closed for device in devices)
    with pytest.raises(RuntimeError, match="the session is closed"):
        several.upscale(FACES)


@pytest.mark.parametrize(
    ("named", "devices"),
    [
        ("cpu", ("cpu",)),
        ("cpu,cpu", ("cpu", "cpu")),
        ("cuda, cuda:1", ("cuda:0", "cuda:1")),
        ("cuda:all", ("cuda:0", "cuda:1", "cuda:2")),
        ("openvino:gpu.0,openvino:GPU.1", ("openvino:GPU.0", "openvino:GPU.1")),
    ],
)
def test_devices_are_named_with_commas(monkeypatch: pytest.MonkeyPatch, named: str, devices: tuple[str, ...]) -> None:
    monkeypatch.setattr(driver, "_load_library", lambda: FakeDriver(count=3))
    assert parse_devices(named) == devices


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("cpu,auto", "--device cpu,auto: auto chooses one device by itself; name each of several"),
        ("cpu,", "no device is called ''"),
        ("cuda:0,cuda:all1", "no device is called 'cuda:all1'"),
    ],
)
def test_what_is_no_list_of_devices_is_refused(named: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_devices(named)


@pytest.mark.parametrize("named", ["cpu,cpu", "cuda:all"])
def test_where_one_device_is_wanted_several_are_refused(named: str) -> None:
    with pytest.raises(UsageError, match=f"--device {named}: only fsr-run and fsr.load take several devices; name one"):
        parse_device(named)


def test_all_gpus_of_a_machine_without_any_is_refused(monkeypatch: pytest.MonkeyPatch, no_driver: None) -> None:
    with pytest.raises(MissingError, match="--device cuda:all: this machine has no NVIDIA driver"):
        parse_devices("cuda:all")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("throughput", [False, True])
def test_sessions_on_the_cpu_share_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, throughput: bool
) -> None:
    monkeypatch.setenv("FSR_CACHE", str(tmp_path))
    several = open_session(write_onnx(tmp_path / "m.onnx"), "cpu,cpu", backend=backend, throughput=throughput)
    assert several.info.device == "cpu,cpu"
    assert several.in_flight == max(physical_cores(), 2) if throughput else 2
    np.testing.assert_array_equal(several.upscale(FACES), repeat_pixels(FACES))
    several.close()


def test_cores_that_are_left_over_are_used_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "physical_cores", lambda: 5)
    several = open_session(write_onnx(tmp_path / "m.onnx"), "cpu,cpu,cpu", throughput=True)
    assert isinstance(several, SeveralSessions)
    assert [session.in_flight for session in several.sessions] == [1, 2, 2]


def test_a_device_that_cannot_be_opened_is_named_and_the_others_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Device] = []

    def open_one(path: Path, wanted: opening._Wanted) -> Device:
        if len(opened) == 2:
            raise MissingError(f"--device {wanted.device}: is not here")
        opened.append(Device(len(opened)))
        return opened[-1]

    monkeypatch.setattr(opening, "_open", open_one)
    with pytest.raises(MissingError, match="--device cuda:2: is not here"):
        open_session(tmp_path, "cuda:0,cuda:1,cuda:2")
    assert [device.closed for device in opened] == [True, True]


def test_gpus_of_different_models_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mixed(FakeDriver):
        def cuDeviceGetName(self, name: Any, length: int, device: int) -> int:
            name.value = b"NVIDIA L4" if device == 2 else b"NVIDIA H100"
            return 0

    monkeypatch.setattr(driver, "_load_library", lambda: Mixed(count=3))
    monkeypatch.setattr(opening, "_open", lambda path, wanted: Device(int(wanted.device[-1])))
    assert open_session(tmp_path, "cuda:0,cuda:1").info.device == "cuda:0,cuda:1"
    with pytest.raises(UsageError, match="--device cuda:all: NVIDIA H100 and NVIDIA L4 would not give the same faces"):
        open_session(tmp_path, "cuda:all")


def test_a_plan_on_two_gpus_and_one_is_lost(
    machine: MachineFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = machine("10.16")
    monkeypatch.setattr(driver, "_load_library", lambda: FakeDriver(count=2))
    write_plan(fake, tmp_path / "bundle", "10.16")
    several = open_session(tmp_path / "bundle", "cuda:all")
    assert (several.info.device, several.in_flight) == ("cuda:0,cuda:1", 4)
    assert isinstance(several, SeveralSessions)
    faces = lr_faces(4)
    monkeypatch.setattr(several.sessions[1], "submit", after(0, LOST))
    for _ in range(4):
        np.testing.assert_array_equal(several.upscale(faces), repeat_pixels(faces))
    assert capsys.readouterr().err.count("cuda:1 (device 2 of 2) failed and is left out") == 1
    several.close()


def test_memory_that_one_face_does_not_fit_into_is_told_of_the_last_device() -> None:
    devices = [Device(0), Device(1)]
    for device in devices:
        device.capacity = 0
    several = SeveralSessions(devices)
    with pytest.raises(OutOfMemory):
        several.upscale(FACES[:1])
