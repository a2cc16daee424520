"""A library that cannot be imported, for whatever reason, is one sentence with the next step and exit code 3."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fsr_deploy._util.imports import LIBRARIES, BrokenLibrary, import_fault, load
from fsr_deploy.errors import ExitCode, MissingError
from tests.broken import STATES, fsr, write
from tests.engines import write_onnx

ARGUMENTS = {
    "run": ("model.onnx", "frames"),
    "export": ("aminet-tiny", "-o", "out"),
    "profile": ("model.onnx", "--batches", "1", "--seconds", "0.1"),
    "eval": ("model.onnx", "--data", "faces:1"),
    "train": ("aminet-tiny", "--data", "faces:2", "-o", "out"),
}

NOT_IN_DEV = ("tensorrt", "openvino", "spandrel", "ray.data", "gradio")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_onnx(tmp_path / "model.onnx")
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "face.png"), np.zeros((4, 4, 3), np.uint8))
    return tmp_path


def test_a_library_that_asks_for_the_home_of_a_user_without_one_is_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenVINO does, for a container's user without an entry in /etc/passwd."""
    pwd = pytest.importorskip("pwd")

    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.syspath_prepend(write(tmp_path, "homely", "from pathlib import Path\nHOME = Path.home()"))
    library = load("homely")
    assert str(library.HOME) == os.devnull
    assert "HOME" not in os.environ


@pytest.mark.parametrize("module", [name for name in LIBRARIES if name not in NOT_IN_DEV])
def test_every_library_is_known_by_something_that_it_holds(module: str) -> None:
    assert hasattr(load(module), LIBRARIES[module].member)


@pytest.mark.parametrize("state", [state for state in STATES if "ends Python" not in state])
def test_a_broken_library_is_named_with_its_reason_and_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    module, content = STATES[state]
    monkeypatch.syspath_prepend(write(tmp_path, module, content))
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BrokenLibrary) as caught:
        load(module)
    assert caught.value.exit_code == ExitCode.MISSING
    assert str(caught.value).startswith(f"{LIBRARIES[module].title} is broken (")
    assert str(caught.value).endswith(f"); mend it with: {LIBRARIES[module].mend}")


@pytest.mark.parametrize("module", ["onnxruntime", "tensorrt", "cuda.bindings.runtime", "openvino", "cv2"])
def test_a_library_that_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingError, match=r"^.* is not installed; install it with: pip install ") as caught:
        load(module)
    assert not isinstance(caught.value, BrokenLibrary)
    assert str(caught.value).endswith(LIBRARIES[module].install)


def test_the_two_onnx_runtimes_are_uninstalled_before_one_is_installed() -> None:
    mend = LIBRARIES["onnxruntime"].mend
    assert mend.startswith("pip uninstall -y onnxruntime onnxruntime-gpu; pip install 'fsr-deploy[cpu]', or ")
    assert "opencv-python opencv-python-headless" in LIBRARIES["cv2"].mend


def test_the_innermost_library_is_the_culprit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "numpy", "raise ImportError('multiarray failed to import')")
    monkeypatch.syspath_prepend(write(tmp_path, "cv2", "import numpy"))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("cv2", "numpy")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BrokenLibrary, match=r"^NumPy is broken"):
        load("cv2")


COMMANDS = [
    *((command, "a damaged file") for command in ARGUMENTS),
    ("run", "a system library that is not there"),
    ("train", "a system library that does not load"),
    *((command, "half removed") for command in ("run", "export", "profile")),
    *((command, "another NumPy") for command in ("run", "profile")),
]


@pytest.mark.parametrize(("command", "state"), COMMANDS)
def test_a_command_ends_with_one_sentence_and_exit_3(here: Path, command: str, state: str) -> None:
    module, content = STATES[state]
    done = fsr(command, *ARGUMENTS[command], libraries=write(here / "libraries", module, content), cwd=here)
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    assert last.startswith(f"error: {LIBRARIES[module].title} is broken (") and "pip " in last


def test_an_export_without_onnx_runtime_says_which_of_the_two_to_install(here: Path) -> None:
    stub = write(here / "libraries", "onnxruntime", "raise ModuleNotFoundError(\"No module\", name='onnxruntime')")
    done = fsr("export", *ARGUMENTS["export"], libraries=stub, cwd=here)
    assert done.returncode == 3
    assert "pip install 'fsr-deploy[export,cpu]', or 'fsr-deploy[export,gpu]' on a machine with" in done.stderr


def raised_by(work: object) -> Exception:
    with pytest.raises(Exception) as caught:
        work()  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    "work",
    [
        lambda: [][1],
        lambda: {}["missing"],
        lambda: int("x"),
        lambda: sys.nothing,  # type: ignore[attr-defined]
        lambda: LIBRARIES["cv2"].nothing,  # type: ignore[attr-defined]
        lambda: load("numpy").zeros(-1),
        lambda: load("numpy").nothing,
        lambda: __import__("fsr_deploy.nothing"),
    ],
)
def test_a_defect_is_no_broken_library(work: object) -> None:
    assert import_fault(raised_by(work)) is None
