from __future__ import annotations

import hashlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from fsr_deploy._util.cores import physical_cores
from fsr_deploy.bundle.info import write_info
from fsr_deploy.errors import FsrError, InputError, MissingError, UsageError
from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.runtime import machine
from fsr_deploy.runtime.backends import openvino_cache
from fsr_deploy.runtime.backends.openvino import MOST_SIZES, OpenVinoSession
from fsr_deploy.runtime.open import open_session, proven_with
from fsr_deploy.runtime.session import engine_kind
from tests.engines import FACTS, repeat_pixels, write_onnx
from tests.fakes.plans import describe, lr_faces, write_bundle
from tests.networks import Parts

openvino = pytest.importorskip("openvino")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder for compiled models, empty."""
    monkeypatch.setenv("FSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / openvino_cache.FOLDER


@pytest.fixture
def graph(tmp_path: Path, cache: Path) -> Path:
    return write_onnx(tmp_path / "model.onnx")


def opened(path: Path, **options: Any) -> OpenVinoSession:
    session = open_session(path, **{"backend": "openvino", **options})
    assert isinstance(session, OpenVinoSession)
    return session


def property_of(session: OpenVinoSession, name: str) -> Any:
    """Return a property of the model that runs."""
    (requests,) = session._requests.values()
    request = requests.get()
    requests.put(request)
    value = request.get_compiled_model().get_property(name)
    return value.to_string() if name == "INFERENCE_PRECISION_HINT" else value


def can(monkeypatch: pytest.MonkeyPatch, *capabilities: str, instructions: str = "") -> None:
    """Make OpenVINO and Linux say that the CPU can do something."""
    real = openvino.Core.get_property

    def get_property(self: Any, device: str, name: str) -> Any:
        return list(capabilities) if name == "OPTIMIZATION_CAPABILITIES" else real(self, device, name)

    monkeypatch.setattr(openvino.Core, "get_property", get_property)
    monkeypatch.setattr(machine, "_text", lambda path: f"flags\t: {instructions}\n")


def test_a_bundle_runs_with_the_faces_that_its_graph_says(tmp_path: Path, cache: Path) -> None:
    write_bundle(tmp_path / "bundle")
    session = opened(tmp_path / "bundle")
    for count in (1, 3):
        assert np.array_equal(session.upscale(lr_faces(count)), repeat_pixels(lr_faces(count)))
    info = session.info
    assert info.engine.startswith("OpenVINO 20") and info.engine.endswith(" (CPU, FP32)")
    assert (info.device, info.precision, info.lr_shape, info.sr_shape) == ("cpu", "fp32", (4, 4), (32, 32))
    assert (info.best_batch, info.max_batch, info.trained) == (1, None, True)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of an untrained network with AMINet's kinds of blocks."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    deployable, _ = prepare(Parts().eval(), lr_size=4)
    export_onnx(deployable, path, lr_size=4, batches=(1, 2, 4), precision="fp32")
    return path


@pytest.mark.parametrize("throughput", [False, True])
def test_a_network_is_within_one_level_of_onnx_runtime(network: Path, cache: Path, throughput: bool) -> None:
    reference, session = open_session(network, "cpu"), opened(network, throughput=throughput)
    for count in (1, 3):
        ours, theirs = session.upscale(lr_faces(count)), reference.upscale(lr_faces(count))
        assert ours.shape == (count, 32, 32, 3) and ours.std() > 10
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("options", [{"backend": "openvino"}, {"device": "openvino:CPU"}, {"device": "openvino:cpu"}])
def test_it_is_asked_for_by_its_name_or_by_that_of_a_device(graph: Path, options: dict[str, str]) -> None:
    assert isinstance(open_session(graph, **options), OpenVinoSession)


def test_unasked_a_bundle_runs_with_what_it_was_proven_with(tmp_path: Path, cache: Path) -> None:
    names = {"ONNX Runtime 1.32.0 (CPUExecutionProvider)": "onnxruntime", "OpenVINO 2026.4.1-1 (CPU, FP32)": "openvino"}
    for name, backend in names.items():
        write_bundle(tmp_path / backend)
        written = write_info(tmp_path / backend, replace(describe(), parity=[{"engine": name, "batch": 1}]))
        assert proven_with(written) == backend
        assert open_session(tmp_path / backend, "cpu").info.engine.startswith(
            name.partition(" 1")[0].partition(" 2")[0]
        )
    assert proven_with(None) == proven_with(describe()) == "onnxruntime"
    assert proven_with(replace(describe(), graph_target="openvino")) == "openvino"


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"backend": "tvm"}, UsageError, "--backend tvm: not one of onnxruntime, openvino, openvino-bf16"),
        ({"backend": "openvino", "device": "cuda:1"}, UsageError, "--backend openvino does not run on --device cuda:1"),
        (
            {"backend": "onnxruntime", "device": "openvino:GPU"},
            UsageError,
            "--backend onnxruntime does not run on --device openvino:GPU; leave one of them out",
        ),
        ({"device": "openvino:"}, UsageError, "no device is called 'openvino:'"),
        ({"device": "openvino:TPU"}, MissingError, "finds no such device here; it finds openvino:CPU"),
        ({"device": "openvino:AUTO"}, MissingError, "finds no such device here; it finds openvino:CPU"),
    ],
)
def test_what_does_not_exist_here_is_refused_in_one_sentence(
    graph: Path, options: dict[str, str], error: type[FsrError], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        open_session(graph, **options)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_plan_is_not_openvinos(tmp_path: Path) -> None:
    (tmp_path / "engine.plan").write_bytes(b"ftrt")
    with pytest.raises(UsageError, match=r"engine\.plan: a TensorRT plan runs on a GPU only"):
        open_session(tmp_path / "engine.plan", backend="openvino")


def test_a_missing_openvino_names_the_extra(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingError, match=r"OpenVINO is not installed; .* 'fsr-deploy\[openvino\]'"):
        opened(graph)


def test_fp32_is_computed_in_fp32_whatever_the_cpu_can(graph: Path) -> None:
    for session in (opened(graph), opened(graph), opened(graph, throughput=True)):  # compiled, kept, for throughput
        assert property_of(session, "INFERENCE_PRECISION_HINT") == "f32"


def test_bf16_is_refused_where_the_cpu_has_none(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    can(monkeypatch, "FP32", "INT8")
    with pytest.raises(MissingError, match="OpenVINO computes no BF16 on this CPU; openvino without -bf16 runs it"):
        opened(graph, backend="openvino-bf16")


@pytest.mark.parametrize(
    ("precision", "backend", "computed", "hint"),
    [
        ("fp32", "openvino-bf16", "bf16", "bf16"),
        ("fp16", "openvino-bf16", "bf16", "bf16"),
        ("int8", "openvino-bf16", "int8+bf16", "bf16"),
        ("int8+bf16", "openvino", "int8+bf16", "bf16"),
        ("int8", "openvino", "int8", "f32"),
        # Its types say what is BF16: what was returned to FP32 has to stay there.
        ("bf16", "openvino", "bf16", "f32"),
        ("bf16", "openvino-bf16", "bf16", "f32"),
    ],
)
def test_bf16_is_asked_of_openvino_by_its_name(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, precision: str, backend: str, computed: str, hint: str
) -> None:
    """What the library is told; a CPU without BF16 computes it in FP32."""
    write_bundle(tmp_path / "bundle", precision)
    can(monkeypatch, "FP32", "BF16")
    asked: list[str] = []
    real = openvino.Core.compile_model

    def compile_model(self: Any, model: Any, device: str, settings: dict[str, Any]) -> Any:
        asked.append(settings["INFERENCE_PRECISION_HINT"])
        return real(self, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    info = opened(tmp_path / "bundle", backend=backend).info
    assert asked == [hint]
    assert info.precision == computed
    assert info.engine.endswith("(CPU, BF16)" if "bf16" in computed else "(CPU, FP32)")


def test_all_cores_work_on_one_batch_or_each_on_its_own(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latency, throughput = opened(graph), opened(graph, throughput=True)
    cores = physical_cores()
    assert (latency.in_flight, throughput.in_flight) == (1, cores)
    assert [property_of(session, "NUM_STREAMS") for session in (latency, throughput)] == [1, cores]
    assert property_of(latency, "INFERENCE_NUM_THREADS") == cores
    batches = [lr_faces(1, seed) for seed in range(40)]
    for session in (latency, throughput):
        with ThreadPoolExecutor(4) as pool:
            for batch, faces in zip(batches, pool.map(session.upscale, batches), strict=True):
                assert np.array_equal(faces, repeat_pixels(batch))


def test_it_takes_no_more_threads_than_the_quota_of_a_container(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsr_deploy._util.cores.quota", lambda: 1.0)
    session = opened(graph, throughput=True)
    assert session.in_flight == property_of(session, "INFERENCE_NUM_THREADS") == 1


def test_a_result_stays_when_the_next_batch_runs(graph: Path) -> None:
    session = opened(graph)
    first = session.upscale(lr_faces(2, seed=1))
    session.upscale(lr_faces(2, seed=2))
    assert np.array_equal(first, repeat_pixels(lr_faces(2, seed=1)))


def test_many_sizes_of_batches_share_a_model(graph: Path) -> None:
    session = opened(graph)
    for count in range(1, MOST_SIZES + 4):
        assert np.array_equal(session.upscale(lr_faces(count)), repeat_pixels(lr_faces(count)))
    assert len(session._requests) == MOST_SIZES + 1


def test_a_graph_with_a_fixed_batch_of_one_takes_batches_of_one(tmp_path: Path, cache: Path) -> None:
    session = opened(write_onnx(tmp_path / "m.onnx", batch=1))
    assert session.info.max_batch == 1
    assert np.array_equal(session.upscale(lr_faces(1)), repeat_pixels(lr_faces(1)))


@pytest.mark.parametrize("batch", [np.zeros((1, 5, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), lr_faces(1) / 2])
def test_faces_of_another_size_or_type_are_refused(graph: Path, batch: Any) -> None:
    with pytest.raises(InputError, match="this engine takes uint8"):
        opened(graph).upscale(batch)


@pytest.mark.parametrize("facts", [FACTS, {**FACTS, "fsr.precision": "fp16", "fsr.trained": "false"}, {}])
def test_a_lone_graph_tells_the_same_facts_as_to_onnx_runtime(
    tmp_path: Path, cache: Path, facts: dict[str, str]
) -> None:
    path = write_onnx(tmp_path / "m.onnx", facts=facts)
    ours, theirs = opened(path).info, open_session(path, "cpu").info
    assert replace(ours, engine="") == replace(theirs, engine="")


@pytest.mark.parametrize("options", [{"dtype": TensorProto.FLOAT}, {"batch": 4}])
def test_a_graph_with_other_inputs_or_outputs_is_refused_with_what_it_has(
    tmp_path: Path, cache: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"m\.onnx: not an engine that maps uint8 .* it has lr "):
        opened(write_onnx(tmp_path / "m.onnx", **options))


def test_an_operator_that_openvino_does_not_have_is_named_with_the_graph(graph: Path) -> None:
    model = onnx.load(graph)
    model.graph.node[0].op_type = "Unheard"
    graph.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"model\.onnx: OpenVINO .* refuses it: \S") as caught:
        opened(graph)
    assert "\n" not in str(caught.value)


def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one with each compilation."""
    found: list[int] = []
    real = openvino.Core.compile_model
    monkeypatch.setattr(
        openvino.Core, "compile_model", lambda self, *arguments: (found.append(1), real(self, *arguments))[1]
    )
    return found


def test_a_compiled_model_is_kept_and_computes_the_same(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compilations(monkeypatch)
    for _ in range(2):
        assert np.array_equal(opened(graph).upscale(lr_faces(1)), repeat_pixels(lr_faces(1)))
    assert len(made) == len(list(cache.glob("*.blob"))) == 1


@pytest.mark.parametrize("what", ["our version", "OpenVINO's version", "graph", "mode", "processor"])
def test_a_compiled_model_of_something_else_is_not_taken(
    graph: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    opened(graph)
    made = compilations(monkeypatch)
    if what == "our version":
        monkeypatch.setattr(openvino_cache, "__version__", "0.0.0")
    elif what == "OpenVINO's version":
        monkeypatch.setattr(openvino, "__version__", "2027.1.0-1-x")
    elif what == "graph":
        write_onnx(graph, work=1)
    elif what == "processor":
        can(monkeypatch, "FP32", "EXPORT_IMPORT", "FP64")
    opened(graph, throughput=what == "mode")
    assert len(made) == 1


@pytest.mark.parametrize("damage", ["cut off", "changed", "of another kind"])
def test_a_damaged_compiled_model_is_compiled_anew(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    opened(graph)
    made = compilations(monkeypatch)
    (kept,) = cache.glob("*.blob")
    whole = kept.read_bytes()
    if damage == "of another kind":  # as after a change of drivers
        kept.write_bytes(hashlib.sha256(b"x").digest() + b"x")
    else:
        kept.write_bytes(whole[:-9] if damage == "cut off" else whole[:-9] + b"x" + whole[-8:])
    for _ in range(2):  # the second time there is a whole one again
        assert np.array_equal(opened(graph).upscale(lr_faces(1)), repeat_pixels(lr_faces(1)))
    assert len(made) == 1


def test_the_oldest_compiled_models_make_room(graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_cache, "MOST_FILES", 2)
    session = opened(graph)
    for count in (2, 3):
        session.upscale(lr_faces(count))
    assert len(list(cache.glob("*.blob"))) == 2


def test_a_cache_that_cannot_be_written_stops_nothing(graph: Path, cache: Path) -> None:
    cache.parent.write_text("a file")
    assert np.array_equal(opened(graph).upscale(lr_faces(1)), repeat_pixels(lr_faces(1)))


def test_int8_without_vnni_is_refused_because_its_sums_overflow(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = quantised(tmp_path / "m.onnx")
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(machine, "_text", lambda path: "flags\t: avx2\n")
    with pytest.raises(MissingError, match=r"an INT8 engine, and this CPU has no VNNI.*--backend onnxruntime"):
        opened(path)
    monkeypatch.setattr(machine, "_text", lambda path: "flags\t: avx2 avx_vnni\n")
    assert opened(path).info.sr_shape == (32, 32)
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    assert machine.multiplies_int8_exactly()


def quantised(path: Path) -> Path:
    """Write a tiny engine with a pair of QuantizeLinear and DequantizeLinear that changes nothing."""
    model = onnx.load(write_onnx(path))
    cast = model.graph.node[0]
    cast.output[0] = "plain"
    for index, (kind, source, result) in enumerate(
        (("QuantizeLinear", "plain", "steps"), ("DequantizeLinear", "steps", "lr_float"))
    ):
        model.graph.node.insert(1 + index, onnx.helper.make_node(kind, [source, "one", "nought"], [result]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.uint8(0), "nought"))
    onnx.save(model, path)
    return path


def test_engines_of_one_kind_share_what_was_proven() -> None:
    assert engine_kind("OpenVINO 2026.4.1-22982 (CPU, BF16)") == "OpenVINO (CPU, BF16)"
    assert engine_kind("ONNX Runtime 1.32.0 (CPUExecutionProvider), rounded to fp16") == "ONNX Runtime"
    assert engine_kind("TensorRT for RTX 1.7.1") == engine_kind("TensorRT 10.16") == "TensorRT"


def test_one_model_is_compiled_where_many_threads_ask_for_a_size_first(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(graph, throughput=True)
    made = compilations(monkeypatch)
    threads = [threading.Thread(target=session.upscale, args=(lr_faces(2),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
