"""A checkpoint of the public CTCNet loads: every weight in its place, what is never run left out, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fsr_deploy.errors import InputError
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import fitting, load_into
from fsr_deploy.models.ctcnet_keys import NEVER_RUN, ctcnet_names
from tests.models import ctcnet_reference

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = registry.build("ctcnet").eval()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -1, 1)
    return network


def public(network: nn.Module) -> Weights:
    """Return a network's weights as the public code saves them, with some of those that it never runs."""
    own = network.state_dict()
    weights = {}
    for theirs, ours in ctcnet_reference.names():
        name, _, row = ours.removesuffix("]").partition("[")
        weights[theirs] = own[name][int(row)] if row else own[name]
    return weights | {name: torch.rand(1) for name in ctcnet_reference.never_run()}


def test_the_names_are_all_that_the_network_has() -> None:
    with torch.device("meta"):
        wanted = set(registry.build("ctcnet").state_dict())
    theirs, ours = zip(*ctcnet_reference.names(), strict=True)
    assert {name.partition("[")[0] for name in ours} == wanted
    assert len(set(theirs)) == len(theirs)


def test_public_weights_come_back_equal(network: nn.Module, tmp_path: Path) -> None:
    path, fresh = tmp_path / "latest_net_G.pth", registry.build("ctcnet")
    torch.save(public(network), path)
    load_into(fresh, path, "ctcnet")
    found = fresh.state_dict()
    assert [name for name, value in network.state_dict().items() if not torch.equal(found[name], value)] == []
    assert fitting(torch.load(path)) == ["ctcnet"]


@pytest.mark.parametrize("place", ["state_dict.", "module.", "_orig_mod.", "net_g."])
def test_they_may_lie_in_an_entry(network: nn.Module, tmp_path: Path, place: str) -> None:
    path, fresh = tmp_path / "latest_net_G.pth", registry.build("ctcnet")
    torch.save({place + name: value for name, value in public(network).items()}, path)
    load_into(fresh, path, "ctcnet")
    assert torch.equal(fresh.body[3].scales, network.body[3].scales)


def test_exactly_what_is_never_run_is_left_out(network: nn.Module) -> None:
    run = [name for name, _ in ctcnet_reference.names()]
    assert [name for name in run if NEVER_RUN.fullmatch(name)] == []
    assert [name for name in ctcnet_reference.never_run() if not NEVER_RUN.fullmatch(name)] == []
    assert set(ctcnet_names(public(network))) == set(network.state_dict())


@pytest.mark.parametrize(
    "name", ["embed2.weight", "res_layers.0.conv3.conv2d.weight", "res_layers_back.att2.conv_du.0.weight"]
)
def test_other_weights_beside_them_are_refused(network: nn.Module, tmp_path: Path, name: str) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save(public(network) | {name: torch.rand(1)}, path)
    with pytest.raises(InputError, match="1 unexpected"):
        load_into(registry.build("ctcnet"), path, "ctcnet")


@pytest.mark.parametrize("name", ["conv_32.bias", "res_layers.2.scale_2.scale", "res_layers_up1.alise.weight3.scale"])
def test_a_missing_weight_is_refused(network: nn.Module, tmp_path: Path, name: str) -> None:
    path, weights = tmp_path / "latest_net_G.pth", public(network)
    del weights[name]
    torch.save(weights, path)
    with pytest.raises(InputError, match=r"1 (missing|of another shape)"):
        load_into(registry.build("ctcnet"), path, "ctcnet")


@pytest.mark.parametrize("name", ["ctcnet", "sparnet", "aminet"])
def test_weights_in_our_names_stay_as_they_are(name: str) -> None:
    with torch.device("meta"):
        weights = registry.build(name).state_dict()
    assert ctcnet_names(weights) == weights
