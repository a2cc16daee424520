"""What the page takes at most, so that one visitor cannot use up the machine."""

from __future__ import annotations

from dataclasses import dataclass

from fsr_deploy.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Sizes that are refused above: files in bytes, pictures and frames in pixels, films in frames.

    ``pixels`` and ``film_pixels`` hold for what comes in and for what goes out, which is ``upscale`` times as wide and
    high. ``waiting`` is how many visitors may wait for the engine. Files of a visitor who is gone, and whose going was
    not noticed, are removed after ``kept_seconds``.
    """

    upload_bytes: int = 100 << 20
    pixels: int = 40_000_000
    film_pixels: int = 3840 * 2160
    film_frames: int = 1500
    waiting: int = 16
    kept_seconds: int = 3600

    def refuse_picture(self, width: int, height: int, upscale: int) -> None:
        """Raise InputError for a picture of (width, height) pixels that is too large, or is when it is enlarged."""
        _refuse_pixels("a picture", width, height, upscale, self.pixels)

    def refuse_film(self, frames: int, width: int, height: int, upscale: int) -> None:
        """Raise InputError for a film that has too many frames, or too large ones."""
        if frames > self.film_frames:
            raise InputError(
                f"a film of {frames} frames; this page takes up to {self.film_frames}: cut a part out of it, or run it"
                " with fsr-run, which has no limit"
            )
        _refuse_pixels("a film", width, height, upscale, self.film_pixels)

    def __str__(self) -> str:
        return (
            f"Files up to {self.upload_bytes >> 20} MiB, pictures up to {_mega(self.pixels)} megapixels and films up to"
            f" {self.film_frames} frames of {_mega(self.film_pixels)} megapixels, enlarged."
        )


def _refuse_pixels(what: str, width: int, height: int, upscale: int, limit: int) -> None:
    count = width * height * upscale**2
    if count <= limit:
        return
    enlarged = f", enlarged {upscale} times {_mega(count)} megapixels" if upscale > 1 else ""
    smaller = ", or start fsr-demo with a smaller --upscale" if upscale > 1 else ""
    raise InputError(
        f"{what} of {width}x{height} pixels{enlarged}; this page makes up to {_mega(limit)}:"
        f" take a smaller one{smaller}"
    )


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:.3g}"
