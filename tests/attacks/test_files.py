"""Hostile files end with one sentence or with what they hold: no traceback, no endless reading, no other file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import INFO_NAME, read_bundle
from fsr_deploy.errors import FsrError
from fsr_deploy.faces.boxes import read_boxes
from fsr_deploy.faces.detector import open_detector
from fsr_deploy.images.codec import read_frame
from fsr_deploy.runtime.cuda.driver import Gpu
from fsr_deploy.runtime.folder.journal import NAME as JOURNAL
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.tensorrt.preflight import PlanHost, check_file, check_machine, this_platform
from tests.attacks import hostile_files as hostile
from tests.fakes.plans import describe, plan_info

pytestmark = pytest.mark.timeout(60)


def outcomes(folder: Path, files: hostile.Files, read: Callable[[Path], Any]) -> dict[str, Any]:
    """Read each file; returns what was read, or the sentence of the FsrError that was raised."""
    folder.mkdir(exist_ok=True)
    done = {}
    for name, content in files:
        path = folder / name
        path.write_bytes(content)
        try:
            done[name] = read(path)
        except FsrError as error:
            assert str(path) in str(error) and "\n" not in str(error), name
            done[name] = str(error)
    return done


def good(done: dict[str, Any]) -> set[str]:
    """Return what did not end with a sentence."""
    return {name for name, outcome in done.items() if not isinstance(outcome, str)}


def test_pictures(tmp_path: Path) -> None:
    done = outcomes(tmp_path, hostile.pictures(), read_frame)
    harmless = {name for name in good(done) if done[name].size <= 3 * 64 * 64}
    assert good(done) == harmless
    assert not harmless & {name for name in done if name.startswith(("huge", "of_no_", "a_gigapixel", "a_program"))}


def test_boxes(tmp_path: Path) -> None:
    assert good(outcomes(tmp_path, hostile.boxes(), read_boxes)) == set()


def test_bundles(tmp_path: Path) -> None:
    def read(path: Path) -> Any:
        path.replace(path.with_name(INFO_NAME))
        try:
            return read_bundle(path.parent)
        except FsrError as error:
            raise type(error)(str(error).replace(INFO_NAME, path.name)) from error

    assert good(outcomes(tmp_path / "bundle", hostile.descriptions(tmp_path / "seed"), read)) == {"utf_16"}


@pytest.mark.parametrize("name", ["model.onnx", "engine.plan", "bundle.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(FsrError, match=name):
        open_session(tmp_path if name == INFO_NAME else tmp_path / name, trust=True)


def test_journals(tmp_path: Path) -> None:
    """A run goes on as if the lines were not there; it replaces nothing because of them."""

    def read(path: Path) -> Any:
        folder = tmp_path / f"out_{path.name}"
        folder.mkdir()
        path.replace(folder / JOURNAL)
        (folder / "a.png").write_bytes(b"somebody's")
        journal = Journal(folder)
        try:
            assert journal.is_foreign(folder / "a.png") and not journal.has(folder / "a.png", ["a"])
            assert all(type(batch) is int and batch > 0 for batch in journal.batches("a", 8))
            journal.add(folder / "a.png", "key", b"ours")
        finally:
            journal.close()
        again = Journal(folder)
        (folder / "a.png").write_bytes(b"ours")
        assert not again.is_foreign(folder / "a.png") and again.has(folder / "a.png", ["key"])
        again.close()
        return True

    assert all(done is True for done in outcomes(tmp_path / "made", hostile.journals(), read).values())


def test_headers_of_plans(tmp_path: Path) -> None:
    here = PlanHost("10.16.1.11", Gpu(0, "NVIDIA H100", (9, 0), 80 << 30), this_platform())

    def of_a_bundle(path: Path) -> Any:
        content = path.read_bytes()
        info = describe()
        object.__setattr__(info, "plan", plan_info())
        check_file(EngineFile(path, content, hashlib.sha256(content).hexdigest(), info), trust=False)
        return content

    def foreign(path: Path) -> Any:
        content = path.read_bytes()
        file = EngineFile(path, content, hashlib.sha256(content).hexdigest(), None)
        check_file(file, trust=True)
        return check_machine(file, here)

    assert good(outcomes(tmp_path, hostile.plans(), of_a_bundle)) == {"only_a_header"}
    # TensorRT for RTX counts its versions anew: what this one says of itself may be.
    assert good(outcomes(tmp_path, hostile.plans(), foreign)) == {"only_a_header", "of_another_kind"}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_detectors(tmp_path: Path) -> None:
    frame = np.full((96, 128, 3), 200, np.uint8)
    done = outcomes(
        tmp_path, hostile.detectors(tmp_path / "seed"), lambda path: open_detector(path, "cpu", threads=1).find(frame)
    )
    assert all(np.isfinite(face.box).all() for name in good(done) for face in done[name])
    freed = {"huge", "of_no_size"}  # sizes that a file fixes are not asked for
    assert good(done) <= {name for name in done if name.startswith("everywhere")} | freed
