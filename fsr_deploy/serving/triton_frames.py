"""Whole frames in a model repository: a model that finds, cuts and pastes, beside the model of the faces.

REPO/NAME_frames/config.pbtxt          the model of the faces by its name, the enlargement
REPO/NAME_frames/1/model.py, detector.onnx
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fsr_deploy.bundle.info import Bundle, read_bundle
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.errors import InputError
from fsr_deploy.faces.detector import open_detector
from fsr_deploy.faces.restorer import RestoreSettings
from fsr_deploy.runtime.session import EngineInfo
from fsr_deploy.serving.triton_config import CONFIG_NAME, config_text, model_file, protobuf, read_config

DETECTOR_NAME = "detector.onnx"
FRAME, FACES = "frame", "faces"
SUFFIX = "_frames"


@dataclass(frozen=True)
class FacesModel:
    """What the model of frames has to know of that of the faces: its name, its tensors' names, its largest batch,
    (height, width) of LR and SR faces, and where landmarks lie in LR faces, if that is known.
    """

    name: str
    input: str
    output: str
    max_batch: int
    lr_shape: tuple[int, int]
    sr_shape: tuple[int, int]
    template: tuple[tuple[float, float], ...] | None

    @classmethod
    def of(cls, bundle: Bundle, name: str, max_batch: int) -> FacesModel:
        """Return what is to be known of a bundle's model."""
        info = bundle.info
        return cls(
            name, info.inputs[0].name, info.outputs[0].name, max_batch, info.lr_shape, info.sr_shape, info.template
        )

    @classmethod
    def from_text(cls, text: str) -> FacesModel:
        """Read what ``to_text`` wrote."""
        read = json.loads(text)
        template = None if read["template"] is None else _points(read["template"])
        shapes = {name: (int(read[name][0]), int(read[name][1])) for name in ("lr_shape", "sr_shape")}
        return cls(**{**read, **shapes, "template": template})

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    def info(self) -> EngineInfo:
        """Return what the cutting and pasting of faces wants to know of an engine."""
        shapes = self.lr_shape, self.sr_shape
        return EngineInfo(self.name, "cpu", "", "", *shapes, self.max_batch, self.max_batch, template=self.template)


def check_frames(bundle: Path, model: Path, detector: Path, *, overwrite: bool) -> None:
    """Raise what ``write_frames`` would, before the model of the faces is written too: InputError for a detector that
    is none, for a bundle that takes floats, and where something is in the way that ``overwrite`` does not allow to
    replace or that is no model of this kind; MissingError without ONNX Runtime.
    """
    open_detector(detector, "cpu")
    if read_bundle(bundle).info.io != "uint8":
        raise InputError(f"{bundle}: takes floats; faces in whole frames need an engine that takes uint8")
    (_refuse_other_folders if overwrite else _refuse_all)(model.with_name(f"{model.name}{SUFFIX}"))


def write_frames(bundle: Path, model: Path, detector: Path, settings: RestoreSettings, *, overwrite: bool) -> Path:
    """Write the model of whole frames beside ``model``, that of a bundle's faces; returns its folder.

    Raises what ``check_frames`` does.
    """
    check_frames(bundle, model, detector, overwrite=overwrite)
    found, faces = read_bundle(bundle), read_config(model / CONFIG_NAME)
    pb = protobuf()
    name = f"{model.name}{SUFFIX}"
    config = pb.ModelConfig(
        name=name,
        backend="python",
        default_model_filename=model_file("python"),
        input=[pb.ModelInput(name=FRAME, data_type=pb.TYPE_UINT8, dims=[-1, -1, 3])],
        output=[
            pb.ModelOutput(name=FRAME, data_type=pb.TYPE_UINT8, dims=[-1, -1, 3]),
            pb.ModelOutput(name=FACES, data_type=pb.TYPE_FP32, dims=[-1, 5]),
        ],
        instance_group=[pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)],
    )
    config.parameters["faces"].string_value = FacesModel.of(found, model.name, faces.max_batch_size).to_text()
    config.parameters["upscale"].string_value = str(settings.upscale)
    place = Path(os.path.realpath(model.parent))
    target = model.with_name(name)
    refuse = _refuse_all if not overwrite else _refuse_other_folders
    with staged_directory(target, refuse, place.with_name(f".{place.name}.{name}.fsr-serve")) as staging:
        (staging / "1").mkdir()
        shutil.copyfile(Path(__file__).with_name("frames_model.py"), staging / "1" / model_file("python"))
        shutil.copyfile(detector, staging / "1" / DETECTOR_NAME)
        (staging / CONFIG_NAME).write_bytes(config_text(config))
    return target


def _refuse_all(target: Path) -> None:
    """Raise InputError where anything is in the model's place."""
    if target.exists():
        raise InputError(f"{target}: is there already; add --overwrite")


def _refuse_other_folders(target: Path) -> None:
    """Raise InputError where something is in the model's place that this did not write."""
    if target.exists() and not (target / "1" / DETECTOR_NAME).is_file():
        raise InputError(f"{target}: not a model of whole frames; move it away")


def _points(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in rows)
