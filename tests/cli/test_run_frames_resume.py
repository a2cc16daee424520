"""A run over whole frames goes on where it was ended, whatever ended it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.images.codec import write_frame
from tests.cli.runs import contents, succeed
from tests.cli.test_run_resume import start, wait_for_output
from tests.engines import write_onnx
from tests.faces.detectors import write_centerface

Make = Callable[[int, bool], tuple[str, ...]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Frames with none to three faces that a stand-in for a detector finds; gives the arguments of a run over them."""
    monkeypatch.chdir(tmp_path)

    def frames(count: int, faces_only: bool) -> tuple[str, ...]:
        write_onnx(Path("model.onnx"), scale=32, work=8)
        write_centerface(Path("detector.onnx"))
        rng = np.random.default_rng(3)
        for index in range(count):
            frame = rng.integers(0, 120, (64, 96, 3), np.uint8)
            for place in range(index % 4):
                frame[20:24, 4 + 32 * place : 8 + 32 * place] = (255, 0, 0)
            write_frame(f"frames/{index % 3}/{index:03}.png", frame)
        how = ("--faces-only",) if faces_only else ("--upscale", "2")
        return ("model.onnx", "frames", "--find-faces", "detector.onnx", "--all-faces", "--batch", "4", *how)

    return frames


def kill_and_resume(arguments: tuple[str, ...], moments: list[int], whole: int) -> None:
    """End runs when so many outputs are there, with a signal that nobody can catch, and go on each time."""
    undisturbed = contents("undisturbed")
    generator = random.Random(4)
    for wanted in moments:
        process = start(*arguments, "-o", "out")
        wait_for_output(process, "out", wanted)
        time.sleep(generator.uniform(0, 0.03))
        process.kill()
        process.communicate()
        there = {name: content for name, content in contents("out").items() if name.endswith(".png")}
        assert there.items() <= undisturbed.items(), "nothing half-written has a final name"
    succeed(*arguments, "-o", "out", "--save-boxes", "found.csv")
    assert contents("out") == undisturbed and len(undisturbed) == whole
    assert Path("found.csv").read_bytes() == Path("boxes.csv").read_bytes()


@pytest.mark.parametrize("faces_only", [False, True])
def test_killed_at_any_moment_and_run_again_the_bytes_are_the_same(make: Make, faces_only: bool) -> None:
    arguments = make(24, faces_only)
    succeed(*arguments, "-o", "undisturbed", "--save-boxes", "boxes.csv")
    kill_and_resume(arguments, [2, 13] if faces_only else [1, 9, 17], 36 if faces_only else 24)


@pytest.mark.integration
@pytest.mark.parametrize("faces_only", [False, True])
def test_killed_at_25_moments_of_500_frames(make: Make, faces_only: bool) -> None:
    arguments = make(500, faces_only)
    succeed(*arguments, "-o", "undisturbed", "--save-boxes", "boxes.csv")
    whole = 750 if faces_only else 500
    moments = sorted(random.Random(5).sample(range(whole - 20), 25))
    kill_and_resume(arguments, moments, whole)
