"""AMINet is the paper's network: its equations, its feature sizes, and every block of it is trained and exported."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fsr_deploy.errors import UsageError
from fsr_deploy.models import aminet, registry

MODELS = [name for name in registry.names("ami*") if name != "amigan"]


def small(name: str) -> nn.Module:
    """Build a model of the AMINet family with 8 channels, and hourglasses of 8 where it has any."""
    return registry.build(name, channels=8, mid=8)


@pytest.mark.parametrize(("name", "c"), [("aminet", 28), ("aminet-s", 20)])
def test_the_features_f1_to_f7_have_the_papers_shapes(name: str, c: int) -> None:
    with torch.device("meta"):
        features = registry.build(name).features(torch.zeros(3, 3, 128, 128))
    assert [tuple(f.shape) for f in features] == [
        (3, 2 * c, 64, 64),
        (3, 4 * c, 32, 32),
        (3, 8 * c, 16, 16),
        (3, 8 * c, 16, 16),
        (3, 4 * c, 32, 32),
        (3, 2 * c, 64, 64),
        (3, c, 128, 128),
    ]


@pytest.mark.parametrize("size", [(8, 8), (24, 24), (32, 64), (136, 40)])
def test_any_face_whose_sides_are_multiples_of_8_keeps_its_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert small("aminet").eval()(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_other_sides_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="multiples of 8, not on 128x100"):
        small("aminet")(torch.rand(1, 3, 128, 100))


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="18 channels cannot be shared by 4 attention heads"):
        registry.build("aminet", channels=9, heads=(1, 4, 2, 2))


@pytest.mark.parametrize("name", MODELS)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = small(name)
    (model(torch.rand(2, 3, 32, 32)) - torch.rand(2, 3, 32, 32)).abs().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_gradient_reaches_every_parameter_of_sparnet_with_edff() -> None:
    torch.manual_seed(0)
    model = registry.build("sparnet.edff", width=8, blocks=1, lr_size=8)
    sr = model(torch.rand(2, 3, 64, 64))
    sr.square().mean().backward()
    assert sr.shape == (2, 3, 64, 64)
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_seed_gives_the_same_weights_and_another_seed_gives_others() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(small("aminet").parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("name", ["aminet", pytest.param("aminet.transformer", marks=pytest.mark.integration)])
def test_torch_export_keeps_the_batch_dynamic(name: str) -> None:
    model = small(name).eval()
    batch = ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.export.export(model, (torch.rand(2, 3, 16, 16),), dynamic_shapes=batch).module()
    faces = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(program(faces), model(faces), rtol=0, atol=1e-6)


def test_self_attention_equals_its_equations_written_out_channel_by_channel() -> None:
    torch.manual_seed(0)
    heads, depth = 2, 3
    module = aminet.SA(heads * depth, heads).double()
    module.tau.data = torch.tensor([0.5, 20.0]).double().view(2, 1, 1)
    x = torch.randn(1, heads * depth, 5, 4).double()

    q, k, v = module.depthwise(module.qkv(x))[0].flatten(1).split(heads * depth)
    attended = torch.zeros_like(q)
    for head in range(heads):
        channels = range(head * depth, (head + 1) * depth)
        for i in channels:
            logits = torch.stack([module.tau[head, 0, 0] * q[i] @ k[j] / (q[i].norm() * k[j].norm()) for j in channels])
            attended[i] = sum(p * v[j] for p, j in zip(logits.softmax(0), channels, strict=True))
    expected = module.project(attended.view(1, heads * depth, 5, 4))

    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_self_attention_has_no_biases_and_its_temperature_starts_at_one() -> None:
    module = aminet.SA(8, 4)
    assert sorted(dict(module.named_parameters())) == ["depthwise.weight", "project.weight", "qkv.weight", "tau"]
    assert module.tau.tolist() == [[[1.0]]] * 4


def test_an_image_of_zeros_passes_the_attention_without_nan() -> None:
    assert not aminet.SA(8, 2)(torch.zeros(1, 8, 8, 8)).isnan().any()


def test_layer_norm_gives_each_pixel_mean_zero_and_variance_one() -> None:
    y = aminet.LayerNorm(64)(7 + 3 * torch.randn(2, 64, 4, 4))
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 4, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var(1, correction=0), torch.ones(2, 4, 4), rtol=0, atol=1e-4)


def test_skaf_weighs_the_first_feature_by_the_mean_and_the_second_by_the_maximum() -> None:
    skaf = aminet.SKAF(8)
    x = torch.randn(2, 8, 16, 16)
    t = torch.cat([skaf.branches[0](x), skaf.branches[1](x)], dim=1)
    expected = torch.sigmoid(torch.cat([t.mean(1, keepdim=True), t.amax(1, keepdim=True)], dim=1))
    torch.testing.assert_close(torch.cat(skaf(x), dim=1), expected)
    assert t.shape == x.shape


def test_edff_has_the_tabulated_number_of_parameters() -> None:
    for w in (20, 28, 56):
        assert sum(p.numel() for p in aminet.EDFF(w).parameters()) == 39 * w**2 + 2 * w


def test_the_network_adds_to_its_input() -> None:
    model = small("aminet").eval()
    nn.init.zeros_(model.tail.weight)
    nn.init.zeros_(model.tail.bias)
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(model(x), x)
