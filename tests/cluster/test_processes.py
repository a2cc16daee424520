"""No process of a cluster outlives a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsr_deploy.cluster import processes
from fsr_deploy.cluster.processes import descendants, end

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a system without /proc")
TREE = "import subprocess, sys; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); c.wait()"


def test_all_processes_below_are_found_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.1)
    with subprocess.Popen([sys.executable, "-c", TREE], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        grandchild = int(child.stdout.readline())
        found = descendants(os.getpid())
        assert {child.pid, grandchild} <= set(found)
        mine = {pid: found[pid] for pid in (child.pid, grandchild)}
        end({grandchild: "0"})
        assert grandchild in descendants(os.getpid()), "another process with that number is not ours to end"
        end(mine)
        child.wait(60)
    assert not set(mine) & set(descendants(os.getpid()))
