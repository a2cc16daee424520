"""ATD's attention among positions of a category keeps their order, for any batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fsr_deploy.models.categories import in_order


class AC_MSA(nn.Module):
    """Positions are sorted by the token that they are most like, and attend to each other in groups (ATD, 3.3)."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.num_tokens, self.num_heads, self.category_size = 5, 2, group
        self.proj, self.logit_scale = nn.Linear(6, 6), nn.Parameter(torch.tensor([[1.5]]))

    def forward(self, qkv: Tensor, similarity: Tensor, size: object) -> Tensor:
        return torch.stack([self.proj(self.one(*pair)) for pair in zip(qkv, similarity, strict=True)])

    def one(self, qkv: Tensor, similarity: Tensor) -> Tensor:
        order = similarity.argmax(1).sort(stable=True).indices
        n, group = len(qkv), min(len(qkv), self.category_size)
        rows = qkv[order]
        missing = -n % group
        rows = torch.cat([rows, rows[n - missing :].flip(0)])
        attended = torch.cat([self.attend(rows[at : at + group]) for at in range(0, len(rows), group)])[:n]
        y = torch.empty_like(attended)
        y[order] = attended
        return y

    def attend(self, rows: Tensor) -> Tensor:
        heads = [part.unflatten(1, (self.num_heads, -1)).transpose(0, 1) for part in rows.chunk(3, 1)]
        weights = (heads[0] @ heads[1].transpose(1, 2) * self.logit_scale.exp()).softmax(2)
        return (weights @ heads[2]).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("group", [8, 12, 100])
def test_a_batch_is_what_each_face_alone_is_in_order(group: int) -> None:
    torch.manual_seed(0)
    module = AC_MSA(group)
    qkv, similarity = torch.randn(3, 40, 18), torch.randn(3, 40, 5)
    form = in_order(nn.ModuleList([module]))[0]
    assert type(form).__name__ == "Categories"
    assert torch.allclose(form(qkv, similarity, None), module(qkv, similarity, None), atol=1e-5)
    assert set(form.state_dict()) == set(module.state_dict())
