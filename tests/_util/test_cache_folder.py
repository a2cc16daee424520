"""The folder for caches: where it is, and that doing without it costs one warning."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from fsr_deploy._util import cache_folder as cachedir
from fsr_deploy._util.cache_folder import cache_folder, keep

NOBODY = 12345  # a user without an entry in /etc/passwd


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cachedir, "_warned", set())


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"FSR_CACHE": "/a/b", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/a/b"),
        ({"FSR_CACHE": "", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/fsr-deploy"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/fsr-deploy"),
        ({"HOME": "/h"}, "/h/.cache/fsr-deploy"),
    ],
)
def test_the_folder_is_the_one_that_was_named_or_the_users(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("FSR_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


def test_without_a_home_nothing_is_cached_and_one_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_entry(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("FSR_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    assert (cache_folder(), cache_folder()) == (None, None)
    assert capsys.readouterr().err == (
        "warning: nothing is cached: this user has no home directory; name a folder with FSR_CACHE=FOLDER\n"
    )


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for name in ("one", "two"):
        keep(tmp_path / "file" / name, b"x")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"warning: not cached: {tmp_path / 'file' / 'one'}: cannot be")


def test_what_is_kept_appears_whole(tmp_path: Path) -> None:
    keep(tmp_path / "new" / "file", b"content")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "new").iterdir()] == [("file", b"content")]


AS_NOBODY = f"""
import os
from pathlib import Path
import numpy as np
import onnx
from fsr_deploy.exporting.tensorrt import timing_cache
from fsr_deploy.exporting.int8 import ranges
from fsr_deploy.runtime.cuda.driver import Gpu
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
path = ranges.cache_path(onnx.ModelProto(), ["x"], [("x", np.zeros(1))], "max")
assert ranges.load(path, ["x"]) is None
ranges.keep(path, {{"x": 1.0}})
timings = timing_cache.default_path("10.0", Gpu(0, "H100", (9, 0), 1))
print(path, timings)
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("chosen", [False, True])
def test_a_container_user_without_a_home_can_calibrate(tmp_path: Path, chosen: bool) -> None:
    """Both caches, in a process that has become such a user, with and without FSR_CACHE."""
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    for parent in folder.parents:
        if parent.is_relative_to(Path("/tmp")) and parent != Path("/tmp") and parent.owner() == "root":
            parent.chmod(parent.stat().st_mode | 0o711)
    environment = {
        "PYTHONPATH": str(Path(cachedir.__file__).parents[2]),
        **({"FSR_CACHE": str(folder)} if chosen else {}),
    }
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if chosen:
        assert str(folder) in done.stdout and len(list(folder.iterdir())) == 1 and done.stderr == ""
    else:
        assert done.stdout == "None None\n"
        assert done.stderr.splitlines() == [
            "nothing is cached: this user has no home directory; name a folder with FSR_CACHE=FOLDER"
        ]
