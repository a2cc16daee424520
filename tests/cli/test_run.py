"""fsr-run as a user meets it: real files, a real engine, the exact words and the exit code."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from fsr_deploy.bundle.info import BundleInfo, TensorInfo, write_info
from fsr_deploy.images.codec import read_frame, write_frame
from fsr_deploy.runtime.folder.journal import NAME as JOURNAL
from tests.cli.runs import COUNT, contents, error, fsr_run, succeed
from tests.engines import FACTS, repeat_pixels, write_onnx
from tests.profiles import P3, rgb_profile


def test_a_folder_becomes_a_folder_of_upscaled_faces(here: Path):
    succeed("model.onnx", "faces", "-o", "out")
    frames = sorted(Path("faces").rglob("*.png"))
    assert len(frames) == COUNT
    for frame in frames:
        face = read_frame(Path("out") / frame.relative_to("faces"))
        np.testing.assert_array_equal(face, repeat_pixels(read_frame(frame)[None])[0])
    assert set(contents("out")) == set(contents("faces"))


def test_the_first_line_says_what_runs_and_the_last_what_was_done(here: Path):
    lines = succeed("model.onnx", "faces", "-o", "out", "--device", "cpu").stderr.splitlines()
    assert lines[0] == (
        f"model.onnx: ONNX Runtime {onnxruntime.__version__} (CPUExecutionProvider), device cpu, precision fp32,"
        " 4x4 -> 32x32, batch 1"
    )
    assert lines[-1].startswith(f"out: {COUNT} done of {COUNT} in ")


def test_a_half_precision_engine_on_the_cpu_is_told_to_be_slow(here: Path):
    write_onnx(Path("model.onnx"), facts={**FACTS, "fsr.precision": "fp16"})
    lines = succeed("model.onnx", "faces").stderr.splitlines()
    assert lines[1] == "a CPU computes fp16 in fp32 and converts in between; an fp32 engine is faster here"


def test_json_is_all_that_goes_to_standard_output(here: Path):
    Path("faces/bad.png").write_bytes(b"bad")
    result = fsr_run("model.onnx", "faces", "-o", "out", "--json")
    summary = json.loads(result.stdout)
    assert summary["engine"]["device"] == "cpu"
    assert summary["output"] == "out"
    assert summary["frames"] == {
        "total": COUNT + 1,
        "done": COUNT,
        "done_before": 0,
        "failed": 1,
        "left": 0,
        "resized": {"as_is": COUNT},
        "cropped": 0,
        "stretched": 0,
        "alpha_dropped": 0,
        "profile_converted": 0,
        "profile_ignored": 0,
    }
    assert summary["failures"] == [
        {"frame": "faces/bad.png", "reason": "faces/bad.png: not a PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF image"}
    ]
    assert set(summary["rates"]["stages"]) == {"decode", "engine", "encode"}


def test_without_json_standard_output_stays_empty(here: Path):
    assert succeed("model.onnx", "faces").stdout == ""


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp", "tiff"])
def test_another_format_is_written_on_request(here: Path, suffix: str):
    succeed("model.onnx", "faces/00.png", "--format", suffix, "-o", "out")
    face = read_frame(f"out/00.{suffix}").astype(int)
    assert np.abs(face - repeat_pixels(read_frame("faces/00.png")[None])[0]).mean() < 12


def test_a_single_image_leaves_one_file_and_no_journal(here: Path):
    succeed("model.onnx", "faces/00.png", "-o", "big.png")
    assert read_frame("big.png").shape == (32, 32, 3)
    succeed("model.onnx", "faces/03.png")
    assert read_frame("faces/03_sr.png").shape == (32, 32, 3)
    assert not list(here.rglob(JOURNAL))


def test_a_list_of_paths_comes_from_standard_input(here: Path):
    succeed("model.onnx", "-", "-o", "out", stdin="faces/00.png\nfaces/sub/01.png\n")
    assert set(contents("out")) == {"00.png", "sub/01.png"}


def test_names_in_any_script_work(here: Path):
    Path("faces").rename("Gesichter ü 顔")
    succeed("model.onnx", "Gesichter ü 顔", "-o", "größer")
    assert len(contents("größer")) == COUNT


def test_a_name_that_is_no_text_works(here: Path):
    name = os.fsdecode(b"faces/\xff\xfe.png")
    shutil.copy("faces/00.png", name)
    summary = json.loads(succeed("model.onnx", "faces", "-o", "out", "--json").stdout)
    assert summary["frames"]["done"] == COUNT + 1
    assert (Path("out") / Path(name).name).exists()


def make_bundle(**known: Any) -> None:
    """Put the engine into a bundle."""
    io = [(TensorInfo(name, "uint8", ("N", size, size, 3)),) for name, size in (("lr", 4), ("sr", 32))]
    Path("bundle").mkdir()
    shutil.copy("model.onnx", "bundle")
    write_info(Path("bundle"), BundleInfo("tiny", "fp32", 8, 4, (1, 8, 32), *io, **{"trained": True, **known}))


def test_a_bundle_repeats_what_was_noted_about_it(here: Path):
    make_bundle(trained=False, notes=("over its budget",))
    lines = succeed("bundle", "faces", "-o", "out").stderr.splitlines()
    assert lines[1:3] == [
        "warning: over its budget",
        "warning: THIS ENGINE IS NOT TRAINED: its weights are random and so are its faces; export it with --checkpoint",
    ]


def test_frames_of_other_sizes_are_resized_and_counted(here: Path):
    write_frame("faces/large.png", np.zeros((8, 10, 3), np.uint8))
    write_frame("faces/small.png", np.zeros((2, 2, 3), np.uint8))
    result = succeed("model.onnx", "faces", "-o", "out", "--json")
    lines = result.stderr.splitlines()
    assert (
        f"frames resized to the engine's 4x4: {COUNT} of the engine's size, 1 enlarged, 1 reduced, 1 cropped" in lines
    )
    assert (
        "warning: detail was lost in 1 of the frames, larger than 1.5 times 4x4;"
        " crop the faces first, or take an engine for larger ones"
    ) in lines
    frames = json.loads(result.stdout)["frames"]
    assert (frames["cropped"], frames["stretched"]) == (1, 0)


@pytest.mark.parametrize(("fit", "box"), [("crop", (10, 0, 60, 50)), ("stretch", (0, 0, 70, 50))])
def test_hr_frames_become_the_lr_faces_of_training_and_proof(here: Path, fit: str, box: tuple[int, int, int, int]):
    """What Pillow shrinks and the engine enlarges, to the level; each pixel of an LR face is 8x8 in the output."""
    rng = np.random.default_rng(1)
    for index in range(3):
        write_frame(f"hr/{index}.png", rng.integers(0, 256, (50, 70, 3), np.uint8))
    for _ in range(2):  # the second time from the journal
        succeed("model.onnx", "hr", "-o", "out", "--fit", fit)
    for frame in sorted(Path("hr").iterdir()):
        lr = Image.open(frame).crop(box).resize((4, 4), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(read_frame(Path("out") / frame.name)[::8, ::8], np.asarray(lr))


def test_another_fit_does_the_frames_again(here: Path):
    succeed("model.onnx", "faces", "-o", "out")
    assert f"{COUNT} done of {COUNT}" in succeed("model.onnx", "faces", "-o", "out", "--fit", "stretch").stderr
    assert f"{COUNT} done before of {COUNT}" in succeed("model.onnx", "faces", "-o", "out", "--fit", "stretch").stderr


def test_what_the_bundle_says_of_its_sizes_decides_the_advice(here: Path):
    make_bundle(resizable=True)
    write_frame("photos/a.png", np.zeros((40, 40, 3), np.uint8))
    assert "an engine exported with --lr-size 40 would keep it" in succeed("bundle", "photos").stderr


def test_an_engine_for_lr_faces_of_another_kind_is_refused(here: Path):
    make_bundle(lr_recipe="lanczos")
    result = fsr_run("bundle", "faces")
    assert result.exit_code == 4
    assert error(result) == (
        "bundle/bundle.json: its engine was made for LR faces by lanczos, which this fsr-deploy does not know;"
        " upgrade fsr-deploy"
    )


def test_dropped_transparency_is_told(here: Path):
    Image.new("RGBA", (4, 4), (10, 20, 30, 40)).save("faces/clear.png")
    lines = succeed("model.onnx", "faces", "-o", "out").stderr.splitlines()
    assert "transparency was dropped in 1 of the frames" in lines


def test_what_was_done_to_colours_is_counted(here: Path):
    for name, profile in (("p3", rgb_profile(P3, 2.2)), ("also_p3", rgb_profile(P3, 2.2)), ("odd", b"garbage")):
        Image.new("RGB", (4, 4), (250, 30, 40)).save(f"faces/{name}.png", icc_profile=profile)
    result = succeed("model.onnx", "faces", "-o", "out", "--json")
    lines = result.stderr.splitlines()
    assert "the colour profile was converted to sRGB in 2 of the frames" in lines
    assert "the colour profile could not be used, so that colours may be off in 1 of the frames" in lines
    frames = json.loads(result.stdout)["frames"]
    assert (frames["profile_converted"], frames["profile_ignored"], frames["alpha_dropped"]) == (2, 1, 0)


# Bad input: what is wrong, in words, and the exit code.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x9c\x40\0\0\x9c\x40\x08\2\0\0\0", "truncated"),
        (b"BM" + bytes(12) + b"\x28\0\0\0\x40\x9c\0\0\x40\x9c\0\0", "40000x40000 pixels, over the limit of 134217728"),
    ],
)
def test_a_bad_file_is_named_and_skipped_and_the_rest_finishes(here: Path, content: bytes, reason: str):
    Path("faces/05.png").write_bytes(content)
    result = fsr_run("model.onnx", "faces", "-o", "out")
    assert result.exit_code == 6
    assert f"skipped: faces/05.png: {reason}" in result.stderr.splitlines()
    assert f"out: {COUNT} done, 1 failed of {COUNT + 1} in" in result.stderr
    assert len(contents("out")) == COUNT


def test_on_error_stop_ends_at_the_first_bad_file(here: Path):
    Path("faces/05.png").write_bytes(b"")
    result = fsr_run("model.onnx", "faces", "-o", "out", "--on-error", "stop")
    assert result.exit_code == 4
    assert error(result) == "faces/05.png: empty (leave out --on-error stop to go past such files)"


def test_a_listed_file_that_is_not_there_is_named_and_skipped(here: Path):
    result = fsr_run("model.onnx", "-", "-o", "out", stdin="faces/00.png\nfaces/gone.png\nfaces\n")
    assert result.exit_code == 6
    assert f"skipped: {here}/faces/gone.png: cannot be read: No such file or directory" in result.stderr
    assert f"skipped: {here}/faces: not a file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("model.onnx", "empty"), 4, "empty: no images in it (PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF)"),
        (("model.onnx", "nowhere"), 4, "nowhere: no such file or folder"),
        (("nowhere", "faces"), 4, "nowhere: no such file; name a bundle, an engine.plan or a model.onnx"),
        (("empty", "faces"), 4, "empty: no bundle.json here; this is not a bundle that fsr-export wrote"),
        (("faces/00.png", "faces"), 4, "faces/00.png: not an engine; name a bundle, an engine.plan or a model.onnx"),
        (("model.onnx", "faces", "-o", "model.onnx/x"), 4, "model.onnx/x: cannot be written: Not a directory"),
        (("model.onnx", "faces", "-o", "faces"), 2, "faces: is inside the folder of the frames; name another with -o"),
        (("model.onnx", "-"), 2, "a list of paths needs an output folder; name it with -o"),
        (
            ("model.onnx", "faces", "--format", "gif"),
            2,
            "--format gif: not one of same, png, jpg, jpeg, webp, bmp, tif, tiff",
        ),
        (("model.onnx", "faces", "--fit", "pad"), 2, "--fit pad: not one of crop, stretch"),
        (("model.onnx", "faces", "--batch", "0"), 2, "--batch 0: give auto or a number from 1 on"),
        (("model.onnx", "faces", "--batch", "many"), 2, "--batch many: give auto or a number from 1 on"),
        (("model.onnx", "faces", "--on-error", "cry"), 2, "--on-error cry: not one of skip, stop"),
        (
            ("model.onnx", "faces", "--device", "tpu"),
            2,
            "no device is called 'tpu'; the devices are: auto, cpu, cuda, cuda:0, cuda:1 ..., "
            "openvino:CPU, openvino:GPU ...",
        ),
    ],
)
def test_what_cannot_be_used_is_named(here: Path, arguments: tuple[str, ...], code: int, message: str):
    Path("empty").mkdir()
    result = fsr_run(*arguments)
    assert (error(result), result.exit_code) == (message, code)


def test_cuda_without_its_provider_is_no_silent_fallback(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    result = fsr_run("model.onnx", "faces", "--device", "cuda")
    assert result.exit_code == 3
    assert error(result) == (
        "--device cuda:0: this ONNX Runtime has no CUDA provider; install the one that has: pip uninstall -y"
        " onnxruntime onnxruntime-gpu; pip install 'fsr-deploy[gpu]' (or run with --device cpu)"
    )


def test_a_missing_onnxruntime_is_named_with_its_extra(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = fsr_run("model.onnx", "faces")
    assert result.exit_code == 3
    assert error(result) == (
        "ONNX Runtime is not installed; install it with: pip install 'fsr-deploy[cpu]',"
        " or 'fsr-deploy[gpu]' on a machine with an NVIDIA GPU"
    )


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_a_model_with_external_data_is_refused(here: Path, location: str):
    model = onnx.load("model.onnx")
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location)
    Path("model.onnx").write_bytes(model.SerializeToString())
    result = fsr_run("model.onnx", "faces")
    assert result.exit_code == 4
    assert error(result) == (
        "model.onnx: keeps weights in other files (external data), which are not read; save the model as one file:"
        " onnx.save(onnx.load(path), path, save_as_external_data=False)"
    )


def test_a_truncated_model_is_refused(here: Path):
    os.truncate("model.onnx", 500)
    result = fsr_run("model.onnx", "faces")
    assert (error(result), result.exit_code) == ("model.onnx: not an ONNX model, or cut off; export it again", 4)


def test_a_model_that_is_not_its_bundles_is_refused(here: Path):
    make_bundle()
    write_onnx(Path("bundle/model.onnx"), facts={**FACTS, "fsr.model": "other"})
    result = fsr_run("bundle", "faces")
    assert result.exit_code == 4
    assert error(result) == (
        "bundle/model.onnx: its SHA-256 is not the one in bundle.json; the file was changed or cut off"
    )


def test_a_model_for_something_else_is_refused_with_what_it_has(here: Path):
    write_onnx(Path("model.onnx"), dtype=onnx.TensorProto.FLOAT)
    result = fsr_run("model.onnx", "faces")
    assert result.exit_code == 4
    assert error(result) == (
        "model.onnx: not an engine that maps uint8 (N, h, w, 3) to uint8 (N, H, W, 3) with N free or 1; it has"
        " lr tensor(float) ['N', 4, 4, 3], sr tensor(float) ['N', 32, 32, 3];"
        " export one with fsr-export (without --io float)"
    )


def test_a_plan_from_elsewhere_needs_trust(here: Path):
    Path("engine.plan").write_bytes(b"ftrt")
    result = fsr_run("engine.plan", "faces")
    assert result.exit_code == 4
    assert error(result) == (
        "engine.plan: a plan without a bundle; loading a plan can run code, add --trust if you trust its origin"
    )
