"""A new film has the frames' times, the sound, the subtitles and the words of the old one."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fsr_deploy.films.colour import LIMITED, Colours
from fsr_deploy.films.encoder import Choice
from fsr_deploy.films.survey import survey
from tests.films.drawn import COUNT, LOSSLESS, UNEVEN, Nearest, draw, frames_of, packets_of, restore, times_of


@pytest.mark.parametrize(
    ("name", "time_base", "subtitles"),
    [("film.mkv", Fraction(1, 1000), "subrip"), ("film.mp4", Fraction(1, 90000), "mov_text")],
)
def test_times_sound_and_subtitles_are_those_of_the_film(
    tmp_path: Path, name: str, time_base: Fraction, subtitles: str
) -> None:
    source = draw(tmp_path / name, times=UNEVEN, time_base=time_base, sounds=2, subtitles=subtitles)
    target = tmp_path / f"new{Path(name).suffix}"
    summary = restore(source, target, 2)
    assert (summary.done, summary.failed, summary.left_out) == (COUNT, [], ())
    assert times_of(target) == times_of(source)
    assert len(set(np.diff(times_of(target)))) == COUNT - 1
    for kind in ("audio", "subtitle"):
        assert packets_of(target, kind) == packets_of(source, kind) != []
    with av.open(str(target)) as new, av.open(str(source)) as old:
        assert [stream.language for stream in new.streams.audio] == ["eng", "deu"]
        assert new.streams.video[0].time_base == old.streams.video[0].time_base == time_base
        assert new.duration == old.duration
    assert [frame.width for frame in frames_of(target)] == [64] * COUNT


def test_each_frame_is_the_restored_one_in_its_place(tmp_path: Path) -> None:
    source = draw(tmp_path / "film.mkv", times=UNEVEN)
    restorer = Nearest(2, batch=3)
    restore(source, tmp_path / "new.mkv", restorer=restorer)
    for old, new in zip(frames_of(source), frames_of(tmp_path / "new.mkv"), strict=True):
        enlarged = old.to_ndarray()[0].repeat(2, axis=0).repeat(2, axis=1).astype(int)
        assert np.abs(new.to_ndarray()[0].astype(int) - enlarged).max() <= 1
    assert sorted(restorer.firsts) == [(first, min(3, COUNT - first)) for first in range(0, COUNT, 3)]


def test_a_stream_that_the_container_does_not_take_is_named(tmp_path: Path) -> None:
    source = draw(tmp_path / "film.mkv", sounds=1, subtitles="subrip")
    summary = restore(source, tmp_path / "new.mp4")
    (line,) = summary.left_out
    assert line.startswith("subtitle stream 2 (s")
    assert line.endswith("is not copied: .mp4 does not take it; .mkv takes more kinds")
    assert packets_of(tmp_path / "new.mp4", "audio") != []


def test_attachments_and_chapters_and_words_are_carried_over(tmp_path: Path) -> None:
    plain = draw(tmp_path / "plain.mkv", metadata={"title": "A film"})
    source = tmp_path / "film.mkv"
    chapter = {"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        new.add_attachment("font.ttf", "font/ttf", b"not a font")
        new.metadata.update(old.metadata)
        new.set_chapters([chapter])  # type: ignore[list-item]
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    restore(source, tmp_path / "new.mkv")
    with av.open(str(tmp_path / "new.mkv")) as film:
        assert film.metadata["title"] == "A film"
        assert [chapter["metadata"]["title"] for chapter in film.chapters()] == ["One"]
        assert [(found.name, found.data) for found in film.streams.attachments] == [("font.ttf", b"not a font")]
    assert restore(source, tmp_path / "new.mp4").left_out != ()


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("film.avi", "libx264", "yuv420p"),
        ("film.ts", "libx264", "yuv420p"),
        ("film.flv", "libx264", "yuv420p"),
        ("film.mpg", "mpeg2video", "yuv420p"),
        ("film.wmv", "wmv2", "yuv420p"),
        ("film.webm", "libvpx-vp9", "yuv420p"),
    ],
)
def test_other_containers_are_read_too(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    half = np.zeros((16, 16), np.uint8) + 128
    frames = [[np.full((32, 32), 40 + 8 * index, np.uint8), half, half] for index in range(COUNT)]
    source = draw(tmp_path / name, frames, range(COUNT), Fraction(1, 25), codec=codec, pix_fmt=pix_fmt, options={})
    summary = restore(source, tmp_path / "new.mp4")
    assert (summary.done, summary.failed) == (COUNT, [])
    levels = [float(frame.to_ndarray()[0].mean()) for frame in frames_of(tmp_path / "new.mp4")]
    assert levels == pytest.approx([40 + 8 * index for index in range(COUNT)], abs=6)
    steps = np.diff([float(time) for time in times_of(tmp_path / "new.mp4")])
    assert steps == pytest.approx([0.04] * (COUNT - 1), abs=0.0011)


def test_times_that_a_container_rounds_are_told(tmp_path: Path) -> None:
    source = draw(tmp_path / "film.mp4", times=range(0, 3003, 1001), time_base=Fraction(1, 30000))
    summary = restore(source, tmp_path / "new.mkv")
    assert summary.warnings == (".mkv keeps times in milliseconds, so they are rounded; .mp4 and .mov keep them",)
    assert restore(source, tmp_path / "new.mp4").warnings == ()
    assert times_of(tmp_path / "new.mp4") == times_of(source)


def test_a_gif_with_several_frames_is_a_film(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.new("RGB", (32, 32), (index * 40, 100, 50)) for index in range(5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[40, 100, 60, 40, 80])
    summary = restore(tmp_path / "a.gif", tmp_path / "a.mp4")
    assert (summary.done, summary.warnings) == (5, ())
    assert [float(time) for time in times_of(tmp_path / "a.mp4")] == [0, 0.04, 0.14, 0.2, 0.24]
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert film.duration == 320_000
    new = frames_of(tmp_path / "a.mp4")[3].to_ndarray(format="rgb24")
    assert np.abs(new[16, 16].astype(int) - (120, 100, 50)).max() <= 2


def test_hdr_is_carried_over_with_a_warning(tmp_path: Path) -> None:
    planes = [np.full((32, 32), level, np.uint16) for level in (401, 502, 603)]
    hdr = Colours(9, LIMITED, 9, 16)
    source = draw(tmp_path / "film.mkv", [planes], (0,), codec="ffv1", pix_fmt="yuv444p10le", colours=hdr)
    (line,) = restore(source, tmp_path / "new.mkv", choice=Choice()).warnings
    assert line.startswith("its brightness is coded for HDR (PQ), and frames are restored as they are")
    with av.open(str(tmp_path / "new.mkv")) as film:
        context = film.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (9, 9, 16)


def test_a_film_of_ten_bits_stays_one(tmp_path: Path) -> None:
    planes = [np.full((32, 32), level, np.uint16) for level in (401, 502, 603)]
    source = draw(tmp_path / "film.mkv", [planes] * 3, (0, 40, 80), codec="ffv1", pix_fmt="yuv444p10le")
    restore(source, tmp_path / "new.mkv", choice=Choice())
    frame = frames_of(tmp_path / "new.mkv")[0]
    assert frame.format.name == "yuv420p10le"
    assert abs(int(np.frombuffer(bytes(frame.planes[0]), np.uint16)[0]) - 401) <= 2


def test_no_stream_of_a_film_is_dropped_silently(tmp_path: Path) -> None:
    """A second picture stream is named too."""
    source = tmp_path / "film.mkv"
    with av.open(str(source), "w") as film:
        streams = [film.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(3):
            for stream in streams:
                frame = av.VideoFrame(32, 32, "yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                film.mux(stream.encode(frame))
        for stream in streams:
            film.mux(stream.encode(None))
    summary = restore(source, tmp_path / "new.mkv")
    assert len(summary.left_out) == 1
    assert summary.left_out[0].endswith("is not copied: only sound, subtitles and attachments are copied")
    assert json.dumps(summary.left_out)


def test_nothing_outside_the_file_is_read(tmp_path: Path) -> None:
    """A list of other files is no film, whatever it is called."""
    draw(tmp_path / "film.mkv")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile film.mkv\n")
    (tmp_path / "list.ts").write_text("#EXTM3U\n#EXTINF:1,\nfilm.mkv\n#EXT-X-ENDLIST\n")
    for name in ("list.mp4", "list.ts"):
        with pytest.raises(Exception, match="cannot be read as a film"):
            survey(tmp_path / name)


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1", "libvpx-vp9", "ffv1"])
def test_other_encoders_give_the_same_packets_again_too(tmp_path: Path, codec: str) -> None:
    source = draw(tmp_path / "film.mkv", times=range(0, 400, 40))
    for name in ("a.mkv", "b.mkv"):
        assert restore(source, tmp_path / name, 4, choice=Choice(codec)).done == 10
    assert packets_of(tmp_path / "a.mkv", "video") == packets_of(tmp_path / "b.mkv", "video")
    assert times_of(tmp_path / "a.mkv") == times_of(source)


def test_the_same_film_twice_is_the_same_file(tmp_path: Path) -> None:
    source = draw(tmp_path / "film.mkv", sounds=1)
    for name in ("a.mkv", "b.mkv", "a.mp4", "b.mp4"):
        restore(source, tmp_path / name, choice=LOSSLESS)
    for suffix in ("mkv", "mp4"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
