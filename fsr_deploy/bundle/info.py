"""The bundle: the directory that an export writes and a deployment reads.

``model.onnx``, ``engine.plan`` (where one was built), ``report.html`` and ``parity.png`` stand beside ``bundle.json``,
which holds everything known about them: plain data, checked against the files' SHA-256 before any of them is loaded.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fsr_deploy._util.json_records import decode, json_text, read_json
from fsr_deploy._util.sizes import Shape, Size, as_shape, enlarged
from fsr_deploy.errors import InputError

SCHEMA_VERSION = 1
INFO_NAME = "bundle.json"
ONNX_NAME = "model.onnx"
PLAN_NAME = "engine.plan"
REFERENCE_NAME = "reference.npz"
TRUTH_NAME = "truth"  # in reference.npz, where the faces are known that the LR faces were reduced from
REPORT_NAME = "report.html"
PICTURE_NAME = "parity.png"
LAYERS_NAME = "layers.json"
SIGNATURE_NAME = "model.sig"  # this and the next are made of a bundle that is complete, and not in its ``files``
SBOM_NAME = "sbom.cdx.json"
MIXED, MIXED_FP8 = MIXES = ("int8+fp16", "fp8+fp16")  # convolutions in 8 bits where that is harmless, FP16 elsewhere
INT8_BF16 = "int8+bf16"  # the graph of INT8, whose floats OpenVINO computes in BF16
PRECISIONS = ("fp32", "fp16", "bf16", "int8", *MIXES, INT8_BF16)
QUANTISED = ("int8", *MIXES, INT8_BF16)
Io = Literal["uint8", "float"]  # what an engine takes and gives, see BundleInfo
IO_KINDS: tuple[Io, ...] = ("uint8", "float")
LR_RECIPE = "pillow-bicubic"  # how LR faces are made, see resize.py; an engine's quality holds only for such faces
MIN_LR_SIZE, MAX_LR_SIZE = 4, 512  # the sides of LR faces that fsr-export takes
TARGETS = ("onnxruntime", "openvino", "tensorrt")  # what a graph is written for
TARGET_TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tensorrt": "TensorRT"}
NOT_PROVEN = "not proven: no GPU has run it yet; fsr-export --prove, or the first fsr-run on a GPU, proves it"
FLAVOUR_TITLES = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}  # the TensorRT that a plan is for
REBUILT = "rebuild: "  # before what took part in the rebuild of a plan, in ``versions``
# Five points (x, y), see BundleInfo.
Template = tuple[tuple[float, float], ...]
_OLD_TARGETS = {"cpu": "onnxruntime", "trt": "tensorrt"}  # their names in older bundles


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of the engine: ``shape`` has names for dynamic dimensions."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class PlanInfo:
    """What a TensorRT plan is bound to, known without asking TensorRT.

    ``flavour`` is "tensorrt" or "rtx" (TensorRT for RTX), and ``tensorrt`` its version. A plan of the one was built on
    ``gpu`` of that ``compute_capability``; one of the other was compiled for ``gpus`` ("sm_86", ...), without any.
    ``proven`` tells whether it has been run and compared with the eager model.
    """

    tensorrt: str
    compute_capability: str
    gpu: str
    platform: str
    cuda: str = ""
    driver: str = ""
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    profiles: tuple[tuple[int, int, int], ...] = ()
    flavour: str = "tensorrt"
    gpus: tuple[str, ...] = ()
    proven: bool = True

    @property
    def library(self) -> str:
        """What built it, by name and version: "TensorRT 11.4.0.106"."""
        return f"{FLAVOUR_TITLES[self.flavour]} {self.tensorrt}"


@dataclass(frozen=True)
class BundleInfo:
    """The contents of ``bundle.json``.

    ``lr_size`` is the side of LR faces, or their (height, width) where these differ; a network enlarges both ``scale``
    times. ``batches`` is (min, opt, max). ``io`` is "uint8" (RGB faces, (N, h, w, 3)) or "float" (the bare network, (N,
    3, H, W) in [-1, 1]); ``graph_target`` is what the graph was written for, one of TARGETS. ``files`` maps a file's
    name to its SHA-256. ``precision_map`` maps a module's name in the network, "" for the network itself, to
    {"precision", "reason"} where it differs from what is around it; the innermost entry that is or holds a module
    counts, without any ``precision``. ``parity`` and ``latency`` are the measured tables, ``worst_case`` rows like
    parity's that no budget holds for; ``parity_passed`` is False where an engine over its ``budget`` (parity.Budget's
    figures) was published by force. ``precisions`` are those that were measured side by side, ``analysis`` the blocks
    by what the precision does to each (search.Damage), ``kernels`` what the compiler of TensorRT for RTX made of the
    graph (kernels.Kernels), where it was asked. ``notes`` are sentences that whoever runs the engine should read.
    ``lr_recipe`` names the way to its LR faces (LR_RECIPE); ``resizable`` tells whether the same weights can be
    exported for LR faces of another size, None where a bundle does not say. ``checkpoint_entry`` is the entry of the
    checkpoint that held the weights, "" for the file itself. ``template`` is where the landmarks of a face
    (faces.face.LANDMARKS) lie in the faces that the network was trained with, (x, y) as fractions of their width and
    height; None where they were not aligned.
    """

    model: str
    precision: str
    scale: int
    lr_size: Size
    batches: tuple[int, int, int]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    trained: bool
    io: str = "uint8"
    color: str = "RGB"
    graph_target: str = "onnxruntime"
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint_sha256: str | None = None
    checkpoint_entry: str = ""
    files: dict[str, str] = field(default_factory=dict)
    precision_map: dict[str, dict[str, str]] = field(default_factory=dict)
    parity: list[dict[str, Any]] = field(default_factory=list)
    worst_case: list[dict[str, Any]] = field(default_factory=list)
    parity_passed: bool = True
    budget: dict[str, float | None] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)
    precisions: list[dict[str, Any]] = field(default_factory=list)
    analysis: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    plan: PlanInfo | None = None
    kernels: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lr_recipe: str = LR_RECIPE
    resizable: bool | None = None
    template: Template | None = None
    schema: int = SCHEMA_VERSION

    @property
    def lr_shape(self) -> Shape:
        """(height, width) of LR faces in pixels."""
        return as_shape(self.lr_size)

    @property
    def sr_shape(self) -> Shape:
        """(height, width) of SR faces in pixels."""
        return enlarged(self.lr_size, self.scale)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    path: Path
    info: BundleInfo

    def file(self, name: str) -> Path:
        """Return the path of one of the bundle's files, its hash checked; raises InputError if it is not as written."""
        path = self.path / name
        if name not in self.info.files:
            raise InputError(f"{self.path}: the bundle has no {name}")
        if not path.is_file():
            raise InputError(f"{path}: missing from its bundle; export the bundle again")
        if sha256(path) != self.info.files[name]:
            raise InputError(f"{path}: its SHA-256 is not the one in {INFO_NAME}; the file was changed or cut off")
        return path


def place(engine: str | os.PathLike[str] | Bundle) -> Path:
    """Return the path of what a user names: a bundle itself, or the path of a bundle or of one of its files."""
    return engine.path if isinstance(engine, Bundle) else Path(engine)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_bundle(directory: Path) -> Bundle:
    """Read and validate ``bundle.json`` of a directory; raises InputError that names what is wrong.

    Every file that it lists is then known to be no symbolic link; hashes are checked where the files are read.
    """
    path = directory / INFO_NAME
    try:
        info = parse_info(read_json(path), path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory}: no {INFO_NAME} here; this is not a bundle that fsr-export wrote") from None
    for name in info.files:
        if (directory / name).is_symlink():
            raise InputError(f"{directory / name}: a symbolic link; a bundle holds its files themselves")
    return Bundle(directory, info)


def parse_info(data: Any, path: Path) -> BundleInfo:
    """Return the JSON value of a ``bundle.json`` as a record; raises InputError that names the file and the field."""
    if not isinstance(data, dict) or type(data.get("schema")) is not int:
        raise InputError(f"{path}: not a bundle description; it has no schema number")
    if data["schema"] > SCHEMA_VERSION:
        raise InputError(
            f"{path}: written by a newer fsr-deploy (schema {data['schema']}, this one reads up to {SCHEMA_VERSION}); "
            "upgrade fsr-deploy"
        )
    try:
        info: BundleInfo = decode(BundleInfo, data, "")
    except TypeError as error:
        raise InputError(f"{path}: incomplete or damaged: {error}; export the bundle again") from error
    if info.lr_recipe != LR_RECIPE:
        raise InputError(
            f"{path}: its engine was made for LR faces by {info.lr_recipe}, which this fsr-deploy does not know; "
            "upgrade fsr-deploy"
        )
    info = replace(info, graph_target=_OLD_TARGETS.get(info.graph_target, info.graph_target))
    for good, fault in _conditions(info):
        if not good:
            raise InputError(f"{path}: incomplete or damaged: {fault}; export the bundle again")
    return info


def _conditions(info: BundleInfo) -> list[tuple[bool, str]]:
    """Return what types alone do not say about a record, each with the complaint if it does not hold."""
    low, best, high = info.batches
    profiles = info.plan.profiles if info.plan else ()
    return [
        (info.schema >= 1, "schema is not a version"),
        (info.precision in PRECISIONS, f"precision is not one of {', '.join(PRECISIONS)}"),
        (info.plan is None or info.plan.flavour in FLAVOUR_TITLES, "plan.flavour is not known"),
        (info.io in IO_KINDS, f"io is not one of {', '.join(IO_KINDS)}"),
        (info.graph_target in TARGETS, f"graph_target is not one of {', '.join(TARGETS)}"),
        (0 < info.scale <= 64 and all(0 < side <= 4096 for side in info.lr_shape), "scale or lr_size is out of range"),
        (all(0 < a <= b <= c for a, b, c in ((low, best, high), *profiles)), "batches are not min <= opt <= max"),
        (len(info.inputs) == len(info.outputs) == 1, "an engine has one input and one output"),
        (info.template is None or is_template(info.template), "template is not five different points (x, y), 0 to 1"),
        (all(map(_is_plain_name, info.files)), "files holds something other than plain file names"),
        (all(re.fullmatch("[0-9a-f]{64}", digest) for digest in info.files.values()), "files holds no SHA-256 digests"),
    ]


def is_template(points: Template) -> bool:
    """Tell whether these are five different points in the unit square."""
    return len(set(points)) == len(points) == 5 and all(0 <= number <= 1 for point in points for number in point)


def _is_plain_name(name: str) -> bool:
    return name not in ("", ".", "..", INFO_NAME) and not set(name) & set("/\\:") and len(name.encode()) <= 255


def write_info(directory: Path, info: BundleInfo) -> BundleInfo:
    """Write ``bundle.json`` into a directory with the hashes of all other files there; returns what was written."""
    hashes = {p.name: sha256(p) for p in sorted(directory.iterdir()) if p.is_file() and p.name != INFO_NAME}
    info = replace(info, files=hashes)
    (directory / INFO_NAME).write_text(json_text(asdict(info), indent=2) + "\n", encoding="utf-8")
    return info
