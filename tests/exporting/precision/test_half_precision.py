"""Half precision that hurts is taken back, block by block, or the export is refused; nobody gets a broken face."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from typer.testing import CliRunner

from fsr_deploy.bundle.info import read_bundle
from fsr_deploy.cli.export import main
from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.graph.write import pass_on
from fsr_deploy.exporting.precision.blocks import find_blocks, innermost
from fsr_deploy.exporting.precision.cast import cast, precision_map
from fsr_deploy.exporting.precision.emulate import round_nodes, rounded
from fsr_deploy.exporting.precision.search import Damage, repair
from fsr_deploy.exporting.proof.parity import Budget
from fsr_deploy.exporting.proof.quality import Judge, Quality
from fsr_deploy.exporting.rewrite.rewrites import rewrite
from fsr_deploy.models import registry
from fsr_deploy.models.aminet import AMINet
from fsr_deploy.models.mfspnet import MFSPNet
from fsr_deploy.models.registry import ModelRecord
from fsr_deploy.runtime.open import proven_with

SMALL = ("--lr-size", "4", "--batch", "1,2,3")


class Stage(nn.Module):
    """A residual block of two convolutions; the first channel between them is ``loud`` times the others."""

    def __init__(self, loud: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, padding=1))
        with torch.no_grad():
            self.body[0].weight[0] *= loud
            self.body[0].bias[0] *= loud
            self.body[2].weight[:, 0] /= loud

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Hostile(nn.Module):
    """Three stages with activations of some hundreds, and one channel of the second 1000 times as loud."""

    def __init__(self, gain: float = 300.0, loud: float = 1000.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.gain = gain
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = nn.ModuleList([Stage(), Stage(loud), Stage()])
        self.tail = nn.Conv2d(8, 3, 3, padding=1)
        with torch.no_grad():
            self.head.weight *= gain
            self.tail.weight /= 4 * gain

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        for stage in self.stages:
            y = stage(y)
        return x + self.tail(y)


class Far(Stage):
    """A residual block that moves its values to where BF16 has steps of 4096, and back."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1e6 - 1e6


class Coarse(Hostile):
    """Three stages with activations of some hundreds, of which BF16 breaks the second; FP32 does not notice."""

    def __init__(self) -> None:
        super().__init__(loud=1.0)
        self.stages[1] = Far()


class Trunk(nn.Module):
    """Leaves the range of FP16 between two of its blocks, not inside them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 1)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)
        with torch.no_grad():
            self.head.weight *= 1e6
            self.tail.weight /= 1e7

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tail(self.middle(self.head(x)))


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for builder in (Hostile, Coarse, Trunk):
        name = builder.__name__.lower()
        monkeypatch.setitem(registry._RECORDS, name, ModelRecord(name, builder, "for tests", "none"))
    monkeypatch.chdir(tmp_path)


def export(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in (*arguments, *SMALL)])


def test_a_channel_that_overflows_fp16_is_repaired_by_default_and_the_bundle_says_where() -> None:
    result = export("hostile", "--fp16", "--analyze", "--target", "onnxruntime")
    assert result.exit_code == 0, result.output
    info = read_bundle(Path("hostile-fp16")).info
    assert set(info.precision_map) == {"stages.1"}
    entry = info.precision_map["stages.1"]
    assert entry["precision"] == "fp32" and "alone it leaves" in entry["reason"]
    assert info.parity_passed and all(row["psnr_db"] is None or row["psnr_db"] > 50 for row in info.parity)
    assert "back to FP32: stages.1 (Stage), over budget in reduced precision" in result.stderr
    types = {value.name: value.type.tensor_type.elem_type for value in _inferred("hostile-fp16/model.onnx")}
    made = {name: types[name] for name in types if name.startswith("network.stages.") and "/Conv" in name}
    assert {kind for name, kind in made.items() if ".1." in name} == {TensorProto.FLOAT}
    assert {kind for name, kind in made.items() if ".1." not in name} == {TensorProto.FLOAT16}

    worst = info.analysis[0]
    assert (worst["module"], worst["kind"]) == ("stages.1", "Stage") and worst["psnr_db"] < 40
    assert {row["module"] for row in info.analysis} == {"", "head", "stages.0", "stages.1", "stages.2", "tail"}
    shares = [row["share"] for row in info.analysis]
    assert all(0 <= share < 1 for share in shares) and 0.2 < sum(shares) <= 1
    assert any(line.split()[:2] == ["stages.1", "Stage"] for line in result.stderr.splitlines())
    page = Path("hostile-fp16/report.html").read_text()
    assert "over budget in reduced precision: alone it leaves" in page
    assert f"{100 * worst['share']:.1f} %</text>" in page


def test_what_breaks_in_bf16_is_repaired_for_openvino_and_said_to_be_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("fsr_deploy.exporting.proof.engines.computes_bf16", lambda: False)
    result = export("coarse", "--bf16", "--target", "openvino")
    assert result.exit_code == 0, result.output
    info = read_bundle(Path("coarse-bf16")).info
    assert (info.graph_target, set(info.precision_map)) == ("openvino", {"stages.1"})
    assert info.parity_passed and all(row["engine"].endswith("rounded to bf16") for row in info.parity)
    assert info.notes[0].startswith("not run: the CPU of the export has no BF16") and info.latency == {}
    assert proven_with(info) == "openvino"
    types = {value.name: value.type.tensor_type.elem_type for value in _inferred("coarse-bf16/model.onnx")}
    made = {name: types[name] for name in types if name.startswith("network.stages.") and "/Conv" in name}
    assert {kind for name, kind in made.items() if ".1." in name} == {TensorProto.FLOAT}
    assert {kind for name, kind in made.items() if ".1." not in name} == {TensorProto.BFLOAT16}


def test_for_openvino_a_transposed_convolution_is_in_bf16_too() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(4, 4, 4))
    assert set(precision_map(network, "bf16")) == {"0"} and not precision_map(network, "bf16", target="openvino")


def _inferred(path: str) -> Any:
    return onnx.shape_inference.infer_shapes(onnx.load(path)).graph.value_info


def test_without_repair_it_is_refused_and_nothing_is_published() -> None:
    result = export("hostile", "--fp16", "--no-repair", "--analyze")
    assert result.exit_code == 5
    assert "rounded to fp16, batch 3: " in result.stderr.partition("error: ")[2]
    assert "stages.1" in result.stderr, "the ranking is shown all the same"
    assert not Path("hostile-fp16").exists()


def test_blocks_are_ranked_by_the_faces_that_suffer_most() -> None:
    eager = np.zeros((6, 3, 16, 16), np.float32)
    outputs = eager.copy()
    outputs[2], outputs[4, 0, 0, 0], outputs[5, 0, 0, 0] = 1.0, np.nan, np.inf
    judge = Judge(np.arange(6), eager, np.zeros((6, 16, 16, 3), np.uint8)).hardest(outputs, 3)
    assert judge.inputs.tolist() == [4, 5, 2]
    assert not judge(outputs[judge.inputs]).finite


def test_a_value_beyond_fp16_that_two_modules_pass_on_stays_in_fp32() -> None:
    result = export("trunk", "--fp16")
    assert result.exit_code == 0, result.output
    info = read_bundle(Path("trunk-fp16")).info
    assert set(info.precision_map) == {"head", "middle", "tail"} and info.parity_passed
    assert all(row["share"] is None for row in info.analysis)


def test_no_more_goes_back_than_has_to_though_what_blocks_do_alone_adds_up_to_more() -> None:
    errors = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}

    def measure(reduced: Collection[str]) -> Quality:
        together = sum(errors[name] for name in reduced) / (2 if len(reduced) > 1 else 1)
        return Quality(10 * math.log10(255**2 / together))

    ranking = [Damage(name, "Kind", measure([name])) for name in errors]
    returned, quality = repair(list(errors), measure, Budget(min_psnr_db=43.0), lambda: ranking)
    assert list(returned) == ["a"] and quality == measure(["b", "c", "d"])
    assert returned["a"] == f"over budget in reduced precision: alone it leaves {measure(['a'])}"


def test_what_cannot_be_repaired_is_refused() -> None:
    result = export("hostile", "--fp16", "--budget-db", 500)
    assert result.exit_code == 5
    assert "until every module is back in float; export it without this precision" in result.stderr
    assert not Path("hostile-fp16").exists()


def test_by_force_it_is_published_unrepaired_with_the_reason() -> None:
    result = export("hostile", "--bf16", "--budget-db", 500, "--force", "--json")
    assert result.exit_code == 0, result.output
    assert "warning: over budget" in result.stderr
    assert not json.loads(result.stdout)["parity_passed"]


def test_no_share_of_time_is_invented_for_a_graph_that_does_not_run_here() -> None:
    result = export("hostile", "--bf16", "--analyze", "--budget-db", 20)
    assert result.exit_code == 0, result.output
    analysis = read_bundle(Path("hostile-bf16")).info.analysis
    assert analysis and all(row["share"] is None for row in analysis)


def test_nothing_reduced_leaves_nothing_to_analyse_or_repair() -> None:
    for option in ("--analyze", "--no-repair"):
        result = export("hostile", option)
        assert result.exit_code == 2 and "give --fp16, --bf16, --int8 or --fp8 too" in result.stderr


@pytest.mark.parametrize(
    ("network", "kinds", "absent"),
    [
        (AMINet(channels=8, mid=16), "LGFI SA RDFE FRM Hourglass SKAF EDFF", "ConvBlock LayerNorm AttentionUnit"),
        (MFSPNet(width=8, blocks=1), "MSRB Hourglass ESEM PA FEM", "ConvLayer CCB Cross ECA"),
    ],
)
@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_blocks_are_the_papers_modules(network: nn.Module, kinds: str, absent: str, target: Any) -> None:
    rewritten = rewrite(network, target)
    blocks = find_blocks(network, rewritten, precision_map(rewritten, "fp16"))
    assert set(kinds.split()) <= set(blocks.values()) and not set(absent.split()) & set(blocks.values())
    assert {"", "head", "tail"} <= set(blocks)
    assert all(innermost(name, blocks) is not None for name, _ in rewritten.named_modules())


def test_the_sums_of_a_block_stay_in_fp32_without_the_blocks_inside_it() -> None:
    network = nn.Sequential(Stage())
    reduced = cast(network, "fp16", {"0": "its sum"}, ["0", "0.body"])
    assert precision_map(network, "fp16", {"0": "its sum"}, ["0", "0.body"]) == {
        "0": {"precision": "fp32", "reason": "its sum"},
        "0.body": {"precision": "fp16", "reason": "harmless in fp16, unlike what is around it"},
    }
    x = torch.full((1, 8, 4, 4), 2049.0)  # FP16 has steps of 2 there
    body = reduced.get_submodule("0.body")
    assert {weight.dtype for weight in body.parameters()} == {torch.float16}
    with torch.no_grad():
        for weight in body.parameters():
            weight.zero_()
        # what enters the network is rounded, 2048; the sum with 1 is not
        body[2].bias.fill_(1.0)
        assert torch.equal(reduced[0](x), torch.full_like(x, 2050.0).to(reduced[0](x).dtype))


def _chain() -> onnx.ModelProto:
    """Return y = (x + 1000 - 1000) * 1.0001 in FP32, each operation in a module of its own."""
    constants = [helper.make_tensor(name, 1, [], [value]) for name, value in (("k", 1000.0), ("f", 1.0001))]
    nodes = [
        helper.make_node("Add", ["x", "k"], ["a"], "a/Add_0"),
        helper.make_node("Sub", ["a", "k"], ["b"], "b/Sub_1"),
        helper.make_node("Mul", ["b", "f"], ["y"], "c/Mul_2"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_only_the_named_operations_round_what_they_read_and_give() -> None:
    x = np.array([0.1, 0.3, 0.7], np.float32)
    half = x.astype(np.float16)
    model = _chain()
    assert np.array_equal(run_graph(round_nodes(model, set(), "fp16"), x), run_graph(model, x))
    last = run_graph(round_nodes(model, {"c/Mul_2"}, "fp16"), x)
    exact = x + np.float32(1000) - np.float32(1000)
    assert np.array_equal(last, (exact.astype(np.float16) * np.float16(1.0001)).astype(np.float32))
    every = run_graph(round_nodes(model, {"a/Add_0", "b/Sub_1", "c/Mul_2"}, "fp16"), x)
    thousand = np.float16(1000)
    assert np.array_equal(every, ((half + thousand - thousand) * np.float16(1.0001)).astype(np.float32))


def test_casts_are_left_out_between_two_neighbours_in_fp32_only() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["a"], "a/Neg_0"),
        helper.make_node("Cast", ["a"], ["b"], "a/Cast_1", to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["b"], ["c"], "c/Cast_2", to=TensorProto.FLOAT),
        helper.make_node("Neg", ["c"], ["d"], "c/Neg_3"),
        helper.make_node("Abs", ["b"], ["e"], "e/Abs_4"),
        helper.make_node("Cast", ["e"], ["f"], "e/Cast_5", to=TensorProto.FLOAT),
        helper.make_node("Add", ["d", "f"], ["y"], "/Add_6"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    pass_on(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.name for node in model.graph.node if node.op_type == "Cast"] == ["a/Cast_1", "e/Cast_5"]
    x = np.array([1e5, 0.1], np.float32)
    with np.errstate(over="ignore"):
        rounded_x = np.abs(x.astype(np.float16)).astype(np.float32)
    assert np.array_equal(run_graph(rounded(model, "fp16"), x), x + rounded_x)
