import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from fsr_deploy._util.cores import physical_cores
from fsr_deploy.bundle.info import BundleInfo, TensorInfo, write_info
from fsr_deploy.errors import InputError, MissingError, UsageError
from fsr_deploy.runtime.open import open_session
from tests.engines import repeat_pixels, write_onnx


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "model.onnx")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def write_bundle(directory: Path) -> Path:
    write_onnx(directory / "model.onnx")
    io = [(TensorInfo(name, "uint8", ("N", size, size, 3)),) for name, size in (("lr", 4), ("sr", 32))]
    write_info(directory, BundleInfo("tiny", "fp16", 8, 4, (1, 8, 32), *io, trained=False))
    return directory


@pytest.mark.parametrize("count", [1, 2, 5, 3])
def test_a_batch_of_any_size_is_upscaled(model: Path, count: int):
    batch = np.random.default_rng(count).integers(0, 256, (count, 4, 4, 3), np.uint8)
    np.testing.assert_array_equal(open_session(model).upscale(batch), repeat_pixels(batch))


def test_batches_run_side_by_side_for_throughput_and_alone_for_latency(model: Path):
    session = open_session(model, throughput=True)
    assert (session.in_flight, open_session(model).in_flight) == (physical_cores(), 1)
    batches = [np.full((1, 4, 4, 3), level, np.uint8) for level in range(50)]
    with ThreadPoolExecutor(4) as pool:
        for batch, faces in zip(batches, pool.map(session.upscale, batches), strict=True):
            np.testing.assert_array_equal(faces, repeat_pixels(batch))


def test_a_lone_model_tells_its_facts_from_its_metadata(model: Path):
    info = open_session(model).info
    assert (info.precision, info.trained, info.device) == ("fp32", True, "cpu")
    assert (info.lr_shape, info.sr_shape, info.max_batch) == ((4, 4), (32, 32), None)
    assert "CPUExecutionProvider" in info.engine


def test_a_model_without_metadata_has_unknown_precision_and_training(tmp_path: Path):
    info = open_session(write_onnx(tmp_path / "m.onnx", facts={})).info
    assert (info.precision, info.trained) == ("unknown", None)


def test_a_graph_with_a_fixed_batch_of_one_takes_batches_of_one(tmp_path: Path):
    assert open_session(write_onnx(tmp_path / "m.onnx", batch=1)).info.max_batch == 1


def test_a_bundle_and_its_model_are_the_same_engine(bundle: Path):
    infos = [open_session(path).info for path in (bundle, bundle / "model.onnx")]
    assert infos[0] == infos[1]
    assert (infos[0].precision, infos[0].trained) == ("fp16", False)


def test_a_bundle_moved_elsewhere_still_runs(bundle: Path, tmp_path: Path):
    moved = tmp_path / "ü mlaut" / "b"
    shutil.copytree(bundle, moved)
    assert open_session(moved).info.precision == "fp16"


@pytest.mark.parametrize("shape", [(1, 4, 5, 3), (4, 4, 3), (0, 4, 4, 3), (1, 3, 4, 4)])
def test_a_batch_of_another_shape_is_refused(model: Path, shape: tuple[int, ...]):
    with pytest.raises(InputError, match="this engine takes uint8"):
        open_session(model).upscale(np.zeros(shape, np.uint8))


def test_a_batch_of_another_type_is_refused(model: Path):
    with pytest.raises(InputError, match="this engine takes uint8"):
        open_session(model).upscale(np.zeros((1, 4, 4, 3), np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"dtype": TensorProto.FLOAT}, {"batch": 4}, {"lr_size": 0}])
def test_a_graph_with_other_inputs_or_outputs_is_refused_with_what_it_has(tmp_path: Path, options):
    with pytest.raises(InputError, match=r"m\.onnx: not an engine that maps uint8 .* it has lr tensor"):
        open_session(write_onnx(tmp_path / "m.onnx", **options))


def test_a_changed_model_in_a_bundle_is_refused(bundle: Path):
    with (bundle / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    for path in (bundle, bundle / "model.onnx"):
        with pytest.raises(InputError, match=r"model\.onnx: its SHA-256 is not the one in bundle\.json"):
            open_session(path)


@pytest.mark.parametrize("content", [b"not a model", b"\0" * 64, bytes(range(256))])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.onnx: (not an ONNX model, or cut off|ONNX Runtime .* refuses it)"):
        open_session(path)


def test_a_truncated_model_is_refused(model: Path):
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.onnx: not an ONNX model, or cut off"):
        open_session(model)


def test_an_empty_model_is_refused(tmp_path: Path):
    (tmp_path / "m.onnx").touch()
    with pytest.raises(InputError, match=r"m\.onnx: the file is empty"):
        open_session(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["m.onnx", "engine.plan", "nowhere"])
def test_a_missing_engine_is_named(tmp_path: Path, name: str):
    with pytest.raises(InputError, match=f"{name}: no such file"):
        open_session(tmp_path / name)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no bundle\.json here"):
        open_session(tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(InputError, match=r"weights\.pth: not an engine"):
        open_session(tmp_path / "weights.pth")


def test_a_damaged_bundle_description_is_refused(bundle: Path):
    (bundle / "bundle.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(InputError, match=r"bundle\.json"):
        open_session(bundle)


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_external_data_is_refused_wherever_it_lies(tmp_path: Path, location: str):
    model = onnx.load(write_onnx(tmp_path / "m.onnx"))
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"m\.onnx: keeps weights in other files \(external data\)"):
        open_session(tmp_path / "m.onnx")


def test_external_data_inside_a_branch_of_a_node_is_refused(tmp_path: Path):
    model = onnx.load(write_onnx(tmp_path / "m.onnx"))
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    branch = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["c"], value=tensor)], "branch", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["lr"], ["unused"], then_branch=branch, else_branch=branch))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="external data"):
        open_session(tmp_path / "m.onnx")


def test_cuda_without_its_provider_names_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        MissingError, match=r"--device cuda:0: this ONNX Runtime has no CUDA provider.*fsr-deploy\[gpu\]"
    ):
        open_session(model, "cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_and_cudnn_are_loaded_before_their_provider_and_what_lacks_is_said(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    loaded: list[str] = []

    def preload_dlls() -> None:
        loaded.append("preloaded")
        print("Failed to load libcudnn.so.9: no such file")

    monkeypatch.setattr("onnxruntime.preload_dlls", preload_dlls, raising=False)
    open_session(model, "auto")
    assert loaded == [], "this ONNX Runtime has no CUDA provider"
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    open_session(model, "cpu")
    assert loaded == [], "nobody asked for CUDA"
    with pytest.raises(MissingError, match=r"does not start here \(Failed to load libcudnn.so.9: no such file\)"):
        open_session(model, "cuda")
    assert loaded == ["preloaded"]
    assert capsys.readouterr().out == "", "standard output is for results"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_cuda_provider_that_does_not_start_is_no_silent_fallback(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """As with onnxruntime-gpu where there is no GPU: the provider is listed, and the session gets the CPU's."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.delattr("onnxruntime.preload_dlls", raising=False)  # ONNX Runtime before 1.21
    with pytest.raises(MissingError, match="--device cuda:0: the CUDA provider of ONNX Runtime does not start here"):
        open_session(model, "cuda")
    session = open_session(model, "auto")
    assert session.info.device == "cpu"
    assert "CPUExecutionProvider" in session.info.engine
    assert capsys.readouterr().err == (
        "warning: ONNX Runtime's CUDA provider does not start here; running on the CPU\n"
    )


def test_a_missing_onnxruntime_names_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingError, match=r"fsr-deploy\[cpu\]"):
        open_session(model)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "cpu:0"])
def test_an_unknown_device_is_refused(model: Path, device: str):
    with pytest.raises(UsageError, match="no device is called"):
        open_session(model, device)


def test_a_plan_from_elsewhere_needs_trust(tmp_path: Path):
    (tmp_path / "engine.plan").write_bytes(b"ftrt")
    with pytest.raises(InputError, match=r"engine\.plan: a plan without a bundle.*--trust"):
        open_session(tmp_path / "engine.plan")


def test_a_plan_on_the_cpu_is_refused(tmp_path: Path):
    (tmp_path / "engine.plan").write_bytes(b"ftrt")
    with pytest.raises(UsageError, match=r"engine\.plan: a TensorRT plan runs on a GPU only"):
        open_session(tmp_path / "engine.plan", "cpu")


def test_running_an_engine_loads_neither_torch_nor_onnx(bundle: Path):
    code = (
        "import sys, numpy as np, fsr_deploy.runtime; from fsr_deploy.runtime.open import open_session;"
        f"open_session({str(bundle)!r}).upscale(np.zeros((1, 4, 4, 3), np.uint8));"
        "print(sorted({'torch', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
