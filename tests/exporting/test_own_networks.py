"""Networks as people write them: exported as they compute, or refused in one sentence that names the module."""

from __future__ import annotations

import copy
import logging
import math
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, weight_norm

from fsr_deploy.errors import InputError
from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import _name_nodes, _name_tensors, export_onnx
from fsr_deploy.exporting.int8.sites import Dataflow
from fsr_deploy.exporting.precision.cast import cast, precision_map
from fsr_deploy.exporting.proof.reference import Eager, lr_faces
from fsr_deploy.exporting.rewrite.rewrites import Target, rewrite
from fsr_deploy.models.aminet import SA

TARGETS: tuple[Target, ...] = ("onnxruntime", "tensorrt")


def conv(cin: int = 3, cout: int = 3) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, 3, padding=1)


class Exact(nn.Sequential):
    """A chain of one's own with a reason to stay in FP32."""

    fp32_reason = "its sums are large"


class Kept(nn.Module):
    """Keeps another module in FP32."""

    fp32_reason = "kept"

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


Pair = namedtuple("Pair", "first second")


class Keywords(nn.Module):
    """Takes keywords, takes and gives nested values, and insists on FP32 in all of them."""

    fp32_reason = "insists on it"

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x: Tensor, *, skip: Tensor, more: dict[str, list[Tensor]]) -> tuple[Pair, dict[str, Any]]:
        given = (x, skip, *more["sides"])
        assert {value.dtype for value in given} <= {torch.float32, torch.float64}
        y = self.conv(x) + skip + more["sides"][0]
        return Pair(y, [x]), {"skip": (skip, {"deep": y}), "note": "text"}


class WithKeywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.kept, self.tail = conv(), Keywords(), conv()

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        pair, named = self.kept(y, skip=y, more={"sides": [y]})
        return x + self.tail(pair.first + pair.second[0] + named["skip"][0] + named["skip"][1]["deep"])


class Shared(nn.Module):
    """One convolution in two places, of which one stays in FP32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()
        self.kept = Kept(self.conv)
        self.again = nn.ModuleList([nn.Sequential(self.conv, nn.ReLU()), self.kept])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.again[1](self.again[0](self.conv(self.kept(x))))


class Tied(nn.Module):
    """Two convolutions with one weight, in two precisions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = conv(), Kept(conv())
        self.other.inner.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return x + self.other(self.one(x))


class Indexed(nn.Module):
    """Calls the layers of a chain by their place."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body[1](self.body[0](x))
        return x + self.body[3](self.body[2](y))


class Standardised(nn.Conv2d):
    """A convolution that standardises its weight in every run."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, padding=self.padding)


class Louder(SA):
    """Attention of one's own, which is not the one that the export knows."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


def chain(first: nn.Module) -> nn.Module:
    return nn.Sequential(first, nn.BatchNorm2d(4), nn.ReLU(), conv(4, 3))


def hooked() -> nn.Module:
    """Return a chain whose result, and a transposed convolution whose result, hooks double."""
    network = nn.Sequential(chain(conv(3, 4)), nn.ConvTranspose2d(3, 3, 4, stride=2, padding=1), nn.MaxPool2d(2))
    for module in network[:2]:
        module.register_forward_hook(lambda _, inputs, output: 2 * output)
    return network


NETWORKS = {
    "norms without weights": lambda: nn.Sequential(
        nn.BatchNorm2d(3, affine=False), conv(3, 4), nn.BatchNorm2d(4, affine=False), nn.ReLU(), conv(4, 3)
    ),
    "a norm of cumulative statistics": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4, momentum=None), nn.ReLU(), conv(4, 3)
    ),
    "a chain with a reason": lambda: nn.Sequential(Exact(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU()), conv(4, 3)),
    "a chain that is indexed": Indexed,
    "weights that are normalised": lambda: chain(weight_norm(conv(3, 4))),
    "weights that are parametrised": lambda: chain(parametrizations.spectral_norm(conv(3, 4))),
    "a convolution of one's own": lambda: chain(Standardised(3, 4, 3, padding=1)),
    "an attention of one's own": lambda: nn.Sequential(conv(3, 8), Louder(8, 2), conv(8, 3)),
    "hooks": hooked,
    "keywords and nested values": WithKeywords,
    "a module in two places": Shared,
    "two modules with one weight": Tied,
    "dropout, in training": lambda: nn.Sequential(conv(3, 4), nn.Dropout(0.5), conv(4, 3)).train(),
}


def made(name: str) -> nn.Module:
    """Return one of NETWORKS with a value of its own in every weight and statistic."""
    torch.manual_seed(1)
    network = NETWORKS[name]()
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.4 + (0.5 if "var" in key else -0.2))
    return network


@torch.no_grad()
def faces_of(network: nn.Module) -> Tensor:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return network(x)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("target", TARGETS)
def test_a_network_is_exported_as_it_computes_and_itself_left_alone(name: str, target: Target) -> None:
    network = made(name)
    training, before = network.training, {key: value.clone() for key, value in network.state_dict().items()}
    truth = faces_of(Eager(network, 8).network)
    for precision, least_db in (("fp32", 100), ("fp16", 45)):
        deployed, _ = prepare(network, lr_size=4, precision=precision, io="float", target=target)
        error = float((faces_of(deployed) - truth).square().mean())
        assert error == 0 or 10 * math.log10(float(truth.abs().max()) ** 2 / error) > least_db, precision
    assert network.training is training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    faces_of(network)


def test_a_chain_of_ones_own_keeps_its_class_and_its_reason() -> None:
    network = rewrite(made("a chain with a reason"), "tensorrt")
    assert type(network[0]) is Exact and not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    assert precision_map(network, "fp16") == {"0": {"precision": "fp32", "reason": "its sums are large"}}


def test_a_replaced_module_keeps_its_reason() -> None:
    network = nn.Sequential(conv(3, 8), SA(8, 2))
    network[1].fp32_reason = "asked for"
    assert precision_map(rewrite(network, "tensorrt"), "fp16")["1"]["reason"] == "asked for"


def test_a_module_in_two_places_is_kept_in_the_one_that_is_named() -> None:
    inner = conv()
    network = nn.ModuleDict({"one": nn.Sequential(inner), "other": nn.Sequential(inner)})
    reduced = cast(network, "fp16", keep=["other.0"])
    types = {name: value.dtype for name, value in reduced.named_parameters(remove_duplicate=False)}
    assert types["one.0.weight"] == torch.float16 and types["other.0.weight"] == torch.float32


def test_a_norm_over_the_batch_is_refused_by_name() -> None:
    network = nn.Sequential(conv(3, 4), nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False)))
    with pytest.raises(
        InputError, match=r"module 1\.0: a batch norm without running statistics makes each face depend"
    ):
        rewrite(network, "tensorrt")


class Looping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = conv()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.inner(face[None]) for face in x])


class Numbered(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 3, *x.shape[2:])


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + int(len(x) / 2)


class Even(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if len(x) % 2 == 0 else -x


class Few(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if len(x) < 5 else -x


class Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.001 * torch.randn_like(x)


class Untranslated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


class Alone(nn.Module):
    """Takes one face at a time."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :2], torch.zeros(1, 1, *x.shape[2:])], 1)


class Weighed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(len(x))


class Windows(nn.Module):
    """Counts its pictures as the attention in windows of SwinIR and its kin does, with a float on the way."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        windows = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 2, 2, c)
        assert isinstance(h, int) and int("3") == int(3.9) == c
        windows = windows - windows.mean((1, 2), keepdim=True)
        pictures = int(windows.shape[0] / (h * w / 2 / 2))
        y = windows.view(pictures, h // 2, w // 2, 2, 2, -1).permute(0, 1, 3, 2, 4, 5).reshape(pictures, h, w, -1)
        return y.permute(0, 3, 1, 2).reshape(x.shape)


def test_a_batch_that_is_counted_by_its_windows_is_any_batch(tmp_path: Path) -> None:
    network = Windows()
    deployed, _ = prepare(network, lr_size=4, upsampling=1, io="float")
    export_onnx(deployed, tmp_path / "m.onnx", lr_size=4, batches=(1, 2, 3), precision="fp32", upsampling=1)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for count in (1, 2, 3, 5):
        x = torch.randn(count, 3, 4, 4)
        assert np.allclose(session.run(None, {"lr": x.numpy()})[0], network(x), atol=1e-6), count
    assert "int" not in globals(), "int is Python's again"


FIXED = "its code fixes the batch size, by a loop over it, a condition on it, or a shape with numbers in it"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        *((kind, FIXED) for kind in (Looping, Numbered, Halved, Even, Few, Weighed)),
        (Branching, "cannot be traced: Could not guard on data-"),
        (Drawing, "it draws random numbers in each run, so that no engine can be proven to equal it"),
        (Untranslated, "aten.special_bessel_j0.default has no form in ONNX"),
    ],
)
def test_a_network_that_cannot_be_exported_for_any_batch_names_its_module(
    tmp_path: Path, kind: type[nn.Module], reason: str
) -> None:
    network = nn.Sequential(conv(), nn.Sequential(kind(), conv()))
    deployed, _ = prepare(network, lr_size=4, io="float")
    level = logging.getLogger("torch.onnx").level
    with pytest.raises(InputError) as caught:
        export_onnx(deployed, tmp_path / "model.onnx", lr_size=4, batches=(1, 2, 3), precision="fp32")
    assert str(caught.value).startswith(f"module 1.0 ({kind.__name__}): {reason}")
    assert "docs/models.md" in str(caught.value)
    assert logging.getLogger("torch.onnx").level == level, "the exporter's logger is as it was"
    assert not list(tmp_path.iterdir())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in deployed.modules())


def test_a_network_that_does_not_run_at_a_size_is_refused_with_its_words(tmp_path: Path) -> None:
    deployed, _ = prepare(nn.Sequential(nn.ReflectionPad2d(4)), lr_size=4, upsampling=1)
    with pytest.raises(InputError, match=r"does not run on an input of \[2, 4, 4, 3\]: .*--lr-size"):
        export_onnx(deployed, tmp_path / "m.onnx", lr_size=4, batches=(1, 2, 3), precision="fp32", upsampling=1)


def test_a_network_for_one_face_at_a_time_is_not_told_to_take_another_size(tmp_path: Path) -> None:
    deployed, _ = prepare(Alone(), lr_size=4, upsampling=1)
    with pytest.raises(InputError, match=r"an input of \[2, 4, 4, 3\]: .*; its code takes one face at a time; see"):
        export_onnx(deployed, tmp_path / "m.onnx", lr_size=4, batches=(1, 2, 3), precision="fp32", upsampling=1)


def test_an_optional_output_that_is_left_out_gives_its_name_to_no_input() -> None:
    nodes = [
        helper.make_node("Dropout", ["lr"], ["a", ""]),
        helper.make_node("Clip", ["a", "", "most"], ["sr"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("lr", "sr")]
    most = helper.make_tensor("most", TensorProto.FLOAT, [], [1.0])
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], [most]), opset_imports=[helper.make_opsetid("", 18)]
    )
    _name_nodes(model)
    _name_tensors(model)
    assert [list(node.input) for node in model.graph.node] == [["lr"], ["/Dropout_0", "", "most"]]
    assert list(model.graph.node[0].output) == ["/Dropout_0", ""]
    onnx.checker.check_model(model, full_check=True)
    assert "" not in Dataflow(model).producer and "" not in Dataflow(model).readers


def test_eager_runs_a_copy_with_the_networks_weights() -> None:
    network = made("dropout, in training")
    faces = lr_faces(None, 1, 4, 8)
    eager = Eager(network, 8)
    expected = Eager(copy.deepcopy(network).eval(), 8).run(faces)
    assert (eager.run(faces) == expected).all()
    assert network.training and next(network.parameters()) is not next(eager.network.parameters())
