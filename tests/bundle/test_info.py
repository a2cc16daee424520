"""bundle.json: what is written reads back, and anything else is refused by file and field, never with a traceback."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsr_deploy.bundle.info import BundleInfo, PlanInfo, TensorInfo, parse_info, read_bundle, write_info
from fsr_deploy.errors import InputError

INFO = BundleInfo(
    model="aminet-tiny",
    precision="fp16",
    scale=8,
    lr_size=16,
    batches=(1, 8, 32),
    inputs=(TensorInfo("lr", "uint8", ("N", 16, 16, 3)),),
    outputs=(TensorInfo("sr", "uint8", ("N", 128, 128, 3)),),
    trained=False,
    precision_map={"head": {"precision": "fp32", "reason": "first convolution"}},
    parity=[{"batch": 1, "psnr": None, "max_error": 0.0}],
    plan=PlanInfo("11.1", "9.0", "H200", "linux_x86_64", profiles=((1, 8, 32),)),
    notes=("untrained weights",),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    write_info(tmp_path, INFO)
    return tmp_path


def test_a_size_that_is_no_square_is_height_and_width(bundle: Path) -> None:
    change(bundle, lr_size=[90, 160])
    info = read_bundle(bundle).info
    assert (info.lr_size, info.lr_shape, info.sr_shape) == ((90, 160), (90, 160), (720, 1280))
    for wrong in ([90], [90, 160, 3], [0, 160], [90, 5000], "90", [90, 1.5]):
        change(bundle, lr_size=wrong)
        with pytest.raises(InputError, match="lr_size"):
            read_bundle(bundle)


def change(bundle: Path, **members: Any) -> None:
    """Overwrite members of bundle.json as an attacker or a bad disk would."""
    path = bundle / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def test_a_bundle_reads_back_as_it_was_written(bundle: Path) -> None:
    info = read_bundle(bundle).info
    digest = hashlib.sha256(b"graph").hexdigest()
    assert asdict(info) == {**asdict(INFO), "files": {"model.onnx": digest}}


def test_members_that_a_later_version_adds_are_left_out(bundle: Path) -> None:
    change(bundle, temperature=37, inputs=[{"name": "lr", "dtype": "uint8", "shape": ["N"], "unit": "level"}])
    assert read_bundle(bundle).info.inputs == (TensorInfo("lr", "uint8", ("N",)),)


def test_a_bundle_that_says_nothing_of_its_lr_faces_has_pillows_bicubic(bundle: Path) -> None:
    path = bundle / "bundle.json"
    members = json.loads(path.read_text())
    assert members.pop("lr_recipe") == "pillow-bicubic"
    path.write_text(json.dumps(members))
    assert read_bundle(bundle).info.lr_recipe == "pillow-bicubic"


def test_an_engine_for_lr_faces_made_in_an_unknown_way_is_refused(bundle: Path) -> None:
    change(bundle, lr_recipe="lanczos")
    with pytest.raises(InputError) as caught:
        read_bundle(bundle)
    assert str(caught.value) == (
        f"{bundle / 'bundle.json'}: its engine was made for LR faces by lanczos, which this fsr-deploy does not know; "
        "upgrade fsr-deploy"
    )


@pytest.mark.parametrize(("old", "now"), [("cpu", "onnxruntime"), ("trt", "tensorrt"), ("tensorrt", "tensorrt")])
def test_what_older_bundles_call_the_target_of_their_graph_is_understood(bundle: Path, old: str, now: str) -> None:
    change(bundle, graph_target=old)
    assert read_bundle(bundle).info.graph_target == now


DAMAGE = {
    "a number as text": ({"scale": "8"}, "scale is str instead of int"),
    "a bool as a number": ({"lr_size": True}, "lr_size is bool instead of int"),
    "text as a bool": ({"trained": "no"}, "trained is str instead of bool"),
    "nothing": ({"model": None}, "model is NoneType instead of str"),
    "two batches": ({"batches": [1, 8]}, "batches has 2 items instead of 3"),
    "batches in the wrong order": ({"batches": [8, 1, 32]}, "batches are not min <= opt <= max"),
    "a nested field": ({"inputs": [{"name": "lr", "dtype": "uint8"}]}, "inputs[0].shape is missing"),
    "a template of two points": ({"template": [[0.4, 0.5], [0.6, 0.5]]}, "template is not five different points"),
    "a template in pixels": ({"template": [[n, 9] for n in range(5)]}, "template is not five different points"),
    "a template that is none": ({"template": [[0.1, 0.2, 0.3]] * 5}, "template[0] has 3 items instead of 2"),
    "two inputs": ({"inputs": [{"name": "x", "dtype": "uint8", "shape": []}] * 2}, "one input and one output"),
    "a shape of floats": ({"inputs": [{"name": "lr", "dtype": "u", "shape": [1.5]}]}, "inputs[0].shape[0] is float"),
    "an unknown precision": ({"precision": "fp13"}, "precision is not one of fp32, fp16, bf16, int8"),
    "an unknown io": ({"io": "yuv"}, "io is not one of uint8, float"),
    "an unknown target": ({"graph_target": "tpu"}, "graph_target is not one of onnxruntime, openvino, tensorrt"),
    "an absurd size": ({"lr_size": 10**12}, "scale or lr_size is out of range"),
    "terminal codes": ({"model": "\x1b[2Jaminet"}, "model holds control characters"),
    "half a surrogate pair": ({"notes": ["\ud800"]}, "notes[0] holds control characters"),
    "a path as a file": ({"files": {"../../etc/passwd": "0" * 64}}, "something other than plain file names"),
    "an absolute path": ({"files": {"/etc/passwd": "0" * 64}}, "something other than plain file names"),
    "a Windows path": ({"files": {"..\\model.onnx": "0" * 64}}, "something other than plain file names"),
    "the folder itself": ({"files": {"..": "0" * 64}}, "something other than plain file names"),
    "its own hash": ({"files": {"bundle.json": "0" * 64}}, "something other than plain file names"),
    "a short hash": ({"files": {"model.onnx": "abc"}}, "files holds no SHA-256 digests"),
    "a plan without a version": ({"plan": {"gpu": "H200"}}, "plan.tensorrt is missing"),
}


@pytest.mark.parametrize(("members", "complaint"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_description_is_refused_by_field(bundle: Path, members: dict[str, Any], complaint: str) -> None:
    change(bundle, **members)
    with pytest.raises(InputError) as error:
        read_bundle(bundle)
    assert str(error.value).startswith(f"{bundle / 'bundle.json'}: incomplete or damaged: ")
    assert complaint in str(error.value)
    assert str(error.value).endswith("; export the bundle again")


def test_a_missing_member_is_named(bundle: Path) -> None:
    data = json.loads((bundle / "bundle.json").read_text())
    del data["precision"]
    (bundle / "bundle.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="incomplete or damaged: precision is missing"):
        read_bundle(bundle)


def test_a_newer_schema_asks_for_an_upgrade(bundle: Path) -> None:
    change(bundle, schema=2, files="something else by then")
    with pytest.raises(InputError) as error:
        read_bundle(bundle)
    assert str(error.value) == (
        f"{bundle / 'bundle.json'}: written by a newer fsr-deploy (schema 2, this one reads up to 1); "
        "upgrade fsr-deploy"
    )


def test_a_directory_without_a_description_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_bundle(tmp_path)
    assert str(error.value) == f"{tmp_path}: no bundle.json here; this is not a bundle that fsr-export wrote"


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[1]", b'{"schema": NaN}', b"1" * 5000])
def test_what_is_not_json_is_refused_by_name(bundle: Path, text: bytes) -> None:
    (bundle / "bundle.json").write_bytes(text)
    with pytest.raises(InputError, match=r"bundle\.json: not (JSON|a bundle description)"):
        read_bundle(bundle)


def test_a_description_of_many_megabytes_is_not_read(bundle: Path) -> None:
    with (bundle / "bundle.json").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(InputError, match="larger than 16 MiB"):
        read_bundle(bundle)


def test_a_pipe_in_place_of_the_description_does_not_hang(bundle: Path) -> None:
    (bundle / "bundle.json").unlink()
    os.mkfifo(bundle / "bundle.json")
    with pytest.raises(InputError, match="not a regular file"):
        read_bundle(bundle)


def test_a_linked_file_is_refused(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_bytes(b"graph")
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").symlink_to(outside)
    with pytest.raises(InputError) as error:
        read_bundle(bundle)
    assert str(error.value) == f"{bundle / 'model.onnx'}: a symbolic link; a bundle holds its files themselves"


def test_a_changed_file_is_told_by_its_hash(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"grapH")
    with pytest.raises(InputError) as error:
        read_bundle(bundle).file("model.onnx")
    assert str(error.value).startswith(f"{bundle / 'model.onnx'}: its SHA-256 is not the one in bundle.json")


def test_a_figure_that_is_no_number_is_written_as_null(tmp_path: Path) -> None:
    latency = {"speedup": float("nan"), "rows": [{"psnr_db": float("inf"), "ms": 3.0}]}
    write_info(tmp_path, BundleInfo(**{**vars(INFO), "latency": latency}))
    expected = {"speedup": None, "rows": [{"psnr_db": None, "ms": 3.0}]}
    assert read_bundle(tmp_path).info.latency == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(list(BundleInfo.__dataclass_fields__)), JSON, max_size=4))
def test_any_description_either_parses_or_is_refused(members: dict[str, Any]) -> None:
    data = {**json.loads(json.dumps(asdict(INFO))), **members}
    try:
        info = parse_info(data, Path("bundle.json"))
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert info.scale > 0 and all("/" not in name for name in info.files)
