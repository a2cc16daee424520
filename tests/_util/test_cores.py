"""Affinity and a container's quota bound how many threads are started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsr_deploy._util import cores
from fsr_deploy._util.cores import bound_libraries, physical_cores, quota, usable_cores

V2 = "30 23 0:26 {root} {mount} rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = (
    "32 31 0:29 {root} {mount}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / {mount}/memory rw - cgroup cgroup rw,memory\n"
)


def lay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, group: str, files: dict[str, str], root: str = "/"
) -> None:
    """Make /proc/self/cgroup, /proc/self/mountinfo and the groups' files."""
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "mountinfo").write_text(
        "22 1 0:20 / /proc rw - proc proc rw\n" + mounts.format(root=root, mount=tmp_path)
    )
    (tmp_path / "cgroup").write_text(group)
    monkeypatch.setattr(cores, "MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_allowed", lambda: set(range(64)))
    monkeypatch.setattr(cores, "_siblings", lambda cpu: str(cpu % 32))


@pytest.mark.parametrize(
    ("mounts", "group", "files", "root", "limit"),
    [
        pytest.param(V2, "0::/\n", {"cpu.max": "200000 100000"}, "/", 2.0, id="version 2, a container's own root"),
        pytest.param(V2, "0::/a/b\n", {"a/b/cpu.max": "150000 100000"}, "/", 1.5, id="version 2, nested"),
        pytest.param(
            V2,
            "0::/a/b\n",
            {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "max 100000"},
            "/",
            3.0,
            id="version 2, an outer group limits",
        ),
        pytest.param(V2, "0::/k/pod/c\n", {"cpu.max": "50000 100000"}, "/k/pod/c", 0.5, id="version 2, bind-mounted"),
        pytest.param(V2, "0::/\n", {"cpu.max": "max 100000"}, "/", None, id="version 2, no limit"),
        pytest.param(V2, "0::/gone\n", {}, "/", None, id="version 2, no files"),
        pytest.param(V2, "0::/\n", {"cpu.max": "nonsense"}, "/", None, id="version 2, nonsense"),
        pytest.param(
            V1,
            "4:memory:/x\n1:cpu,cpuacct:/docker/1\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"},
            "/docker/1",
            2.5,
            id="version 1, a container",
        ),
        pytest.param(
            V1,
            "1:cpu,cpuacct:/user\n",
            {"cpu/user/cpu.cfs_quota_us": "-1", "cpu/user/cpu.cfs_period_us": "100000"},
            "/",
            None,
            id="version 1, no limit",
        ),
        pytest.param("", "", {}, "/", None, id="no control groups"),
    ],
)
def test_the_quota_is_the_lowest_of_the_groups_that_hold_the_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mounts: str,
    group: str,
    files: dict[str, str],
    root: str,
    limit: float | None,
) -> None:
    lay(tmp_path, monkeypatch, mounts, group, files, root)
    assert quota() == limit


@pytest.mark.parametrize(
    ("limit", "usable", "physical"), [("1000", 1, 1), ("150000", 2, 2), ("4000000", 40, 32), ("9900000", 64, 32)]
)
def test_the_quota_bounds_logical_and_physical_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, usable: int, physical: int
) -> None:
    lay(tmp_path, monkeypatch, V2, "0::/\n", {"cpu.max": f"{limit} 100000"})
    assert (usable_cores(), physical_cores()) == (usable, physical)


def test_libraries_with_threads_of_their_own_are_told_and_the_users_choice_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    lay(tmp_path, monkeypatch, V2, "0::/\n", {"cpu.max": "max 100000"})
    bound_libraries()
    assert "OMP_NUM_THREADS" not in os.environ
    (tmp_path / "cpu.max").write_text("200000 100000")
    bound_libraries()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    bound_libraries()
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.fixture
def group() -> Iterator[Path]:
    """Make a control group of half a core, where this process may."""
    for folder in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        path = folder / f"fsr-deploy-{os.getpid()}"
        limits = {"cpu.max": "50000 100000"} if folder.name == "cgroup" else {"cpu.cfs_quota_us": "50000"}
        try:
            path.mkdir()
            for name, value in limits.items():
                (path / name).write_text(value)
        except OSError:
            if path.is_dir():
                path.rmdir()
            continue
        yield path
        path.rmdir()
        return
    pytest.skip("no control groups that can be written")


def test_a_process_in_a_group_of_half_a_core_uses_one(group: Path) -> None:
    code = (
        f"from pathlib import Path; Path({str(group / 'cgroup.procs')!r}).write_text('0')\n"  # 0: whoever writes
        "from fsr_deploy._util.cores import *; print(quota(), usable_cores(), physical_cores())\n"
        "print(Path('/proc/self/cgroup').read_text(), Path('/proc/self/mountinfo').read_text())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cores.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    answer, _, around = done.stdout.partition("\n")
    if done.returncode or group.name not in around:
        pytest.skip(f"no process can be put into a control group here: {done.stderr[-300:] or around}")
    assert answer == "0.5 1 1", around
