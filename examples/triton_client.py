"""Upscale pictures with a model that fsr-serve wrote and Triton serves, over HTTP or gRPC.

python examples/triton_client.py MODEL INPUT OUTPUT [--protocol grpc] [--url 127.0.0.1:8001] [--shared-memory]

Faces go over the wire as they are in memory, not as JSON; with --shared-memory they do not go over it at all, where the
server is on the same machine and shares its memory (in containers, --ipc=host). Several requests are always on their
way, so that the server can put their faces together into batches. Only make_lr_faces needs fsr-deploy: a client that
sends LR faces which it made in another way gets what the network makes of those.
"""

from __future__ import annotations

import argparse
import importlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.images.codec import read_frame, write_frame
from fsr_deploy.images.resize import lr_face

Face = NDArray[np.uint8]
PORTS = {"http": 8000, "grpc": 8001}
PATIENCE_SECONDS = 10


def main() -> None:
    """Upscale all PNG and JPEG files of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--protocol", choices=PORTS, default="http")
    parser.add_argument("--url", help="HOST:PORT (default: Triton's port on 127.0.0.1)")
    parser.add_argument("--requests", type=int, default=8, help="how many are on their way at a time (default: 8)")
    parser.add_argument("--shared-memory", action="store_true", help="for a server on this machine")
    given = parser.parse_args()
    url = given.url or f"127.0.0.1:{PORTS[given.protocol]}"
    paths = [path for path in sorted(given.input.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg")]
    with ExitStack() as ending, ThreadPoolExecutor(given.requests) as pool:
        infer, size = connect(given.model, given.protocol, url, ending if given.shared_memory else None)
        start, seconds = time.perf_counter(), []
        for path, (sr, took) in zip(paths, pool.map(timed(infer), make_lr_faces(paths, size)), strict=True):
            write_frame(given.output / f"{path.stem}.png", sr)
            seconds.append(took)
    rate = len(paths) / (time.perf_counter() - start)
    print(f"{len(paths)} faces, {rate:.1f} faces/s; a request took {1000 * float(np.median(seconds)):.1f} ms (median)")


def make_lr_faces(paths: list[Path], size: tuple[int, int]) -> Iterator[Face]:
    """Yield each picture as an LR face (h, w, 3) uint8 RGB, made as fsr-run makes it."""
    return (lr_face(read_frame(path), size) for path in paths)


def connect(
    model: str, protocol: str, url: str, shared: ExitStack | None = None
) -> tuple[Callable[[Face], Face], tuple[int, int]]:
    """Return a function from an LR face (h, w, 3) to its SR face (H, W, 3), for any thread, and (h, w).

    With ``shared``, faces lie in memory that the server sees too, until that stack is closed.
    """
    triton = importlib.import_module(f"tritonclient.{protocol}")

    def new_client() -> Any:
        return triton.InferenceServerClient(url)

    names, size, sr_size = describe(new_client(), model, protocol)
    clients = threading.local()  # Triton's clients are for one thread each
    # HTTP carries JSON unless binary data is asked for; gRPC always carries bytes.
    binary = {"binary_data": True} if protocol == "http" else {}

    def infer(face: Face) -> Face:
        if not hasattr(clients, "own"):
            clients.own = new_client()
            clients.memory = Memory(new_client, (1, *face.shape), (1, *sr_size, 3), shared) if shared else None
        batch = triton.InferInput(names[0], (1, *face.shape), "UINT8")
        asked = triton.InferRequestedOutput(names[1], **binary)
        if clients.memory:
            return clients.memory.infer(clients.own, model, face[None], batch, asked)[0]
        batch.set_data_from_numpy(face[None], **binary)
        answer = clients.own.infer(model, [batch], outputs=[asked])
        sr: Face = answer.as_numpy(names[1])[0]
        return sr

    return infer, size


class Memory:
    """A region of memory for a batch of LR faces and one for their SR faces, which the server sees too."""

    def __init__(
        self, new_client: Callable[[], Any], lr: tuple[int, ...], sr: tuple[int, ...], ending: ExitStack
    ) -> None:
        from tritonclient.utils import shared_memory

        self._library, self._regions = shared_memory, []
        for shape in (lr, sr):
            name, size = f"fsr-{uuid.uuid4().hex}", int(np.prod(shape))
            region = shared_memory.create_shared_memory_region(name, f"/{name}", size)
            ending.callback(shared_memory.destroy_shared_memory_region, region)
            new_client().register_system_shared_memory(name, f"/{name}", size)
            ending.callback(unregister, new_client, name)
            self._regions.append((name, size, region, shape))

    def infer(self, client: Any, model: str, faces: Face, batch: Any, asked: Any) -> Face:
        """Return the SR faces of a batch; ``batch`` and ``asked`` are the request's input and output."""
        for tensor, (name, size, _, _) in zip((batch, asked), self._regions, strict=True):
            tensor.set_shared_memory(name, size)
        (_, _, lr, _), (_, _, sr, shape) = self._regions
        self._library.set_shared_memory_region(lr, [faces])
        client.infer(model, [batch], outputs=[asked])
        return np.array(self._library.get_contents_as_numpy(sr, np.uint8, shape))


def unregister(new_client: Callable[[], Any], name: str) -> None:
    """Have the server forget a region. It answers a request a moment before it lets go of the request's memory."""
    from tritonclient.utils import InferenceServerException

    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            new_client().unregister_system_shared_memory(name)
            return
        except InferenceServerException as error:
            if "in use" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.01)


def describe(client: Any, model: str, protocol: str) -> tuple[tuple[str, str], tuple[int, int], tuple[int, int]]:
    """Return the names of a model's input and output, (h, w) of its LR faces and (H, W) of its SR faces."""
    about = client.get_model_metadata(model, **({"as_json": True} if protocol == "grpc" else {}))
    lr, sr = about["inputs"][0], about["outputs"][0]
    (_, h, w, _), (_, sr_h, sr_w, _) = (map(int, tensor["shape"]) for tensor in (lr, sr))
    return (lr["name"], sr["name"]), (h, w), (sr_h, sr_w)


def timed(infer: Callable[[Face], Face]) -> Callable[[Face], tuple[Face, float]]:
    """Return the function with the seconds that it took."""

    def measured(face: Face) -> tuple[Face, float]:
        start = time.perf_counter()
        return infer(face), time.perf_counter() - start

    return measured


if __name__ == "__main__":
    main()
