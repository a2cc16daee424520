"""config.pbtxt of a model in Triton, from Triton's own protobuf."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fsr_deploy._util import imports
from fsr_deploy._util.files import read_file
from fsr_deploy.bundle.info import INFO_NAME, ONNX_NAME, PLAN_NAME, Bundle, BundleInfo, TensorInfo, sha256
from fsr_deploy.errors import InputError

CONFIG_NAME = "config.pbtxt"
# Triton's back end -> the file of the bundle that it runs; the Python back end chooses one itself.
ENGINE_FILES = {"python": None, "onnxruntime": ONNX_NAME, "tensorrt": PLAN_NAME}
_PLATFORMS = {"python": "", "onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
_MODEL_FILES = {"python": "model.py", "onnxruntime": "model.onnx", "tensorrt": "model.plan"}


def protobuf() -> ModuleType:
    """Return Triton's messages; raises MissingError with the extra to install."""
    return imports.load("tritonclient.grpc.model_config_pb2")


def model_file(backend: str) -> str:
    """Return the name of the file in a version's folder that Triton opens."""
    return _MODEL_FILES[backend]


def make_config(bundle: Bundle, backend: str, name: str, instances: int) -> Any:
    """Return the ModelConfig of a bundle: what every version of the model shares, without ``parameters``."""
    pb, info = protobuf(), bundle.info
    sizes = _profiles(info, backend)
    config = pb.ModelConfig(
        name=name,
        platform=_PLATFORMS[backend],
        backend=backend,
        default_model_filename=model_file(backend),
        max_batch_size=max(high for _, _, high in sizes),
        input=[pb.ModelInput(**_tensor(pb, tensor)) for tensor in info.inputs],
        output=[pb.ModelOutput(**_tensor(pb, tensor)) for tensor in info.outputs],
        dynamic_batching=pb.ModelDynamicBatching(preferred_batch_size=sorted({best for _, best, _ in sizes} - {1})),
        model_warmup=[_warmup(pb, info.inputs[0], size) for size in sorted({size for row in sizes for size in row})],
    )
    # A plan's profiles are used only where they are named; Triton then takes the best one for each batch.
    group = config.instance_group.add(count=instances, kind=pb.ModelInstanceGroup.KIND_AUTO)
    if backend == "tensorrt":
        group.kind = pb.ModelInstanceGroup.KIND_GPU
        group.profile.extend(str(at) for at in range(len(sizes)))
    return config


def describe_version(config: Any, version: int, bundle: Bundle) -> None:
    """Write into ``parameters`` which bundle a version is, and how close it is to the network in PyTorch."""
    info, start = bundle.info, f"fsr.{version}."
    for key in [key for key in config.parameters if key.startswith(start)]:
        del config.parameters[key]
    facts = {
        "model": f"{info.model}, {info.precision}, {info.scale}x",
        "bundle_sha256": sha256(bundle.path / INFO_NAME),
        **{f"{name}_sha256": info.files[name] for name in (ONNX_NAME, PLAN_NAME) if name in info.files},
        "parity": _parity(info),
        "notes": " ".join(info.notes),
    }
    for key, text in facts.items():
        if text:
            config.parameters[start + key].string_value = text


def limit_batches(config: Any, largest: int) -> None:
    """Make a configuration one for batches of up to ``largest`` faces, the most that every version takes."""
    config.max_batch_size = min(config.max_batch_size, largest)
    preferred = [size for size in config.dynamic_batching.preferred_batch_size if size <= largest]
    config.dynamic_batching.preferred_batch_size[:] = preferred
    warmups = [warmup for warmup in config.model_warmup if warmup.batch_size <= largest]
    del config.model_warmup[:]
    config.model_warmup.extend(warmups)


def warmup_files(config: Any, faces: np.ndarray[Any, Any]) -> dict[str, bytes]:
    """Return the files of a model's folder ``warmup``, each the bytes of one face of an engine's input."""
    return {
        value.input_data_file: np.ascontiguousarray(faces[at % len(faces)]).tobytes()
        for at, warmup in enumerate(config.model_warmup)
        for value in warmup.inputs.values()
    }


def config_text(config: Any) -> bytes:
    """Return a config.pbtxt."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config, as_utf8=True)).encode()


def read_config(path: Path) -> Any:
    """Return the ModelConfig of a config.pbtxt; raises InputError where it is none."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(read_file(path).decode(), protobuf().ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a configuration that Triton reads: {error}") from error


def _profiles(info: BundleInfo, backend: str) -> tuple[tuple[int, int, int], ...]:
    return (info.plan.profiles if backend == "tensorrt" and info.plan else ()) or (info.batches,)


def _tensor(pb: ModuleType, tensor: TensorInfo) -> dict[str, Any]:
    """Return a tensor's name, type and dimensions, those of one face: Triton puts the batch before them."""
    return {"name": tensor.name, "data_type": _data_type(pb, tensor.dtype), "dims": [int(n) for n in tensor.shape[1:]]}


def _data_type(pb: ModuleType, dtype: str) -> int:
    from tritonclient.utils import np_to_triton_dtype

    return int(pb.DataType.Value(f"TYPE_{np_to_triton_dtype(np.dtype(dtype).type)}"))


def _warmup(pb: ModuleType, tensor: TensorInfo, size: int) -> Any:
    """Return a warm-up of one batch size; Triton repeats the one face of its file."""
    about = _tensor(pb, tensor)
    value = pb.ModelWarmup.Input(data_type=about["data_type"], dims=about["dims"], input_data_file=f"faces-{size}")
    return pb.ModelWarmup(name=f"batch {size}", batch_size=size, inputs={tensor.name: value})


def _parity(info: BundleInfo) -> str:
    """Return the worst of what was measured against the network in PyTorch, in words."""
    if not info.parity:
        return ""
    decibels = [row["psnr_db"] for row in info.parity if row.get("psnr_db") is not None]
    worst = f"at least {min(decibels):.1f} dB" if decibels else "equal"
    most = max(float(row.get("max_error") or 0) for row in info.parity)
    return (
        f"{worst}, at most {most:g} levels off{'' if info.parity_passed else '; over its budget, published by force'}"
    )
