"""A stand-in for both Pythons of a GPU day: writes the rows that a step would write, at once, and of the same form.

STAND_IN_STEPS, JSON, says of modules how they go wrong ("hang", "stubborn", "crash", "refuse"), after they have
written a row, and how many seconds a row takes ("pause").
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.day.process import MARK
from benchmarks.rows import Rows

ROOT = Path(__file__).parents[2]
HANG = "hanging"  # the folder in a day's with the numbers of processes that hang
PLAN_MS = {"aminet-fp16": 0.9, "aminet-int8-fp16": 0.8, "tiny-fp16": 0.2}
EAGER = (("eager FP16 channels-last", 64, 9.0), ("eager FP32", 64, 30.0), ("torch.compile max-autotune FP16", 64, 9.6))


def write(path: Path) -> Path:
    """Write the command that starts this."""
    path.write_text(
        f"#!{sys.executable} -SE\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.benchmarks.stand_in_steps import main\nmain()\n"
    )
    path.chmod(0o755)
    return path


def main() -> None:
    module, *words = sys.argv[2:]
    if sys.argv[1] == "-c":
        sys.exit("a stand-in runs no code")
    name = module.rpartition(".")[2]
    bundle = Path(words[0]).name if words else ""
    goes_wrong = json.loads(os.environ.get("STAND_IN_STEPS", "{}"))
    path = words[words.index("-o") + 1] if name.startswith("gpu_") or name == "facts" else os.environ["FSR_GPU_ROWS"]
    print(f"stand-in for {name} {bundle}", flush=True)
    for key, values in rows_of(name, bundle, words):
        rows = Rows(Path(path), str(key.pop("question")), go_on=True)
        if not rows.has(**key):
            rows.add(key, values)
            time.sleep(goes_wrong.get("pause", 0))
            go_wrong(goes_wrong.get(name, ""))
    if name == "gpu_build":
        (Path(words[0]) / "engine.plan").write_bytes(b"plan")


def rows_of(name: str, bundle: str, words: list[str]) -> list[tuple[dict[str, object], dict[str, object]]]:
    """Return key and values of each row of a step."""

    def option(flag: str) -> str:
        return words[words.index(flag) + 1]

    if name == "facts":
        return [({"question": "facts", "fact": "gpu"}, {"value": "NVIDIA H100"})]
    if name == "gpu_build":
        values = {"build_s": 60.0, "with_proof_s": 61.0, "plan_mib": 40.0, "within_budget": True}
        return [({"question": "build", "bundle": bundle, "level": int(option("--level")), "timings": "kept"}, values)]
    if name == "gpu_parity":
        key = {"question": "parity", "bundle": bundle}
        eager: dict[str, object] = {"psnr_db": 55.5, "right": True}
        return [
            ({**key, "comparison": "eager in FP32", "batch": int(batch)}, eager)
            for batch in option("--batches").split(",")
        ] + [
            (
                {**key, "comparison": "in flight with graphs, one at a time without"},
                {"batches": 200, "differing": 0, "right": True},
            )
        ]
    if name == "gpu_speed":
        ms = PLAN_MS.get(bundle, 2.0)
        key = {"question": "speed", "bundle": bundle}
        return [
            ({**key, "engine": f"TensorRT, {engine}", "batch": 1}, {"ms": ms, "p99_ms": 2 * ms})
            for engine in ("CUDA graph", "no CUDA graph")
        ] + [
            (
                {**key, "engine": "TensorRT, batches in flight", "batch": int(batch)},
                {"faces_per_s": 8000.0 / ms, "gpu_mib": 900.0},
            )
            for batch in option("--batches").split(",")
        ]
    if name == "gpu_eager":
        return [
            (
                {"question": "eager", "model": "aminet", "engine": engine, "batch": batch},
                {"ms": ms, "faces_per_s": 1000 * batch / ms},
            )
            for engine, batch, ms in EAGER
        ]
    if name == "gpu_layers":
        key = {"question": "layers", "bundle": bundle, "batch": int(option("--batch"))}
        return [
            ({**key, "what": "times"}, {"modules": [{"module": "enc1.sa", "ms": 2.0, "share": 0.5}]}),
            ({**key, "what": "description"}, {"layers": []}),
        ]
    if name == "gpu_pipeline":
        figures = {"faces": 2000, "end_to_end": 5000.0, "efficiency": 0.93, "bottleneck": "encode"}
        return [({"question": "pipeline", "bundle": bundle, "format": "png"}, figures)]
    if name == "pytest":
        return [({"question": "tests", "test": f"t.py::{words[-1]}", "when": "call"}, {"outcome": "passed"})]
    return []


def go_wrong(how: str) -> None:
    """Fail as a process can."""
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "refuse":
        sys.exit("the library says no")
    if how in ("hang", "stubborn"):
        if how == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        hanging = Path(os.environ[MARK], HANG)
        hanging.mkdir(exist_ok=True)
        (hanging / str(os.getpid())).touch()
        time.sleep(600)
