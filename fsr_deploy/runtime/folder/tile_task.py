"""Whole pictures in tiles of the engine's size: what ``fsr-run --tile`` makes of its frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fsr_deploy._util.sizes import Size, as_shape, as_size, by, checked_size, written
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.images.codec import Frame, encode_frame
from fsr_deploy.images.opencv import MAX_PIXELS
from fsr_deploy.runtime.folder.budget import ByteBudget
from fsr_deploy.runtime.folder.jobs import Job, Work
from fsr_deploy.runtime.folder.journal import Journal, face_key
from fsr_deploy.runtime.folder.steps import BYTES_AT_ONCE, Failed, Load, Loaded, Upscaled
from fsr_deploy.runtime.folder.write import Write
from fsr_deploy.runtime.session import EngineInfo
from fsr_deploy.runtime.tiles import Grid

# Increase it when the same picture and engine give another picture than before.
RECIPE = "tiles 1"
SHARE = 4  # of a tile's side is the overlap, unless it is given


@dataclass(frozen=True)
class TileTask:
    """Each frame is a picture that is enlarged whole, in tiles of ``tile``, the engine's own size.

    ``tile`` is a side, or (height, width). ``overlap`` is how many pixels two tiles share, None for a quarter of the
    shorter side. Raises UsageError for what cannot be.
    """

    tile: Size
    overlap: int | None = None
    whole_frames = True
    unit = "tiles"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tile", checked_size("--tile", self.tile, 1))
        if not 0 <= self.pixels <= self._side // 2:
            raise UsageError(f"--overlap {self.overlap}: give 0 to {self._side // 2}, half of a tile")

    @property
    def pixels(self) -> int:
        """The overlap in pixels."""
        return self._side // SHARE if self.overlap is None else self.overlap

    @property
    def _side(self) -> int:
        return min(as_shape(self.tile))

    @property
    def recipe(self) -> str:
        """How pictures are cut."""
        return f"{RECIPE}\n{self.pixels}"

    def check(self, engine: EngineInfo) -> None:
        """Raise UsageError for an engine that takes pictures of another size."""
        if engine.lr_shape != as_shape(self.tile):
            own, asked = written(as_size(engine.lr_shape)), written(self.tile)
            raise UsageError(
                f"--tile {asked}: this engine takes {by(engine.lr_shape)}; export it with --lr-size {asked}, "
                f"or give --tile {own}"
            )

    def grid(self, size: tuple[int, int]) -> Grid:
        """Return where the tiles of a picture of (height, width) are."""
        return Grid(size, as_shape(self.tile), self.pixels)

    def targets(self, work: Work) -> Sequence[Path]:
        """Return the place of each picture."""
        return [job.target for job in work.jobs]

    def reader(self, engine: EngineInfo, journal: Journal | None, made_with: str, batches: Sequence[int]) -> LoadTiles:
        """Return the step that reads a picture and cuts it; raises UsageError for an engine of another size."""
        self.check(engine)
        return LoadTiles(engine, journal, made_with, batches, task=self)

    def writer(
        self, engine: EngineInfo, journal: Journal | None, work: Work, made_with: str, taken: Collection[Path] | None
    ) -> WriteTiles:
        """Return the step that puts the tiles together and writes the picture."""
        scale = engine.sr_shape[0] // engine.lr_shape[0]
        return WriteTiles(journal, work.folder, made_with, taken, task=self, scale=scale)

    def close(self, journal: Journal | None) -> None:
        """Nothing is left to do."""


@dataclass(frozen=True)
class LoadedTiles(Loaded):
    """A picture in tiles; ``size`` is its (height, width)."""

    size: tuple[int, int] = field(kw_only=True)


@dataclass(frozen=True)
class LoadTiles(Load):
    """Job -> its picture in tiles."""

    task: TileTask = field(kw_only=True)

    def prepare(self, job: Job, sha256: str, frame: Frame) -> Loaded:
        """Cut a decoded picture; raises InputError for one that would be too large."""
        height, width = size = frame.pixels.shape[:2]
        scale = self.engine.sr_shape[0] // self.engine.lr_shape[0]
        if height * width * scale**2 > MAX_PIXELS:
            raise InputError(
                f"{job.source}: enlarged it has {width * scale}x{height * scale} pixels, over the limit of {MAX_PIXELS}"
            )
        tiles = self.task.grid(size).cut(frame.pixels)
        return LoadedTiles(
            job, sha256, tiles, [self.engine.lr_shape] * len(tiles), frame.changes, len(tiles), size=size
        )


@dataclass(frozen=True)
class WriteTiles(Write):
    """Picture in SR tiles -> file, recorded in the journal."""

    task: TileTask = field(kw_only=True)
    scale: int = field(kw_only=True)
    joining: ByteBudget = field(default_factory=lambda: ByteBudget(BYTES_AT_ONCE))

    def __call__(self, upscaled: Upscaled) -> Loaded | Failed:
        """Join, encode and write a picture; raises InputError where none can be written."""
        frame = upscaled.frame
        assert isinstance(frame, LoadedTiles)
        target = frame.job.target
        pixels = frame.size[0] * frame.size[1] * self.scale**2
        with self.joining.hold(3 * 6 * pixels):  # in floats, rounded, and the file
            picture = self.task.grid(frame.size).join(upscaled.faces, self.scale)
            try:
                content = encode_frame(picture, target.suffix)
            except InputError as error:
                return Failed(frame.job.source, f"{frame.job.source}: {error}")
        return self.put(frame, {target: content}, face_key(frame.sha256, target.suffix, self.made_with, upscaled.batch))
