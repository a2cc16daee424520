from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.layers import ModuleCost, ModuleTable, module_of_kernel, owners
from fsr_deploy.profiling.layers.attribution import (
    BETWEEN,
    MAX_RUNS,
    LayerProfile,
    LayerWatch,
    ModuleTime,
    layer_profile,
)
from fsr_deploy.profiling.statistics import PASSES, Estimate, change
from fsr_deploy.profiling.timing import MonotonicClock
from fsr_deploy.runtime.kernel_times import KernelRun, OnnxRecorder, read_runs
from tests.runtime.machines import NoisyMachine, SimulatedClock

TABLE = ModuleTable(
    {
        path: ModuleCost(kind, macs, 1000, 500)
        for path, kind, macs in (
            ("", "Deployable", 0),
            ("bicubic", "Bicubic", 100),
            ("network", "AMINet", 4_000_000),
            ("network.encoders.0", "LGFI", 0),
            ("network.encoders.0.local", "RDFE", 3_000_000),
            ("network.encoders.0.fusion", "SKAF", 2_000_000),
            ("network.fusions.0.fusion", "SKAF", 1_000_000),
        )
    }
)
KERNELS = {
    "/Cast_0": 0.0002,
    "bicubic/MatMul_1": 0.0004,
    "network.head/Conv_2_nchwc": 0.0020,
    "network.encoders.0.local.mix/Conv_3_nchwc": 0.0040,
    "ReorderOutput_token_4": 0.0006,
    "network.encoders.0/Add_4": 0.0005,
    "ReorderInput_token_7": 0.0003,
    "network.encoders.0.fusion.branches.0/Conv_5_nchwc": 0.0030,
    "network.fusions.0.fusion/Mul_6": 0.0010,
}


@pytest.mark.parametrize(
    ("kernel", "module"),
    [
        ("network.encoders.0.local/Mul_48", "network.encoders.0.local"),
        ("network.encoders.0.local.refine/Conv_17_nchwc", "network.encoders.0.local.refine"),
        ("network.encoders.0.attention/MatMul_29/MatmulTransposeFusion/", "network.encoders.0.attention"),
        ("InsertedPrecisionFreeCast_network.fusion/Sigmoid_134_nchwc", "network.fusion"),
        ("/Cast_0", ""),
        ("a.b.c/Conv_1 + a.b.c/Relu_2", "a.b.c"),
        ("a.b.c/Conv_1 + a.b.d/Conv_2", "a.b"),
        ("a.b1/Conv_1 + a.b2/Conv_2", "a"),
        ("{ForeignNode[net.enc.0/Conv_1...net.dec.2/Add_77]}", "net"),
        ("Reformatting CopyNode for Input Tensor 0 to net.head/Conv_1", "net.head"),
        ("ReorderOutput_token_25", None),
        ("Transpose_token_1", None),
    ],
)
def test_a_kernel_belongs_to_the_innermost_module_of_all_nodes_in_its_name(kernel: str, module: str | None) -> None:
    assert module_of_kernel(kernel) == module


def test_layout_changes_belong_to_the_module_whose_data_they_move() -> None:
    kernels = [
        "ReorderInput_token_1",
        "network.head/Conv_2_nchwc",
        "ReorderOutput_token_3",
        "Transpose_token_9",
        "ReorderInput_token_4",
        "network.encoders.0.local.mix/Conv_5_nchwc",
        "ReorderInput_token_6",
    ]
    local = "network.encoders.0.local"
    assert owners(kernels, TABLE) == ["network", "network", "network", "network", local, local, local]


def test_modules_of_a_graph_without_a_table_go_by_their_paths() -> None:
    profile = layer_profile([[KernelRun([("a.b/Conv_1", 0.002), ("c/Add_2", 0.001)], 0.003)]] * 8, ModuleTable({}), 1)
    assert [(entry.module, entry.kind) for entry in profile.modules] == [("a.b", "a.b"), ("c", "c")]


def test_times_are_summed_by_module_and_by_kind_and_all_time_is_accounted_for() -> None:
    runs = [[KernelRun(list(KERNELS.items()), 0.0125)]] * 8
    profile = layer_profile(runs, TABLE, 2)
    modules = {entry.module: entry.time.value for entry in profile.modules}
    assert modules == pytest.approx(
        {
            "network.encoders.0.local": 4.6,
            "network.encoders.0.fusion": 3.3,
            "network": 2.0,
            "network.fusions.0.fusion": 1.0,
            "network.encoders.0": 0.5,
            "bicubic": 0.4,
            "": 0.2,
            BETWEEN: 0.5,
        }
    )
    kinds = {entry.kind: entry for entry in profile.kinds}
    assert kinds["SKAF"].time.value == pytest.approx(4.3)
    assert profile.total.value == pytest.approx(sum(modules.values())) == pytest.approx(12.5)
    assert kinds["SKAF"].share == pytest.approx(4.3 / 12.5)


def test_rates_follow_from_the_costs_of_the_graph() -> None:
    profile = layer_profile([[KernelRun([("network.encoders.0.local/Conv_3", 0.004)], 0.004)]] * 8, TABLE, 2)
    entry = profile.modules[0]
    assert entry.gflops == pytest.approx(2 * 3e6 * 2 / 0.004 / 1e9)
    assert entry.gbytes == pytest.approx((1000 * 2 + 500) / 0.004 / 1e9)


class SimulatedRecorder:
    """Runs KERNELS on a noisy machine, one module of them slower by a factor."""

    def __init__(self, seed: int, slow: str = "", factor: float = 1.0) -> None:
        self.clock = SimulatedClock()
        self._machine = NoisyMachine(seed, drift_seconds=0.02, drift=0.02)
        self._factors = {name: factor if module_of_kernel(name) == slow else 1.0 for name in KERNELS}
        self._runs: list[KernelRun] = []

    def run(self) -> None:
        kernels = []
        for name, seconds in KERNELS.items():
            kernels.append((name, seconds * self._factors[name] * self._machine(self.clock.time)))
            self.clock.sleep(kernels[-1][1])
        self._runs.append(KernelRun(kernels, 0.0002 + sum(seconds for _, seconds in kernels)))

    def finish(self) -> list[KernelRun]:
        return self._runs


def watched(recorder: SimulatedRecorder) -> LayerProfile:
    watch = LayerWatch(recorder, TABLE, 4, 10.0, recorder.clock)
    for _ in range(PASSES):
        watch.visit(1)
        watch.visit(4)
    profile = watch.finish()
    assert profile is not None and profile.runs == PASSES * (MAX_RUNS - 1)
    return profile


def slower(old: Sequence[ModuleTime], new: Sequence[ModuleTime]) -> set[str]:
    known = {(entry.kind, entry.module): entry.time for entry in old}
    return {
        entry.module or entry.kind
        for entry in new
        if change(known[entry.kind, entry.module], entry.time, looks=len(new)).low > 1
    }


def beside(old: LayerProfile, new: LayerProfile, looks: int = 1) -> dict[str, Estimate]:
    """Return how each module's time beside the others changed, relative to the usual change."""
    known = {entry.module: entry.beside_others for entry in old.modules}
    ratios = {
        entry.module: change(before, entry.beside_others, looks=looks)
        for entry in new.modules
        if entry.beside_others and (before := known[entry.module])
    }
    usual = float(np.median([ratio.value for ratio in ratios.values()]))
    return {module: ratio.times(1 / usual) for module, ratio in ratios.items()}


@pytest.mark.parametrize("seed", range(5))
def test_a_slowdown_of_ten_percent_in_one_module_is_found_there_and_nowhere_else(seed: int) -> None:
    old = watched(SimulatedRecorder(2 * seed))
    new = watched(SimulatedRecorder(2 * seed + 1, "network.encoders.0.fusion.branches.0", 1.1))
    assert slower(old.modules, new.modules) == {"network.encoders.0.fusion"}
    assert slower(old.kinds, new.kinds) <= {"SKAF"}


@pytest.mark.parametrize("seed", range(10))
def test_two_layer_profiles_of_one_engine_agree(seed: int) -> None:
    old, new = (watched(SimulatedRecorder(100 + 2 * seed + i)) for i in (0, 1))
    assert slower(old.modules, new.modules) == slower(old.kinds, new.kinds) == set()


def test_a_modules_time_beside_the_others_is_as_sure_as_it_says() -> None:
    """A module that is its own peer seems to vary less than it does: a third of the intervals did not hold."""
    profiles = [watched(SimulatedRecorder(300 + seed)) for seed in range(60)]
    outside = [
        not ratio.low <= 1 <= ratio.high
        for old, new in zip(profiles[::2], profiles[1::2], strict=True)
        for ratio in beside(old, new).values()
    ]
    assert len(outside) == 30 * 7  # all but what is between the kernels
    assert np.mean(outside) <= 0.1


class DisturbedRecorder(SimulatedRecorder):
    """Runs up to three times as slow as usual for a while, all modules alike, as beside other processes."""

    def run(self) -> None:
        super().run()
        last, factor = self._runs[-1], 2 + np.sin(len(self._runs) / 10)
        self._runs[-1] = KernelRun([(name, factor * seconds) for name, seconds in last.kernels], factor * last.seconds)


@pytest.mark.parametrize("seed", range(5))
def test_what_slows_all_modules_alike_neither_hides_a_slower_one_nor_is_blamed_on_any(seed: int) -> None:
    old, new = (
        watched(recorder(seed + i, "network.encoders.0.fusion.branches.0", factor))
        for i, (recorder, factor) in enumerate(((SimulatedRecorder, 1.0), (DisturbedRecorder, 1.1)))
    )
    assert {module for module, ratio in beside(old, new, 8).items() if ratio.low > 1} == {"network.encoders.0.fusion"}
    disturbed = next(entry for entry in new.modules if entry.module == "network.encoders.0.fusion")
    assert disturbed.time.high / disturbed.time.low > 1.5  # as a time it is as unsure as it looks


def test_of_few_modules_none_is_judged_beside_the_others() -> None:
    profile = layer_profile([[KernelRun([("network.encoders.0.local/Conv_3", 0.004)], 0.004)]] * 8, TABLE, 2)
    assert profile.modules[0].beside_others is None


def test_a_batch_size_that_was_never_visited_has_no_layers() -> None:
    watch = LayerWatch(SimulatedRecorder(0), TABLE, 4, 1.0, SimulatedClock())
    watch.visit(8)
    assert watch.finish() is None


def test_runs_are_told_apart_in_a_trace_whatever_its_order() -> None:
    def event(category: str, name: str, start: int, duration: int) -> Mapping[str, object]:
        return {"cat": category, "name": name, "ts": start, "dur": duration}

    events = [
        event("Session", "session_initialization", 0, 90),
        event("Session", "model_run", 200, 50),
        event("Node", "b/Add_1_kernel_time", 230, 8),
        event("Node", "a/Conv_0_kernel_time", 205, 20),
        event("Node", "a/Conv_0_fence_before", 204, 1),
        event("Session", "model_run", 100, 40),
        event("Node", "a/Conv_0_kernel_time", 101, 30),
        event("Node", "b/Add_1_kernel_time", 132, 7),
    ]
    runs = read_runs([dict(e) for e in events])
    assert [[name for name, _ in run.kernels] for run in runs] == [["a/Conv_0", "b/Add_1"]] * 2
    assert [run.seconds for run in runs] == pytest.approx([40e-6, 50e-6])
    assert [seconds for run in runs for _, seconds in run.kernels] == pytest.approx([30e-6, 7e-6, 20e-6, 8e-6])


def write_modules(path: Path, convolutions: Mapping[str, int], side: int = 64) -> Path:
    """Write an engine whose modules, in this order, are so many 7x7 convolutions each, on side x side pixels."""
    names = [f"{module}/Conv_{i}" for module, count in convolutions.items() for i in range(count)]
    nodes = [
        helper.make_node("Cast", ["lr"], ["/Cast_0"], name="/Cast_0", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["/Cast_0"], ["/Transpose_1"], name="/Transpose_1", perm=[0, 3, 1, 2]),
        *_chain(["/Transpose_1", *names]),
        helper.make_node("Transpose", [names[-1]], ["/Transpose_2"], name="/Transpose_2", perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["/Transpose_2"], ["sr"], name="/Cast_3", to=TensorProto.UINT8),
    ]
    kernel = np.zeros((3, 3, 7, 7), np.float32)
    kernel[range(3), range(3), 3, 3] = 1
    faces = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", side, side, 3]) for name in ("lr", "sr")]
    graph = helper.make_graph(nodes, "g", faces[:1], faces[1:], [onnx.numpy_helper.from_array(kernel, "kernel")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _chain(names: Sequence[str]) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Conv", [source, "kernel"], [target], name=target, pads=[3, 3, 3, 3])
        for source, target in pairwise(names)
    ]


def test_a_module_that_costs_more_in_a_real_engine_is_where_its_profile_says(tmp_path: Path) -> None:
    times = []
    for planted in (1, 12):
        path = write_modules(tmp_path / f"{planted}.onnx", {"head": 1, "body.refine": planted, "tail": 1})
        watch = LayerWatch(OnnxRecorder(read_engine_file(path), 2), ModuleTable({}), 2, 0.1, MonotonicClock())
        for _ in range(PASSES):
            watch.visit(2)
        profile = watch.finish()
        assert profile is not None
        times.append({entry.module: entry.time.value for entry in profile.modules})
    assert {"head", "body.refine", "tail"} <= set(times[0])
    growth = {module: times[1][module] - times[0][module] for module in ("head", "body.refine", "tail")}
    assert max(growth, key=lambda module: growth[module]) == "body.refine"
