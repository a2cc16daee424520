"""Every rewrite gives the function of the module that it replaces, and leaves that module alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fsr_deploy.exporting.rewrite.ort_blocked import BlockedRDFE, BlockedSKAF
from fsr_deploy.exporting.rewrite.rewrites import REWRITES, Rewrite, Target, rewrite
from fsr_deploy.models import registry
from fsr_deploy.models.aminet import LGFI, RDFE, SA, SKAF, AMINet, Hourglass, LayerNorm, channel_max, channel_mean
from fsr_deploy.models.mfspnet import CCB, ConvLayer, MFSPNet
from fsr_deploy.models.pyramid_attention import PA

BY_NAME = {step.name: step for step in REWRITES}


def trained(module: nn.Module) -> nn.Module:
    """Give every weight, and every statistic of a batch norm, a value of its own, in FP64."""
    generator = torch.Generator().manual_seed(3)
    module = module.double().eval()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(noise + 0.5 if "var" in name else noise - 0.4)
    return module


def difference(one: nn.Module, other: nn.Module, *shapes: tuple[int, ...]) -> float:
    """Return the largest difference on random inputs, relative to the largest value; maps are broadcast."""
    generator = torch.Generator().manual_seed(4)
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    with torch.no_grad():
        ours, theirs = one(*inputs), other(*inputs)
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def rewritten(module: nn.Module, name: str) -> nn.Module:
    """Apply one rewrite, whatever its targets, and make sure that it took hold."""
    steps = [BY_NAME[needed] for needed in {"separate_qkv": ["channel_attention"]}.get(name, [])] + [BY_NAME[name]]
    result = rewrite(
        module,
        "onnxruntime",
        [Rewrite(step.name, step.reason, step.apply, frozenset({"onnxruntime"})) for step in steps],
    )
    kinds = [type(part) for part in module.modules()]
    assert [type(part) for part in result.modules()] != kinds or name == "shift_attention"
    return result


@pytest.mark.parametrize(
    ("name", "module", "shapes"),
    [
        ("batch_norm", ConvLayer(4, 6, "zeros", "down"), [(2, 4, 8, 8)]),
        ("batch_norm", ConvLayer(4, 6, "reflect", "up"), [(2, 4, 8, 8)]),
        ("batch_norm", RDFE(6, 4).refine, [(2, 6, 8, 12)]),
        ("channel_attention", SA(6, 1), [(2, 6, 8, 12)]),
        ("channel_attention", SA(12, 4), [(2, 12, 8, 8)]),
        ("separate_qkv", SA(12, 2), [(2, 12, 8, 8)]),
        ("layer_norm", LayerNorm(6), [(2, 6, 5, 7)]),
        ("rdfe", RDFE(6, 4), [(2, 6, 8, 8)]),
        ("rdfe", RDFE(6, 4, kernels=(5,)), [(2, 6, 8, 8)]),
        ("skaf", SKAF(6), [(2, 6, 8, 8)]),
        ("skaf", SKAF(40), [(2, 40, 8, 8)]),
        ("skaf", SKAF(6, kernels=(7,), pools=(channel_max, channel_mean)), [(2, 6, 8, 8)]),
        ("transposed", nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1), [(2, 6, 3, 5)]),
        ("hourglass", Hourglass(6, 4), [(2, 6, 8, 12)]),
        ("hourglass", Hourglass(6, 4), [(2, 6, 6, 10)]),
        ("enlarged", ConvLayer(4, 6, "zeros", "up", norm=False), [(2, 4, 5, 7)]),
        ("enlarged", ConvLayer(4, 6, "reflect", "up", norm=False, act=False), [(2, 4, 5, 7)]),
        ("one_slope", CCB(8), [(2, 8, 6, 6)]),
        ("shift_attention", PA(8, 8), [(2, 8, 8, 8)]),
    ],
)
def test_a_rewrite_gives_the_same_function(name: str, module: nn.Module, shapes: list[tuple[int, ...]]) -> None:
    module = trained(module)
    assert difference(rewritten(module, name), module, *shapes) < 1e-12


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tensorrt"])
@pytest.mark.parametrize(
    "network",
    [AMINet(channels=8, heads=(1, 2, 2, 4), mid=8), MFSPNet(lr_size=8, width=8, blocks=1)],
    ids=["aminet", "mfspnet"],
)
def test_all_rewrites_of_a_target_give_the_same_network(network: nn.Module, target: Target) -> None:
    network = trained(copy.deepcopy(network))
    assert difference(rewrite(network, target), network, (1, 3, 64, 64)) < 1e-9


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_no_batch_norm_is_left(target: Target) -> None:
    for name in ("aminet-tiny", "sparnet"):
        result = rewrite(registry.build(name), target)
        assert not [part for part in result.modules() if isinstance(part, nn.BatchNorm2d)]


def test_the_training_module_is_left_as_it_is() -> None:
    network = LGFI(8, 2, 8).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kinds = [type(part) for part in network.modules()]
    result = rewrite(network, "onnxruntime")
    assert not result.training
    assert network.training
    assert [type(part) for part in network.modules()] == kinds
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_modules_keep_their_names_so_that_they_can_be_kept_in_fp32_by_name() -> None:
    network = registry.build("aminet-tiny")
    names = {name for name, _ in rewrite(network, "onnxruntime").named_modules()}
    assert {"encoders.0.norm", "encoders.0.local.refine.body.2", "ups.0", "fusions.1.fusion", "middle.1"} <= names


def test_blocks_of_ablations_that_differ_stay_as_they_are() -> None:
    network = rewrite(registry.build("aminet.no-au", channels=8, mid=8), "onnxruntime")
    assert not [part for part in network.modules() if isinstance(part, BlockedRDFE)]
    assert [part for part in network.modules() if isinstance(part, BlockedSKAF)]
