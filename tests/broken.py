"""Libraries as broken installations leave them: folders for PYTHONPATH, and what each of them does when imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STATES = {
    "a system library that is not there": ("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')"),
    "another NumPy": ("onnxruntime", "raise AttributeError('_ARRAY_API not found')"),
    "half removed": ("onnxruntime", ""),
    "a module that is missing within": ("onnx", "import onnx.onnx_cpp2py_export"),
    "a system library that does not load": (
        "torch",
        "raise OSError('libcudart.so.13: cannot open shared object file')",
    ),
    "a driver that is too old": ("tensorrt", "raise RuntimeError('CUDA initialization failure with error: 35')"),
    "a damaged file": ("numpy", "def ("),
    "a file of zeros": ("numpy", "\0\0\0\0"),
    "a lock that is broken": ("filelock", "raise ImportError('no _unix')"),
    "an import that ends Python": ("cv2", "import os; os.abort()"),
}
# What makes each of the libraries that take seconds to import look whole, in no time.
WHOLE = {
    "torch": "Tensor = 1",
    "onnx": "load = 1",
    "onnxscript": "ir = 1",
    "safetensors": "safe_open = 1",
    "lightning_fabric": "Fabric = 1",
}


def write(folder: Path, module: str, content: str) -> Path:
    """Write a package of one file and return the folder to import it from."""
    (folder / module).mkdir(parents=True, exist_ok=True)
    (folder / module / "__init__.py").write_text(content)
    return folder


def fsr(command: str, *arguments: str, libraries: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of this package in a process of its own, with a folder of libraries before all others."""
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{libraries}{os.pathsep}{root}", "PYTHONDONTWRITEBYTECODE": "1"}
    line = [sys.executable, "-m", f"fsr_deploy.cli.{command}", *arguments]
    return subprocess.run(line, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
