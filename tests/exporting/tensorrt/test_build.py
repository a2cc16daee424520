"""Builds on the stand-in TensorRT: what each release is told, and what happens when it says no."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fsr_deploy.bundle.onnx_wire import FLOAT, Node, read_outline
from fsr_deploy.errors import InputError, MissingError, UsageError
from fsr_deploy.exporting.tensorrt import progress as tensorrt_progress
from fsr_deploy.exporting.tensorrt.build import build_plan
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.network import layers_of, network_flags
from fsr_deploy.exporting.tensorrt.timing_cache import default_path
from fsr_deploy.runtime.cuda.driver import find_gpu
from fsr_deploy.runtime.tensorrt.library import log
from fsr_deploy.runtime.tensorrt.preflight import this_platform
from tests.contract.table import RELEASES
from tests.engines import write_onnx
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import VERSIONS

BATCHES = (1, 4, 8)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "model.onnx", lr_size=4)


def typed_graph(path: Path, operator: str = "Sqrt", opset: int = 17, *, with_types: bool = True) -> Path:
    """Write an FP16 graph with one FP32 node between casts, its nodes named after modules as fsr-export does."""
    nodes = [
        helper.make_node("Cast", ["lr"], ["x"], name="/Cast_0", to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["x"], ["y"], name="enc1.conv/Relu_1"),
        helper.make_node("Cast", ["y"], ["y32"], name="enc1.sa/Cast_2", to=TensorProto.FLOAT),
        helper.make_node(operator, ["y32"], ["z32"], name=f"enc1.sa/{operator}_3"),
        helper.make_node("Cast", ["z32"], ["sr"], name="/Cast_4", to=TensorProto.UINT8),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", 4, 4, 3]) for name in ("lr", "sr")]
    weight = numpy_helper.from_array(np.ones(3, np.float32), "unused")
    graph = helper.make_graph(nodes, "typed", values[:1], values[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model) if with_types else model, path)
    return path


@pytest.mark.parametrize("release", RELEASES)
def test_a_plan_is_built_and_known(machine: MachineFactory, graph: Path, release: str) -> None:
    machine(release)
    built = build_plan(graph, "fp32", BATCHES, PlanOptions())
    assert built.content.startswith(b"ftrt")
    info = built.info
    assert (info.tensorrt, info.compute_capability, info.gpu) == (VERSIONS[release], "9.0", "NVIDIA H100")
    assert (info.platform, info.cuda, info.profiles) == (this_platform(), "13.0", ((1, 1, 1), (2, 4, 8)))


FLAGS = {
    ("8.6", "fp32"): set(),
    ("8.6", "fp16"): {"FP16", "OBEY_PRECISION_CONSTRAINTS"},
    ("8.6", "int8"): {"INT8"},
    ("8.6", "int8+fp16"): {"INT8", "FP16", "OBEY_PRECISION_CONSTRAINTS"},
    **{("10.16", precision): set() for precision in ("fp32", "fp16", "bf16", "int8", "int8+fp16")},
    **{("11.4", precision): set() for precision in ("fp16", "bf16", "int8", "int8+fp16")},
}


@pytest.mark.parametrize(("release", "precision"), FLAGS)
def test_flags_allow_a_precision_only_where_the_graph_does_not_decide(
    machine: MachineFactory, tmp_path: Path, release: str, precision: str
) -> None:
    gpu = machine(release)
    graph = typed_graph(tmp_path / "typed.onnx", opset=17 if release == "8.6" else 19)
    build_plan(graph, precision, BATCHES, PlanOptions())
    network, config = gpu.tensorrt.builds[0]
    assert {flag.name for flag in config._flags} == FLAGS[release, precision], "TF32 is cleared everywhere"
    creation = gpu.tensorrt.NetworkDefinitionCreationFlag.__members__
    name = {"8.6": "EXPLICIT_BATCH", "10.16": "STRONGLY_TYPED"}.get(release)
    assert network._flags == (1 << int(creation[name]) if name else 0)


def test_on_8_6_the_fp32_layers_of_an_fp16_graph_are_pinned_and_no_others(
    machine: MachineFactory, tmp_path: Path
) -> None:
    gpu = machine("8.6")
    build_plan(typed_graph(tmp_path / "typed.onnx"), "fp16", BATCHES, PlanOptions())
    network, _ = gpu.tensorrt.builds[0]
    float32 = gpu.tensorrt.DataType.FLOAT
    pinned = {layer.name: (layer.precision, layer._output_types) for layer in network._layers if layer.precision}
    assert pinned == {"enc1.sa/Sqrt_3": (float32, {0: float32})}


def test_on_8_6_an_fp16_graph_that_says_no_types_is_refused(machine: MachineFactory, tmp_path: Path) -> None:
    machine("8.6")
    with pytest.raises(InputError, match=r"typed.onnx: does not say of every node .* export it again"):
        build_plan(typed_graph(tmp_path / "typed.onnx", with_types=False), "fp16", BATCHES, PlanOptions())


def test_every_layer_that_a_node_became_is_known_by_the_nodes_name(machine: MachineFactory) -> None:
    trt = machine("8.6").tensorrt
    network = trt.Builder(log()).create_network(network_flags(trt))
    for name in ("a/Conv_1", "(Unnamed Layer* 1) [Shape]", "b/Split_19", "b/Split_19_10", "b/Split_19_11", "b/Add_2"):
        network._add(name, trt.LayerType.ELEMENTWISE, [])
    chosen = {"a/Conv_1": False, "b/Split": False, "b/Split_19": True, "b/Add_2": False}
    assert layers_of(network, chosen.get) == [1, 2, 3, 4]


def pairs_graph(path: Path) -> Path:
    """Write what --int8 --fp16 --opset 17 writes in small: all FP32, one convolution between pairs, one attention."""
    nodes = [
        helper.make_node("Cast", ["lr"], ["a"], name="/Cast_0", to=TensorProto.FLOAT),
        helper.make_node("Floor", ["a"], ["b"], name="bicubic/Floor_1"),
        helper.make_node("QuantizeLinear", ["b", "step", "zero"], ["q"], name="network.conv/QuantizeLinear_2"),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["c"], name="network.conv/DequantizeLinear_3"),
        helper.make_node("Relu", ["c"], ["d"], name="network.conv/Relu_4"),
        helper.make_node("Softmax", ["d"], ["e"], name="network.sa.matrix/Softmax_5"),
        helper.make_node("Neg", ["e"], ["f"], name="network.sa/Neg_6"),
        helper.make_node("Cast", ["f"], ["sr"], name="/Cast_7", to=TensorProto.UINT8),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", 4, 4, 3]) for name in ("lr", "sr")]
    constants = [
        numpy_helper.from_array(np.array(1, dtype), name) for name, dtype in (("step", np.float32), ("zero", np.int8))
    ]
    model = helper.make_graph(nodes, "pairs", values[:1], values[1:], constants)
    onnx.save(helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_on_8_6_int8_and_fp16_leave_in_fp32_what_the_modules_say_and_what_is_around_the_network(
    machine: MachineFactory, tmp_path: Path
) -> None:
    gpu = machine("8.6")
    in_fp32 = {"", "bicubic", "network.sa.matrix"}.__contains__
    build_plan(pairs_graph(tmp_path / "pairs.onnx"), "int8+fp16", BATCHES, PlanOptions(), in_fp32)
    network, _ = gpu.tensorrt.builds[0]
    float32 = gpu.tensorrt.DataType.FLOAT
    pinned = {layer.name: (layer.precision, layer._output_types) for layer in network._layers if layer.precision}
    assert set(pinned) == {"bicubic/Floor_1", "(Unnamed Layer* 5) [Shuffle]", "network.sa.matrix/Softmax_5"}
    assert set(map(str, pinned.values())) == {str((float32, {0: float32}))}


@pytest.mark.parametrize("release", ["10.16", "11.4"])
def test_strongly_typed_tensorrt_refuses_int8_and_fp16_that_8_6_was_meant_to_type(
    machine: MachineFactory, tmp_path: Path, release: str
) -> None:
    machine(release)
    with pytest.raises(
        InputError, match=r"pairs\.onnx: .* would compute in FP32 .* export it again without --opset 17"
    ):
        build_plan(pairs_graph(tmp_path / "pairs.onnx"), "int8+fp16", BATCHES, PlanOptions())


def test_8_6_has_no_bf16(machine: MachineFactory, graph: Path) -> None:
    machine("8.6")
    with pytest.raises(MissingError, match=r"TensorRT 8.6.0 has no bf16; export with --fp16"):
        build_plan(graph, "bf16", BATCHES, PlanOptions())


def test_8_6_has_no_fp8(machine: MachineFactory, tmp_path: Path) -> None:
    machine("8.6", capability=(8, 9))
    with pytest.raises(MissingError, match=r"TensorRT 8.6.0 has no fp8\+fp16; export with --fp16, or install Tensor"):
        build_plan(typed_graph(tmp_path / "typed.onnx", opset=19), "fp8+fp16", BATCHES, PlanOptions())


@pytest.mark.parametrize(("capability", "builds"), [((7, 5), False), ((8, 6), False), ((8, 9), True), ((9, 0), True)])
def test_a_gpu_before_ada_is_told_that_it_has_no_fp8(
    machine: MachineFactory, tmp_path: Path, capability: tuple[int, int], builds: bool
) -> None:
    machine("10.16", capability=capability)
    graph = typed_graph(tmp_path / "typed.onnx", opset=19)
    if builds:
        build_plan(graph, "fp8+fp16", BATCHES, PlanOptions())
        return
    sentence = r"multiplies no FP8, which began with Ada \(sm_89\) and Hopper \(sm_90\); export with --int8 --fp16"
    with pytest.raises(MissingError, match=sentence):
        build_plan(graph, "fp8+fp16", BATCHES, PlanOptions())


def test_8_6_refuses_later_opsets_because_it_would_misread_reductions(machine: MachineFactory, tmp_path: Path) -> None:
    for opset, precision in ((18, "fp16"), (19, "int8+fp16")):
        path = typed_graph(tmp_path / "typed.onnx", opset=opset)
        machine("8.6")
        with pytest.raises(InputError, match=rf"opset {opset}, TensorRT 8.6.0 reads up to 17; .* with --opset 17"):
            build_plan(path, precision, BATCHES, PlanOptions())
        machine("10.16")
        build_plan(path, precision, BATCHES, PlanOptions())


@pytest.mark.parametrize("release", RELEASES)
def test_a_node_that_tensorrt_cannot_read_is_traced_to_its_module(
    machine: MachineFactory, tmp_path: Path, release: str
) -> None:
    machine(release)
    path = typed_graph(tmp_path / "typed.onnx", operator="NonZero")
    with pytest.raises(InputError) as caught:
        build_plan(path, "fp16", BATCHES, PlanOptions())
    assert str(caught.value) == (
        f"typed.onnx: TensorRT {VERSIONS[release]} cannot read this graph:\n"
        "  module enc1.sa, node enc1.sa/NonZero_3 (NonZero): No importer registered for op: NonZero"
    )


def test_a_file_that_is_no_onnx_model_is_named(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"model.onnx: not an ONNX model, or cut off"):
        build_plan(tmp_path / "model.onnx", "fp32", BATCHES, PlanOptions())


def test_the_outline_of_a_graph_is_read_without_onnx(tmp_path: Path) -> None:
    outline = read_outline(typed_graph(tmp_path / "typed.onnx").read_bytes())
    assert outline.opset == 17
    assert outline.nodes[3] == Node("enc1.sa/Sqrt_3", "Sqrt", TensorProto.FLOAT)
    assert [node.type for node in outline.nodes] == [TensorProto.FLOAT16] * 2 + [FLOAT] * 2 + [TensorProto.UINT8]
    assert [node.module for node in outline.nodes] == ["", "enc1.conv", "enc1.sa", "enc1.sa", ""]


def test_several_profiles_and_all_settings_reach_the_builder(machine: MachineFactory, graph: Path) -> None:
    gpu = machine("10.16")
    options = PlanOptions(
        profiles=((1, 1, 1), (8, 64, 128)),
        workspace_gib=0.5,
        level=5,
        hardware="ampere_plus",
        version_compatible=True,
    )
    info = build_plan(graph, "fp32", BATCHES, options).info
    _, config = gpu.tensorrt.builds[0]
    assert [[shape[0] for shape in profile._shapes["lr"]] for profile in config._profiles] == [[1, 1, 1], [8, 64, 128]]
    assert config.get_memory_pool_limit(gpu.tensorrt.MemoryPoolType.WORKSPACE) == 1 << 29
    assert config.builder_optimization_level == 5
    assert config.hardware_compatibility_level == gpu.tensorrt.HardwareCompatibilityLevel.AMPERE_PLUS
    assert gpu.tensorrt.BuilderFlag.VERSION_COMPATIBLE in config._flags
    assert config.profiling_verbosity == gpu.tensorrt.ProfilingVerbosity.DETAILED
    assert (info.hardware_compatibility, info.version_compatible) == ("ampere_plus", True)
    assert info.profiles == options.profiles


@pytest.mark.parametrize("release", RELEASES)
def test_a_plan_needs_neither_cublas_nor_cudnn(machine: MachineFactory, graph: Path, release: str) -> None:
    gpu = machine(release)
    build_plan(graph, "fp32", BATCHES, PlanOptions())
    sources = gpu.tensorrt.TacticSource.__members__
    allowed = {name for name, source in sources.items() if gpu.tensorrt.builds[0][1]._tactics >> int(source) & 1}
    assert allowed == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}


@pytest.mark.parametrize(
    ("batches", "options", "error", "text"),
    [
        ((8, 4, 1), {}, InputError, r"batches \(8, 4, 1\): TensorRT refuses the profile"),
        (BATCHES, {"workspace_gib": 100}, InputError, "refuses a workspace of 107374182400 bytes"),
        (BATCHES, {"hardware": "same_compute_capability"}, MissingError, "cannot build for 'same_compute_capability'"),
        (BATCHES, {"tiling": "fast"}, MissingError, "TensorRT 8.6.0 has no tiling levels; leave --tiling out"),
    ],
)
def test_a_setting_that_tensorrt_refuses_is_named(
    machine: MachineFactory, graph: Path, batches: Any, options: dict[str, Any], error: Any, text: str
) -> None:
    machine("8.6")
    with pytest.raises(error, match=text):
        build_plan(graph, "fp32", batches, PlanOptions(**options))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"level": 9}, "--level 9: give a whole number from 0 to 5"),
        ({"level": 1.5}, "--level 1.5: give a whole number from 0 to 5"),
        ({"workspace_gib": 0}, "--workspace 0: a size above 0 in GiB"),
        ({"workspace_gib": float("nan")}, "--workspace nan: a size above 0 in GiB"),
        ({"hardware": "hopper"}, "--hardware hopper: not one of none, same_compute_capability, ampere_plus"),
        ({"tiling": "deep"}, "--tiling deep: not one of none, fast, moderate, full"),
        ({"profiles": ((8, 4, 1),)}, "--profile 8,4,1: not MIN,OPT,MAX in rising order"),
        ({"device": -1}, "--device cuda:-1: give a whole number from 0 on"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_before_any_library_is_asked(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        PlanOptions(**options)


@pytest.mark.parametrize(
    ("release", "batches", "profiles"),
    [
        ("10.16", (1, 8, 32), ((1, 1, 1), (2, 8, 32))),
        ("10.16", (1, 1, 4), ((1, 1, 4),)),
        ("10.16", (4, 8, 32), ((4, 8, 32),)),
        ("rtx-1.7", (1, 8, 32), ((1, 8, 32),)),
    ],
)
def test_a_plan_has_kernels_for_single_faces_and_for_throughput(
    machine: MachineFactory, graph: Path, release: str, batches: Any, profiles: Any
) -> None:
    machine(release)
    flavour = "rtx" if release == "rtx-1.7" else "tensorrt"
    assert build_plan(graph, "fp32", batches, PlanOptions(flavour=flavour)).info.profiles == profiles


def test_tiling_is_asked_for_where_there_is_one(machine: MachineFactory, graph: Path) -> None:
    gpu = machine("10.16")
    build_plan(graph, "fp32", BATCHES, PlanOptions(tiling="moderate"))
    assert gpu.tensorrt.builds[0][1].tiling_optimization_level.name == "MODERATE"


def test_8_6_cannot_build_for_all_gpus_of_one_compute_capability(machine: MachineFactory, graph: Path) -> None:
    machine("8.6")
    with pytest.raises(MissingError, match=r"TensorRT 8.6.0 cannot build for 'same_compute_capability'"):
        build_plan(graph, "fp32", BATCHES, PlanOptions(hardware="same_compute_capability"))


def test_a_build_that_fails_for_lack_of_memory_is_exit_3_with_tensorrts_words(
    machine: MachineFactory, graph: Path
) -> None:
    gpu = machine("10.16")
    gpu.cuda.failures["build"] = 2  # type: ignore[assignment]
    with pytest.raises(MissingError, match=r"TensorRT 10.16.1.11 built no plan: .*insufficient memory"):
        build_plan(graph, "fp32", BATCHES, PlanOptions())


def test_ctrl_c_during_a_build_ends_it(machine: MachineFactory, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("11.4")

    def interrupt(message: str) -> None:
        if message.startswith("building the plan: "):
            raise KeyboardInterrupt

    monkeypatch.setattr(tensorrt_progress, "PLAIN_PROGRESS_SECONDS", 0)
    monkeypatch.setattr(tensorrt_progress, "say", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_plan(graph, "fp32", BATCHES, PlanOptions())


def test_a_build_that_is_told_to_stop_ends_at_its_next_step_and_keeps_its_timings(
    machine: MachineFactory, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("11.4")
    told = threading.Event()
    told.set()
    monkeypatch.setattr(tensorrt_progress, "stop", told)
    with pytest.raises(KeyboardInterrupt):
        build_plan(graph, "fp32", BATCHES, PlanOptions())
    kept = default_path("11.4.0.106", find_gpu())
    assert kept is not None and kept.read_bytes()


def test_a_build_reports_its_phases(
    machine: MachineFactory, graph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine("11.4")
    monkeypatch.setattr(tensorrt_progress, "PLAIN_PROGRESS_SECONDS", 0)
    build_plan(graph, "fp32", BATCHES, PlanOptions())
    assert "building the plan: Building Engine, step 2 of 2" in capsys.readouterr().err


def test_timings_are_kept_for_the_next_build(machine: MachineFactory, graph: Path) -> None:
    gpu = machine("10.16")
    build_plan(graph, "fp32", BATCHES, PlanOptions())
    path = default_path("10.16.1.11", find_gpu())
    assert path.name == "timing-10.16.1.11-sm_90-nvidia-h100.cache"
    first = path.read_bytes()
    build_plan(graph, "fp32", BATCHES, PlanOptions())
    assert gpu.tensorrt.builds[1][1]._cache._content == first
    assert path.read_bytes() == first + b"+", "what the second build measured is kept too"
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no temporary file is left"


def test_timings_of_another_gpu_are_not_used(
    machine: MachineFactory, graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine("10.16")
    path = tmp_path / "timings"
    path.write_bytes(b"of another GPU")
    build_plan(graph, "fp32", BATCHES, PlanOptions(timing_cache=path))
    assert f"{path}: a timing cache of another GPU or TensorRT; starting an empty one" in capsys.readouterr().err
    assert path.read_bytes().startswith(b"timings:")


def test_a_cache_path_that_cannot_be_a_file_costs_a_warning_only(
    machine: MachineFactory, graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine("10.16")
    (tmp_path / "file").touch()
    assert build_plan(graph, "fp32", BATCHES, PlanOptions(timing_cache=tmp_path / "file" / "timings")).content
    assert "warning: not cached: " in capsys.readouterr().err
