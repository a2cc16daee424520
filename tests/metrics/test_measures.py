from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from scipy import linalg, signal
from skimage import color, metrics
from torch.nn import functional as F

from fsr_deploy.errors import InputError
from fsr_deploy.images.resize import bicubic, shrink
from fsr_deploy.metrics.fid import Moments, frechet_distance
from fsr_deploy.metrics.lpips import ALEXNET, LINEAR, WIDTHS
from fsr_deploy.metrics.measures import find_measures
from fsr_deploy.metrics.niqe import STATISTICS, fit_asymmetric, patch_features
from fsr_deploy.metrics.pixel import basic_measures, luma
from fsr_deploy.synthetic import faces

CPU = torch.device("cpu")


def noisy(face):
    noise = np.random.default_rng(0).normal(0, 12, face.shape)
    return np.clip(face + noise, 0, 255).astype(np.uint8)


HR = list(faces(3, seed=9))
PAIRS = {
    "bicubic": (bicubic(shrink(HR, 16), 128), HR),
    "noise": ([noisy(face) for face in HR], HR),
    "another face": (HR[1:] + HR[:1], HR),
    "flat": ([np.full_like(face, 128) for face in HR], HR),
}
VALUES = {name: {m.name: m.compute(*pair) for m in basic_measures()} for name, pair in PAIRS.items()}


def y_of(face):
    """MATLAB's luma by scikit-image, in 8 bit."""
    return np.round(color.rgb2ycbcr(face)[..., 0])


def vif_reference(reference, distorted):
    """VIF in the pixel domain, from Sheikh and Bovik's description, in SciPy."""
    numerator = denominator = 0.0
    for scale in range(1, 5):
        side = 2 ** (4 - scale + 1) + 1
        axis = np.arange(side) - side // 2
        window = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * (side / 5) ** 2))
        window /= window.sum()

        def blur(x, window=window):
            return signal.correlate2d(x, window, mode="valid")

        if scale > 1:
            reference, distorted = blur(reference)[::2, ::2], blur(distorted)[::2, ::2]
        m1, m2 = blur(reference), blur(distorted)
        v1 = np.maximum(blur(reference**2) - m1**2, 0)
        v2 = np.maximum(blur(distorted**2) - m2**2, 0)
        gain = (blur(reference * distorted) - m1 * m2) / (v1 + 1e-10)
        noise = v2 - gain * (blur(reference * distorted) - m1 * m2)
        gain[v1 < 1e-10], noise[v1 < 1e-10], v1[v1 < 1e-10] = 0, v2[v1 < 1e-10], 0
        gain[v2 < 1e-10], noise[v2 < 1e-10] = 0, 0
        noise[gain < 0], gain[gain < 0] = v2[gain < 0], 0
        noise = np.maximum(noise, 1e-10)
        numerator += np.log10(1 + gain**2 * v1 / (noise + 2)).sum()
        denominator += np.log10(1 + v1 / 2).sum()
    return numerator / denominator


SCIKIT = {
    "PSNR Y (dB)": lambda a, b: metrics.peak_signal_noise_ratio(y_of(b), y_of(a), data_range=255),
    "PSNR RGB (dB)": lambda a, b: metrics.peak_signal_noise_ratio(b, a),
    "SSIM Y": lambda a, b: metrics.structural_similarity(
        y_of(a), y_of(b), data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    ),
    "SSIM RGB": lambda a, b: metrics.structural_similarity(
        a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    ),
    "VIF Y": lambda a, b: vif_reference(y_of(b), y_of(a)),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("measure", SCIKIT)
def test_a_measure_agrees_with_an_independent_implementation(measure, pair):
    expected = np.mean([SCIKIT[measure](a, b) for a, b in zip(*PAIRS[pair], strict=True)])
    assert VALUES[pair][measure] == pytest.approx(expected, abs=1e-3)


def test_every_measure_of_the_set_is_checked():
    assert {measure.name for measure in basic_measures()} == set(SCIKIT)


def test_luma_is_matlabs():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert luma(colours).flatten().tolist() == [16, 235, 81, 145, 41]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with weights of the right names and shapes, random."""
    folder = tmp_path_factory.mktemp("weights")
    rng = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    alexnet = {"classifier.1.weight": torch.zeros(2, 2)}
    for index, shape in shapes.items():
        alexnet[f"features.{index}.weight"] = torch.randn(shape, generator=rng) / np.sqrt(np.prod(shape[1:]) / 2)
        alexnet[f"features.{index}.bias"] = torch.randn(shape[0], generator=rng) * 0.1
    torch.save(alexnet, folder / ALEXNET)
    linear = {f"lin{i}.model.1.weight": torch.rand((1, w, 1, 1), generator=rng) for i, w in enumerate(WIDTHS)}
    torch.save(linear, folder / LINEAR)
    patches = np.concatenate([patch_features(y_of(face)) for face in faces(60, seed=1)])
    np.savez(folder / STATISTICS, mu_pris_param=patches.mean(0)[None], cov_pris_param=np.cov(patches, rowvar=False))
    return folder


def optional(weights, name):
    return next(measure for measure in find_measures(weights, 128, CPU)[0] if measure.name == name)


def lpips_reference(a, b, folder):
    alexnet, linear = (torch.load(folder / name, weights_only=True) for name in (ALEXNET, LINEAR))
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    x = (torch.stack([torch.tensor(f / 127.5 - 1).permute(2, 0, 1).float() for f in (a, b)]) - shift) / scale
    total = 0.0
    for level, (index, stride, padding) in enumerate(((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))):
        if level in (1, 2):
            x = F.max_pool2d(x, 3, 2)
        x = F.conv2d(x, alexnet[f"features.{index}.weight"], alexnet[f"features.{index}.bias"], stride, padding).relu()
        unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        total += ((unit[0] - unit[1]) ** 2 * linear[f"lin{level}.model.1.weight"][0]).sum(0).mean().item()
    return total


def test_lpips_follows_its_definition(weights):
    sr, hr = PAIRS["bicubic"]
    expected = np.mean([lpips_reference(a, b, weights) for a, b in zip(sr, hr, strict=True)])
    assert optional(weights, "LPIPS").compute(sr, hr) == pytest.approx(expected, rel=1e-3)
    assert optional(weights, "LPIPS").compute(hr, hr) == 0


def test_niqe_is_worse_for_faces_whose_statistics_are_not_those_of_its_file(weights):
    niqe = optional(weights, "NIQE")
    hr = list(faces(40, seed=2))
    natural = niqe.compute(hr, hr)
    assert natural < niqe.compute(bicubic(shrink(hr, 16), 128), hr)
    assert natural < niqe.compute([noisy(face) for face in hr], hr)


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (2.0, 0.5, 1.5)])
def test_a_fitted_distribution_is_the_one_drawn_from(shape, left, right):
    rng = np.random.default_rng(0)
    size = 400_000
    magnitude = rng.gamma(1 / shape, 1, size) ** (1 / shape)
    drawn = np.where(rng.random(size) < left / (left + right), -left * magnitude, right * magnitude)
    assert fit_asymmetric(drawn) == pytest.approx((shape, left, right), rel=0.02)


def test_a_measure_is_left_out_of_faces_that_are_too_small_for_it(weights):
    measures, wanted = find_measures(weights, 32, CPU)
    assert wanted["VIF Y"] == "faces of at least 41x41 pixels"
    assert wanted["NIQE"] == "faces of at least 96x96 pixels"
    assert not {"VIF Y", "NIQE"} & {measure.name for measure in measures}


def test_identity_is_the_cosine_of_what_the_users_network_says(tmp_path):
    io = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("face", "embedding")]
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["face"], ["embedding"])], "mean", io[:1], io[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "w600k_r50.onnx")
    identity = optional(tmp_path, "identity cosine")
    red, blue = (np.full((128, 128, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    assert identity.compute([red], [red]) == pytest.approx(1)
    assert identity.compute([red], [blue]) == pytest.approx(-1 / 3)  # (1, -1, -1) against (-1, -1, 1)
    (tmp_path / "w600k_r50.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"w600k_r50\.onnx: not an ONNX model, or cut off"):
        find_measures(tmp_path, 128, CPU)


def test_frechet_distance_is_that_of_the_matrix_square_root():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (200, 8)), rng.normal(0.5, 2, (300, 8)) @ rng.normal(0, 1, (8, 8))
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(ca + cb - 2 * linalg.sqrtm(ca @ cb).real)
    first, second = (Moments().add(x[:70]).add(x[70:]) for x in (a, b))
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_faces_that_come_in_batches_are_measured_as_all_together(weights):
    for measure in find_measures(weights, 128, CPU)[0]:
        tally = measure.start()
        for face, truth in zip(*PAIRS["bicubic"], strict=True):
            tally.add([face], [truth])
        assert tally.value() == pytest.approx(measure.compute(*PAIRS["bicubic"]), rel=1e-9)


@pytest.mark.skipif(find_spec("torch_fidelity") is not None, reason="torch-fidelity is installed")
def test_fid_without_its_package_names_it(tmp_path):
    (tmp_path / "pt_inception-2015-12-05-6726825d.pth").touch()
    assert find_measures(tmp_path, 128, CPU)[1]["FID"].startswith("the package torch-fidelity, with the torchvision")


def test_what_cannot_be_measured_says_which_file_it_wants(weights, tmp_path):
    measures, wanted = find_measures(weights, 128, CPU)
    assert {"LPIPS", "NIQE"} <= {measure.name for measure in measures}
    assert wanted == {
        "FID": f"pt_inception-2015-12-05-6726825d.pth in {weights}",
        "identity cosine": f"w600k_r50.onnx in {weights}",
    }
    assert "that --weights names" in find_measures(None, 128, CPU)[1]["LPIPS"]


@pytest.mark.parametrize(
    ("name", "message"),
    [(LINEAR, "lpips_alex.pth: not weights of LPIPS on AlexNet: 4 missing"), (STATISTICS, "not NIQE's statistics")],
)
def test_weights_of_something_else_are_refused_by_name(weights, tmp_path, name, message):
    for path in weights.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if name == LINEAR:
        torch.save({"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, tmp_path / name)
    else:
        np.savez(tmp_path / name, mu_pris_param=np.zeros(36))
    with pytest.raises(InputError, match=message):
        find_measures(tmp_path, 128, CPU)
