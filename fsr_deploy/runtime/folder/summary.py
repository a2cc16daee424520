"""The result of a run, as a record, as lines for a person and as plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from fsr_deploy._util.log import say, warn
from fsr_deploy.bundle.info import MIXES
from fsr_deploy.images.colour import ColourChange
from fsr_deploy.runtime.folder.jobs import Work
from fsr_deploy.runtime.folder.rates import StageReport
from fsr_deploy.runtime.folder.sizes import SizeCount
from fsr_deploy.runtime.folder.steps import Failed
from fsr_deploy.runtime.session import EngineInfo, device_kind


@dataclass
class FaceCount:
    """Counts the faces of whole frames: those that were upscaled, those that were ``left`` as they are because they are
    large already, and the frames in which there are none. ``what`` they are called.
    """

    sr_shape: tuple[int, int]
    what: str = "faces"
    upscaled: int = 0
    left: int = 0
    frames_without: int = 0

    def add(self, upscaled: int, found: int) -> None:
        """Count the faces of a frame."""
        self.upscaled += upscaled
        self.left += found - upscaled
        self.frames_without += found == 0

    def line(self) -> str:
        """Return one line that tells the counts."""
        told = [f"{self.upscaled} upscaled"]
        if self.left:
            height, width = self.sr_shape
            told.append(f"{self.left} left as they are, larger than {width}x{height} already (--all-faces takes them)")
        if self.frames_without:
            told.append(f"none in {self.frames_without} of the frames")
        return f"{self.what}: {', '.join(told)}"


@dataclass
class RunSummary:
    """The result for ``total`` frames, in ``seconds`` from the first to the last; ``batch`` is the last batch size.
    ``faces`` counts those of whole frames, and is None where each frame is a face.
    """

    total: int
    sizes: SizeCount
    batch: int
    done: int = 0
    already_done: int = 0
    changes: Counter[ColourChange] = field(default_factory=Counter)
    failed: list[Failed] = field(default_factory=list)
    seconds: float = 0.0
    stages: StageReport | None = None
    faces: FaceCount | None = None

    @property
    def left(self) -> int:
        """Frames that were not begun because the run was stopped."""
        return self.total - self.done - self.already_done - len(self.failed)


def introduce(engine: str, info: EngineInfo, batch: int) -> None:
    """Say what will run, with the notes of its bundle."""
    sizes = " -> ".join(f"{width}x{height}" for height, width in (info.lr_shape, info.sr_shape))
    say(f"{engine}: {info.engine}, device {info.device}, precision {info.precision}, {sizes}, batch {batch}")
    if (
        info.engine.startswith("ONNX Runtime")
        and device_kind(info.device) == "cpu"
        and info.precision in ("fp16", "bf16", *MIXES)
    ):
        say(f"a CPU computes {info.precision} in fp32 and converts in between; an fp32 engine is faster here")
    for note in info.notes:
        warn(note)
    if info.trained is False:
        warn("THIS ENGINE IS NOT TRAINED: its weights are random and so are its faces; export it with --checkpoint")


def conclude(summary: RunSummary, work: Work) -> None:
    """Say what became of the frames."""
    if summary.faces and summary.done:
        say(summary.faces.line())
    for line in [] if summary.faces else summary.sizes.lines():
        say(line)
    for line in summary.sizes.warnings():
        warn(line)
    if left_out := work.listing.left_out_line():
        say(left_out)
    for change, count in sorted(summary.changes.items(), key=lambda item: item[0].name):
        say(f"{change.value} in {count} of the frames")
    if summary.stages and work.folder:
        rates = ", ".join(f"{name} {rate:.1f}" for name, rate in summary.stages.stages.items())
        what = "frames" if summary.faces else "faces"
        say(
            f"{summary.stages.end_to_end:.1f} {what}/s end to end ({rates} {what}/s),"
            f" efficiency {summary.stages.efficiency:.2f}, bottleneck {summary.stages.bottleneck}"
        )
    counts = {
        "done": summary.done,
        "done before": summary.already_done,
        "failed": len(summary.failed),
        "left": summary.left,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "done")
    say(f"{work.folder or work.jobs[0].target}: {told} of {summary.total} in {summary.seconds:.1f} s")
    if summary.left:
        say("run the same command again to go on with the frames that are left")


def as_dict(info: EngineInfo, work: Work, summary: RunSummary) -> dict[str, Any]:
    """Return what a run did as plain data."""
    return {
        "engine": {**asdict(info), "batch": summary.batch},
        "output": str(work.folder or work.jobs[0].target),
        "frames": {
            "total": summary.total,
            "done": summary.done,
            "done_before": summary.already_done,
            "failed": len(summary.failed),
            "left": summary.left,
            "resized": {kind.name.lower(): count for kind, count in summary.sizes.resized.items()},
            "cropped": summary.sizes.misshapen if summary.sizes.fit == "crop" else 0,
            "stretched": summary.sizes.misshapen if summary.sizes.fit == "stretch" else 0,
            **{change.name.lower(): summary.changes[change] for change in ColourChange},
        },
        "faces": faces_as_dict(summary.faces),
        "left_out": dict(work.listing.left_out),
        "failures": [{"frame": str(failed.source), "reason": failed.reason} for failed in summary.failed],
        "warnings": summary.sizes.warnings(),
        "seconds": summary.seconds,
        "rates": asdict(summary.stages) if summary.stages else None,
    }


def faces_as_dict(count: FaceCount | None) -> dict[str, int] | None:
    """Return the counts of whole frames' faces as plain data."""
    if count is None:
        return None
    return {"upscaled": count.upscaled, "left_as_they_are": count.left, "frames_without": count.frames_without}
