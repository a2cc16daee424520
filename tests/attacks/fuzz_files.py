"""Fuzz targets: damaged files for every other reader. An FsrError or a result is right, anything else is a defect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import INFO_NAME, ONNX_NAME, REFERENCE_NAME, read_bundle
from fsr_deploy.bundle.onnx_wire import free_sizes, has_external_data, read_metadata, read_outline
from fsr_deploy.bundle.reference import read_reference
from fsr_deploy.errors import FsrError
from fsr_deploy.faces.boxes import read_boxes
from fsr_deploy.faces.detector import open_detector
from fsr_deploy.images.codec import SUFFIXES, encode_frame, read_frame
from fsr_deploy.models.checkpoints import load_model
from fsr_deploy.models.registry import build
from fsr_deploy.runtime.folder.journal import NAME as JOURNAL
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.tensorrt.preflight import check_file
from tests.attacks import hostile_files as hostile
from tests.attacks.hammer import damaged, hammer, written
from tests.fakes.plans import describe, write_bundle

pytestmark = [pytest.mark.timeout(0), pytest.mark.filterwarnings("ignore")]


def attacked(folder: Path, name: str, seeds: list[bytes], read: Callable[[Path], Any]) -> None:
    """Let damaged ``seeds`` be read, at the path ``name``, until the time is over."""
    path = folder / name

    def attack(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(FsrError):
            read(path)

    assert hammer(damaged(seeds), attack) > 0


def test_pictures(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    seeds = [encode_frame(pixels, suffix) for suffix in SUFFIXES]
    for name, options in {
        "a.gif": {},
        "a.png": {"bits": 4},
        "a.tif": {"compression": "tiff_lzw"},
        "a.avif": {},
    }.items():
        with suppress(KeyError, OSError):
            Image.fromarray(pixels).convert("P" if name == "a.gif" else "RGB").save(tmp_path / name, **options)
            seeds.append((tmp_path / name).read_bytes())
    seeds += [bytes(cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1]), *(it for _, it in hostile.pictures())]
    attacked(tmp_path, "picture", [seed for seed in seeds if len(seed) < 1 << 16], read_frame)


def test_boxes(tmp_path: Path) -> None:
    seeds = [
        b"file,x,y,w,h,score\na.png,1,2,3,4,0.5\nb.png,5,6,7.5,8,\n",
        b'{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}',
        *(content for _, content in hostile.boxes()),
    ]
    attacked(tmp_path, "boxes", seeds, read_boxes)


def test_bundles(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    seeds = [(tmp_path / INFO_NAME).read_bytes(), *(it for _, it in hostile.descriptions(tmp_path / "seed"))]
    attacked(tmp_path, INFO_NAME, seeds, lambda path: read_bundle(path.parent))


def test_reference_faces(tmp_path: Path) -> None:
    info = write_bundle(tmp_path)
    attacked(
        tmp_path, REFERENCE_NAME, [(tmp_path / REFERENCE_NAME).read_bytes()], lambda path: read_reference(path, info)
    )


def test_journals(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        journal = Journal(path.parent)
        journal.add(path.parent / "a.png", "key", b"ours")
        journal.close()
        again = Journal(path.parent)
        written(tmp_path, "a.png", b"ours")
        assert not again.is_foreign(path.parent / "a.png"), "what a run wrote is its own, whatever is in other lines"
        again.close()

    attacked(
        tmp_path,
        JOURNAL,
        [b'{"output": "a.png", "key": "a", "sha256": "b"}\n', *(it for _, it in hostile.journals())],
        read,
    )


def test_headers_of_plans(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        content = path.read_bytes()
        for info in (describe(), None):
            check_file(EngineFile(path, content, hashlib.sha256(content).hexdigest(), info), trust=info is None)

    attacked(tmp_path, "engine.plan", [content for _, content in hostile.plans()], read)


def test_graphs(tmp_path: Path) -> None:
    """The reader of our own; ONNX Runtime's is its own matter."""
    write_bundle(tmp_path)

    def read(path: Path) -> None:
        for look in (has_external_data, read_outline, read_metadata, free_sizes):
            with suppress(ValueError):
                look(path.read_bytes())

    attacked(tmp_path, "graph.onnx", [(tmp_path / ONNX_NAME).read_bytes()], read)


def test_detectors(tmp_path: Path) -> None:
    seeds = [content for _, content in hostile.detectors(tmp_path / "seed")]
    frame = np.full((96, 128, 3), 200, np.uint8)
    attacked(tmp_path, "detector.onnx", seeds, lambda path: open_detector(path, "cpu", threads=1).find(frame))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_checkpoints(tmp_path: Path, name: str) -> None:
    weights = dict(list(build("aminet-tiny").state_dict().items())[:12])
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "seed.pth")
    seeds = {"weights.safetensors": save(weights), "weights.pth": (tmp_path / "seed.pth").read_bytes()}
    attacked(tmp_path, name, [seeds[name]], load_model)
