"""What is written for Triton, read back with Triton's own protobuf."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import triton_to_np_dtype

from fsr_deploy.bundle.info import BundleInfo, PlanInfo, TensorInfo, read_bundle, sha256, write_info
from fsr_deploy.bundle.reference import read_reference
from fsr_deploy.errors import FsrError, InputError, UsageError
from fsr_deploy.serving import triton_repository
from fsr_deploy.serving.triton_repository import BACKENDS, TritonOptions, write_triton
from tests.engines import write_onnx
from tests.fakes.plans import plan_info, write_bundle

PARITY = [{"engine": "ONNX Runtime 1.32.0", "psnr_db": 61.25, "max_error": 1.0}]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny")
    change(tmp_path / "tiny", parity=PARITY)
    return tmp_path / "tiny"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "served" / "models"


def change(bundle: Path, **members: Any) -> None:
    write_info(bundle, replace(read_bundle(bundle).info, **members))


def add_plan(bundle: Path, **members: Any) -> None:
    (bundle / "engine.plan").write_bytes(b"a plan")
    change(bundle, plan=replace(plan_info(profiles=((1, 1, 1), (2, 4, 16))), **members))


def config_of(model: Path) -> Any:
    return text_format.Parse((model / "config.pbtxt").read_text(), pb.ModelConfig())


def edit(model: Path, **members: Any) -> None:
    config = config_of(model)
    config.MergeFrom(pb.ModelConfig(**members))
    (model / "config.pbtxt").write_text(text_format.MessageToString(config))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_configuration_has_the_inputs_and_outputs_of_the_graph(
    bundle: Path, repository: Path, backend: str
) -> None:
    add_plan(bundle)
    config = config_of(write_triton(bundle, repository, TritonOptions(backend)))
    graph = onnxruntime.InferenceSession(bundle / "model.onnx")
    for tensors, values in ((config.input, graph.get_inputs()), (config.output, graph.get_outputs())):
        assert [(tensor.name, ["N", *tensor.dims]) for tensor in tensors] == [(one.name, one.shape) for one in values]
        assert [triton_to_np_dtype(pb.DataType.Name(one.data_type)[5:]) for one in tensors] == [np.uint8]
    assert (config.name, config.backend) == ("tiny", backend)


def test_a_bare_network_takes_and_gives_floats(tmp_path: Path, repository: Path) -> None:
    """Triton starts it with the bytes of its input as it is: (3, H, W) float32."""
    tensors = [(TensorInfo(name, "float32", ("N", 3, 8, 8)),) for name in ("lr", "sr")]
    values = np.random.default_rng(0).uniform(-1, 1, (2, 3, 8, 8)).astype(np.float32)
    info = BundleInfo("bare", "fp32", 2, 4, (1, 1, 1), *tensors, trained=True, io="float")
    write_onnx(tmp_path / "bare" / "model.onnx")
    np.savez_compressed(tmp_path / "bare" / "reference.npz", lr=values, sr=values)
    write_info(tmp_path / "bare", info)
    model = write_triton(tmp_path / "bare", repository, TritonOptions("onnxruntime"))
    config = config_of(model)
    assert [(tensor.data_type, list(tensor.dims)) for tensor in (*config.input, *config.output)] == [
        (pb.TYPE_FP32, [3, 8, 8])
    ] * 2
    assert (model / "warmup" / "faces-1").read_bytes() == values[0].tobytes()
    assert list(config.dynamic_batching.preferred_batch_size) == []


def test_a_plan_is_served_with_all_its_profiles(bundle: Path, repository: Path) -> None:
    add_plan(bundle)
    model = write_triton(bundle, repository, TritonOptions("tensorrt", instances=2))
    config = config_of(model)
    (group,) = config.instance_group
    assert (group.count, group.kind, list(group.profile)) == (2, pb.ModelInstanceGroup.KIND_GPU, ["0", "1"])
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 16)
    assert list(config.dynamic_batching.preferred_batch_size) == [4]
    assert (model / "1" / config.default_model_filename).read_bytes() == b"a plan"


def test_warm_up_sends_the_faces_of_the_proof_in_the_sizes_of_the_profiles(bundle: Path, repository: Path) -> None:
    model = write_triton(bundle, repository, TritonOptions())
    faces, _ = read_reference(bundle / "reference.npz", read_bundle(bundle).info)
    config = config_of(model)
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 4, 8]
    for at, warmup in enumerate(config.model_warmup):
        content = (model / "warmup" / warmup.inputs["lr"].input_data_file).read_bytes()
        sent = np.frombuffer(content, np.uint8).reshape(list(warmup.inputs["lr"].dims))
        assert np.array_equal(sent, faces[at])


def test_the_parameters_say_which_bundle_a_version_is_and_how_good(bundle: Path, repository: Path) -> None:
    config = config_of(write_triton(bundle, repository, TritonOptions()))
    said = {key: value.string_value for key, value in config.parameters.items()}
    assert said == {
        "fsr.1.model": "tiny, fp32, 8x",
        "fsr.1.bundle_sha256": sha256(bundle / "bundle.json"),
        "fsr.1.model.onnx_sha256": sha256(bundle / "model.onnx"),
        "fsr.1.parity": "at least 61.2 dB, at most 1 levels off",
    }


def test_the_python_back_end_gets_the_whole_bundle(bundle: Path, repository: Path) -> None:
    model = write_triton(bundle, repository, TritonOptions())
    assert read_bundle(model / "1" / "bundle").info == read_bundle(bundle).info
    assert (model / "1" / "bundle" / "model.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()


def test_a_new_version_leaves_the_old_one_and_what_was_edited(bundle: Path, repository: Path) -> None:
    model = write_triton(bundle, repository, TritonOptions())
    edit(model, version_policy={"all": {}})
    before = sha256(model / "1" / "bundle" / "bundle.json")
    change(bundle, batches=(1, 2, 4))
    write_triton(bundle, repository, TritonOptions(version=2))
    config = config_of(model)
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    assert config.parameters["fsr.1.bundle_sha256"].string_value == before
    assert config.parameters["fsr.2.bundle_sha256"].string_value == sha256(bundle / "bundle.json")
    assert sha256(model / "1" / "bundle" / "bundle.json") == before
    assert config.max_batch_size == 4, "what both take"
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 4]


def test_a_version_is_replaced_only_when_asked(bundle: Path, repository: Path) -> None:
    model = write_triton(bundle, repository, TritonOptions())
    change(bundle, precision="fp16")
    with pytest.raises(InputError, match=r"tiny: already holds version 1; add --version 2, or --overwrite"):
        write_triton(bundle, repository, TritonOptions())
    assert read_bundle(model / "1" / "bundle").info.precision == "fp32"
    write_triton(bundle, repository, TritonOptions(overwrite=True))
    assert read_bundle(model / "1" / "bundle").info.precision == "fp16"
    assert config_of(model).parameters["fsr.1.model"].string_value == "tiny, fp16, 8x"


def test_the_only_version_may_be_replaced_by_one_of_another_back_end(bundle: Path, repository: Path) -> None:
    model = write_triton(bundle, repository, TritonOptions())
    with pytest.raises(InputError, match="its versions have another backend; name another model with --name"):
        write_triton(bundle, repository, TritonOptions("onnxruntime", version=2))
    write_triton(bundle, repository, TritonOptions("onnxruntime", overwrite=True))
    assert config_of(model).backend == "onnxruntime"
    assert [path.name for path in (model / "1").iterdir()] == ["model.onnx"]


def test_what_is_no_model_is_not_replaced_even_when_asked(bundle: Path, repository: Path) -> None:
    (repository / "tiny").mkdir(parents=True)
    (repository / "tiny" / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match="not empty and not a model of Triton's; name another with --name"):
        write_triton(bundle, repository, TritonOptions(overwrite=True))
    assert (repository / "tiny" / "letters.txt").read_text() == "dear"


def test_a_server_never_sees_a_model_that_is_not_complete(
    bundle: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton takes every folder of the repository for a model, a hidden one too."""
    write_triton(bundle, repository, TritonOptions(name="first"))

    def watching(*_: Any) -> None:
        assert [path.name for path in repository.iterdir()] == ["first"]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", watching)
    with pytest.raises(InputError, match="second: cannot be written: No space left on device"):
        write_triton(bundle, repository, TritonOptions(name="second"))
    assert [path.name for path in repository.iterdir()] == ["first"]
    assert [path.name for path in repository.parent.iterdir()] == ["models"]


def test_what_a_killed_run_left_is_cleared_and_what_it_had_put_aside_is_back(bundle: Path, repository: Path) -> None:
    model = write_triton(bundle, repository, TritonOptions())
    left = repository.with_name(".models.tiny.fsr-serve")
    (left / "new" / "2").mkdir(parents=True)
    model.rename(left / "old")  # as where directories cannot be exchanged in one step
    write_triton(bundle, repository, TritonOptions(version=2))
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", "config.pbtxt", "warmup"]
    assert [path.name for path in repository.parent.iterdir()] == ["models"]


REFUSED: dict[str, tuple[dict[str, Any], TritonOptions, type[FsrError], str]] = {
    "a graph only": ({}, TritonOptions("tensorrt"), InputError, "has no engine.plan for Triton's tensorrt back end"),
    "a name that leads out": ({}, TritonOptions(name="../x"), UsageError, "'../x': not a name for a model in Triton"),
    "INT8": ({"precision": "int8"}, TritonOptions("onnxruntime"), InputError, "take --backend python"),
    "OpenVINO": ({"graph_target": "openvino"}, TritonOptions("onnxruntime"), InputError, "proven with OpenVINO"),
    "floats": ({"io": "float"}, TritonOptions(), InputError, "the Python back end takes uint8 faces"),
}


@pytest.mark.parametrize(("members", "options", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_not_be_served_as_proven_is_refused(
    bundle: Path,
    repository: Path,
    members: dict[str, Any],
    options: TritonOptions,
    kind: type[FsrError],
    message: str,
) -> None:
    change(bundle, **members)
    with pytest.raises(kind, match=message):
        write_triton(bundle, repository, options)
    assert not repository.exists()


PLANS: dict[str, tuple[dict[str, Any], str, str]] = {
    "not proven": ({"proven": False}, "tensorrt", "not proven; prove it on its GPU first: fsr-export --prove"),
    "not proven, in Python": ({"proven": False}, "python", "not proven; prove it on its GPU first"),
    "for RTX": ({"flavour": "rtx"}, "tensorrt", "TensorRT for RTX, which Triton does not run"),
    "no single faces": ({"profiles": ((4, 4, 4),)}, "tensorrt", "takes no batch below 4"),
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorflow"}, "--backend tensorflow: not one of python"),
        ({"version": 0}, "--version 0"),
        ({"instances": 0}, "--instances 0"),
    ],
)
def test_options_that_do_not_exist_are_refused_where_they_are_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TritonOptions(**options)


@pytest.mark.parametrize(("members", "backend", "message"), PLANS.values(), ids=PLANS.keys())
def test_plans_that_triton_could_not_serve_are_refused(
    bundle: Path, repository: Path, members: dict[str, Any], backend: str, message: str
) -> None:
    assert set(members) <= set(PlanInfo.__dataclass_fields__)
    add_plan(bundle, **members)
    with pytest.raises(InputError, match=message):
        write_triton(bundle, repository, TritonOptions(backend))


@pytest.mark.parametrize("name", ["model.onnx", "reference.npz"])
def test_a_bundle_that_was_changed_is_not_published(bundle: Path, repository: Path, name: str) -> None:
    with (bundle / name).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match=rf"{name}: its SHA-256 is not the one in bundle\.json"):
        write_triton(bundle, repository, TritonOptions())
    assert not (repository / "tiny").exists()


def test_a_configuration_that_cannot_be_read_is_named(bundle: Path, repository: Path) -> None:
    model = write_triton(bundle, repository, TritonOptions())
    (model / "config.pbtxt").write_text("max_batch_size: many")
    with pytest.raises(InputError, match=r"config\.pbtxt: not a configuration that Triton reads: 1:17"):
        write_triton(bundle, repository, TritonOptions(version=2))


def test_the_root_of_a_file_system_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(InputError, match="the root of a file system; name a folder in it for the models"):
        write_triton(bundle, tmp_path, TritonOptions())


def test_every_back_end_has_its_conditions() -> None:
    assert set(triton_repository._CONDITIONS) == set(BACKENDS)
