"""From what a user names to a network: its weights, its options and the size it is made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fsr_deploy.bundle.info import sha256
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.models.checkpoints import Metadata, save_safetensors
from fsr_deploy.models.registry import build
from fsr_deploy.models.source import load_source
from tests.networks import Sized, register, weights


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


@pytest.fixture
def sized(tmp_path: Path) -> Path:
    """A checkpoint of a network for LR faces of 16 pixels."""
    path = tmp_path / "sized.safetensors"
    save_safetensors(Sized(lr_size=16).state_dict(), path, Metadata("sized", {"lr_size": 16}))
    return path


def test_untrained_weights_are_always_the_same_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one, other = (load_source("pixel").network.state_dict() for _ in range(2))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not load_source("pixel").trained


def test_a_checkpoint_beside_a_name_brings_weights_options_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_safetensors(weights(channels=6), path, Metadata("pixel", {"channels": 6}))
    source = load_source("pixel", path)
    assert source.options == {"channels": 6} and source.checkpoint_sha256 == sha256(path)
    assert all(torch.equal(tensor, weights(channels=6)[name]) for name, tensor in source.network.state_dict().items())
    assert not source.network.training


def test_a_checkpoint_that_does_not_name_its_model_says_which_it_fits(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "a.pth")
    with pytest.raises(
        InputError, match=r"a\.pth: does not say which model it holds; .*fits coarse, overflowing, pixel"
    ):
        load_source(str(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("model", "given", "size"),
    [("pixel", None, 16), ("pixel", 4, 4), ("sized", None, 8), ("sized", 16, 16)],
)
def test_the_lr_size_is_the_one_given_or_the_networks_own(model: str, given: int | None, size: int) -> None:
    source = load_source(model, lr_size=given)
    assert source.lr_size == size
    rebuilt = build(model, **source.options)
    assert {n: t.shape for n, t in rebuilt.state_dict().items()} == {
        n: t.shape for n, t in source.network.state_dict().items()
    }


def test_a_checkpoint_trained_at_another_size_is_exported_at_that_size_unless_another_is_asked_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "small.safetensors"
    save_safetensors(weights(), path, Metadata("pixel", training={"lr_size": 8}))
    assert load_source(str(path)).lr_size == load_source("pixel", path).lr_size == 8
    assert load_source(str(path), lr_size=16).lr_size == 16


TEMPLATE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))


@pytest.mark.parametrize(
    ("recorded", "known"),
    [
        (TEMPLATE, TEMPLATE),
        (None, None),
        ("eyes", None),
        (TEMPLATE[:4], None),
        ([*TEMPLATE[:4], (0.65, 80)], None),
        ([*TEMPLATE[:4], (0.65, "0.8")], None),
    ],
)
def test_where_landmarks_belong_is_what_the_checkpoint_records(tmp_path: Path, recorded: Any, known: Any) -> None:
    path = tmp_path / "aligned.safetensors"
    save_safetensors(weights(), path, Metadata("pixel", training={"template": recorded}))
    assert load_source(str(path)).template == load_source("pixel", path).template == known
    assert load_source(str(path), lr_size=(24, 16)).template is None, "its faces were square"


def test_a_checkpoint_for_one_size_is_exported_at_that_size(sized: Path) -> None:
    assert load_source(str(sized)).lr_size == load_source("sized", sized).lr_size == 16
    assert load_source(str(sized), lr_size=16).lr_size == 16
    with pytest.raises(UsageError, match="made for LR faces of 16 pixels a side; leave --lr-size 8 out"):
        load_source(str(sized), lr_size=8)
    with pytest.raises(InputError, match="1 of another shape"):
        load_source("sized", sized, lr_size=8)
