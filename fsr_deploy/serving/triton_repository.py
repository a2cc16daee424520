"""A model repository for NVIDIA Triton, written from bundles.

REPO/NAME/config.pbtxt, warmup/        shared by all versions
REPO/NAME/1/model.py, bundle/          or model.onnx, or model.plan
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsr_deploy._util.log import warn
from fsr_deploy.bundle.info import (
    INFO_NAME,
    PLAN_NAME,
    QUANTISED,
    REFERENCE_NAME,
    SBOM_NAME,
    SIGNATURE_NAME,
    Bundle,
    BundleInfo,
    read_bundle,
)
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.bundle.reference import read_reference
from fsr_deploy.errors import InputError, UsageError, refuse_outside, refuse_unknown
from fsr_deploy.runtime.open import proven_with
from fsr_deploy.serving.triton_config import (
    CONFIG_NAME,
    ENGINE_FILES,
    config_text,
    describe_version,
    limit_batches,
    make_config,
    model_file,
    protobuf,
    read_config,
    warmup_files,
)

BACKENDS = tuple(ENGINE_FILES)
_WARMUP = "warmup"  # the folder of a model where Triton looks for input_data_file


@dataclass(frozen=True)
class TritonOptions:
    """How a bundle is written for Triton.

    ``backend`` is what runs it there, one of BACKENDS. ``name`` is the model's, by default that of the bundle's folder.
    ``version`` is a new version of a model that is there, or with ``overwrite`` also one that is replaced; where it is
    the only one, its configuration is written anew.
    ``instances`` is how many Triton runs on each device. Raises UsageError for values that do not exist.
    """

    backend: str = "python"
    name: str | None = None
    version: int = 1
    instances: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        refuse_unknown("--backend", self.backend, BACKENDS)
        refuse_outside("--version", self.version, 1)
        refuse_outside("--instances", self.instances, 1)


def write_triton(bundle: Path, repository: Path, options: TritonOptions) -> Path:
    """Write a bundle as a version of a model; returns the model's folder, complete or as it was before.

    Raises UsageError and InputError for options and bundles that do not fit together, InputError where something is in
    the way, MissingError without the extra ``triton``.
    """
    protobuf()
    found = read_bundle(bundle)
    name = options.name or bundle.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise UsageError(f"{name!r}: not a name for a model in Triton; give one of letters, digits, _ . - with --name")
    _refuse_unfit(found, options.backend)
    if not found.info.parity_passed:
        warn(f"{bundle}: over its error budget, published by force")
    faces, _ = read_reference(found.file(REFERENCE_NAME), found.info)
    config = make_config(found, options.backend, name, options.instances)
    place = Path(os.path.realpath(repository))
    if place.is_mount():
        raise InputError(f"{repository}: the root of a file system; name a folder in it for the models")
    model = repository / name
    # Not in the repository: Triton takes each folder there for a model, a hidden one too, and one that is no model ends
    # its start.
    workplace = place.with_name(f".{place.name}.{name}.fsr-serve")
    with staged_directory(model, _refuse_other_folders, workplace) as staging:
        if (model / CONFIG_NAME).exists():
            config = _with_older_versions(config, model, options)
            shutil.copytree(model, staging, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(staging / str(options.version), ignore_errors=True)
        describe_version(config, options.version, found)
        _write_version(found, options.backend, staging / str(options.version))
        (staging / CONFIG_NAME).write_bytes(config_text(config))
        (staging / _WARMUP).mkdir(exist_ok=True)
        for file, content in warmup_files(config, faces).items():
            (staging / _WARMUP / file).write_bytes(content)
    return model


def _refuse_unfit(bundle: Bundle, backend: str) -> None:
    """Raise InputError for an engine that a back end would refuse, or would not run as it was proven."""
    path, info = bundle.path, bundle.info
    file = ENGINE_FILES[backend]
    if file is not None and file not in info.files:
        hint = "build it with: fsr-export --rebuild, or take" if file == PLAN_NAME else "take"
        raise InputError(f"{path}: has no {file} for Triton's {backend} back end; {hint} another --backend")
    if backend != "onnxruntime" and info.plan is not None and not info.plan.proven:
        raise InputError(f"{path}: its plan is not proven; prove it on its GPU first: fsr-export --prove {path}")
    for good, fault in _CONDITIONS[backend](info):
        if not good:
            raise InputError(f"{path}: {fault}")


def _python_conditions(info: BundleInfo) -> list[tuple[bool, str]]:
    fault = "the Python back end takes uint8 faces, and this engine floats; take another --backend, or export uint8"
    return [(info.io == "uint8", fault)]


def _onnx_conditions(info: BundleInfo) -> list[tuple[bool, str]]:
    other = "proven with OpenVINO, which Triton's onnxruntime back end is not; take --backend python"
    eight = "in 8 bits ONNX Runtime needs session options that Triton cannot give it; take --backend python"
    return [(proven_with(info) == "onnxruntime", other), (info.precision not in QUANTISED, eight)]


def _plan_conditions(info: BundleInfo) -> list[tuple[bool, str]]:
    assert info.plan is not None
    low = min((low for low, _, _ in info.plan.profiles), default=info.batches[0])
    rtx = "its plan is for TensorRT for RTX, which Triton does not run; take --backend python"
    large = f"its plan takes no batch below {low}, and Triton sends single faces; build it with --profile 1,1,1 too"
    return [(info.plan.flavour == "tensorrt", rtx), (low == 1, large)]


_CONDITIONS = {"python": _python_conditions, "onnxruntime": _onnx_conditions, "tensorrt": _plan_conditions}


def _refuse_other_folders(model: Path) -> None:
    """Raise InputError where something is in the model's place that is no model of Triton's."""
    if model.exists() and not model.is_dir():
        raise InputError(f"{model}: a file; name another repository, or another model with --name")
    if model.is_dir() and any(model.iterdir()) and not (model / CONFIG_NAME).is_file():
        raise InputError(f"{model}: not empty and not a model of Triton's; name another with --name")


def _with_older_versions(config: Any, model: Path, options: TritonOptions) -> Any:
    """Return the configuration that is there with what a new version changes, so that what was edited stays.

    Raises InputError where the version is there, or where its tensors or its back end are others.
    """
    taken = {int(path.name) for path in model.iterdir() if path.name.isdecimal()}
    if options.version in taken and not options.overwrite:
        raise InputError(
            f"{model}: already holds version {options.version}; add --version {max(taken) + 1}, or --overwrite"
        )
    if taken == {options.version}:
        return config
    old = read_config(model / CONFIG_NAME)
    for field in ("backend", "input", "output"):
        if getattr(old, field) != getattr(config, field):
            raise InputError(f"{model}: its versions have another {field}; name another model with --name")
    limit_batches(old, config.max_batch_size)
    return old


def _write_version(bundle: Bundle, backend: str, folder: Path) -> None:
    folder.mkdir()
    engine = ENGINE_FILES[backend]
    if engine is not None:
        shutil.copyfile(bundle.file(engine), folder / model_file(backend))
        return
    shutil.copyfile(Path(__file__).with_name("python_model.py"), folder / model_file(backend))
    (folder / "bundle").mkdir()
    for name in bundle.info.files:
        shutil.copyfile(bundle.file(name), folder / "bundle" / name)
    for name in (INFO_NAME, SBOM_NAME, SIGNATURE_NAME):
        if (bundle.path / name).exists():
            shutil.copyfile(bundle.path / name, folder / "bundle" / name)
