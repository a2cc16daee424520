"""Hostile files: each attacks something that one of the readers could trust.

python -m tests.attacks.hostile_files FOLDER
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from fsr_deploy.bundle.info import INFO_NAME
from tests.faces.detectors import write_centerface, write_yunet
from tests.fakes.plans import write_bundle

Files = Iterator[tuple[str, bytes]]
DEEP = 200_000  # brackets in brackets


def _chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return struct.pack(">I", size) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, *chunks: bytes, pixels: bytes | None = None) -> bytes:
    rows = zlib.compress((b"\0" + b"\x80" * 3 * width) * height) if pixels is None else pixels
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _saved(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 128, np.uint8)).save(out, kind, **options)
    return out.getvalue()


def _tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Return a TIFF with one directory of (tag, type, count, value) at byte 8."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", following)


def pictures() -> Files:
    """Yield pictures that want too much memory or time, lie about themselves, or are something else."""
    small = b"\0" * 64
    yield "of_no_size.png", _png(0, 0, pixels=small)
    yield "huge.png", _png(2**31 - 1, 2**31 - 1, pixels=small)
    yield "a_gigapixel.png", _png(40_000, 30_000, pixels=small)
    yield "more_pixels_than_it_says.png", _png(4, 4, pixels=zlib.compress(bytes(1 << 24)))
    yield "fewer_pixels_than_it_says.png", _png(64, 64, pixels=zlib.compress(bytes(10)))
    yield "a_long_text.png", _png(4, 4, _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24))))
    yield "a_profile_of_zeros.png", _png(4, 4, _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 24))))
    yield "a_chunk_without_end.png", _png(4, 4)[:33] + _chunk(b"IDAT", b"abc", 0xFFFFFFFF)
    yield "many_chunks.png", _png(4, 4, *[_chunk(b"tEXt", b"a\0b")] * 50_000)
    yield "an_animation_of_many_frames.png", _png(4, 4, _chunk(b"acTL", struct.pack(">II", 0xFFFFFFFF, 0)))
    jpeg = _saved("JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    yield "huge.jpg", jpeg[:frame] + b"\xff" * 4 + jpeg[frame + 4 :]
    yield "of_no_height.jpg", jpeg[:frame] + b"\0\0" + jpeg[frame + 2 :]
    yield "a_segment_of_no_length.jpg", jpeg[:2] + b"\xff\xe1\0\0" + jpeg[2:]
    yield "nothing_but_markers.jpg", b"\xff\xd8" + b"\xff\xd8" * 100_000
    directory = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + b"\x08\0\0\0"  # leads to itself
    yield "exif_that_leads_to_itself.jpg", _saved("JPEG", exif=b"Exif\0\0" + directory)
    orientation = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 0xFFFFFFFF, 0xFFFFFFFF) + b"\0" * 4
    yield "exif_of_4_billion_values.jpg", _saved("JPEG", exif=b"Exif\0\0" + orientation)
    yield "a_damaged_profile.jpg", _saved("JPEG", icc_profile=b"\xff" * 200)
    bmp = _saved("BMP")
    for name, at, value in (("wide", 18, 2**31 - 1), ("high", 22, -(2**31)), ("begins_elsewhere", 10, 2**31 - 1)):
        yield f"{name}.bmp", bmp[:at] + struct.pack("<i", value) + bmp[at + 4 :]
    gif = _saved("GIF")
    yield "huge.gif", gif[:6] + b"\xff" * 4 + gif[10:]
    webp = _saved("WEBP", lossless=True)
    yield "huge.webp", webp[:12] + b"VP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + webp[12:]
    yield "longer_than_it_is.webp", webp[:4] + b"\xff\xff\xff\x7f" + webp[8:]
    sizes = (256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)
    yield "a_directory_that_leads_to_itself.tif", _tiff(*sizes, (273, 4, 1, 8), (279, 4, 1, 256), following=8)
    yield "strips_elsewhere.tif", _tiff(*sizes, (273, 4, 1, 0xFFFFFFF0), (279, 4, 1, 0xFFFFFFF0))
    yield "4_billion_strips.tif", _tiff(*sizes, (273, 4, 0xFFFFFFFF, 8), (279, 4, 0xFFFFFFFF, 8))
    yield "tiles_of_no_size.tif", _tiff(*sizes, (322, 4, 1, 0), (323, 4, 1, 0), (324, 4, 1, 8), (325, 4, 1, 8))
    yield "huge.tif", _tiff((256, 4, 1, 0xFFFFFFFF), (257, 4, 1, 0xFFFFFFFF), *sizes[2:], (273, 4, 1, 8))
    yield "nothing.avif", struct.pack(">I", 24) + b"ftypavif" + b"\0\0\0\0avifmif1"
    yield "a_program.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (r) file\nshowpage\n"
    yield "a_drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "a_list_of_files.png", b"#EXTM3U\nhttp://127.0.0.1/face.png\n"


def boxes() -> Files:
    """Yield files of boxes whose numbers, names or structure are not what they should be."""
    for name, row in {
        "not_a_number": "a.png,nan,0,4,4",
        "infinite": "a.png,0,0,inf,4",
        "beyond_floats": "a.png,1e999,0,4,4",
        "negative": "a.png,0,0,-4,4",
        "underscores": "a.png,0,0,0x4,4",
        "no_name": ",0,0,4,4",
        "too_few": "a.png,0,0,4",
        "too_many": "a.png,0,0,4,4,4",
        "a_quote_without_end": '"a.png,0,0,4,4' + "x" * 200_000,
        "zero_bytes": "a\0.png,0,0,\0,4",
        "twice": "a.png,0,0,4,4\na.png,0,0,4,4",
    }.items():
        yield f"{name}.csv", f"file,x,y,w,h\n{row}\n".encode()
    yield "frame_of_5000_digits.csv", b"frame,x,y,w,h\n" + b"9" * 5000 + b",0,0,4,4\n"
    yield "frame_before_the_first.csv", b"frame,x,y,w,h\n-1,0,0,4,4\n"
    yield "a_column_twice.csv", b"file,x,x,y,w,h\na.png,0,0,0,4,4\n"
    yield "many_columns.csv", b"file," + b"x," * 100_000 + b"\n"
    yield "utf_16.csv", "file,x,y,w,h\na.png,0,0,4,4\n".encode("utf-16")
    yield "bytes.csv", bytes(range(256)) * 100
    yield "nothing.csv", b""
    picture = '"images": [{"id": 1, "file_name": "a.png"}]'
    for name, text in {
        "brackets_in_brackets": '{"images": ' + "[" * DEEP,
        "a_number_of_5000_digits": '{"images": [], "annotations": [' + "9" * 5000 + "]}",
        "no_lists": '{"images": {}, "annotations": 1}',
        "an_id_that_is_a_list": '{"images": [{"id": [1], "file_name": "a"}], "annotations": []}',
        "no_such_image": f'{{{picture}, "annotations": [{{"image_id": 2, "bbox": [0, 0, 4, 4]}}]}}',
        "a_box_of_words": f'{{{picture}, "annotations": [{{"image_id": 1, "bbox": ["a", 0, 4, 4]}}]}}',
        "a_box_of_truth": f'{{{picture}, "annotations": [{{"image_id": 1, "bbox": [true, 0, 4, 4]}}]}}',
        "a_box_beyond_floats": f'{{{picture}, "annotations": [{{"image_id": 1, "bbox": [1e999, 0, 4, 4]}}]}}',
        "a_box_of_long_numbers": f'{{{picture}, "annotations": [{{"image_id": 1, "bbox": [{"9" * 400}, 0, 4, 4]}}]}}',
        "cut_off": f'{{{picture}, "annotations": [{{"ima',
    }.items():
        yield f"{name}.json", text.encode()


def descriptions(folder: Path) -> Files:
    """Yield what stands in place of ``bundle.json``; ``folder`` is for the bundle that they are changed from."""
    write_bundle(folder)
    good: dict[str, Any] = json.loads((folder / INFO_NAME).read_text(encoding="utf-8"))
    many: Any = [[]]
    for name, changes in {
        "a_later_schema": {"schema": 10**6},
        "a_schema_that_is_true": {"schema": True},
        "no_batches": {"batches": []},
        "batches_of_0": {"batches": [0, 0, 0]},
        "batches_backwards": {"batches": [8, 4, 1]},
        "batches_of_truth": {"batches": [True, True, True]},
        "huge_faces": {"lr_size": 10**12},
        "faces_of_no_size": {"lr_size": 0},
        "a_scale_below_0": {"scale": -8},
        "inputs_of_nothing": {"inputs": []},
        "an_input_in_lists": {"inputs": many * 1000},
        "a_shape_of_lists": {"inputs": [{"name": "lr", "dtype": "uint8", "shape": [[], {}, None]}]},
        "files_above": {"files": {"../model.onnx": "0" * 64}},
        "files_elsewhere": {"files": {"/etc/passwd": "0" * 64}},
        "a_file_of_no_name": {"files": {"": "0" * 64}},
        "a_file_of_zero_bytes": {"files": {"a\0b": "0" * 64}},
        "files_in_a_list": {"files": ["model.onnx"]},
        "an_unknown_recipe": {"lr_recipe": "../../x"},
        "a_plan_of_words": {"plan": "yes"},
        "a_plan_of_nothing": {"plan": {}},
        "a_template_of_nan": {"template": [[float("nan")] * 2] * 5},
        "a_template_of_one": {"template": [[0.5, 0.5]]},
        "a_precision_unknown": {"precision": "fp1\x1b[2J"},
        "parity_of_numbers": {"parity": [1, 2, 3]},
    }.items():
        yield name, json.dumps({**good, **changes}).encode()
    yield "nothing", b""
    yield "brackets_in_brackets", b'{"schema": 1, "options": ' + b"[" * DEEP
    yield "a_number_of_5000_digits", b'{"schema": ' + b"9" * 5000 + b"}"
    yield "a_list", b"[]"
    yield "utf_16", json.dumps(good).encode("utf-16")
    yield "bytes", bytes(range(256))
    yield "cut_off", json.dumps(good).encode()[:-20]


def journals() -> Files:
    """Yield journals with lines that no run wrote."""
    digest = "0" * 64
    lines: dict[str, Any] = {
        "of_other_types": {"output": 1, "key": [], "sha256": None},
        "output_above": {"output": "../../etc/passwd", "key": "a", "sha256": digest},
        "output_of_zero_bytes": {"output": "a\0b", "key": "a", "sha256": digest},
        "no_batch": {"made_with": "a", "asked": 8, "batch": 0},
        "a_huge_batch": {"made_with": "a", "asked": 8, "batch": 10**400},
        "a_batch_of_truth": {"made_with": "a", "asked": True, "batch": True},
        "search_of_anything": {"search": "a", "found": [[], None, [1, True, [[[]]]], "x"], "whole": True},
        "faces_of_anything": {"frame": "a.png", "key": "a", "faces": [[[]], None, "x", {}], "outputs": -1},
        "words": "output",
        "nothing": None,
    }
    for name, line in lines.items():
        yield name, json.dumps(line).encode() + b"\n"
    yield "brackets_in_brackets", b"[" * DEEP + b"\n"
    yield "a_number_of_5000_digits", b'{"made_with": "a", "asked": 1, "batch": ' + b"9" * 5000 + b"}\n"
    yield "bytes", bytes(range(256)) * 1000
    yield "one_long_line", b'{"output": "' + b"x" * 5_000_000
    yield "many_lines", b"{}\n" * 20_000


def plans() -> Files:
    """Yield plans whose headers lie, or end."""
    head = struct.pack("<4sIQQBBBB", b"ftrt", 0, 1, 2, 10, 16, 1, 11)
    for count in (0, 1, 4, 27):
        yield f"ends_after_{count}", head[:count]
    yield "only_a_header", head
    yield "of_a_version_to_come", head[:24] + b"\xff" * 4
    yield "of_no_version", head[:24] + b"\0" * 4
    yield "of_another_kind", b"vtrt" + head[4:] + b"\0" * 100
    yield "of_neither_kind", b"\x7fELF" + head[4:]
    yield "with_marks_set", head[:4] + b"\xff" * 4 + head[8:]
    yield "of_zeros", bytes(1 << 16)


def detectors(folder: Path) -> Files:
    """Yield detectors that are none, or compute what no detector does; ``folder`` is for what they are changed from."""
    folder.mkdir(parents=True, exist_ok=True)
    good = onnx.load(write_centerface(folder / "centerface.onnx"))
    content = good.SerializeToString()
    yield "nothing", b""
    yield "text", b"not a graph"
    yield "cut_off", content[: len(content) // 2]
    yield "a_length_beyond_the_end", b"\x3a\xff\xff\xff\xff\x0f" + content
    yield "a_number_without_end", b"\x08" + b"\xff" * 1000
    yield "messages_in_messages", _nested(3000)
    for name, node in {
        "an_unknown_operator": helper.make_node("Explode", ["input"], ["x"]),
        "an_operator_of_somebody": helper.make_node("Load", ["input"], ["x"], domain="com.example"),
    }.items():
        yield name, _with(good, node)
    for name, sizes in {"huge": (1, 3, 2**31 - 32, 2**31 - 32), "of_no_size": (1, 3, 0, 0)}.items():
        changed = onnx.ModelProto.FromString(content)
        for dimension, size in zip(changed.graph.input[0].type.tensor_type.shape.dim, sizes, strict=True):
            dimension.dim_value = size
        yield name, changed.SerializeToString()
    changed = onnx.ModelProto.FromString(content)
    changed.graph.initializer[0].raw_data = changed.graph.initializer[0].raw_data[:8]
    yield "weights_cut_off", changed.SerializeToString()
    changed = onnx.ModelProto.FromString(content)
    changed.graph.initializer[0].data_location = TensorProto.EXTERNAL
    entry = changed.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    yield "weights_elsewhere", changed.SerializeToString()
    for value in (np.nan, np.inf, 1e30):
        changed = onnx.ModelProto.FromString(content)
        for weights in changed.graph.initializer:
            if weights.name.endswith("_bias"):
                shape = tuple(weights.dims)
                weights.CopyFrom(onnx.numpy_helper.from_array(np.full(shape, value, np.float32), weights.name))
        yield f"everywhere_{value}", changed.SerializeToString()
    changed = onnx.load(write_yunet(folder / "yunet.onnx"))
    for node in changed.graph.node:  # what it gives is not as large as what it was shown
        if node.op_type == "Conv":
            node.attribute[0].ints[:] = [3, 5]
    yield "cells_of_another_size", changed.SerializeToString()


def _nested(depth: int) -> bytes:
    """Return a graph in an attribute of a node of a graph, and so on."""
    message = b""
    for _ in range(depth):
        for field in (6, 5, 1):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            message = bytes([field << 3 | 2]) + _varint(len(message)) + message
    return b"\x08\x08" + b"\x3a" + _varint(len(message)) + message


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _with(model: onnx.ModelProto, node: onnx.NodeProto) -> bytes:
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    changed.graph.node.append(node)
    return changed.SerializeToString()


def write(folder: Path) -> int:
    """Write all files, a folder for each kind; returns how many there are."""
    made = {
        "pictures": pictures(),
        "boxes": boxes(),
        "bundles": descriptions(folder / "seeds"),
        "journals": journals(),
        "plans": plans(),
        "detectors": detectors(folder / "seeds"),
    }
    count = 0
    for kind, files in made.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, content in files:
            (folder / kind / name).write_bytes(content)
            count += 1
    return count


if __name__ == "__main__":
    print(write(Path(sys.argv[1])), "files")
