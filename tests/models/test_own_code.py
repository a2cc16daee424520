"""Networks in a file of the user's own: run because the user names it, and used as its record or its behaviour says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.models import own_code, registry
from fsr_deploy.models.own_code import resolve
from fsr_deploy.models.registry import ModelRecord
from fsr_deploy.models.source import load_source
from fsr_deploy.models.value_range import ValueRange

FILE = """
from torch import nn
from {beside} import enlarge
from fsr_deploy import ModelRecord

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3 * 16, 1), enlarge(4))

    def forward(self, x):
        return self.body(x)

class Same(Net):
    def forward(self, x):
        return x

class Only8(Net):
    def forward(self, x):
        assert x.shape[-1] == 8, "8 pixels a side"
        return self.body(x)

def build(width=4):
    return Net(width)

def nothing():
    return "a network"

number = 3
RECORD = ModelRecord("own-net", build, scale=4, input="lr", range=(0.0, 1.0))
TAKEN = ModelRecord("aminet", build)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    registry.names()
    monkeypatch.setattr(registry, "_RECORDS", {**registry._RECORDS})
    monkeypatch.setattr(own_code, "_loaded", {})
    beside = f"beside_{tmp_path.name}"
    (tmp_path / f"{beside}.py").write_text("from torch.nn import PixelShuffle as enlarge\n")
    path = tmp_path / "mynet.py"
    path.write_text(FILE.format(beside=beside))
    return path


def test_a_builder_is_tried_for_how_much_it_enlarges(file: Path) -> None:
    assert resolve(f"{file}:build") == resolve(f"{file}:build") == "mynet"
    record = registry.find("mynet")
    assert (record.scale, record.input, record.range) == (4, "lr", (-1.0, 1.0))
    source = load_source(f"{file}:build", lr_size=8)
    assert (source.name, source.scale, source.upsampling, source.lr_size) == ("mynet", 4, 1, 8)


def test_a_record_is_taken_at_its_word_and_its_range_becomes_ours(file: Path) -> None:
    torch.manual_seed(0)
    weights = registry.find(resolve(f"{file}:RECORD")).build().state_dict()
    torch.save({"params": weights}, file.with_name("net.pth"))
    source = load_source(f"{file}:RECORD", file.with_name("net.pth"))
    assert source.name == "own-net" and isinstance(source.network, ValueRange)
    x = torch.rand(2, 3, 5, 7) * 2 - 1
    inner = source.network.network
    assert all(torch.equal(tensor, weights[name]) for name, tensor in inner.state_dict().items())
    assert torch.allclose(source.network(x), inner((x + 1) / 2) * 2 - 1, atol=1e-6)


def test_a_registered_name_and_a_checkpoint_are_left_as_they_are() -> None:
    assert [resolve(text) for text in ("aminet", "a/b.pth", "run.py")] == ["aminet", "a/b.pth", "run.py"]


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("number", InputError, "has no ModelRecord and no function or class called 'number'"),
        ("unknown", InputError, "has no ModelRecord and no function or class called 'unknown'"),
        ("nothing", UsageError, "returns str, a torch.nn.Module is needed"),
        ("Same", UsageError, r"turns \(1, 3, 16, 16\) into \(1, 3, 16, 16\), which does not tell how it is used"),
        ("Only8", UsageError, "does not take a picture of 16 pixels a side .*8 pixels a side.*ModelRecord"),
        ("TAKEN", UsageError, "a model is called 'aminet' already"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(file: Path, name: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        resolve(f"{file}:{name}")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(None, "there is no file"), ("import nothing_of_that_name", "breaks when it is run: ModuleNotFoundError")],
)
def test_a_file_that_is_missing_or_breaks_is_one_sentence(tmp_path: Path, code: str | None, sentence: str) -> None:
    path = tmp_path / "other.py"
    if code:
        path.write_text(code)
    with pytest.raises(InputError, match=sentence):
        resolve(f"{path}:build")


def test_neither_a_checkpoint_nor_a_bundle_runs_a_file(file: Path) -> None:
    """Only what the user names is resolved; names in data are looked up, and nothing else."""
    with pytest.raises(UsageError, match="no model is called"):
        registry.find(f"{file}:build")


def test_only_the_usual_range_is_trained(file: Path) -> None:
    from fsr_deploy.train import recipes
    from fsr_deploy.train.loop import TrainSettings

    registry.register(ModelRecord("unit", torch.nn.Identity, range=(0.0, 1.0)))
    with pytest.raises(UsageError, match=r"unit takes values from 0\.0 to 1\.0; only -1 to 1 is trained here"):
        TrainSettings("unit", recipes.recipe("aminet"), "faces:8", "faces:8")
