"""The TensorRT session's logic, on stand-ins for CUDA and TensorRT that keep the real ones' order and rules."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy.errors import ExitCode, InputError, MissingError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.lane import ATTEMPTS
from fsr_deploy.runtime.tensorrt.library import log, operation, ran_out_of_memory
from fsr_deploy.runtime.tensorrt.session import TensorRTSession
from tests.contract.table import RELEASES
from tests.engines import repeat_pixels
from tests.fakes.cuda import cudaError_t
from tests.fakes.machine import Machine, MachineFactory
from tests.fakes.plans import foreign, lr_faces, plan_bytes, write_bundle, write_plan
from tests.runtime.tensorrt.test_on_device import Interface


@pytest.fixture
def gpu(machine: MachineFactory) -> Machine:
    return machine("10.16")


@pytest.mark.parametrize("release", RELEASES)
def test_a_session_upscales_and_says_what_it_runs(machine: MachineFactory, tmp_path: Path, release: str) -> None:
    session = TensorRTSession(write_plan(machine(release), tmp_path / "bundle", release))
    faces = lr_faces(4)
    assert np.array_equal(session.upscale(faces), repeat_pixels(faces))
    info = session.info
    assert info.engine.startswith(f"TensorRT {release}") and "H100" in info.engine
    assert (info.device, info.precision, info.trained) == ("cuda:0", "fp32", True)
    assert (info.lr_shape, info.sr_shape, info.best_batch, info.max_batch) == ((4, 4), (32, 32), 4, 8)


@pytest.mark.parametrize("release", RELEASES)
def test_200_random_batches_in_flight_equal_one_at_a_time(
    machine: MachineFactory, tmp_path: Path, release: str
) -> None:
    session = TensorRTSession(write_plan(machine(release), tmp_path / "bundle", release))
    assert session.in_flight == 2
    rng = np.random.default_rng(1)
    batches = [lr_faces(int(rng.choice([8, 8, 8, 4, 1, 3])), seed) for seed in range(200)]
    pending = []
    results = []
    for batch in batches:  # as a pipeline does: results are fetched a few batches later, or not yet
        pending.append(session.submit(batch.copy()))
        while len(pending) > rng.integers(0, 4):
            results.append(pending.pop(0).result())
    results += [late.result() for late in pending]
    for batch, result in zip(batches, results, strict=True):
        assert np.array_equal(result, repeat_pixels(batch))


def test_two_threads_may_share_a_session(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    batches = [lr_faces(1 + seed % 8, seed) for seed in range(60)]
    with ThreadPoolExecutor(2) as pool:
        for batch, result in zip(batches, pool.map(session.upscale, batches), strict=True):
            assert np.array_equal(result, repeat_pixels(batch))


def test_a_result_can_be_fetched_by_another_thread_and_twice(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    pending = session.submit(lr_faces(2))
    fetched: list[Any] = []
    thread = threading.Thread(target=lambda: fetched.append(pending.result()))
    thread.start()
    thread.join()
    assert np.array_equal(fetched[0], repeat_pixels(lr_faces(2)))
    assert pending.result() is fetched[0]


def test_a_batch_may_be_changed_once_it_is_submitted(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    batch = lr_faces(4)
    pending = session.submit(batch)
    batch[:] = 0
    assert np.array_equal(pending.result(), repeat_pixels(lr_faces(4)))


def test_a_graph_is_captured_at_the_second_batch_of_a_size_and_again_after_another_size(
    gpu: Machine, tmp_path: Path
) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"), in_flight=1)
    captures, launches = [], []
    for size in (4, 4, 4, 3, 4, 4, 4):
        session.upscale(lr_faces(size))
        captures.append(gpu.cuda.calls.get("cudaGraphInstantiate", 0))
        launches.append(gpu.cuda.calls.get("cudaGraphLaunch", 0))
    assert captures == [0, 1, 1, 1, 1, 2, 2]
    assert launches == [0, 1, 2, 2, 2, 3, 4]
    assert len(gpu.cuda.executables) == 1, "the graph of the earlier shape was not destroyed"


def test_without_graphs_every_batch_is_put_into_the_stream_call_by_call(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"), graphs=False)
    for seed in range(4):
        assert np.array_equal(session.upscale(lr_faces(2, seed)), repeat_pixels(lr_faces(2, seed)))
    assert "cudaGraphLaunch" not in gpu.cuda.calls


@pytest.mark.parametrize("error", ["cudaErrorStreamCaptureUnsupported", "cudaErrorMemoryAllocation"])
@pytest.mark.parametrize("function", ["cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_an_engine_that_cannot_be_captured_runs_without_graphs_and_says_so_once(
    gpu: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], function: str, error: str
) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    for seed in range(20):
        gpu.cuda.failures[function] = cudaError_t[error]
        assert np.array_equal(session.upscale(lr_faces(2, seed)), repeat_pixels(lr_faces(2, seed)))
    assert function in session.graph_failure
    assert not gpu.cuda.graphs and not gpu.cuda.executables
    assert gpu.cuda.calls["cudaStreamBeginCapture"] == ATTEMPTS, "of both lanes together"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "batches are not launched as CUDA graphs, which is slower: " in lines[0]


def test_one_capture_that_fails_is_tried_again(
    gpu: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"), in_flight=1)
    gpu.cuda.failures["cudaGraphInstantiate"] = cudaError_t.cudaErrorMemoryAllocation
    for seed in range(4):
        assert np.array_equal(session.upscale(lr_faces(2, seed)), repeat_pixels(lr_faces(2, seed)))
    assert gpu.cuda.calls["cudaGraphLaunch"] == 2, "the third and the fourth batch"
    assert session.graph_failure == "" and capsys.readouterr().err == ""


def test_a_batch_below_the_smallest_is_filled_up_and_cut_back(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle", profiles=((4, 4, 8),)))
    for size in (1, 3, 4, 8):
        assert np.array_equal(session.upscale(lr_faces(size)), repeat_pixels(lr_faces(size)))


@pytest.mark.parametrize(("batch", "profile"), [(1, 0), (2, 0), (3, 1), (8, 1), (9, 2), (40, 2), (64, 2)])
def test_the_profile_with_the_nearest_best_batch_is_chosen(
    gpu: Machine, tmp_path: Path, batch: int, profile: int
) -> None:
    session = TensorRTSession(
        write_plan(gpu, tmp_path / "bundle", profiles=((1, 1, 2), (1, 8, 8), (1, 32, 64))), in_flight=1
    )
    chosen = session._engine.profile_for(batch)
    assert chosen.index == profile
    assert np.array_equal(session.upscale(lr_faces(batch)), repeat_pixels(lr_faces(batch)))


def test_profiles_can_change_from_batch_to_batch(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle", profiles=((1, 1, 1), (2, 8, 8))))
    for size in (1, 8, 8, 8, 1, 1, 1, 5):
        assert np.array_equal(session.upscale(lr_faces(size)), repeat_pixels(lr_faces(size)))


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (np.zeros((1, 5, 4, 3), np.uint8), r"uint8 \(1, 5, 4, 3\); this engine takes uint8 \(N, 4, 4, 3\)"),
        (np.zeros((1, 4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"\(0, 4, 4, 3\)"),
        (np.zeros((9, 4, 4, 3), np.uint8), "a batch of 9; this plan takes at most 8"),
    ],
)
def test_a_batch_that_does_not_fit_the_engine_is_refused(gpu: Machine, tmp_path: Path, batch: Any, text: str) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    with pytest.raises(InputError, match=text):
        session.upscale(batch)
    assert np.array_equal(session.upscale(lr_faces(2)), repeat_pixels(lr_faces(2)))


def test_everything_is_freed(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    for size in (4, 4, 4, 2):
        session.upscale(lr_faces(size))
    session.upscale_on_device(Interface(gpu, lr_faces(2)))
    unfetched = session.submit(lr_faces(3))
    session.close()
    del session
    assert gpu.cuda.live == 1, "only the caller's input is left"
    assert np.array_equal(unfetched.result(), repeat_pixels(lr_faces(3)))


def test_closing_waits_for_what_runs_on_the_gpu(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    faces = Interface(gpu, lr_faces(2))
    result = session.upscale_on_device(faces)
    session.close()
    memory = np.asarray(gpu.cuda.memory["device"][result.memory.address])
    assert np.array_equal(memory.reshape(2, 32, 32, 3), repeat_pixels(lr_faces(2)))


def test_a_closed_session_says_so(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.upscale(lr_faces(1))


def test_memory_for_one_batch_only_means_one_batch_in_flight(gpu: Machine, tmp_path: Path) -> None:
    gpu.cuda.total = 3 << 19
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    assert session.in_flight == 1
    assert session.info.notes[0].startswith("runs 1 instead of 2 batches at once: ")
    assert np.array_equal(session.upscale(lr_faces(2)), repeat_pixels(lr_faces(2)))


def test_no_memory_for_a_context_is_said_with_the_figures_and_leaves_nothing_behind(
    gpu: Machine, tmp_path: Path
) -> None:
    gpu.cuda.total = 1 << 19
    file = write_plan(gpu, tmp_path / "bundle")
    with pytest.raises(MissingError, match=r"memory of NVIDIA H100 \(0.0 of 0.0 GiB free\): .*out of memory"):
        TensorRTSession(file)
    assert gpu.cuda.live == 0


def test_a_failed_allocation_is_named(gpu: Machine, tmp_path: Path) -> None:
    file = write_plan(gpu, tmp_path / "bundle")
    gpu.cuda.failures["cudaHostAlloc"] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(MissingError, match="cudaHostAlloc"):
        TensorRTSession(file)


def test_a_failing_gpu_is_reported_in_cudas_words(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    gpu.cuda.failures["cudaEventSynchronize"] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(
        cuda.CudaError, match=r"cudaEventSynchronize: illegaladdress \(cudaErrorIllegalAddress\)"
    ) as caught:
        session.upscale(lr_faces(1))
    assert not isinstance(caught.value, MissingError) and caught.value.exit_code == ExitCode.FAILED


def test_what_tensorrt_warns_of_while_it_loads_a_plan_is_a_note(gpu: Machine, tmp_path: Path) -> None:
    file = write_plan(gpu, tmp_path / "bundle")
    gpu.tensorrt.load_warnings += ["Using an engine plan file across different\n models of devices"] * 2
    notes = TensorRTSession(file).info.notes
    assert notes == ("TensorRT warns of this plan: Using an engine plan file across different models of devices",)


def test_a_plan_of_another_model_of_the_same_kind_gets_a_note(machine: MachineFactory, tmp_path: Path) -> None:
    file = write_plan(machine("10.16"), tmp_path / "bundle")
    machine("10.16", name=b"NVIDIA H200")
    notes = TensorRTSession(file).info.notes
    assert len(notes) == 1
    assert notes[0].startswith("the plan was built on NVIDIA H100 and runs on NVIDIA H200: it may be slower")
    assert notes[0].endswith(f"fsr-export --rebuild {tmp_path / 'bundle'}")


def test_the_reason_of_a_refusal_is_its_own_and_not_another_threads(gpu: Machine, tmp_path: Path) -> None:
    """One thread runs out of memory while another's batch is refused for its size."""
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"), in_flight=1)
    context = session._lanes[0]._context._context
    other_is_done, refuse = threading.Event(), type(context).set_input_shape

    def slowly(self: Any, name: str, shape: Any) -> bool:
        thread = threading.Thread(target=run_out_of_memory)
        thread.start()
        thread.join()
        return refuse(self, name, (99, *shape[1:]))

    def run_out_of_memory() -> None:
        with operation():
            log().log(gpu.tensorrt.ILogger.Severity.ERROR, "Cuda Runtime (out of memory)")
            assert ran_out_of_memory()
        other_is_done.set()

    type(context).set_input_shape = slowly
    with pytest.raises(InputError, match=r"could not take a batch of 2: IExecutionContext: lr of shape \(99") as caught:
        session.upscale(lr_faces(2))
    assert other_is_done.is_set() and "out of memory" not in str(caught.value)


def test_a_plan_that_tensorrt_refuses_is_reported_in_its_words(gpu: Machine, tmp_path: Path) -> None:
    write_bundle(tmp_path)
    content = plan_bytes(gpu, tmp_path / "model.onnx")[:-10]
    with pytest.raises(InputError, match=r"TensorRT 10.16.1.11 refuses the plan: Serialization assertion"):
        TensorRTSession(foreign(content), trust=True)


def test_a_plan_of_8_without_profile_sharing_runs_one_batch_at_a_time(machine: MachineFactory, tmp_path: Path) -> None:
    gpu = machine("8.6")
    write_bundle(tmp_path)
    session = TensorRTSession(foreign(plan_bytes(gpu, tmp_path / "model.onnx", sharing=False)), trust=True)
    assert session.in_flight == 1
    assert np.array_equal(session.upscale(lr_faces(2)), repeat_pixels(lr_faces(2)))


def test_layer_times_are_those_of_the_graphs_nodes_and_leave_the_lanes_alone(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"), in_flight=1)
    for _ in range(3):
        session.upscale(lr_faces(4))
    live = gpu.cuda.live
    times = session.layer_times(lr_faces(4))
    assert len(times) > 3 and all(seconds == 0.125e-3 for _, seconds in times)
    assert gpu.cuda.live == live
    session.upscale(lr_faces(4))
    assert gpu.cuda.calls["cudaGraphInstantiate"] == 1


def test_the_second_gpu_can_be_chosen(machine: MachineFactory, tmp_path: Path) -> None:
    gpu = machine("10.16", count=2)
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"), "cuda:1")
    gpu.cuda.device = 0  # another thread's choice
    session.upscale(lr_faces(1))
    assert (session.info.device, gpu.cuda.device) == ("cuda:1", 1)


def test_a_batch_that_does_not_fit_is_out_of_memory_and_smaller_ones_still_run(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    gpu.cuda.failures["cudaMemcpyAsync"] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(OutOfMemory):
        session.upscale(lr_faces(8))
    assert np.array_equal(session.upscale(lr_faces(4)), repeat_pixels(lr_faces(4)))
    assert np.array_equal(session.upscale(lr_faces(8)), repeat_pixels(lr_faces(8)))
