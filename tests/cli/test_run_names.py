"""File names as people really have them, in folders, in lists and on terminals."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.images.codec import encode_frame
from tests.cli.runs import COMMAND, contents, error, fsr_run, succeed

NAMES = [
    *(b"50%.png", b"a b .png", b" begins.png", b"ends.png ", b"q\"uo'te.png", b"new\nline.png", b"tab\t.png"),
    *(b"[bold]x.png", b"-rf.png", b"$(id).png", b"trail..png", b"latin1_\xe9.png", b"x" * 247 + b".png"),
    *(b"back\\slash.png", b"*.png", b"a;b.png", b"~.png", b"\x1b]0;owned\x07.png", b"carriage\r"),
    *("emoji 😀 ünï.png".encode(), "nfd_e\u0301.png".encode(), "nfc_\u00e9.png".encode()),
]
FACE = np.zeros((4, 4, 3), np.uint8)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.fixture
def odd(here: Path) -> list[str]:
    """A folder of frames with odd names; their paths."""
    Path("odd").mkdir()
    paths = [Path("odd", os.fsdecode(name)) for name in NAMES]
    for path in paths:
        path.write_bytes(Path("faces/00.png").read_bytes())
    return list(map(str, paths))


def test_any_name_works_in_a_folder_and_is_known_again(odd: list[str]):
    for key in ("done", "done_before"):
        summary = json.loads(succeed("model.onnx", "odd", "-o", "out", "--json").stdout)
        assert summary["frames"][key] == len(NAMES)
    assert len(contents("out")) == len(NAMES)


def test_any_name_works_in_a_list_with_zero_bytes(odd: list[str]):
    listed = b"\0".join(map(os.fsencode, odd)) + b"\0"
    assert f"out: {len(NAMES)} done of {len(NAMES)} in" in succeed("model.onnx", "-", "-o", "out", stdin=listed).stderr


def test_any_name_of_one_line_works_in_a_list_of_lines(odd: list[str]):
    one_line = [os.fsencode(path) for path in odd if "\n" not in path and not path.endswith("\r")]
    result = succeed("model.onnx", "-", "-o", "out", stdin=b"\r\n".join(one_line))
    assert f"out: {len(NAMES) - 2} done of {len(NAMES) - 2} in" in result.stderr


def test_no_name_reaches_the_terminal_as_it_is(odd: list[str]):
    for path in odd:
        Path(path).write_bytes(b"no picture")
    listed = b"\0".join(map(os.fsencode, odd))
    result = fsr_run("model.onnx", "-", "-o", "out", "--json", stdin=listed)
    assert result.exit_code == 6
    assert not CONTROL.search(result.stderr) and not CONTROL.search(result.stdout)
    assert sum(line.startswith("skipped: ") for line in result.stderr.splitlines()) == len(NAMES)
    assert r"latin1_\xe9.png: not a PNG" in result.stderr
    failed = [failure["frame"] for failure in json.loads(result.stdout)["failures"]]
    assert failed == [str(Path(path).absolute()) for path in odd]


def test_a_locale_without_umlauts_and_strict_streams_are_enough(odd: list[str]):
    Path(odd[-1]).write_bytes(b"")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [*COMMAND, "model.onnx", "odd", "-o", "out", "--json"],
        env={**environment, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.isascii() and done.stdout.isascii()
    assert json.loads(done.stdout)["frames"]["done"] == len(NAMES) - 1


@pytest.mark.parametrize(
    "content",
    [
        *(encode_frame(FACE, suffix) for suffix in (".png", ".jpg", ".webp", ".bmp", ".tif")),
        b"GIF89a\x04\0\x04\0",
        b"\0\0\0\x1cftypavif\0\0\0\0",
    ],
)
def test_a_picture_on_standard_input_gets_a_sentence(here: Path, content: bytes):
    result = fsr_run("model.onnx", "-", "-o", "out", stdin=content)
    assert result.exit_code == 4
    assert error(result) == "-: takes paths, not a picture; name the picture's file instead of -"


@pytest.mark.parametrize("content", [b"", b"\n\r\n", b"\0\0"])
def test_an_empty_list_is_named(here: Path, content: bytes):
    result = fsr_run("model.onnx", "-", "-o", "out", stdin=content)
    assert (error(result), result.exit_code) == ("-: no paths on standard input", 4)


def test_a_listed_path_that_is_no_file_is_skipped(here: Path):
    result = fsr_run("model.onnx", "-", "-o", "out", stdin=f"/\nfaces/00.png\nfaces\n{'x' * 300}\n")
    assert result.exit_code == 6
    assert "skipped: /: not a file" in result.stderr
    assert f"skipped: {here}/faces: not a file" in result.stderr
    assert f"skipped: {here}/{'x' * 300}: cannot be read: File name too long" in result.stderr
    assert ": 1 done, 3 failed of 4 in" in result.stderr


@pytest.mark.parametrize("arguments", [("x" * 300, "faces"), ("model.onnx", "x" * 300)])
def test_a_name_that_is_too_long_is_an_error_like_any_other(here: Path, arguments: tuple[str, str]):
    assert fsr_run(*arguments).exit_code == 4
