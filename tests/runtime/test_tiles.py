"""Whole pictures through an engine that takes tiles: the same as untiled, and no seam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import fsr_deploy as fsr
from fsr_deploy.images.codec import read_frame
from fsr_deploy.images.pillow import Image
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.tiles import Grid
from tests.cli.runs import error, fsr_run, succeed
from tests.engines import write_onnx

TILE, SCALE = 32, 2


def blurring(path: Path, height: int | str, width: int | str) -> Path:
    """Write an engine that enlarges twice and blurs over 5x5 pixels, so that it sees two beyond each."""
    kernel = np.zeros((3, 3, 5, 5), np.float32)
    kernel[range(3), range(3)] = np.outer(*[np.array([1, 4, 6, 4, 1]) / 16] * 2)
    constants = {"kernel": kernel, "scales": np.array([1, 1, SCALE, SCALE], np.float32)}
    nodes = [
        helper.make_node("Cast", ["lr"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["chw", "kernel"], ["blurred"], pads=[2, 2, 2, 2]),
        helper.make_node(
            "Resize",
            ["blurred", "", "scales"],
            ["large"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Transpose", ["large"], ["hwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Round", ["hwc"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["sr"], to=TensorProto.UINT8),
    ]
    sides = [("lr", ("N", height, width, 3)), ("sr", ("N", SCALE * height, SCALE * width, 3))]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in sides]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Return noise over a gradient: every pixel matters, and a seam would show."""
    rng = np.random.default_rng(0)
    slope = np.linspace(60, 190, width)[None, :, None] + np.zeros((height, 1, 3))
    return (slope + rng.integers(-40, 40, (height, width, 3))).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(70, 100), (32, 33), (20, 90), (7, 9), (96, 32)])
@pytest.mark.parametrize("overlap", [0, 8, 16])
def test_tiles_of_an_engine_that_sees_nothing_beyond_a_pixel_make_the_picture(
    height: int, width: int, overlap: int
) -> None:
    whole = picture(height, width)
    grid = Grid((height, width), (TILE, TILE), overlap)
    tiles = grid.cut(whole)
    assert {tile.shape for tile in tiles} == {(TILE, TILE, 3)}
    enlarged = [tile.repeat(3, axis=0).repeat(3, axis=1) for tile in tiles]
    assert np.array_equal(grid.join(enlarged, 3), whole.repeat(3, axis=0).repeat(3, axis=1))


def test_a_picture_in_tiles_is_the_untiled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    height, width = 100, 143
    blurring(Path("tile.onnx"), TILE, TILE)
    blurring(Path("whole.onnx"), height, width)
    Image.fromarray(picture(height, width)).save("in.png")
    untiled = open_session("whole.onnx", "cpu").upscale(picture(height, width)[None])[0]
    said = succeed("tile.onnx", "in.png", "-o", "out.png", "--tile", TILE).stderr
    assert "tiles: 24 upscaled" in said
    off = np.abs(read_frame(Path("out.png")).astype(int) - untiled)
    assert off.max() <= 1, "two pixels are seen beyond each, and as many are not used of every tile"
    succeed("tile.onnx", "in.png", "-o", "hard.png", "--tile", TILE, "--overlap", 0)
    assert np.abs(read_frame(Path("hard.png")).astype(int) - untiled).max() > 2, "without an overlap there are seams"


def test_a_folder_goes_on_and_another_overlap_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blurring(Path("tile.onnx"), TILE, TILE)
    Path("in").mkdir()
    for index in range(3):
        Image.fromarray(picture(40 + 20 * index, 50)).save(f"in/{index}.png")
    assert "3 done of 3" in succeed("tile.onnx", "in", "-o", "out", "--tile", TILE).stderr
    assert "0 done, 3 done before of 3" in succeed("tile.onnx", "in", "-o", "out", "--tile", TILE).stderr
    assert "3 done of 3" in succeed("tile.onnx", "in", "-o", "out", "--tile", TILE, "--overlap", 4).stderr
    with fsr.load("tile.onnx", "cpu") as upscaler:
        assert upscaler.run("in", "api", tile=TILE, overlap=4).done == 3
        with pytest.raises(fsr.UsageError, match="--overlap 4: is for tiles; add --tile"):
            upscaler.run("in", "other", overlap=4)
        with pytest.raises(fsr.UsageError, match="--tile 32: enlarges whole pictures"):
            upscaler.run("in", "other", tile=TILE, boxes="b.csv")
    names = [f"{index}.png" for index in range(3)]
    assert all(Path("api", name).read_bytes() == Path("out", name).read_bytes() for name in names)


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--tile", 16), 2, "--tile 16: this engine takes 32x32; export it with --lr-size 16, or give --tile 32"),
        (("--tile", 0), 2, "--tile 0: give a whole number from 1 on"),
        (("--tile", "32,16"), 2, "this engine takes 32x32; export it with --lr-size 32,16, or give --tile 32"),
        (("--tile", 32, "--overlap", 17), 2, "--overlap 17: give 0 to 16, half of a tile"),
        (("--overlap", 4), 2, "--overlap 4: is for tiles; add --tile"),
        (("--tile", 32, "--fit", "stretch"), 2, "--fit stretch"),
        (("--tile", 32, "--boxes", "b.csv"), 2, "--tile 32: enlarges whole pictures"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], code: int, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("model.onnx"), lr_size=32, scale=2)
    Image.fromarray(picture(40, 50)).save("in.png")
    result = fsr_run("model.onnx", "in.png", "-o", "out.png", *options)
    assert result.exit_code == code and sentence in error(result)
    assert not Path("out.png").exists()
