"""One exported file: any batch, bytes in and out, eager's faces, the modules' names, the same bytes every time."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.exporting.graph.deployable import Deployable, prepare
from fsr_deploy.exporting.graph.onnx_writer import check_operators, export_onnx, module_of_node
from fsr_deploy.exporting.graph.shapes import tensor_types
from fsr_deploy.exporting.proof.parity import compare
from fsr_deploy.models import registry
from tests.networks import Parts, Pixel

LR_SIZE = 8


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(5)
    network = Parts().eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


def export(network: nn.Module, path: Path, precision: str = "fp32", opset: int = 18, **options: str) -> Path:
    """Export a network unless its file is already there; returns the file."""
    if not path.exists():
        deployable, _ = prepare(network, lr_size=LR_SIZE, precision=precision, **options)
        facts = {"model": "small", "trained": "false"}
        export_onnx(
            deployable,
            path,
            lr_size=LR_SIZE,
            batches=(1, 5, 32),
            precision=precision,
            opset=opset,
            metadata=facts,
            target=options.get("target", "tensorrt"),
        )
    return path


def faces(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, LR_SIZE, LR_SIZE, 3), dtype=np.uint8)


def run(path: Path, batch: NDArray[np.generic]) -> NDArray[np.generic]:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["sr"], {"lr": batch})[0]


def eager(network: nn.Module, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    with torch.no_grad():
        return Deployable(network, LR_SIZE)(torch.from_numpy(batch)).numpy()


@pytest.mark.parametrize("batch", [1, 2, 5, 32])
@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_one_fp32_file_gives_eagers_faces_at_any_batch(
    network: nn.Module, folder: Path, target: str, batch: int
) -> None:
    path = export(network, folder / f"{target}.onnx", target=target)
    parity = compare(run(path, faces(batch)), eager(network, faces(batch)))
    assert parity.max_error <= 1


@pytest.mark.parametrize("batch", [1, 2, 5, 32])
def test_one_fp16_file_gives_eagers_faces_at_any_batch(network: nn.Module, folder: Path, batch: int) -> None:
    path = export(network, folder / "fp16.onnx", "fp16", target="tensorrt")
    parity = compare(run(path, faces(batch)), eager(network, faces(batch)))
    assert parity.psnr_db is None or parity.psnr_db >= 50


def test_an_opset_17_graph_reduces_by_attribute_and_gives_the_same_faces(network: nn.Module, folder: Path) -> None:
    path = export(network, folder / "17.onnx", opset=17, target="tensorrt")
    model = onnx.load(path)
    assert model.opset_import[0].version == 17
    reductions = [node for node in model.graph.node if node.op_type in ("ReduceMean", "ReduceMax")]
    assert len(reductions) == 4
    assert all(len(node.input) == 1 for node in reductions)
    assert all("axes" in {attribute.name for attribute in node.attribute} for node in reductions)
    parity = compare(run(path, faces(3)), eager(network, faces(3)))
    assert parity.max_error <= 1


def test_bf16_is_typed_and_written_with_the_opset_that_knows_it(network: nn.Module, folder: Path) -> None:
    model = onnx.load(export(network, folder / "bf16.onnx", "bf16", opset=22, target="tensorrt"))
    assert model.opset_import[0].version == 22
    assert {tensor.data_type for tensor in model.graph.initializer if tensor.name.startswith("network.head")} == {
        TensorProto.BFLOAT16
    }


def test_no_transposed_convolution_computes_in_bf16_which_tensorrt_refuses(
    network: nn.Module, folder: Path, tmp_path: Path
) -> None:
    model = onnx.load(export(network, folder / "bf16.onnx", "bf16", opset=22, target="tensorrt"))
    types = tensor_types(model)
    transposed = [node for node in model.graph.node if node.op_type == "ConvTranspose"]
    assert len(transposed) == 1
    assert {types[name] for node in transposed for name in (*node.input, *node.output)} == {TensorProto.FLOAT}

    class Functional(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + F.conv_transpose2d(x, x.new_ones(3, 3, 1, 1))

    with pytest.raises(InputError, match=r"ConvTranspose in BF16, which TensorRT does not build; give its module"):
        export(Functional(), tmp_path / "functional.onnx", "bf16", opset=22, target="tensorrt")


@pytest.mark.parametrize(
    ("precision", "opset", "ir"), [("fp32", 17, 8), ("fp32", 18, 8), ("fp16", 19, 9), ("bf16", 22, 10)]
)
def test_a_file_asks_for_no_newer_format_than_its_operators_need(
    tmp_path: Path, precision: str, opset: int, ir: int
) -> None:
    model = onnx.load(export(Pixel().eval(), tmp_path / "pixel.onnx", precision, opset))
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir)
    onnx.checker.check_model(model, full_check=True)


def test_bytes_go_in_and_come_out_of_any_batch(network: nn.Module, folder: Path) -> None:
    graph = onnx.load(export(network, folder / "tensorrt.onnx", target="tensorrt")).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"lr": ["N", 8, 8, 3], "sr": ["N", 64, 64, 3]}
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {TensorProto.UINT8}
    assert graph.node[0].op_type == graph.node[-1].op_type == "Cast"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_bare_network_takes_and_gives_floats(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    network = Pixel().eval()
    path = export(network, tmp_path / "float.onnx", precision, io="float")
    x = np.random.default_rng(0).uniform(-1, 1, (3, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        assert np.abs(run(path, x) - network(torch.from_numpy(x)).numpy()).max() < 3e-3


def test_every_node_names_the_module_it_came_from(network: nn.Module, folder: Path) -> None:
    model = onnx.load(export(network, folder / "fp16.onnx", "fp16", target="tensorrt"))
    deployable, _ = prepare(network, lr_size=LR_SIZE, precision="fp16", target="tensorrt")
    paths = {module_of_node(node.name) for node in model.graph.node}
    assert paths <= {name for name, _ in deployable.named_modules()}
    assert {"bicubic", "network.block.attention.matrix", "network.block.norm", "network.fusion.fusion"} <= paths
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)


def test_the_file_tells_what_it_is_and_nothing_of_the_machine(network: nn.Module, folder: Path) -> None:
    path = export(network, folder / "tensorrt.onnx", target="tensorrt")
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert facts == {
        "fsr.model": "small",
        "fsr.trained": "false",
        "fsr.precision": "fp32",
        "fsr.batches": "1,5,32",
    }
    content = path.read_bytes()
    assert b".py" not in content
    assert str(Path.home()).encode() not in content


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Pixel().eval()
    one, other = (export(copy.deepcopy(network), tmp_path / name) for name in ("one.onnx", "other.onnx"))
    assert one.read_bytes() == other.read_bytes()


def test_contradicting_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="opset 16 cannot be written"):
        export(Pixel(), tmp_path / "16.onnx", opset=16)
    with pytest.raises(UsageError, match="bf16 needs opset 22"):
        export(Pixel(), tmp_path / "bf16.onnx", "bf16", opset=17)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_tensorrt_would_not_take_is_refused_with_its_module(tmp_path: Path) -> None:
    class Smooth(Pixel):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(super().forward(x)[..., ::2, ::2], scale_factor=2.0, mode="bicubic")

    with pytest.raises(InputError, match="network: Resize other than nearest"):
        export(Smooth().eval(), tmp_path / "smooth.onnx")
    assert list(tmp_path.iterdir()) == []


class Sampled(Pixel):
    """Asks for its batch size, and samples its input where a convolution says."""

    def forward(self, x: Tensor) -> Tensor:
        grid = F.affine_grid(torch.eye(2, 3).expand(x.shape[0], 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid + 0.001 * self.body(x)[:, :2].permute(0, 2, 3, 1), align_corners=False)


class Largest(Pixel):
    """Keeps the largest two of four channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body[1:](self.body[0](x).topk(4, dim=1).values)


class Folded(Pixel):
    """Puts patches together, for which TensorRT has no operator and opset 17 neither."""

    def forward(self, x: Tensor) -> Tensor:
        return F.fold(F.unfold(super().forward(x), 3, padding=1), x.shape[-2:], 3, padding=1) / 9


@pytest.mark.parametrize(
    ("kind", "target", "opset"),
    [
        (Sampled, "onnxruntime", 17),
        (Sampled, "tensorrt", 17),
        (Largest, "tensorrt", 18),
        (Folded, "onnxruntime", 18),
    ],
)
def test_a_network_is_held_to_the_operators_of_its_target_alone(
    tmp_path: Path, kind: type[nn.Module], target: str, opset: int
) -> None:
    torch.manual_seed(0)
    network = kind().eval()
    path = export(network, tmp_path / "model.onnx", target=target, opset=opset)
    for batch in (1, 3):
        assert compare(run(path, faces(batch)), eager(network, faces(batch))).max_error <= 1


@pytest.mark.parametrize(
    ("target", "opset", "message"),
    [
        ("tensorrt", 18, "or export it with --target onnxruntime:\n  network: the operator Col2Im"),
        ("onnxruntime", 17, "opset 17 lacks operators of this network, give a later --opset: network: Col2Im"),
    ],
)
def test_an_operator_that_is_missing_is_told_with_its_module_and_a_way_out(
    tmp_path: Path, target: str, opset: int, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        export(Folded().eval(), tmp_path / "folded.onnx", target=target, opset=opset)
    assert message in str(caught.value)


def test_a_network_whose_types_do_not_go_together_in_half_precision_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"types or shapes do not match: .*/Add_"):
        export(Sampled().eval(), tmp_path / "sampled.onnx", "fp16", target="tensorrt")
    assert list(tmp_path.iterdir()) == []


SMALL = {"channels": 8, "mid": 8, "width": 8, "blocks": 1, "depth": 2, "lr_size": LR_SIZE}


def make_of_noise_what_varies(network: nn.Module) -> None:
    """Let batch norms see noise once: MFSPNet and SPARNet make a flat grey before, which any engine gets right."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
    x = torch.rand(4, 3, 8 * LR_SIZE, 8 * LR_SIZE) * 2 - 1
    with torch.no_grad():
        network.train()(x)
        assert network.eval()(x).std() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("name", registry.names())
def test_every_registered_network_exports_and_matches_eager(tmp_path: Path, name: str, target: str) -> None:
    torch.manual_seed(0)
    options = inspect.signature(registry.find(name).build).parameters
    network = registry.build(name, **{key: value for key, value in SMALL.items() if key in options})
    make_of_noise_what_varies(network)
    path = export(network, tmp_path / "model.onnx", target=target)
    check_operators(onnx.load(path))
    assert compare(run(path, faces(2)), eager(network, faces(2))).max_error <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "target"), [("fp32", "onnxruntime"), ("fp32", "tensorrt"), ("fp16", "tensorrt")])
def test_the_whole_aminet_keeps_its_faces(tmp_path: Path, precision: str, target: str) -> None:
    torch.manual_seed(0)
    network = registry.build("aminet").eval()
    deployable, _ = prepare(network, lr_size=16, precision=precision, target=target)
    path = tmp_path / "aminet.onnx"
    export_onnx(deployable, path, lr_size=16, batches=(1, 5, 32), precision=precision)
    for batch in (1, 2, 5, 32):
        lr = np.random.default_rng(batch).integers(0, 256, (batch, 16, 16, 3), dtype=np.uint8)
        with torch.no_grad():
            truth = Deployable(network, 16)(torch.from_numpy(lr)).numpy()
        parity = compare(run(path, lr), truth)
        if precision == "fp32":
            assert parity.max_error <= 1
        else:
            assert parity.psnr_db is None or parity.psnr_db >= 50
