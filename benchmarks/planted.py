"""Does fsr-profile find a module that takes a tenth longer, and stay silent where nothing has changed?

    fsr-export weights/aminet-tiny-faces.safetensors --target onnxruntime -o aminet-tiny
    python benchmarks/planted.py plant aminet-tiny work
    python benchmarks/planted.py measure work before planted again noisy noisy-again
    python benchmarks/planted.py judge work

``plant`` copies a bundle twice and gives one SKAF of the second copy more to do: an extra convolution of zeros,
added to the result of its branch, so that all faces stay as they are. ``measure`` profiles the copies with
the installed fsr-profile, each in a process of its own; the noisy ones while another process takes a core in bursts.
It can be called for one at a time. ``judge`` compares them with ``fsr-profile --compare`` and writes
``results/planted.json``.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from onnx import helper, numpy_helper

from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import ONNX_NAME, read_bundle, write_info
from fsr_deploy.bundle.layers import read_table
from fsr_deploy.profiling.record import Profile, read_profile
from fsr_deploy.runtime.backends.onnxruntime import OnnxSession

RESULT = Path(__file__).parent / "results" / "planted.json"
BRANCH = "{module}.branches.0/Conv_"
PROFILES = {"before": False, "planted": False, "again": False, "noisy": True, "noisy-again": True}
UNCHANGED = ("before", "again", "noisy", "noisy-again")
PAIRS = (("before", "planted"), ("again", "planted"), *combinations(UNCHANGED, 2))
BURST = "import time\nend = time.perf_counter() + {seconds}\nwhile time.perf_counter() < end: pass"
BURST_SECONDS = 1.5  # the longest; as long a pause follows

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def plant(
    bundle: Annotated[Path, typer.Argument(help="an FP32 bundle for the CPU with a SKAF in it")],
    work: Annotated[Path, typer.Argument(help="folder for the copies and their profiles")],
    module: Annotated[str, typer.Option(help="the SKAF that is made slower")] = "network.decoders.2.fusion",
    width: Annotated[int, typer.Option(help="of the extra convolution's kernel, odd; its height is 1")] = 7,
) -> None:
    """Copy a bundle twice, the second time with a module that has more to do."""
    before, after = work / "before" / bundle.name, work / "planted" / bundle.name
    for copy in (before, after):
        shutil.copytree(bundle, copy)
    model = onnx.load(after / ONNX_NAME)
    added = add_zeros(model.graph, BRANCH.format(module=module), width)
    onnx.save(model, after / ONNX_NAME)
    info = read_bundle(bundle).info
    write_info(after, info)
    table = read_table(read_bundle(after))
    (work / "planted.json").write_text(
        json.dumps({"module": module, "macs": table.modules[module].macs, "added": added})
    )
    print(f"{module}: {added:,} multiply-accumulates more than its {table.modules[module].macs:,}")
    same = [OnnxSession(read_engine_file(copy / ONNX_NAME), "cpu") for copy in (before, after)]
    faces = np.random.default_rng(0).integers(0, 256, (4, info.lr_size, info.lr_size, 3), np.uint8)
    if not np.array_equal(*(session.upscale(faces) for session in same)):
        sys.exit("the planted engine gives other faces")


def add_zeros(graph: onnx.GraphProto, branch: str, width: int) -> int:
    """Add a convolution with zero weights to the one whose name begins so; returns its products per face."""
    index, conv = next((i, node) for i, node in enumerate(graph.node) if node.name.startswith(branch))
    shapes = {value.name: value.type.tensor_type.shape for value in inferred(graph)}
    weight = numpy_helper.to_array(next(w for w in graph.initializer if w.name == conv.input[1]))
    zeros = np.zeros((weight.shape[0], shapes[conv.input[0]].dim[1].dim_value, 1, width), np.float32)
    graph.initializer.append(numpy_helper.from_array(zeros, f"{conv.name}.zeros"))
    path, result = conv.name.rpartition("/")[0], conv.output[0]
    extra = helper.make_node("Conv", [conv.input[0], f"{conv.name}.zeros"], [f"{path}/Conv_90001"])
    extra.attribute.append(helper.make_attribute("pads", [0, width // 2, 0, width // 2]))
    total = helper.make_node("Add", [f"{path}/Conv_90002", f"{path}/Conv_90001"], [result])
    extra.name, total.name, conv.output[0] = f"{path}/Conv_90001", f"{path}/Add_90003", f"{path}/Conv_90002"
    graph.node.insert(index + 1, extra)
    graph.node.insert(index + 2, total)
    height, width = (side.dim_value for side in shapes[result].dim[2:])
    return zeros.size * height * width


def inferred(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    return [*model.graph.value_info, *model.graph.input]


@app.command()
def measure(
    work: Annotated[Path, typer.Argument(help="the folder that plant wrote")],
    names: Annotated[list[str], typer.Argument(help=f"any of {', '.join(PROFILES)}")],
    seconds: Annotated[float, typer.Option(help="time for the engine, and as much again for its layers")] = 40.0,
) -> None:
    """Profile copies, each in a process of its own."""
    for name in names:
        (bundle,) = (work / ("planted" if name == "planted" else "before")).iterdir()
        options = ("--batches", "1", "--seconds", seconds, "--layers")
        with bursts() if PROFILES[name] else nullcontext():
            run("fsr-profile", bundle, *options, "-o", work / f"profile-{name}")


@contextmanager
def bursts() -> Iterator[None]:
    """Have another process take a core for up to 1.5 s at random times, half of the time in all."""
    over = threading.Event()

    def disturb() -> None:
        rng = random.Random(time.time())
        while not over.is_set():
            seconds = rng.uniform(0, BURST_SECONDS)
            subprocess.run([sys.executable, "-c", BURST.format(seconds=seconds)], check=True)
            over.wait(rng.uniform(0, BURST_SECONDS))

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@app.command()
def judge(
    work: Annotated[Path, typer.Argument(help="the folder that measure wrote profiles into")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the JSON file to write")] = RESULT,
) -> None:
    """Compare the profiles and write what was found."""
    profiles = {name: read_profile(work / f"profile-{name}") for name in PROFILES}
    planted = json.loads((work / "planted.json").read_text())
    before = profiles["before"]
    result = {
        "machine": before.machine.__dict__,
        "planted": planted,
        "profiles": {name: circumstances(profile, planted["module"]) for name, profile in profiles.items()},
        "comparisons": [comparison(work, *pair) for pair in PAIRS],
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("planted", "profiles", "comparisons")}, indent=2))


def circumstances(profile: Profile, module: str) -> dict[str, Any]:
    engine = profile.engines[0]
    assert engine.layers is not None
    times = {entry.module: entry.time for entry in engine.layers.modules}
    return {
        "others": profile.load.others,
        "stolen": profile.load.stolen,
        "yardstick_ms": vars(profile.yardstick),
        "batch_1_ms": vars(engine.batches[0].latency.p50),
        "module_ms": vars(times[module]),
    }


def comparison(work: Path, old: str, new: str) -> dict[str, Any]:
    command = ("fsr-profile", "--compare", work / f"profile-{old}", work / f"profile-{new}", "--json")
    code, text = run(*command, check=False)
    found = json.loads(text)
    return {"old": old, "new": new, "exit": code, **found}


def run(name: str, *arguments: object, check: bool = True) -> tuple[int, str]:
    words = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=check)
    return done.returncode, done.stdout


if __name__ == "__main__":
    app()
