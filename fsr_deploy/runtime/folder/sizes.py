"""Messages about frames that did not have the engine's size."""

from __future__ import annotations

from collections import Counter
from enum import Enum

from fsr_deploy._util.sizes import by, written
from fsr_deploy.bundle.info import MAX_LR_SIZE
from fsr_deploy.images.resize import Fit, Shape, cropped_shape

DETAIL_LOST = 1.5
OTHER_PROPORTIONS = 1.1


class Resized(Enum):
    """How a frame was resized to an LR face; for a cropped frame, how the remaining part was."""

    AS_IS = "of the engine's size"
    ENLARGED = "enlarged"
    REDUCED = "reduced"


class SizeCount:
    """Counts what was done to the frames of a run, in a few integers. ``resizable`` says whether the engine's network
    can be exported for larger LR faces, None where that is unknown. ``what`` was resized: "frames", or the "faces" that
    were cut out of them.
    """

    def __init__(self, lr_shape: Shape, fit: Fit = "crop", resizable: bool | None = None, what: str = "frames") -> None:
        self.what = what
        self.lr_shape = lr_shape
        self.fit = fit
        self.resizable = resizable
        self.resized: Counter[Resized] = Counter()
        self.misshapen = 0
        self.far_misshapen = 0
        self.detail_lost = 0
        self.largest: Shape = (0, 0)  # the highest and the widest of what is kept of frames

    def add(self, shape: Shape) -> None:
        """Count a frame that was (height, width) pixels before it was made an LR face."""
        if shape == self.lr_shape:
            self.resized[Resized.AS_IS] += 1
            return
        kept = cropped_shape(shape, self.lr_shape) if self.fit == "crop" else shape
        longest = max(side / lr_side for side, lr_side in zip(kept, self.lr_shape, strict=True))
        if kept == self.lr_shape:
            self.resized[Resized.AS_IS] += 1
        else:
            self.resized[Resized.REDUCED if longest > 1 else Resized.ENLARGED] += 1
        scales = [side / lr_side for side, lr_side in zip(shape, self.lr_shape, strict=True)]
        self.misshapen += kept != shape if self.fit == "crop" else scales[0] != scales[1]
        self.far_misshapen += max(scales) > OTHER_PROPORTIONS * min(scales)
        if longest > DETAIL_LOST:
            self.detail_lost += 1
            self.largest = max(self.largest[0], kept[0]), max(self.largest[1], kept[1])

    @property
    def done_to_misshapen(self) -> str:
        """What happened to frames whose proportions are not the engine's."""
        return "cropped" if self.fit == "crop" else "stretched"

    def lines(self) -> list[str]:
        """Return one line of summary, or none where every frame had the engine's size."""
        if not (self.resized[Resized.REDUCED] + self.resized[Resized.ENLARGED] + self.misshapen):
            return []
        counts = [f"{self.resized[kind]} {kind.value}" for kind in Resized if self.resized[kind]]
        if self.misshapen:
            counts.append(f"{self.misshapen} {self.done_to_misshapen}")
        return [f"{self.what} resized to the engine's {by(self.lr_shape)}: {', '.join(counts)}"]

    def warnings(self) -> list[str]:
        """Return warnings about what reduced the quality of the result."""
        found = []
        if self.detail_lost:
            found.append(
                f"detail was lost in {self.detail_lost} of the {self.what}, larger than {DETAIL_LOST} times"
                f" {by(self.lr_shape)}; {self._keep_it()}"
            )
        if self.far_misshapen:
            rest = "only their middle was kept" if self.fit == "crop" else "faces look too wide or too narrow"
            found.append(
                f"{self.far_misshapen} of the frames were {self.done_to_misshapen}, because their proportions are not"
                f" the engine's: {rest}; crop the faces first"
            )
        return found

    def _keep_it(self) -> str:
        """Return advice to keep the detail; only sizes that fsr-export accepts for this network."""
        first = "crop the faces first" if self.what == "frames" else ""
        if self.resizable:
            square = self.lr_shape[0] == self.lr_shape[1]
            size = max(self.largest) if square else self.largest
            if max(self.largest) <= MAX_LR_SIZE:
                return f"an engine exported with --lr-size {written(size)} would keep it"
            pixels = f"{size} pixels a side" if square else f"{by(size)} pixels"
            most = f"the largest has {pixels}, an engine takes up to {MAX_LR_SIZE}{'' if square else ' a side'}"
            return f"{first}: {most}" if first else most
        train = "train this network for larger ones (fsr-train --lr-size)"
        other = train if self.resizable is False else "take an engine for larger ones"
        return f"{first}, or {other}" if first else other
