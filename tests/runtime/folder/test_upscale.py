"""What a run sets for its whole process holds for the run alone."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.errors import MissingError
from fsr_deploy.images.codec import write_frame
from fsr_deploy.images.opencv import cv2
from fsr_deploy.runtime.folder.jobs import find_work
from fsr_deploy.runtime.folder.upscale import SWITCH_INTERVAL, RunOptions, upscale_files
from fsr_deploy.runtime.session import Batch, EngineInfo, OutOfMemory
from tests.engines import repeat_pixels


def settings() -> tuple[int, float]:
    return cv2.getNumThreads(), sys.getswitchinterval()


class Session:
    in_flight = 1
    info = EngineInfo("fake", "cpu", "fp32", "0" * 64, (4, 4), (32, 32), best_batch=1, max_batch=1)

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.seen: list[tuple[int, float]] = []

    def upscale(self, batch: Batch) -> Batch:
        self.seen.append(settings())
        if self.fails:
            raise OutOfMemory("no room")
        return repeat_pixels(batch)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("fails", [False, True])
def test_threads_of_opencv_and_turns_of_python_are_as_before_after_a_run(tmp_path: Path, fails: bool) -> None:
    write_frame(tmp_path / "face.png", np.zeros((4, 4, 3), np.uint8))
    before, session = settings(), Session(fails)
    work = find_work(str(tmp_path / "face.png"), str(tmp_path / "sr.png"), None)
    if fails:
        with pytest.raises(MissingError):
            upscale_files(session, work, RunOptions())
    else:
        assert upscale_files(session, work, RunOptions()).done == 1
    threads, interval = session.seen[0]
    assert (threads, interval) == (1, pytest.approx(SWITCH_INTERVAL))
    assert settings() == before
