"""Checkpoints of other people's networks, with a stand-in for the library that recognises them.

make integration tries the real library (tests/integration/test_foreign.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsr_deploy._util import imports
from fsr_deploy.errors import InputError, MissingError, UsageError
from fsr_deploy.metrics.evaluate import open_systems
from fsr_deploy.models.foreign import recognise
from fsr_deploy.models.source import load_source

SIZE = SimpleNamespace(minimum=0, multiple_of=1)


class Enlarging(nn.Module):
    """A network for pictures in [0, 1]."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.body, self.up = nn.Conv2d(channels, channels * 4, 3, padding=1), nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        assert x.min() >= 0 and x.max() <= 1
        return self.up(self.body(x))


class Architecture:
    """One of the stand-in's architectures: any checkpoint with a body of ``channels``."""

    id = name = "Enlarging"

    def __init__(self, channels: int = 3, **facts: Any) -> None:
        self.channels, self.facts = channels, facts

    def detect(self, weights: dict[str, Tensor]) -> bool:
        return weights["body.weight"].shape[1] == self.channels

    def load(self, weights: dict[str, Tensor]) -> Any:
        network = Enlarging(self.channels)
        network.load_state_dict(weights)
        known = {"input_channels": self.channels, "output_channels": self.channels, "size_requirements": SIZE}
        facts = {"scale": 2, "tags": [], "supports_half": True, "purpose": "SR", **known, **self.facts}
        return SimpleNamespace(model=network, architecture=self, _call_fn=lambda model, x: model(x), **facts)


Install = Callable[..., None]


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install the stand-in, with these architectures."""

    def install(*architectures: Architecture) -> None:
        supports = [SimpleNamespace(architecture=one) for one in architectures]

        class Registry(list[Any]):
            def architectures(self, order: str) -> list[Any]:
                return supports

        module = ModuleType("spandrel")
        module.MAIN_REGISTRY = Registry(supports)  # type: ignore[attr-defined]
        module.ModelLoader = object  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "spandrel", module)

    return install


def weights(channels: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(channels)
    return Enlarging(channels).state_dict()


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("channels", [3, 1])
def test_a_network_for_other_values_takes_and_gives_ours(tmp_path: Path, spandrel: Install, channels: int) -> None:
    spandrel(Architecture(), Architecture(1))
    path = tmp_path / "net.pth"
    torch.save({"params": weights(channels)}, path)
    source = load_source(str(path), lr_size=8)
    assert (source.name, source.scale, source.upsampling, source.lr_size) == ("Enlarging", 2, 1, 8)
    assert source.trained and not source.registered and source.checkpoint_entry == "params"
    plain = Enlarging(channels)
    plain.load_state_dict(weights(channels))
    x = torch.rand(2, 3, 8, 6)
    expected = plain(x) if channels == 3 else torch.cat([plain(x[:, [colour]]) for colour in range(3)], 1)
    assert torch.allclose(source.network(x * 2 - 1), expected * 2 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "key", "place"),
    [
        (lambda w, other: {"params": other, "params_ema": w}, None, "params_ema"),
        (lambda w, other: {"params": w, "params_ema": other}, "params", "params"),
        (lambda w, other: {f"module.{name}": tensor for name, tensor in w.items()}, None, ""),
        (lambda w, other: {"state_dict": {f"_orig_mod.{n}": t for n, t in w.items()}, "step": 3}, None, "state_dict"),
        (lambda w, other: w, None, ""),
        (lambda w, other: {"net_g": other, "net_g_ema": w, "net_d": {"w": torch.zeros(1)}}, None, "net_g_ema"),
        (lambda w, other: {"netG": other, "netGEMA": w}, None, "netGEMA"),
        (lambda w, other: {"model": other, "swa_model": w}, None, "swa_model"),
        (lambda w, other: {"model_raw": other, "model": w}, None, "model"),
        (
            lambda w, other: {"state_dict": {**under("net_g.", other), **under("net_g_ema.", w)}},
            None,
            "state_dict.net_g_ema",
        ),
        (lambda w, other: {"model": other, "ema": {"decay": 0.9, "state_dict": w}}, None, "ema.state_dict"),
        (lambda w, other: {"n_averaged": torch.tensor(3), **under("module.", w)}, None, "module"),
        (lambda w, other: {"model": w, "ema": other}, "model", "model"),
    ],
)
def test_weights_are_found_where_trainers_put_them_and_averages_first(
    spandrel: Install, tmp_path: Path, content: Callable[..., Any], key: str | None, place: str
) -> None:
    spandrel(Architecture())
    other = {name: tensor + 1 for name, tensor in weights().items()}
    torch.save(content(weights(), other), tmp_path / "net.pth")
    source = load_source(str(tmp_path / "net.pth"), key=key)
    assert source.checkpoint_entry == place
    inner = source.network.network.state_dict()
    assert all(torch.equal(inner[name], tensor) for name, tensor in weights().items())


def test_what_was_taken_of_several_is_said(spandrel: Install, capsys: pytest.CaptureFixture[str]) -> None:
    spandrel(Architecture())
    recognise({**under("net.", weights()), **under("net_ema.", weights())}, Path("net.pth"))
    assert "took the averaged weights in net_ema; --key NAME takes others: net" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {**under("best.", weights()), **under("model.", {name: t + 1 for name, t in weights().items()})},
            "several entries hold weights of Enlarging: best, model; name one with --key, for example --key best",
        ),
        (
            {
                **under("model.", weights()),
                **under("ema.shadow.", {str(i): t for i, t in enumerate(weights().values())}),
            },
            "ema looks like an average of the weights, but its names or shapes are not those of Enlarging; --key model "
            "takes the weights that are not averaged",
        ),
        (
            {**weights(), "body.bias": torch.full((12,), float("nan"))},
            "body.bias holds NaN or infinity; take a checkpoint from before the training broke",
        ),
        (
            {**weights(), "body.bias": torch.zeros(12, dtype=torch.int8)},
            "body.bias holds int8, no fractions; take the weights from before quantisation",
        ),
    ],
)
def test_weights_that_are_unclear_or_broken_are_refused(
    spandrel: Install, content: dict[str, Tensor], message: str
) -> None:
    spandrel(Architecture())
    with pytest.raises(InputError) as caught:
        recognise(content, Path("net.pth"))
    assert str(caught.value) == f"net.pth: {message}"


def test_the_size_is_the_networks_or_one_that_it_takes(spandrel: Install, tmp_path: Path) -> None:
    spandrel(Architecture(size_requirements=SimpleNamespace(minimum=48, multiple_of=24)))
    path = tmp_path / "net.pth"
    torch.save(weights(), path)
    assert [load_source(str(path), lr_size=size).lr_size for size in (None, 48, 96)] == [72, 48, 96]
    for size in (24, 50):
        with pytest.raises(UsageError, match=f"--lr-size {size}: Enlarging takes multiples of 24 of at least 48"):
            load_source(str(path), lr_size=size)


def test_a_picture_need_not_be_square(spandrel: Install, tmp_path: Path) -> None:
    spandrel(Architecture(size_requirements=SimpleNamespace(minimum=16, multiple_of=8)))
    torch.save(weights(), tmp_path / "net.pth")
    source = load_source(str(tmp_path / "net.pth"), lr_size=(16, 40))
    assert (source.lr_size, source.lr_shape, source.sr_shape) == ((16, 40), (16, 40), (32, 80))
    with pytest.raises(UsageError, match="--lr-size 16,42: Enlarging takes multiples of 8 of at least 16"):
        load_source(str(tmp_path / "net.pth"), lr_size=(16, 42))


def test_a_foreign_checkpoint_is_measured_like_an_engine(spandrel: Install, tmp_path: Path) -> None:
    spandrel(Architecture())
    torch.save(weights(), tmp_path / "net.pth")
    systems, _ = open_systems([str(tmp_path / "net.pth")], None, (24, 40), "cpu")
    assert (systems[0].lr_size, systems[0].size) == ((24, 40), (48, 80))
    faces = [np.zeros((24, 40, 3), np.uint8)]
    assert systems[0].upscale(faces)[0].shape == (48, 80, 3)


def test_a_face_restorer_gets_the_size_that_it_is_made_for(spandrel: Install, tmp_path: Path) -> None:
    spandrel(Architecture(purpose="FaceSR"))
    torch.save(weights(), tmp_path / "net.pth")
    assert load_source(str(tmp_path / "net.pth")).lr_size == 512
    assert load_source(str(tmp_path / "net.pth"), lr_size=256).lr_size == 256


@pytest.mark.parametrize(
    ("architectures", "channels", "sentence"),
    [
        ([Architecture(5)], 3, "neither a registered model nor one of the 1 architectures that spandrel knows"),
        ([Architecture(3, purpose="Inpainting")], 3, "Enlarging fills holes and needs a mask"),
        ([Architecture(4)], 4, "Enlarging with 4 channels in and 4 out; RGB or grey is needed"),
    ],
)
def test_what_is_not_taken_is_one_sentence(
    spandrel: Install, architectures: list[Architecture], channels: int, sentence: str
) -> None:
    spandrel(*architectures)
    with pytest.raises(InputError, match=sentence):
        recognise(weights(channels), Path("net.pth"))


def test_the_nearest_architecture_and_what_it_lacks_are_named(spandrel: Install) -> None:
    wide = Architecture(5)
    names = ("body.weight", "body.bias", SimpleNamespace(_kind="any", _keys=("tail.weight", "end.weight")))
    wide._detect = SimpleNamespace(_kind="all", _keys=names)  # type: ignore[attr-defined]
    spandrel(wide)
    with pytest.raises(InputError, match=r"; the nearest: Enlarging, but for tail\.weight; give the code"):
        recognise(weights(), Path("net.pth"))
    with pytest.raises(InputError, match=r"has such weights \(other\); give the code"):
        recognise({"other": torch.zeros(1)}, Path("net.pth"))


def test_weights_of_another_variant_and_a_wrong_key_are_one_sentence(spandrel: Install) -> None:
    spandrel(Architecture())
    broken = {**weights(), "tail.weight": torch.zeros(1)}
    with pytest.raises(InputError, match=r"looks like weights of Enlarging and is none that spandrel knows: .*tail"):
        recognise(broken, Path("net.pth"))
    with pytest.raises(UsageError, match="--key ema: no entry of that name holds a network's weights"):
        recognise(weights(), Path("net.pth"), "ema")


def test_without_the_library_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert imports.LIBRARIES["spandrel"].install == "pip install 'fsr-deploy[models]'"
    torch.save(weights(), tmp_path / "net.pth")
    with pytest.raises(MissingError, match=r"pip install 'fsr-deploy\[models\]'"):
        load_source(str(tmp_path / "net.pth"))


class Told(nn.Module):
    """A network that is told how much noise there is, by a fourth channel."""

    mode = "FDnCNN"

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Patchy(nn.Module):
    """IPT takes values of another range, and pictures of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scale, self.rgb_range, self.patch_size = nn.Conv2d(3, 3, 1), [2, 3], 255, 12

    def set_scale(self, index: int) -> None:
        self.chosen = self.scale[index]

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2:] == (self.patch_size, self.patch_size) and x.max() > 1
        return self.body(x).repeat_interleave(self.chosen, 2).repeat_interleave(self.chosen, 3)


class OfOneFace(Architecture):
    """spandrel runs these on one face at a time."""

    def __init__(self, name: str, network: nn.Module, **facts: Any) -> None:
        super().__init__(**facts)
        self.id = self.name = name
        self.network = network

    def detect(self, weights: dict[str, Tensor]) -> bool:
        return True

    def load(self, weights: dict[str, Tensor]) -> Any:
        return SimpleNamespace(**{**vars(self.like()), "model": self.network, "architecture": self})

    def like(self) -> Any:
        return Architecture(scale=self.facts.get("scale", 1)).load(Enlarging().state_dict())


@pytest.mark.parametrize("name", ["DRUNet", "DnCNN"])
def test_the_level_of_noise_is_told_of_each_face_of_a_batch(spandrel: Install, name: str) -> None:
    network, x = Told(), torch.rand(3, 3, 4, 6)
    spandrel(OfOneFace(name, network))
    found = recognise(network.state_dict(), Path("net.pth")).network(x * 2 - 1)
    expected = network(torch.cat([x, torch.full((3, 1, 4, 6), 15 / 255)], 1))
    assert torch.allclose(found, expected * 2 - 1, atol=1e-6)


def test_pictures_of_ipt_are_patches_of_its_size_at_its_largest_scale(spandrel: Install) -> None:
    network, x = Patchy(), torch.rand(2, 3, 12, 12)
    spandrel(OfOneFace("IPT", network, scale=3))
    foreign = recognise(network.state_dict(), Path("net.pth"))
    assert foreign.lr_size(None) == 12
    y = foreign.network(x * 2 - 1)
    assert y.shape == (2, 3, 36, 36)
    assert torch.allclose(y[..., ::3, ::3], network.body(x * 255) / 255 * 2 - 1, atol=1e-5)
