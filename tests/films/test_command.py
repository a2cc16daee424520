"""fsr-run and Upscaler.run over films whose frames are faces."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import fsr_deploy as fsr
from fsr_deploy.films.kinds import is_film
from tests.cli.runs import error, fsr_run, succeed
from tests.engines import repeat_pixels, write_onnx
from tests.films.drawn import COUNT, draw, frames_of, packets_of, planes_of, times_of

SIZE = 4


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an engine, and a film whose frames have its size; it is the current one."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("model.onnx"), lr_size=SIZE, scale=8)
    small = [[np.full((SIZE, SIZE), level, np.uint8) for level in (60 + 5 * index, 120, 130)] for index in range(COUNT)]
    draw(Path("film.mkv"), small, sounds=1, codec="ffv1")
    return tmp_path


def test_the_first_lines_say_what_runs_and_the_last_what_became_of_it(here: Path) -> None:
    lines = succeed("model.onnx", "film.mkv").stderr.splitlines()
    assert lines[0].startswith("model.onnx: ONNX Runtime ")
    assert "device cpu, precision fp32, 4x4 -> 32x32" in lines[0]
    assert lines[1] == "film.mkv: 20 frames, 4x4 yuv444p -> 32x32 yuv420p, libx264, CRF 16"
    assert lines[-1].startswith("film_sr.mkv: 20 done of 20 in ")
    assert times_of(Path("film_sr.mkv")) == times_of(Path("film.mkv"))
    assert packets_of(Path("film_sr.mkv"), "audio") == packets_of(Path("film.mkv"), "audio")
    again = succeed("model.onnx", "film.mkv").stderr
    assert "film_sr.mkv: 0 done, 20 done before of 20 in" in again


def test_each_frame_is_the_sr_face_of_its_frame(here: Path) -> None:
    succeed("model.onnx", "film.mkv", "-o", "new.mkv", "--codec", "ffv1", "--pix-fmt", "yuv444p", "--batch", "3")
    for old, new in zip(frames_of(Path("film.mkv")), frames_of(Path("new.mkv")), strict=True):
        for plane in range(3):
            face = repeat_pixels(old.to_ndarray()[plane][None])[0]
            assert np.abs(new.to_ndarray()[plane].astype(int) - face).max() <= 1


def test_json_has_what_happened(here: Path) -> None:
    found = json.loads(succeed("model.onnx", "film.mkv", "-o", "new.mp4", "--json", "--crf", "20").stdout)
    assert found["frames"] == {"total": 20, "done": 20, "done_before": 0, "missing": 0, "left": 0}
    assert found["video"]["codec"] == "libx264"
    assert found["video"]["crf"] == 20
    assert (found["output"], found["failures"], found["left_out"]) == ("new.mp4", [], [])
    assert found["rates"]["stages"].keys() == {"decode", "engine", "encode"}


def test_a_broken_film_is_done_in_part_with_exit_6(here: Path) -> None:
    draw(Path("long.mkv"), [planes_of(index) for index in range(40)], range(0, 1600, 40), options={"g": "5", "bf": "0"})
    content = Path("long.mkv").read_bytes()
    Path("long.mkv").write_bytes(content[: len(content) * 2 // 3])
    result = fsr_run("model.onnx", "long.mkv", "-o", "new.mkv", "--json")
    assert result.exit_code == 6
    assert "long.mkv: the file is cut off: it ends at" in result.stderr
    assert json.loads(result.stdout)["failures"] != []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("gone.mp4",), 4, "gone.mp4: no such file or folder"),
        (("empty.mp4",), 4, "empty.mp4: cannot be read as a film: "),
        (("film.mkv", "-o", "new.png"), 2, "new.png: film.mkv is a film; name an output that ends in .mp4, .m4v, .mov"),
        (("film.mkv", "-o", "-"), 2, "-o -: nothing is written to standard output; name a film"),
        (("film.mkv", "--codec", "x"), 2, "--codec x: not a video encoder of this PyAV; it has libx264"),
        (("film.mkv", "--crf", "99"), 2, "--crf 99: give a number from 0 (best) to 51 for libx264"),
        (("film.mkv", "--pix-fmt", "rgb24"), 2, "--pix-fmt rgb24: not one of yuv420p, "),
        (("film.mkv", "--format", "png"), 2, "--format png: is for pictures; a film's format is the suffix of -o"),
        (("film.mkv", "-o", "film.mkv"), 2, "film.mkv: is the film itself; name another output with -o"),
        (("film.mkv", "-o", "new.webm"), 2, "new.webm: .webm does not take libx264"),
        (("face.png", "--crf", "16"), 2, "--crf 16.0: is for films, and face.png is none"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(here: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    Path("empty.mp4").touch()
    before = sorted(here.rglob("*"))
    result = fsr_run("model.onnx", *arguments)
    assert (result.exit_code, error(result)[: len(message)]) == (code, message)
    assert sorted(here.rglob("*")) == before


def test_without_pyav_it_says_what_to_install(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    result = fsr_run("model.onnx", "film.mkv")
    assert result.exit_code == 3
    assert error(result) == "PyAV is not installed; install it with: pip install 'fsr-deploy[video]'"
    assert not Path("film_sr.mkv").exists()


def test_a_film_is_told_from_a_picture(here: Path) -> None:
    pictures = [Image.new("RGB", (4, 4), (index * 40, 0, 0)) for index in range(3)]
    pictures[0].save("one.gif")
    pictures[0].save("many.gif", save_all=True, append_images=pictures[1:])
    pictures[0].save("picture.mp4", format="png")
    pictures[0].save("face.avif") if "AVIF" in Image.registered_extensions().values() else None
    Path("film.mkv").rename("film")
    Path("odd.mp4").write_bytes(b"nonsense")
    Path("folder.mp4").mkdir()
    films = {"film", "many.gif", "odd.mp4"}
    assert {name for name in sorted(path.name for path in here.iterdir()) if is_film(name)} == films
    succeed("model.onnx", "one.gif", "-o", "one.png")
    succeed("model.onnx", "many.gif")
    assert len(frames_of(Path("many_sr.mp4"))) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_keep_what_is_finished_and_say_how_to_go_on(here: Path, number: int) -> None:
    write_onnx(Path("slow.onnx"), scale=32, work=12)
    short = "import os; from fsr_deploy.films import pipeline, segments; segments.LENGTH = 3\n"
    interrupted = (
        "write = pipeline.write_segment\n"
        "def interrupted(*arguments):\n"
        "    write(*arguments)\n"
        "    pipeline.write_segment = write\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "pipeline.write_segment = interrupted\n"
    )
    run = "from fsr_deploy.cli.run import main; main()"
    arguments = ("slow.onnx", "film.mkv", "-o", "new.mkv", "--batch", "1")
    process = subprocess.run(
        [sys.executable, "-c", short + interrupted + run, *arguments], capture_output=True, text=True, check=False
    )
    assert process.returncode == 130
    assert "run the same command again to go on; the finished parts of the film are kept" in process.stderr
    assert not Path("new.mkv").exists()
    again = subprocess.run([sys.executable, "-c", short + run, *arguments], capture_output=True, text=True, check=True)
    assert "done before of 20" in again.stderr
    assert len(frames_of(Path("new.mkv"))) == COUNT


def test_in_python_a_film_is_run_as_a_folder_is(here: Path) -> None:
    counted: list[tuple[int, int]] = []
    with fsr.load("model.onnx", device="cpu") as upscaler:
        summary = upscaler.run(
            "film.mkv", "new.mp4", crf=20, progress=lambda what, done, total: counted.append((done, total))
        )
        assert (summary.done, summary.failed) == (COUNT, [])
        assert counted[-1] == (COUNT, COUNT)
        with pytest.raises(fsr.UsageError, match="no option 'crfs'; see FilmOptions and FrameOptions for those"):
            upscaler.run("film.mkv", crfs=20)
    with av.open("new.mp4") as film:
        assert film.streams.video[0].codec_context.name == "h264"
