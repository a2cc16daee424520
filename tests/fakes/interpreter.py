"""A Python on whose machine there is a GPU, as far as it can tell: ``-m MODULE`` or ``-c CODE``, with stand-ins.

Nothing takes long: what is measured for so many seconds or over so many files is cut short, libraries are not tried by
being imported in processes of their own, and of the tests one is run.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

SHORT = {"--seconds": "0", "--count": "20", "-k": "header"}


def write_interpreter(path: Path, release: str) -> Path:
    """Write the command that starts this; its children start themselves by it too."""
    path.write_text(f'#!/bin/sh\nSTAND_IN={path} STAND_IN_RELEASE={release} exec {sys.executable} -m {__name__} "$@"\n')
    path.chmod(0o755)
    return path


def main() -> None:
    from fsr_deploy.exporting.tensorrt import child
    from fsr_deploy.runtime import checkup
    from fsr_deploy.runtime.cuda import api as cuda
    from fsr_deploy.runtime.cuda import driver
    from tests.fakes.cuda import Cuda
    from tests.fakes.machine import FakeDriver, build_here
    from tests.fakes.tensorrt import make

    fake_cuda, fake_driver = Cuda(), FakeDriver()
    sys.modules["tensorrt"] = make(os.environ["STAND_IN_RELEASE"], fake_cuda)
    cuda.runtime = lambda: fake_cuda
    driver._load_library = lambda: fake_driver
    child.build = build_here
    checkup.try_imports = lambda modules: {}
    sys.executable = os.environ["STAND_IN"]
    _, flag, module, *words = sys.argv
    if flag == "-c":
        exec(module)
        return
    sys.argv = [module, *(SHORT.get(before, word) for before, word in zip(("", *words), words, strict=False))]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
