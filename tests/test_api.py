"""The public API: a few lines of Python for what the commands do, with the same sentences."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

import fsr_deploy as fsr
from fsr_deploy.cli import export as export_command
from fsr_deploy.cli import profile as profile_command
from fsr_deploy.cli import run as run_command
from fsr_deploy.faces.cutting import cut
from fsr_deploy.faces.geometry import region_of
from fsr_deploy.images.codec import write_frame
from fsr_deploy.images.resize import lr_face
from fsr_deploy.models import registry
from fsr_deploy.synthetic import faces
from tests.faces.detectors import write_centerface
from tests.faces.scenes import TEMPLATE, face_at
from tests.networks import Pixel

ROOT = Path(__file__).parents[1]
LR = 4


@pytest.fixture(scope="module", autouse=True)
def pixel() -> Iterator[None]:
    """Pixel, registered as another package would."""
    registry.names()
    before = dict(registry._RECORDS)
    fsr.register(fsr.ModelRecord("api.pixel", build=Pixel))
    yield
    registry._RECORDS.clear()
    registry._RECORDS.update(before)


@pytest.fixture(scope="module")
def bundle(pixel: None, tmp_path_factory: pytest.TempPathFactory) -> fsr.Bundle:
    return fsr.export("api.pixel", batches=(1, 2, 4), lr_size=LR, output=tmp_path_factory.mktemp("api") / "pixel")


@pytest.fixture(scope="module")
def upscaler(bundle: fsr.Bundle) -> Iterator[fsr.Upscaler]:
    with fsr.load(bundle, device="cpu") as loaded:
        yield loaded


@pytest.fixture
def picture() -> np.ndarray:
    """A face that is larger than the engine's, and not square."""
    return next(iter(faces(1, seed=5, size=48)))[:40]


def test_a_picture_of_any_size_becomes_the_face_that_fsr_run_would_make(
    upscaler: fsr.Upscaler, picture: np.ndarray
) -> None:
    assert upscaler.info.device == "cpu"
    assert np.array_equal(upscaler(picture), upscaler(lr_face(picture, (LR, LR))))
    assert upscaler(picture).shape == (8 * LR, 8 * LR, 3)


def test_another_back_end_gives_the_same_faces(upscaler: fsr.Upscaler, bundle: fsr.Bundle, picture: np.ndarray) -> None:
    pytest.importorskip("openvino")
    with fsr.load(bundle, backend="openvino", throughput=True) as other:
        assert other.info.engine.startswith("OpenVINO ")
        assert np.abs(other(picture).astype(int) - upscaler(picture)).max() <= 1


def test_what_comes_out_is_of_the_kind_that_went_in(
    upscaler: fsr.Upscaler, picture: np.ndarray, tmp_path: Path
) -> None:
    expected = upscaler(picture)
    image = upscaler(Image.fromarray(picture))
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), expected)
    write_frame(tmp_path / "face.png", picture)
    assert np.array_equal(upscaler(tmp_path / "face.png"), expected)
    assert np.array_equal(upscaler(str(tmp_path / "face.png")), expected)
    batch = upscaler(np.stack([picture] * 5))
    assert batch.shape == (5, 8 * LR, 8 * LR, 3)
    assert np.abs(batch - expected.astype(int)).max() <= 1  # a library may add in another order for another batch
    several = upscaler([picture, Image.fromarray(picture), tmp_path / "face.png"])
    assert [type(one).__name__ for one in several] == ["ndarray", "Image", "ndarray"]
    assert upscaler([]) == []
    assert upscaler(np.empty((0, 9, 9, 3), np.uint8)).shape == (0, 8 * LR, 8 * LR, 3)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("L", 100, 100), ("I;16", 100 * 257, 100), ("RGBA", (100, 100, 100, 9), 100), ("1", 1, 255)],
)
def test_a_pil_image_may_have_any_mode(upscaler: fsr.Upscaler, mode: str, value: object, expected: int) -> None:
    flat = np.full((LR, LR, 3), expected, np.uint8)
    assert np.array_equal(np.asarray(upscaler(Image.new(mode, (LR, LR), value))), upscaler(flat))


@pytest.mark.parametrize(
    ("face", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"an array of float32 \(4, 4, 3\); give uint8 RGB of shape"),
        (np.zeros((4, 4), np.uint8), r"an array of uint8 \(4, 4\); give uint8 RGB of shape"),
        (b"\x89PNG", "bytes: not a picture; give an"),
        ("missing.png", r"missing\.png: cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused(upscaler: fsr.Upscaler, face: object, message: str) -> None:
    with pytest.raises(fsr.InputError, match=message):
        upscaler(face)  # type: ignore[call-overload]


def test_a_closed_engine_says_so(bundle: fsr.Bundle, picture: np.ndarray, tmp_path: Path) -> None:
    with fsr.load(bundle) as closed:
        pass
    closed.close()  # twice does no harm
    uses: list[Callable[[], object]] = [
        lambda: closed(picture),
        lambda: closed.restore(picture, []),
        lambda: closed.run(tmp_path / "frames", tmp_path / "out"),
    ]
    (tmp_path / "frames").mkdir()
    Image.fromarray(picture).save(tmp_path / "frames" / "face.png")
    for use in uses:
        with pytest.raises(fsr.UsageError, match=r"closed .*; load it again"):
            use()


def test_a_folder_goes_to_files_and_a_second_run_has_nothing_to_do(
    upscaler: fsr.Upscaler, picture: np.ndarray, tmp_path: Path
) -> None:
    write_frame(tmp_path / "frames" / "a.png", picture)
    told: list[tuple[str, int, int]] = []
    summary = upscaler.run(tmp_path / "frames", tmp_path / "out", progress=lambda *step: told.append(step))
    assert (summary.done, summary.failed, told) == (1, [], [("faces", 0, 1), ("faces", 1, 1)])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), upscaler(picture))
    assert upscaler.run(tmp_path / "frames", tmp_path / "out").already_done == 1


def test_a_whole_picture_comes_back_enlarged_with_its_faces_upscaled(
    upscaler: fsr.Upscaler, picture: np.ndarray, tmp_path: Path
) -> None:
    face = fsr.Face(10, 10, 12, 15)
    restored = upscaler.restore(picture, [face], upscale=2)
    assert restored.frame.shape == (2 * picture.shape[0], 2 * picture.shape[1], 3)
    assert (restored.faces, restored.skipped) == ((face,), 0) and restored.sr_faces[0].shape == (8 * LR, 8 * LR, 3)
    image = upscaler.restore(Image.fromarray(picture), [face], upscale=2).frame
    assert isinstance(image, Image.Image) and np.array_equal(np.asarray(image), restored.frame)
    write_frame(tmp_path / "picture.png", picture)
    assert np.array_equal(upscaler.restore(tmp_path / "picture.png", [face], upscale=2).frame, restored.frame)
    assert upscaler.restore(picture.astype(np.uint16) * 257, [face]).frame.dtype == np.uint16
    assert upscaler.restore(picture, [face], faces_only=True).frame is None
    with pytest.raises(fsr.UsageError, match="no faces were given, and no detector"):
        upscaler.restore(picture)
    with pytest.raises(fsr.UsageError, match="restore has no option 'scale'; see RestoreSettings"):
        upscaler.restore(picture, [face], scale=2)


def test_whole_pictures_of_a_folder_and_a_detector_work_from_python(
    bundle: fsr.Bundle, picture: np.ndarray, tmp_path: Path
) -> None:
    detector = write_centerface(tmp_path / "detector.onnx")
    picture = picture // 2
    picture[20:24, 20:24] = (255, 0, 0)
    write_frame(tmp_path / "frames" / "a.png", picture)
    with fsr.load(bundle, device="cpu", find_faces=detector) as upscaler:
        restored = upscaler.restore(picture, upscale=3, all_faces=True)
        assert len(restored.faces) == 1
        options = {"find_faces": str(detector), "upscale": 3, "all_faces": True}
        summary = upscaler.run(tmp_path / "frames", tmp_path / "out", **options)
        assert (summary.done, summary.faces.upscaled) == (1, 1)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), restored.frame)
        with pytest.raises(fsr.UsageError, match="--fit stretch: is for frames that are faces"):
            upscaler.run(tmp_path / "frames", tmp_path / "out", fit="stretch", **options)


def test_a_bundle_may_say_where_landmarks_belong(bundle: fsr.Bundle, picture: np.ndarray, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "aligned")
    description = tmp_path / "aligned" / "bundle.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "template": TEMPLATE}))
    face = face_at(24, 20, 30, 15)
    with fsr.load(tmp_path / "aligned", device="cpu") as aligned, fsr.load(bundle, device="cpu") as other:
        assert aligned.info.template == TEMPLATE and other.info.template is None
        turned = aligned.restore(picture, [face]).sr_faces[0]
        expected = aligned(cut(picture, region_of(face, (LR, LR), TEMPLATE), (LR, LR)))
        assert np.array_equal(turned, expected)
        assert not np.array_equal(turned, other.restore(picture, [face]).sr_faces[0])


WRONG = {
    "precision": (lambda: fsr.export("aminet", precision="fp61"), None, "no precision is called 'fp61'"),
    "target": (
        lambda: fsr.export("aminet", target="cuda"),
        (export_command, ["aminet", "--target", "cuda"]),
        "--target cuda: not one of auto, onnxruntime, openvino, tensorrt",
    ),
    "batches": (
        lambda: fsr.export("aminet", batches=(4, 2, 1)),
        (export_command, ["aminet", "--batch", "4,2,1"]),
        "--batch 4,2,1: not MIN,OPT,MAX in rising order from 1 to 4096, for example 1,8,32",
    ),
    "model": (lambda: fsr.export("aminett"), (export_command, ["aminett"]), "no model is called 'aminett'"),
    "device": (
        lambda: fsr.load("nowhere", device="tpu"),
        (run_command, ["nowhere", str(ROOT / "docs" / "demo.png"), "-o", "x.png", "--device", "tpu"]),
        "no device is called 'tpu'; the devices are: auto, cpu, cuda, cuda:0, cuda:1 ...",
    ),
    "against": (
        lambda: fsr.profile(["nowhere"], against=["jax"]),
        (profile_command, ["nowhere", "--against", "jax"]),
        "--against jax: not one of eager, channels-last, compile, compile-bf16, autocast-bf16, onnxruntime, openvino",
    ),
    "no such option": (lambda: fsr.export("aminet", precison="fp16"), None, "export has no option 'precison'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_options_get_the_same_sentence_from_python_and_from_the_shell(what: str) -> None:
    call, command, sentence = WRONG[what]
    with pytest.raises(fsr.UsageError) as caught:
        call()
    assert str(caught.value).startswith(sentence)
    if command:
        module, arguments = command
        result = CliRunner().invoke(module.main, arguments)
        assert result.exit_code == 2
        assert f"error: {caught.value}" in result.stderr


def test_wrong_options_of_a_run_get_the_same_sentence_too(upscaler: fsr.Upscaler, bundle: fsr.Bundle) -> None:
    for options, arguments in (
        ({"fit": "pad"}, ["--fit", "pad"]),
        ({"batch": 0}, ["--batch", "0"]),
        ({"format": "gif"}, ["--format", "gif"]),
        ({"on_error": "cry"}, ["--on-error", "cry"]),
    ):
        with pytest.raises(fsr.UsageError) as caught:
            upscaler.run("frames", **options)
        result = CliRunner().invoke(run_command.main, [str(bundle.path), "frames", *arguments])
        assert (result.exit_code, result.stderr) == (2, f"error: {caught.value}\n")


def test_messages_go_to_the_logger_and_warnings_are_warnings(bundle: fsr.Bundle, tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    logger = logging.getLogger("fsr_deploy")
    logger.addHandler(handler)
    try:
        fsr.export("api.pixel", batches=1, lr_size=LR, output=tmp_path / "again")
    finally:
        logger.removeHandler(handler)
    assert {level for level, _ in told} == {logging.INFO, logging.WARNING}
    assert any("untrained weights" in message for level, message in told if level == logging.WARNING)


class Shuffle(nn.Module):
    """Takes the LR face itself, and makes it twice as large."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize("io", ["uint8", "float"])
def test_a_network_may_take_the_lr_face_itself(io: str, tmp_path: Path) -> None:
    if "api.shuffle" not in fsr.models.names("api.*"):
        fsr.register(fsr.ModelRecord("api.shuffle", build=Shuffle, scale=2, input="lr"))
    bundle = fsr.export("api.shuffle", batches=(1, 2, 4), lr_size=6, io=io, output=tmp_path / io)
    assert bundle.info.parity_passed
    sides = {"uint8": ((6, 6, 3), (12, 12, 3)), "float": ((3, 6, 6), (3, 12, 12))}[io]
    assert (bundle.info.inputs[0].shape[1:], bundle.info.outputs[0].shape[1:]) == sides
    if io == "uint8":
        with fsr.load(bundle, device="cpu") as upscaler:
            assert upscaler(np.zeros((6, 6, 3), np.uint8)).shape == (12, 12, 3)


def test_every_public_name_is_there_and_documented() -> None:
    for name in fsr.__all__:
        assert getattr(fsr, name) is not None
        assert name in ("__version__",) or getattr(fsr, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        _ = fsr.exprot  # type: ignore[attr-defined]


@pytest.mark.integration
def test_the_examples_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    monkeypatch.setattr(registry, "_RECORDS", dict(registry._RECORDS))
    monkeypatch.setattr(logging, "basicConfig", lambda **options: None)
    scope: dict[str, object] = {"__name__": "example"}
    for block in blocks:
        exec(compile(block, "api.md", "exec"), scope)
