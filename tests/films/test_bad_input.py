"""The good part of a broken film is done, and each bad part is named; what cannot be done is refused before."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.films.encoder import Choice
from fsr_deploy.films.segments import folder_of
from fsr_deploy.films.survey import survey
from tests.films.drawn import COUNT, LOSSLESS, Nearest, draw, frames_of, planes_of, restore, times_of


def numbers_in(path: Path) -> list[int]:
    """Return the numbers of the frames that a film drawn by ``planes_of`` has, by where the bar is."""
    return [int(frame.to_ndarray()[0].mean(axis=0).argmax()) for frame in frames_of(path)]


def test_of_a_film_that_is_cut_off_the_rest_is_done(tmp_path: Path) -> None:
    source = draw(tmp_path / "film.mkv", options={"qp": "0", "g": "5", "bf": "0"})
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 3 // 4])
    summary = restore(source, tmp_path / "new.mkv")
    assert 5 <= summary.done < COUNT
    assert numbers_in(tmp_path / "new.mkv") == list(range(summary.done))
    assert any("cut off: it ends at" in str(part) for part in summary.failed)


def test_an_mp4_whose_frames_are_cut_off(tmp_path: Path) -> None:
    """Its table of contents comes first, so FFmpeg can read it."""
    source = draw(tmp_path / "plain.mp4", options={"qp": "0", "bf": "0"})
    front = tmp_path / "film.mp4"
    with av.open(str(source)) as old, av.open(str(front), "w", container_options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    content = front.read_bytes()
    front.write_bytes(content[: len(content) - len(content) // 8])
    summary = restore(front, tmp_path / "new.mp4")
    assert 0 < summary.done < COUNT
    assert numbers_in(tmp_path / "new.mp4") == list(range(summary.done))
    assert any("cut off" in str(part) or "cannot be decoded" in str(part) for part in summary.failed)


def rewritten(source: Path, target: Path, change: Any, codec: str | None = None) -> Path:
    """Copy a film's packets to another file, each content as ``change(index, content)`` gives it; None drops it."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for index, packet in enumerate(packet for packet in old.demux(old.streams.video[0]) if packet.size):
            content = change(index, bytes(packet))
            if content is None:
                continue
            copy = av.Packet(content)
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            copy.time_base, copy.stream, copy.is_keyframe = packet.time_base, stream, packet.is_keyframe
            new.mux(copy)
    return target


def test_a_packet_that_cannot_be_decoded_is_named_by_its_frame(tmp_path: Path) -> None:
    plain = draw(tmp_path / "plain.mkv", codec="ffv1", pix_fmt="yuv444p", options={"g": "1"})
    source = rewritten(plain, tmp_path / "film.mkv", lambda index, content: b"\0" * 8 if index in (7, 8) else content)
    summary = restore(source, tmp_path / "new.mkv")
    assert summary.done == COUNT - 2
    assert [(part.first, part.last) for part in summary.failed] == [(7, 8)]
    assert str(summary.failed[0]).startswith("frames 7 to 8 (from 0.280 s): left out, cannot be decoded")
    kept = [index for index in range(COUNT) if index not in (7, 8)]
    assert numbers_in(tmp_path / "new.mkv") == kept
    assert times_of(tmp_path / "new.mkv") == [Fraction(40 * index, 1000) for index in kept]


def test_in_avi_too_the_frames_after_a_lost_one_keep_their_times(tmp_path: Path) -> None:
    """Its frames carry no times of their own."""
    plain = draw(tmp_path / "plain.avi", None, range(COUNT), Fraction(1, 25), codec="ffv1", options={"g": "1"})
    source = rewritten(plain, tmp_path / "film.avi", lambda index, content: b"\0" * 8 if index == 7 else content)
    summary = restore(source, tmp_path / "new.mp4")
    assert [(part.first, part.last) for part in summary.failed] == [(7, 7)]
    kept = [index for index in range(COUNT) if index != 7]
    assert numbers_in(tmp_path / "new.mp4") == kept
    assert times_of(tmp_path / "new.mp4") == [Fraction(index, 25) for index in kept]


def test_a_frame_that_the_decoder_patched_is_kept_and_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(16, 236, (COUNT, 32, 32), np.uint8)
    plain = draw(
        tmp_path / "plain.mkv",
        [[luma, luma, luma] for luma in noise],
        options={"qp": "20", "coder": "cavlc", "bf": "0", "g": "1"},
    )
    source = rewritten(
        plain,
        tmp_path / "film.mkv",
        lambda index, content: content[:-400] + b"\xff" * 400 if index == 5 else content,
    )
    summary = restore(source, tmp_path / "new.mkv")
    assert [part.first for part in summary.failed] == [5]
    assert summary.done in (COUNT, COUNT - 1)


def test_frames_of_another_size_are_left_out_and_named(tmp_path: Path) -> None:
    source = tmp_path / "film.mkv"
    first = draw(tmp_path / "a.h264", [planes_of(index) for index in range(10)], range(10), options={"bf": "0"})
    large = [planes_of(index, (48, 48)) for index in range(6)]
    second = draw(tmp_path / "b.h264", large, range(6), options={"bf": "0"})
    joined = tmp_path / "joined.h264"
    joined.write_bytes(first.read_bytes() + second.read_bytes() + first.read_bytes())
    with av.open(str(joined)) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for index, packet in enumerate(packet for packet in old.demux(old.streams.video[0]) if packet.size):
            packet.pts = packet.dts = index
            packet.time_base, packet.stream = Fraction(1, 25), stream
            new.mux(packet)
    summary = restore(source, tmp_path / "new.mkv")
    assert [str(part) for part in summary.failed] == [
        "frames 10 to 15 (from 0.400 s): left out, 48x48 and not 32x32 as the first"
    ]
    assert numbers_in(tmp_path / "new.mkv") == [*range(10), *range(10)]


def test_a_film_without_times_is_done_at_a_rate_that_is_said(tmp_path: Path) -> None:
    source = draw(tmp_path / "film.h264", times=range(COUNT), time_base=Fraction(1, 25), options={"qp": "0"})
    summary = restore(source, tmp_path / "new.mp4")
    assert (summary.done, summary.failed) == (COUNT, [])
    assert summary.warnings == ("the film has no times, or not for all frames; 25 frames a second are taken",)
    assert times_of(tmp_path / "new.mp4") == [Fraction(index, 25) for index in range(COUNT)]


def sound_alone(path: Path) -> None:
    with av.open(str(path), "w") as film:
        track = film.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        film.mux(track.encode(frame))
        film.mux(track.encode(None))


def no_frames(path: Path) -> None:
    with av.open(str(path), "w") as film:
        stream: Any = film.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        film.start_encoding()


def nothing_to_decode(path: Path) -> None:
    plain = draw(path.with_name("plain.mkv"), codec="ffv1", pix_fmt="yuv444p")
    rewritten(plain, path, lambda index, content: b"\0" * 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read as a film: "),
        (lambda path: path.write_bytes(b"\x1a\x45\xdf\xa3" + b"nonsense" * 100), "cannot be read as a film: "),
        (lambda path: path.mkdir(), "not a file"),
        (sound_alone, "has no video stream, only audio"),
        (no_frames, "its video stream holds no frames|cannot be read as a film"),
        (nothing_to_decode, "none of its 20 frames can be decoded"),
        (lambda path: None, "no such file or folder"),
    ],
)
def test_what_is_no_film_is_refused_before_anything_is_written(tmp_path: Path, make: Any, message: str) -> None:
    source = tmp_path / "film.mkv"
    make(source)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message) as caught:
        restore(source, tmp_path / "new.mkv")
    assert str(source) in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("choice", "size", "target", "message"),
    [
        (("libx264", None, "yuv420p"), 32, "new.webm", r"\.webm does not take libx264"),
        (
            ("libx264", None, "yuv422p12le"),
            32,
            "new.mkv",
            "--codec libx264 does not take --pix-fmt yuv422p12le; it takes",
        ),
        (("libx264", None, "yuv420p"), 33, "new.mkv", "cannot write 33x33 in yuv420p: .*; an odd size needs"),
    ],
)
def test_a_video_that_cannot_be_written_is_refused_before(
    tmp_path: Path, choice: tuple[Any, ...], size: int, target: str, message: str
) -> None:
    source = draw(tmp_path / "film.mkv", [planes_of(0, (size, size))], (0,), codec="ffv1")
    with pytest.raises(UsageError, match=message):
        restore(source, tmp_path / target, choice=Choice(*choice))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (("nonsense",), "--codec nonsense: not a video encoder of this PyAV; it has libx264"),
        (("aac",), "--codec aac: not a video encoder"),
        (("libx264", 52), "--crf 52: give a number from 0"),
        (("ffv1", 16), "--crf 16: ffv1 has no such quality"),
        (("libx264", None, "rgb24"), "--pix-fmt rgb24: not one of yuv420p"),
    ],
)
def test_a_choice_that_no_film_could_have_is_refused(choice: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Choice(*choice)


def test_a_film_that_somebody_made_is_not_replaced(tmp_path: Path) -> None:
    source = draw(tmp_path / "film.mkv", times=range(0, 120, 40))
    target = tmp_path / "new.mkv"
    target.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"new\.mkv: already exists; name another output with -o, or add --overwrite"):
        restore(source, target)
    assert target.read_bytes() == b"mine"
    assert not folder_of(target).exists()
    assert restore(source, target, overwrite=True).done == 3
    with pytest.raises(UsageError, match="is the film itself"):
        restore(source, source, overwrite=True)


def test_with_on_error_stop_the_first_bad_frame_ends_the_run(tmp_path: Path) -> None:
    plain = draw(tmp_path / "plain.mkv", codec="ffv1", pix_fmt="yuv444p", options={"g": "1"})
    source = rewritten(plain, tmp_path / "film.mkv", lambda index, content: b"\0" * 8 if index == 7 else content)
    with pytest.raises(InputError, match=r"film\.mkv: frame 7 \(0.280 s\): left out, cannot be decoded"):
        restore(source, tmp_path / "new.mkv", skip_failures=False)
    assert not (tmp_path / "new.mkv").exists()


def test_what_a_restorer_raises_ends_the_run_and_nothing_hangs(tmp_path: Path) -> None:
    class Broken(Nearest):
        def restore(self, frames: Any, first: int) -> Any:
            raise InputError("no more")

    source = draw(tmp_path / "film.mkv")
    with pytest.raises(InputError, match="no more"):
        restore(source, tmp_path / "new.mkv", choice=LOSSLESS, restorer=Broken())
    assert not (tmp_path / "new.mkv").exists()


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path: Path) -> None:
    source = draw(tmp_path / "film.mkv")
    blocked = tmp_path / "file" / "new.mkv"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        restore(source, blocked)


def test_a_broken_film_says_so_again_when_it_is_done(tmp_path: Path) -> None:
    plain = draw(tmp_path / "plain.mkv", codec="ffv1", pix_fmt="yuv444p", options={"g": "1"})
    source = rewritten(plain, tmp_path / "film.mkv", lambda index, content: b"\0" * 8 if index == 7 else content)
    first = restore(source, tmp_path / "new.mkv")
    again = restore(source, tmp_path / "new.mkv")
    assert (again.done, again.already_done, again.lost) == (0, COUNT - 1, 1)
    assert again.failed == first.failed
    assert survey(source).times[7] == 280
