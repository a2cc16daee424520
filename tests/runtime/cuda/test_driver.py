from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fsr_deploy.errors import ExitCode, MissingError
from fsr_deploy.runtime.cuda import driver
from tests.fakes.machine import MachineFactory

# The driver's C functions, as cuda.h declares them, for a machine with two GPUs.
LIBCUDA = r"""
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
typedef int CUresult, CUdevice;
CUresult cuInit(unsigned int flags) { const char *code = getenv("STUB_CUINIT"); return code ? atoi(code) : 0; }
CUresult cuDriverGetVersion(int *version) { *version = 12080; return 0; }
CUresult cuDeviceGetCount(int *count) { *count = 2; return 0; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) { *device = ordinal; return 0; }
CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  snprintf(name, length, "Card %d", device); return 0; }
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) { *bytes = (size_t)(device + 1) << 33; return 0; }
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  *value = attribute == 75 ? 8 + device : attribute == 76 ? 9 : -1; return 0; }
CUresult cuGetErrorName(CUresult error, const char **name) { *name = "CUDA_ERROR_UNKNOWN"; return 0; }
"""
ASK = """
import dataclasses, json
from fsr_deploy.errors import MissingError
from fsr_deploy.runtime.cuda.driver import find_driver
try:
    print(json.dumps(dataclasses.asdict(find_driver())))
except MissingError as error:
    print(json.dumps(str(error)))
"""


def test_a_machine_without_a_driver_is_told_in_one_sentence() -> None:
    if Path(f"/usr/lib/x86_64-linux-gnu/{driver.LIBRARY}").exists():
        pytest.skip("a driver is there")
    with pytest.raises(MissingError) as caught:
        driver.find_gpu()
    assert str(caught.value) == "this machine has no NVIDIA driver (libcuda.so.1 is not found)"
    assert caught.value.exit_code == ExitCode.MISSING
    assert not driver.has_gpu()


@pytest.fixture(scope="module")
def libcuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a driver library that a C compiler made."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "stub.c").write_text(LIBCUDA)
    library = str(folder / "libcuda.so.1")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(folder / "stub.c")], check=True)
    return folder


def ask(folder: Path, **environment: str) -> object:
    variables = {**os.environ, "LD_LIBRARY_PATH": str(folder), **environment}
    answer = subprocess.run([sys.executable, "-c", ASK], env=variables, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def test_the_gpus_of_a_driver_library_are_listed(libcuda: Path) -> None:
    answer = ask(libcuda)
    assert isinstance(answer, dict)
    assert answer["cuda"] == [12, 8]
    assert answer["gpus"] == [
        {"index": 0, "name": "Card 0", "compute_capability": [8, 9], "memory": 1 << 33},
        {"index": 1, "name": "Card 1", "compute_capability": [9, 9], "memory": 2 << 33},
    ]


def test_a_driver_without_a_gpu_names_what_may_hide_it(libcuda: Path) -> None:
    answer = ask(libcuda, STUB_CUINIT="100", CUDA_VISIBLE_DEVICES="")
    assert answer == "the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES is '')"


def test_a_driver_that_fails_is_named_with_its_error(libcuda: Path) -> None:
    assert ask(libcuda, STUB_CUINIT="999") == (
        "the NVIDIA driver does not work: cuInit failed with CUDA_ERROR_UNKNOWN (999); check with nvidia-smi"
    )


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(machine: MachineFactory) -> None:
    machine("10.16", count=2)
    assert driver.find_gpu(1).sm == "sm_90"
    with pytest.raises(MissingError, match="no device is called cuda:2 here; there is cuda:0, cuda:1"):
        driver.find_gpu(2)
