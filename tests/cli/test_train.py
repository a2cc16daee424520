"""fsr-train as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fsr_deploy.cli.train import main
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import Metadata, load_model, read_metadata, save_safetensors
from fsr_deploy.models.registry import ModelRecord
from fsr_deploy.synthetic import write_faces
from fsr_deploy.train.vgg import VGG19Features
from tests.networks import Pixel, register, weights

SMALL = ("--lr-size", "8", "--val-limit", "2", "--workers", "0", "--device", "cpu")
SHORT = ("--steps", "2", "--batch", "2", "--log-every", "1")


@pytest.fixture(autouse=True)
def networks(monkeypatch, tmp_path):
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)


def train(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments), *SMALL])


def test_one_command_trains_on_drawn_faces_and_sums_up():
    result = train("pixel", "--data", "faces:4", "-o", "run", "--json", *SHORT)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["steps"] == 2
    assert summary["best_psnr"] > 0
    assert summary["bicubic"]["psnr"] > 15
    assert "training pixel on 4 drawn faces (train), validating on 2 drawn faces (val)" in result.stderr
    assert {path.name for path in Path("run").iterdir()} == {
        "run.json",
        "state.pt",
        "last.safetensors",
        "best.safetensors",
        "log.csv",
        "validation.csv",
        "samples",
    }


def test_the_same_command_again_continues():
    for steps in (2, 2):
        result = train("pixel", "--data", "faces:4", "-o", "run", "--steps", steps, "--batch", "2")
        assert result.exit_code == 0, result.output
    assert "continuing after step 2" in result.stderr


def test_a_network_is_built_with_the_options_asked_for():
    assert train("pixel", "--data", "faces:4", "-o", "run", "--option", "channels=5", *SHORT).exit_code == 0
    network, metadata = load_model(Path("run/last.safetensors"))
    assert metadata.options == {"channels": 5}
    assert network.body[0].out_channels == 5


def test_a_network_whose_shape_depends_on_the_size_is_built_for_it(monkeypatch):
    class Sized(Pixel):
        def __init__(self, lr_size: int = 16) -> None:
            super().__init__(lr_size)

    monkeypatch.setitem(registry._RECORDS, "sized", ModelRecord("sized", Sized, size_option="lr_size"))
    assert train("sized", "--data", "faces:4", "-o", "run", *SHORT).exit_code == 0
    assert read_metadata(Path("run/last.safetensors")).options == {"lr_size": 8}


def test_a_folder_of_faces_trains_too():
    write_faces(Path("data/train"), 3)
    write_faces(Path("data/val"), 2, seed=1)
    result = train("pixel", "--data", "data", "-o", "run", *SHORT)
    assert result.exit_code == 0, result.output
    assert "3 faces of data (folder layout, train), validating on 2 faces of data (folder layout, val)" in result.stderr


def test_training_begins_from_a_checkpoint():
    save_safetensors(weights(), Path("start.safetensors"), Metadata("pixel"))
    result = train("pixel", "--data", "faces:4", "-o", "run", "--lr", "0", "--checkpoint", "start.safetensors", *SHORT)
    assert result.exit_code == 0, result.output
    trained = load_model(Path("run/last.safetensors"))[0].state_dict()
    assert all(torch.equal(trained[name], tensor) for name, tensor in weights().items())


def test_training_begins_from_the_average_unless_another_entry_is_asked_for():
    raw = {name: tensor + 1 for name, tensor in weights().items()}
    torch.save({"model": raw, "model_ema": weights()}, "start.pth")
    arguments = ("pixel", "--data", "faces:4", "--lr", "0", "--checkpoint", "start.pth", *SHORT)
    result = train(*arguments, "-o", "run")
    assert "start.pth: took the averaged weights in model_ema; --key NAME takes others: model" in result.stderr
    assert train(*arguments, "-o", "raw", "--key", "model").exit_code == 0
    for folder, expected in (("run", weights()), ("raw", raw)):
        trained = load_model(Path(folder, "last.safetensors"))[0].state_dict()
        assert all(torch.equal(trained[name], tensor) for name, tensor in expected.items())


def test_amigan_trains_with_perceptual_and_adversarial_losses_from_a_file_of_vgg19():
    torch.manual_seed(0)
    torch.save({f"features.{name}": tensor for name, tensor in VGG19Features().state_dict().items()}, "vgg19.pth")
    result = train("pixel", "--data", "faces:4", "-o", "run", "--recipe", "amigan", "--vgg", "vgg19.pth", *SHORT)
    assert result.exit_code == 0, result.output
    assert Path("run/log.csv").read_text().splitlines()[0] == "step,lr,pixel,perceptual,discriminator,adversarial"
    assert read_metadata(Path("run/last.safetensors")).training["recipe"]["perceptual"] == 0.01


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nonesuch", "--data", "faces:4"), 2, "no model is called 'nonesuch'"),
        (("pixel", "--data", "faces:4", "--recipe", "best"), 2, "no recipe is called 'best'; there are aminet, amigan"),
        (("pixel", "--data", "faces:4", "--schedule", "linear"), 2, "no schedule is called 'linear'"),
        (("pixel", "--data", "faces:4", "--augment", "blur"), 2, "no augmentation is called 'blur'"),
        (("pixel", "--data", "faces:4", "--pixel", "0"), 2, "all three loss weights are 0"),
        (("pixel", "--data", "faces:4", "--lr", "-1"), 2, "lr -1.0: give a number that is not below 0"),
        (("pixel", "--data", "faces:4", "--lr", "nan"), 2, "lr nan: give a number that is not below 0"),
        (("pixel", "--data", "faces:4", "--beta2", "1"), 2, "beta2 1.0: Adam's betas are at least 0 and below 1"),
        (("pixel", "--data", "faces:4", "--layout", "celebra"), 2, "no layout is called 'celebra'; there are auto, "),
        (("pixel", "--data", "faces:4", "--option", "padding"), 2, "--option padding: write NAME=VALUE"),
        (("pixel", "--data", "faces:4", "--option", "depth=3"), 2, "pixel has no option 'depth'"),
        (("pixel", "--data", "faces:4", "--recipe", "amigan"), 2, "vgg19-dcbb9e9d.pth"),
        (("pixel", "--data", "faces:4", "--checkpoint", "none.pth"), 4, "none.pth: no such file"),
        (("pixel", "--data", "faces:4", "--key", "ema"), 2, "--key names an entry of a checkpoint; give --checkpoint"),
        (("pixel", "--data", "faces:4", "--precision", "fp16"), 3, "fp16 trains on a GPU only"),
        (("pixel", "--data", "nowhere"), 4, "nowhere: no such folder; name a folder of faces, or faces:COUNT"),
        (("pixel", "--data", "faces:4", "--lr", "1e30", "--seed", "1"), 6, "nothing had been saved yet"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(arguments, code, message):
    result = train(*arguments, "-o", "run", "--steps", "9", "--batch", "2")
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert train("pixel", "--data", "faces:4", "-o", "run", *SHORT).exit_code == 0  # the folder is still free


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_not_replaced_silently():
    result = CliRunner().invoke(main, ["pixel", "--data", "faces:4", "-o", "run", "--device", "cuda"])
    assert result.exit_code == 3
    assert "no GPU that this PyTorch can use; train with --device cpu" in result.stderr


def test_another_file_than_vgg19s_is_refused_by_name():
    torch.save(Pixel().state_dict(), "vgg19.pth")
    result = train("pixel", "--data", "faces:4", "-o", "run", "--recipe", "amigan", "--vgg", "vgg19.pth", *SHORT)
    assert result.exit_code == 4
    assert "vgg19.pth: not weights of VGG19: 28 missing (5.weight, " in result.stderr


@pytest.mark.slow
def test_torchrun_trains_the_real_network_on_two_processes():
    torchrun = Path(sys.executable).with_name("torchrun")
    command = [torchrun, "--nproc-per-node", "2", "--no-python", torchrun.with_name("fsr-train"), "aminet-tiny"]
    options = ("--data", "faces:4", "-o", "run", *SMALL, *SHORT)
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training aminet-tiny on") == 1
    assert load_model(Path("run/last.safetensors"))[1].training["step"] == 2
