"""Both forms of pyramid attention are the published loop, without its loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fsr_deploy.errors import UsageError
from fsr_deploy.models.pyramid_attention import PA, Form, level_sizes
from tests.models.exported import ALLOWED, dynamic_graph, operators, run, shapes

FORMS: tuple[Form, ...] = ("patch", "shift")


@pytest.fixture
def double() -> Iterator[None]:
    """Build in FP64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def loop_reference(pa: PA, x: Tensor) -> Tensor:
    """Pyramid attention as published: face by face, with convolutions whose kernels are patches of the face."""
    keys, values = [], []
    for level in (1, 0.9, 0.8, 0.7, 0.6):
        small = x if level == 1 else F.interpolate(x, scale_factor=level, mode="bicubic")
        keys.append(_kernels(pa.g(small)))
        values.append(_kernels(pa.f(small)))
    queries = pa.theta(x)
    faces = []
    for i in range(len(x)):
        key = torch.cat([level[i] for level in keys])
        norm = key.pow(2).sum(dim=(1, 2, 3), keepdim=True).sqrt()
        similarity = F.conv2d(queries[i : i + 1], key / norm.clamp(min=1e-4), padding=1)
        attention = (10 * similarity).softmax(dim=1)
        faces.append(F.conv_transpose2d(attention, torch.cat([level[i] for level in values]), padding=1) / 4)
    return x + torch.cat(faces)


def _kernels(x: Tensor) -> Tensor:
    """Return all 3x3 patches of (N, C, H, W) as kernels: (N, HW, C, 3, 3)."""
    return F.unfold(x, 3, padding=1).transpose(1, 2).unflatten(2, (x.shape[1], 3, 3))


@pytest.mark.parametrize("grid", [16, 8, 20])
@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_the_published_loop_with_its_gradients(form: Form, grid: int, double: None) -> None:
    torch.manual_seed(0)
    pa = PA(channels=8, grid=grid, form=form)
    x = torch.randn(3, 8, grid, grid, requires_grad=True)
    direction = torch.randn_like(x)
    wanted, found = loop_reference(pa, x), pa(x)
    assert (found - wanted).abs().max() < 1e-12
    inputs = (x, *pa.parameters())
    for a, b in zip(*(torch.autograd.grad(y, inputs, direction) for y in (wanted, found)), strict=True):
        assert (a - b).abs().max() < 1e-12 * max(1, b.abs().max())


def test_the_default_grid_has_the_papers_798_keys() -> None:
    assert level_sizes(16) == [16, 14, 12, 11, 9]
    assert PA(channels=8).P.shape == (256, 798)


@pytest.mark.parametrize("form", FORMS)
def test_a_blank_feature_has_a_finite_gradient(form: Form) -> None:
    pa = PA(channels=8, grid=8, form=form)
    for name, parameter in pa.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    x = torch.zeros(1, 8, 8, 8, requires_grad=True)
    pa(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_a_network_made_double_loses_nothing(form: Form) -> None:
    torch.manual_seed(0)
    pa = PA(channels=8, grid=8, form=form).double()
    x = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    assert (pa(x) - loop_reference(pa, x)).abs().max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_no_part_of_the_weights(form: Form) -> None:
    trained = PA(channels=8, grid=8, form="patch")
    other = PA(channels=8, grid=8, form=form)
    other.load_state_dict(trained.state_dict())
    trained.form = form
    x = torch.randn(2, 8, 8, 8)
    assert torch.equal(trained(x), other(x))
    assert {name.split(".")[0] for name in trained.state_dict()} == {"theta", "g", "f"}


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="patch and shift, not 'loop'"):
        PA(form="loop")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_keeps_strong_attention(form: Form) -> None:
    torch.manual_seed(0)
    pa = PA(channels=16, grid=8, form=form).eval()
    x = 64 * torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        wanted = pa(x)
        found = pa.half()(x.half())
    assert found.dtype == torch.float16
    # The logits as FP16 numbers: 0.05.
    assert (found - wanted).square().mean().sqrt() < 0.003 * wanted.square().mean().sqrt()


@pytest.mark.parametrize("form", FORMS)
def test_autocast_leaves_the_matching_in_full_precision(form: Form) -> None:
    torch.manual_seed(0)
    pa = PA(channels=16, grid=8, form=form).eval()
    seen: dict[str, Any] = {}
    pa.match.register_forward_hook(lambda module, inputs, output: seen.update(inputs=inputs, output=output))
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            pa(4 * torch.randn(2, 16, 8, 8))
        output = seen["output"]
        assert torch.equal(output, pa.match(*seen["inputs"]))
    assert output.dtype == torch.float32


@pytest.mark.parametrize("form", FORMS)
def test_one_exported_file_takes_any_batch(form: Form) -> None:
    torch.manual_seed(0)
    pa = PA(channels=16, grid=16, form=form)
    graph = dynamic_graph(pa, (16, 16, 16))
    assert shapes(graph) == [["N", 16, 16, 16]] * 2
    assert set(operators(graph)) <= ALLOWED
    for batch in (1, 2, 5):
        x = torch.randn(batch, 16, 16, 16)
        with torch.no_grad():
            assert (run(graph, x) - pa(x)).abs().max() < 1e-4
