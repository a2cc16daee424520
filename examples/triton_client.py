"""Upscale pictures with a model that fsr-serve wrote and Triton serves, over HTTP or gRPC.

python examples/triton_client.py MODEL INPUT OUTPUT [--protocol grpc] [--url 127.0.0.1:8001]

Faces go over the wire as they are in memory, not as JSON. Several requests are always on their way, so that the server
can put their faces together into batches. Only make_lr_faces needs fsr-deploy: a client that sends LR faces which it
made in another way gets what the network makes of those.
"""

from __future__ import annotations

import argparse
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.images.codec import read_frame, write_frame
from fsr_deploy.images.resize import lr_face

Face = NDArray[np.uint8]
PORTS = {"http": 8000, "grpc": 8001}


def main() -> None:
    """Upscale all PNG and JPEG files of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--protocol", choices=PORTS, default="http")
    parser.add_argument("--url", help="HOST:PORT (default: Triton's port on 127.0.0.1)")
    parser.add_argument("--requests", type=int, default=8, help="how many are on their way at a time (default: 8)")
    given = parser.parse_args()
    infer, size = connect(given.model, given.protocol, given.url or f"127.0.0.1:{PORTS[given.protocol]}")
    paths = [path for path in sorted(given.input.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg")]
    start, seconds = time.perf_counter(), []
    with ThreadPoolExecutor(given.requests) as pool:
        for path, (sr, took) in zip(paths, pool.map(timed(infer), make_lr_faces(paths, size)), strict=True):
            write_frame(given.output / f"{path.stem}.png", sr)
            seconds.append(took)
    rate = len(paths) / (time.perf_counter() - start)
    print(f"{len(paths)} faces, {rate:.1f} faces/s; a request took {1000 * float(np.median(seconds)):.1f} ms (median)")


def make_lr_faces(paths: list[Path], size: tuple[int, int]) -> Iterator[Face]:
    """Yield each picture as an LR face (h, w, 3) uint8 RGB, made as fsr-run makes it."""
    return (lr_face(read_frame(path), size) for path in paths)


def connect(model: str, protocol: str, url: str) -> tuple[Callable[[Face], Face], tuple[int, int]]:
    """Return a function from an LR face (h, w, 3) to its SR face (H, W, 3), for any thread, and (h, w)."""
    triton = importlib.import_module(f"tritonclient.{protocol}")
    names, size = describe(triton.InferenceServerClient(url), model, protocol)
    clients = threading.local()  # Triton's clients are for one thread each
    # HTTP carries JSON unless binary data is asked for; gRPC always carries bytes.
    binary = {"binary_data": True} if protocol == "http" else {}

    def infer(face: Face) -> Face:
        if not hasattr(clients, "own"):
            clients.own = triton.InferenceServerClient(url)
        batch = triton.InferInput(names[0], (1, *face.shape), "UINT8")
        batch.set_data_from_numpy(face[None], **binary)
        asked = triton.InferRequestedOutput(names[1], **binary)
        answer = clients.own.infer(model, [batch], outputs=[asked])
        sr: Face = answer.as_numpy(names[1])[0]
        return sr

    return infer, size


def describe(client: Any, model: str, protocol: str) -> tuple[tuple[str, str], tuple[int, int]]:
    """Return the names of a model's input and output, and (h, w) of its LR faces."""
    about = client.get_model_metadata(model, **({"as_json": True} if protocol == "grpc" else {}))
    _, h, w, _ = map(int, about["inputs"][0]["shape"])
    return (about["inputs"][0]["name"], about["outputs"][0]["name"]), (h, w)


def timed(infer: Callable[[Face], Face]) -> Callable[[Face], tuple[Face, float]]:
    """Return the function with the seconds that it took."""

    def measured(face: Face) -> tuple[Face, float]:
        start = time.perf_counter()
        return infer(face), time.perf_counter() - start

    return measured


if __name__ == "__main__":
    main()
