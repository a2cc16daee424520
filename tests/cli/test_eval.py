"""fsr-eval as a user meets it."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fsr_deploy.bundle.info import write_info
from fsr_deploy.cli.eval import main
from fsr_deploy.datasets.faces import open_faces
from fsr_deploy.images.resize import shrink
from fsr_deploy.metrics import evaluate as scoring
from fsr_deploy.metrics.evaluate import System, score_all
from fsr_deploy.metrics.fid import _Distance
from fsr_deploy.metrics.pixel import Measure
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import Metadata, save_safetensors
from fsr_deploy.synthetic import write_faces
from tests.engines import write_onnx
from tests.fakes.plans import plan_info, write_bundle
from tests.networks import register, weights


@pytest.fixture(autouse=True)
def networks(monkeypatch, tmp_path):
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    save_safetensors(weights(), Path("pixel.safetensors"), Metadata("pixel"))


def evaluate(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"])


def scores(*arguments):
    result = evaluate(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_eager_and_engine_are_measured_on_the_same_faces_next_to_bicubic():
    write_onnx(Path("tiny.onnx"), lr_size=16)
    table = scores("pixel.safetensors", "tiny.onnx", "--data", "faces:3")
    names = [row["system"] for row in table["rows"]]
    assert names[:2] == ["bicubic", "pixel.safetensors (eager fp32 on cpu)"]
    assert re.fullmatch(r"tiny\.onnx \(ONNX Runtime .* fp32 on cpu\)", names[2])
    assert (table["faces"], table["lr_size"], table["size"]) == (3, 16, 128)
    for row in table["rows"]:
        assert {"PSNR Y (dB)", "PSNR RGB (dB)", "SSIM Y", "SSIM RGB", "VIF Y"} < set(row)
    bicubic, _, blocks = table["rows"]
    assert bicubic["PSNR Y (dB)"] > blocks["PSNR Y (dB)"] > 15


def test_a_measure_without_its_weights_is_left_out_visibly():
    result = evaluate("pixel.safetensors", "--data", "faces:1")
    assert result.exit_code == 0, result.output
    assert "LPIPS" not in result.stdout.partition("left out")[0]
    assert "- left out: LPIPS: wants alexnet-owt-7be5be79.pth and lpips_alex.pth in the folder" in result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_bundles_plan_is_left_out_where_there_is_no_gpu_and_its_graph_is_measured():
    info = write_bundle(Path("bundle"))
    Path("bundle/engine.plan").write_bytes(b"ftrt" + bytes(20) + bytes((10, 16, 1, 11)) + b"the engine")
    write_info(Path("bundle"), replace(info, plan=plan_info()))
    table = scores("bundle", "--data", "faces:1")
    assert [row["system"].split()[0] for row in table["rows"]] == ["bicubic", "bundle/model.onnx"]
    assert "bundle/engine.plan" in table["left_out"]


def test_the_table_is_written_as_markdown_and_json():
    write_faces(Path("data"), 2)
    assert evaluate("pixel", "--checkpoint", "pixel.safetensors", "--data", "data", "-o", "scores").exit_code == 0
    table = json.loads(Path("scores/scores.json").read_text())
    text = Path("scores/scores.md").read_text()
    assert table["data"] == "2 faces of data (folder layout, test)"
    for row in table["rows"]:
        assert f"| {row['system']} | {row['PSNR Y (dB)']:.2f} | {row['SSIM Y']:.4f} |" in text


def test_a_checkpoint_is_measured_at_the_size_it_was_trained_at_unless_another_is_asked_for():
    save_safetensors(weights(), Path("small.safetensors"), Metadata("pixel", training={"lr_size": 8}))
    assert scores("small.safetensors", "--data", "faces:1")["lr_size"] == 8
    assert scores("small.safetensors", "--data", "faces:1", "--lr-size", "16")["lr_size"] == 16


def test_a_network_made_for_one_size_is_measured_at_that_size():
    network = registry.build("sized", channels=3)
    save_safetensors(network.state_dict(), Path("sized.safetensors"), Metadata("sized", {"channels": 3}))
    assert scores("sized.safetensors", "--data", "faces:1")["lr_size"] == 8
    result = evaluate("sized.safetensors", "--data", "faces:1", "--lr-size", "16")
    assert result.exit_code == 2
    assert "made for LR faces of 8 pixels a side; leave --lr-size 16 out" in result.stderr


def test_a_model_with_a_checkpoint_takes_the_options_that_the_checkpoint_tells():
    network = registry.build("pixel", channels=3)
    save_safetensors(network.state_dict(), Path("narrow.safetensors"), Metadata("pixel", {"channels": 3}))
    by_file = scores("narrow.safetensors", "--data", "faces:1")["rows"][1]
    by_name = scores("pixel", "--checkpoint", "narrow.safetensors", "--data", "faces:1")["rows"][1]
    assert {**by_file, "system": ""} == {**by_name, "system": ""}


def test_a_folder_that_is_called_like_a_model_does_not_take_the_place_of_its_checkpoint():
    write_bundle(Path("pixel"))
    table = scores("pixel", "--checkpoint", "pixel.safetensors", "--data", "faces:1")
    assert [row["system"] for row in table["rows"]] == ["bicubic", "pixel (eager fp32 on cpu)"]


def test_the_average_of_a_checkpoint_is_measured_unless_another_entry_is_asked_for():
    raw = {name: tensor + 0.1 for name, tensor in weights().items()}
    torch.save({"epoch": 3, "state_dict": raw, "state_dict_ema": weights()}, "timm.pth.tar")
    arguments = ("pixel", "--checkpoint", "timm.pth.tar", "--data", "faces:1")
    said = evaluate(*arguments).stderr
    assert "timm.pth.tar: took the averaged weights in state_dict_ema; --key NAME takes others: state_dict\n" in said
    average, plain = scores(*arguments)["rows"][1], scores(*arguments, "--key", "state_dict")["rows"][1]
    assert average == {**scores("pixel.safetensors", "--data", "faces:1")["rows"][1], "system": average["system"]}
    assert plain["PSNR Y (dB)"] != average["PSNR Y (dB)"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("pixel", "--data", "faces:1"), 2, "pixel: name its weights with --checkpoint FILE"),
        (("nonesuch", "--data", "faces:1"), 2, "no model is called 'nonesuch'"),
        (("none.safetensors", "--data", "faces:1"), 4, "none.safetensors: no such file"),
        (("pixel.safetensors", "--key", "ema", "--data", "faces:1"), 2, "its weights lie in no entry; leave --key out"),
        (("small.onnx", "--key", "ema", "--data", "faces:1"), 2, "--key names an entry of a checkpoint; name one"),
        (("small.onnx", "--checkpoint", "w.pth", "--data", "faces:1"), 2, "is the weights of a MODEL; name the model"),
        (("none.onnx", "--data", "faces:1"), 4, "none.onnx"),
        (("pixel.safetensors", "--data", "nowhere"), 4, "nowhere: no such folder"),
        (("pixel.safetensors", "small.onnx", "--data", "faces:1", "--lr-size", "16"), 2, "one table needs one size"),
        (("small.onnx", "--data", "faces:1", "--lr-size", "16"), 2, "--lr-size 16: one table needs one size"),
        (("notes.txt", "--data", "faces:1"), 4, "notes.txt: neither an engine nor a checkpoint; expected a bundle"),
        (("pixel.safetensors", "--data", "faces:1", "--weights", "nowhere"), 4, "nowhere: no such folder; --weights"),
        (("pixel.safetensors", "--data", "faces:1", "--layout", "celebra"), 2, "no layout is called 'celebra'"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(arguments, code, message):
    write_onnx(Path("small.onnx"), lr_size=4)
    Path("notes.txt").write_text("no weights")
    result = evaluate(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr


def truth_of(faces):
    """Return a system that knows the HR faces, 16x16 to 128x128."""
    known = {shrink([face], 16)[0].tobytes(): face for face in faces}
    return System("truth", 16, 128, lambda lr: [known[face.tobytes()] for face in lr])


def test_equal_faces_have_no_psnr_in_json_and_an_infinite_one_in_the_table():
    faces = open_faces("faces:2", "test", 128)
    table = score_all([truth_of([faces.read(0), faces.read(1)])], {}, faces, None, "cpu")
    table.write(Path("scores"))
    row = json.loads(Path("scores/scores.json").read_text(), parse_constant=pytest.fail)["rows"][1]
    assert row["PSNR Y (dB)"] is None and row["SSIM Y"] == 1
    assert "| truth | inf | 1.0000 |" in Path("scores/scores.md").read_text()


def test_few_faces_are_in_memory_at_a_time(monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 3)
    faces = open_faces("faces:8", "test", 128)
    sizes = []

    def blocks(lr):
        sizes.append(len(lr))
        return [face.repeat(8, 0).repeat(8, 1) for face in lr]

    some = score_all([System("blocks", 16, 128, blocks)], {}, faces, None, "cpu")
    assert sizes == [3, 3, 2]
    monkeypatch.setattr(scoring, "CHUNK", 8)
    every = score_all([System("blocks", 16, 128, blocks)], {}, faces, None, "cpu")
    assert all(some.rows[name] == pytest.approx(every.rows[name], rel=1e-12) for name in every.rows)


def test_a_measure_of_a_whole_set_says_when_the_faces_are_few(monkeypatch):
    rng = np.random.default_rng(0)
    project = rng.normal(size=(128 * 128 * 3, 4)) / 255
    features = _Distance(lambda faces: np.stack([face.ravel() @ project for face in faces]))
    fid = Measure("FID", False, lambda: copy.deepcopy(features), fewest=2, enough=2048)
    monkeypatch.setattr(scoring, "find_measures", lambda *arguments: ([fid], {}))
    alone, three = (scores("pixel.safetensors", "--data", f"faces:{count}") for count in (1, 3))
    assert alone["left_out"] == {"FID": "wants at least 2 faces"} and "FID" not in alone["rows"][0]
    assert three["rows"][0]["FID"] >= 0
    assert three["notes"] == [
        "FID of 3 faces: below 2048 it depends on how many they are; compare it with values of the same faces only"
    ]
    assert "- note: FID of 3 faces" in evaluate("pixel.safetensors", "--data", "faces:3").stdout


def test_several_devices_are_refused():
    result = CliRunner().invoke(main, ["pixel.safetensors", "--data", "faces:3", "--device", "cpu,cpu"])
    assert result.exit_code == 2
    assert "--device cpu,cpu: only fsr-run and fsr.load take several devices; name one" in result.stderr


@pytest.mark.parametrize("options", [("--backend", "openvino"), ("--device", "openvino:CPU")])
def test_graphs_are_measured_with_the_back_end_that_is_asked_for(options):
    pytest.importorskip("openvino")
    write_onnx(Path("tiny.onnx"), lr_size=16)
    arguments = ["pixel.safetensors", "tiny.onnx", "--data", "faces:3", "--json", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    names = [row["system"] for row in json.loads(result.stdout)["rows"]]
    assert re.fullmatch(r"tiny\.onnx \(OpenVINO \S+ \(CPU, FP32\) fp32 on cpu\)", names[2])
