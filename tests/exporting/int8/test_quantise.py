"""INT8 is in the graph where it was asked for, and nowhere on the way of the face."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto
from torch import nn
from typer.testing import CliRunner

from fsr_deploy.bundle.layers import ModuleCost, ModuleTable
from fsr_deploy.cli.export import main
from fsr_deploy.errors import InputError, ParityError
from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import check_operators, export_onnx, module_of_node
from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.graph.shapes import tensor_shapes
from fsr_deploy.exporting.int8 import ranges as cache
from fsr_deploy.exporting.int8 import scheme as post_training
from fsr_deploy.exporting.int8.calibration import BINS, Histogram, calibration_faces, observe
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.quantise import Quantisation
from fsr_deploy.exporting.int8.ranges import CALIBRATORS
from fsr_deploy.exporting.int8.scheme import Scheme, find_ranges, quantise
from fsr_deploy.exporting.int8.sites import FLAT, Dataflow, find_sites
from fsr_deploy.exporting.int8.timing import ConvolutionTiming, choose, unit
from fsr_deploy.exporting.int8.weights import weight_scales
from fsr_deploy.exporting.precision.cast import precision_map
from fsr_deploy.exporting.precision.search import rank
from fsr_deploy.exporting.proof.parity import Budget
from fsr_deploy.exporting.proof.quality import Judge
from tests.engines import optimised
from tests.networks import Parts

LR = 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def exported(network: nn.Module, folder: Path) -> tuple[ModelProto, dict[str, str]]:
    """Return the FP32 graph of a network, and the modules of it that need float."""
    deployable, _ = prepare(network, lr_size=LR, target="onnxruntime")
    path = folder / "model.onnx"
    export_onnx(deployable, path, lr_size=LR, batches=(1, 2, 4), precision="int8", opset=17)
    reasons = {name: kept["reason"] for name, kept in precision_map(deployable, "fp16").items()}
    return onnx.load(path), reasons


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelProto, dict[str, str]]:
    torch.manual_seed(0)
    return exported(Parts().eval(), tmp_path_factory.mktemp("parts"))


class Chain(nn.Module):
    """Convolutions in a row with a skip around them, wide enough for INT8; ``loud`` times one channel in the middle."""

    def __init__(self, loud: float = 1.0, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.mend = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2))
        self.tail = nn.Conv2d(width, 3, 3, padding=1)
        with torch.no_grad():
            self.body[0].weight[0] *= loud
            self.body[0].bias[0] *= loud
            self.body[2].weight[:, 0] /= loud
            self.mend[0].weight *= 12

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(x)
        return x + self.tail(y + self.mend(self.body(y)))


def faces(count: int = 4) -> list[tuple[str, np.ndarray]]:
    return calibration_faces(None, count, LR, 8, 8, "uint8")


def planned(network: nn.Module, folder: Path, calibrator: str = "max") -> tuple[Scheme, Judge]:
    """Return a scheme with each convolution a block of its own, and the judge of its faces."""
    model, reasons = exported(network, folder)
    sites, _ = find_sites(model, reasons)
    inputs = np.stack([face for _, face in faces()])
    scheme = Scheme(model, {site.module: [site] for site in sites}, find_ranges(model, sites, faces(), calibrator))
    return scheme, Judge(inputs, run_graph(model, inputs))


def table_of(scheme: Scheme) -> ModuleTable:
    return ModuleTable({"": ModuleCost("Network", 0, 0, 0)})


def all_int8(model: ModelProto, reasons: dict[str, str], *, results: bool) -> ModelProto:
    sites, _ = find_sites(model, reasons)
    ranges = {name: 1.0 for site in sites for name in (site.source, site.result)}
    return insert(model, sites, ranges, results=results)


@pytest.mark.parametrize("results", [False, True])
def test_no_residual_or_skip_edge_is_rounded(parts: tuple[ModelProto, dict[str, str]], results: bool) -> None:
    flow = Dataflow(all_int8(*parts, results=results))
    met = 0
    for readers in flow.readers.values():
        for node in readers:
            if node.op_type in ("Add", "Sub", "Mul", "Div") and len(flow.activations(node)) == 2:
                met += 1
                givers = [flow.producer[name].op_type for name in node.input if name in flow.producer]
                assert "DequantizeLinear" not in givers, node.name
    assert met > 50


@pytest.mark.parametrize("results", [False, True])
def test_attention_and_norms_hold_no_pair(parts: tuple[ModelProto, dict[str, str]], results: bool) -> None:
    quantised = {
        module_of_node(node.name)
        for node in all_int8(*parts, results=results).graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert any("refine" in module for module in quantised)
    assert not [module for module in quantised if "attention" in module or "norm" in module]
    assert not quantised & {"network.head", "network.tail"}


def test_without_any_module_the_float_graph_is_recovered_to_the_byte(parts: tuple[ModelProto, dict[str, str]]) -> None:
    model, _ = parts
    same = insert(model, [], {}, results=True)
    assert same.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


@pytest.mark.parametrize("results", [False, True])
def test_tensorrt_takes_the_pairs(parts: tuple[ModelProto, dict[str, str]], results: bool) -> None:
    model = all_int8(*parts, results=results)
    onnx.checker.check_model(model, full_check=True)
    check_operators(model)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        assert scale.dtype == np.float32 and (scale > 0).all()
        assert zero.dtype == np.int8 and not zero.any()


def test_onnx_runtime_computes_every_private_convolution_in_int8(
    parts: tuple[ModelProto, dict[str, str]], tmp_path: Path
) -> None:
    model, reasons = parts
    sites = [site for site in find_sites(model, reasons)[0] if site.private]
    ranges = {name: 1.0 for site in sites for name in (site.source, site.result)}
    kinds = Counter(node.op_type for node in optimised(insert(model, sites, ranges, results=True), tmp_path))
    assert kinds["QLinearConv"] == len(sites) > 10


def test_every_convolution_in_float_has_a_reason(parts: tuple[ModelProto, dict[str, str]]) -> None:
    model, float_modules = parts
    sites, reasons = find_sites(model, float_modules)
    convolutions = {module_of_node(node.name) for node in model.graph.node if "Conv" in node.op_type}
    assert {site.module for site in sites} | set(reasons) == convolutions
    assert all(reasons.values())


class Lined(Chain):
    """The chain with an ECA in it, whose convolution is over a line of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(self.head(x))
        gate = self.line(y.mean((2, 3)).unsqueeze(1)).sigmoid().movedim(1, 2).unsqueeze(3)
        return x + self.tail(self.mend(y * gate))


def test_a_convolution_over_a_line_stays_in_float(tmp_path: Path) -> None:
    model, reasons = exported(Lined(), tmp_path)
    sites, why = find_sites(model, reasons)
    assert why["network.line"] == FLAT
    chosen, _ = choose(model, sites)
    assert {site.module for site in (*sites, *chosen)} <= {"network.body.0", "network.body.2", "network.mend.0"}


def test_on_a_cpu_what_is_not_faster_stays_in_float(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, reasons = exported(Chain(), tmp_path)
    sites, _ = find_sites(model, reasons)
    for slower in (True, False):
        timing = ConvolutionTiming(float_ms=1.0, int8_ms=2.0 if slower else 0.5)
        monkeypatch.setattr("fsr_deploy.exporting.int8.timing.measure", lambda unit, site, timing=timing: timing)
        chosen, why = choose(model, sites)
        assert bool(chosen) is not slower
        assert ("slower in INT8 here: 2.00 ms, 1.00 ms in FP32" in why.values()) is slower


@pytest.mark.parametrize("module", ["network.body.0", "network.mend.0"])
@pytest.mark.parametrize("activated", [True, False])
def test_what_is_timed_as_int8_is_computed_in_int8(tmp_path: Path, module: str, activated: bool) -> None:
    model, reasons = exported(Chain(), tmp_path)
    if not activated:
        for node in model.graph.node:
            node.op_type = "Neg" if node.op_type == "LeakyRelu" else node.op_type
    site = next(site for site in find_sites(model, reasons)[0] if site.module == module)
    alone = unit(model, site, tensor_shapes(model))
    graph = insert(alone, [site], {site.source: 1.0, site.result: 1.0}, results=True)
    kinds = {node.op_type for node in optimised(graph, tmp_path)}
    assert "QLinearConv" in kinds and not kinds & {"Conv", "FusedConv"}


def test_weights_for_tensorrt_are_floats_that_round_to_the_same_bits(parts: tuple[ModelProto, dict[str, str]]) -> None:
    bits, floats = (all_int8(*parts, results=results).graph for results in (True, False))
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in (*bits.initializer, *floats.initializer)}
    assert not [tensor for tensor in floats.initializer if tensor.name.endswith("/int8")]
    weights = [name.removesuffix("/int8") for name in values if name.endswith("/int8")]
    assert len(weights) > 30
    for name in weights:
        steps = values[f"{name}/rounded"] / values[f"{name}/scale"][:, None, None, None]
        assert np.array_equal(np.round(steps), values[f"{name}/int8"]), name


def test_readers_of_one_tensor_share_a_scale_for_tensorrt_and_have_their_own_for_onnx_runtime(
    parts: tuple[ModelProto, dict[str, str]],
) -> None:
    for results in (True, False):
        scales: dict[str, list[str]] = {}
        model = all_int8(*parts, results=results)
        turned = {
            node.output[0]: node.input[0] for node in model.graph.node if node.op_type in ("Flatten", "Transpose")
        }
        for node in model.graph.node:
            if node.op_type == "QuantizeLinear":
                tensor = turned.get(node.input[0], node.input[0])
                scales.setdefault(turned.get(tensor, tensor), []).append(node.input[1])
        shared = [names for names in scales.values() if len(names) > 1]
        assert shared
        assert all((len(set(names)) == 1) is not results for names in shared)


def test_a_dead_channel_has_a_scale_above_zero() -> None:
    weights = np.zeros((2, 1, 1, 1), np.float32)
    weights[1] = 1.27
    assert weight_scales(weights).tolist() == [1.0, pytest.approx(0.01)]


@pytest.mark.parametrize("calibrator", sorted(CALIBRATORS))
def test_each_calibrator_keeps_the_faces(tmp_path: Path, calibrator: str) -> None:
    scheme, judge = planned(Chain(), tmp_path, calibrator)
    assert judge(run_graph(scheme.write(scheme.blocks), judge.inputs)).psnr_db > 35


def test_calibrators_clip_outliers_and_max_does_not() -> None:
    histogram = Histogram()
    histogram.add(np.append(np.random.default_rng(0).standard_normal(50_000), 1000.0).astype(np.float32))
    assert CALIBRATORS["max"](histogram) == 1000.0
    assert CALIBRATORS["percentile"](histogram) < 10
    assert CALIBRATORS["entropy"](histogram) < 200


def test_a_histogram_grows_with_its_values_and_loses_none() -> None:
    histogram = Histogram()
    for largest in (0.0, 1.0, 3.0, 100.0):
        histogram.add(np.linspace(0, largest, 1000, dtype=np.float32))
    assert histogram.largest == 100.0 <= histogram.limit
    assert histogram.counts.sum() == 3000  # zeros alone say nothing about a range
    assert len(histogram.counts) == BINS


def test_calibrating_twice_gives_the_same_graph(tmp_path: Path) -> None:
    one, _ = planned(Chain(), tmp_path)
    other, _ = planned(Chain(), tmp_path)
    assert one.write(one.blocks).SerializeToString(deterministic=True) == other.write(other.blocks).SerializeToString(
        deterministic=True
    )


def test_the_same_faces_are_not_run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = planned(Chain(), tmp_path)
    monkeypatch.setattr(post_training, "observe", None)
    again, _ = planned(Chain(), tmp_path)
    assert first.ranges == again.ranges


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": "y"}'])
def test_a_damaged_cache_is_measured_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    assert cache.load(path, ["x"]) is None


def test_one_face_is_enough_with_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, reasons = exported(Chain(), tmp_path)
    sites, _ = find_sites(model, reasons)
    ranges = find_ranges(model, sites, faces(1), "max")
    assert min(ranges.values()) > 0
    assert "calibrated on 1 faces only" in capfd.readouterr().err


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in it"):
        calibration_faces(tmp_path, 8, LR, 8, 8, "uint8")


def test_nan_names_the_module_and_the_face(tmp_path: Path) -> None:
    model, _ = exported(Chain(), tmp_path)
    with pytest.raises(InputError, match=r"bad\.png: NaN or infinite values in network\.body\.0"):
        _observe_broken(model)


def _observe_broken(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name.endswith("body.0.weight"):
            weights = onnx.numpy_helper.to_array(tensor).copy()
            weights[3] = np.nan
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
    result = next(node.output[0] for node in model.graph.node if node.name.startswith("network.body.0/"))
    observe(model, [result], [("bad.png", faces(1)[0][1])])


@pytest.mark.parametrize("loud", [1000.0, 30000.0])
def test_a_channel_far_louder_than_the_others_is_repaired(tmp_path: Path, loud: float) -> None:
    scheme, judge = planned(Chain(loud), tmp_path)
    budget = Budget(min_psnr_db=40.0)
    assert not judge(run_graph(scheme.write(scheme.blocks), judge.inputs)).within(budget)
    graph, reasons, quality = quantise(scheme, table_of(scheme), judge, budget, repaired=True)
    assert quality.within(budget)
    assert judge(run_graph(graph, judge.inputs)).psnr_db == quality.psnr_db
    assert 0 < len(reasons) < len(scheme.blocks)
    assert set(reasons) <= {"network.body.0", "network.body.2"}
    assert all("alone it leaves" in reason for reason in reasons.values())


def test_without_repair_the_quality_is_told_for_the_gate_to_refuse(tmp_path: Path) -> None:
    scheme, judge = planned(Chain(1000.0), tmp_path)
    _, reasons, quality = quantise(scheme, table_of(scheme), judge, Budget(min_psnr_db=40.0), repaired=False)
    assert not reasons and not quality.within(Budget(min_psnr_db=40.0))


def test_a_network_whose_every_block_would_have_to_go_back_is_refused(tmp_path: Path) -> None:
    scheme, judge = planned(Chain(), tmp_path)
    with pytest.raises(ParityError, match="until every module is back in float"):
        quantise(scheme, table_of(scheme), judge, Budget(min_psnr_db=500.0), repaired=True)


def test_blocks_are_ranked_once_for_analysis_and_repair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme, judge = planned(Chain(1000.0), tmp_path)
    ranked = []
    monkeypatch.setattr(post_training, "rank", lambda *given: ranked.append(rank(*given)) or ranked[-1])
    quantisation = Quantisation(scheme, table_of(scheme), judge)
    found = quantisation.damages()
    in_float = quantisation.write(tmp_path / "int8.onnx", Budget(min_psnr_db=40.0), repaired=True)
    assert len(ranked) == 1
    assert found[0].module in in_float


def test_calibration_is_refused_without_int8() -> None:
    result = CliRunner().invoke(main, ["aminet-tiny", "--fp16", "--calib", "photos"])
    assert result.exit_code == 2
    assert "give --int8 or --fp8 too" in result.stderr
