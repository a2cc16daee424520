"""PyAV, which brings FFmpeg's libraries, and what is said when it is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsr_deploy._util.imports import load

if TYPE_CHECKING:
    from av.container import InputContainer

# Real containers and plain streams. Playlists, lists of pictures and devices are not among them: they lead FFmpeg to
# other files and to the network.
FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,gif,apng,ogg,nut,mxf,dv,ivf,h264,hevc,vvc,obu,av1,m4v,mjpeg,"
    "vc1,yuv4mpegpipe,rm,wtv,swf,gxf,h261,h263,cavsvideo,dirac,amv,nsv,film_cpk,smk,bink,roq"
)
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
_REASON_LENGTH = 200
_messages = threading.Lock()
_listening = 0


def av() -> Any:
    """Return the module ``av``; raises MissingError with what to install."""
    return load("av")


def errors() -> tuple[type[Exception], ...]:
    """Return what PyAV raises: FFmpeg's errors, and those of values that make no sense or of a disk."""
    return (av().FFmpegError, ValueError, OSError)


def open_film(path: Path) -> InputContainer:
    """Open a film; raises what ``errors`` names. Only the file itself is read, whatever it refers to."""
    opened: InputContainer = av().open(
        str(path.absolute()), "r", container_options=dict(_OPTIONS), metadata_errors="replace"
    )
    return opened


def rest(stream: Any) -> None:
    """Have the threads of a stream's decoder finish what they do. PyAV frees decoders while it holds Python's lock, for
    which a thread with a message would wait for ever.
    """
    if stream.codec_context is not None:
        stream.codec_context.flush_buffers()


def reason(error: Exception) -> str:
    """Return what an error of PyAV says, in a few words."""
    text = getattr(error, "strerror", None) or str(error)
    log = getattr(error, "log", None)
    detail = log[2].strip() if isinstance(log, tuple) and len(log) == 3 else ""
    if "not on whitelist" in detail:
        return "a kind of file that leads to others, as playlists do"
    whole = f"{text} ({detail})" if detail and detail not in text else text
    return whole if len(whole) <= _REASON_LENGTH else f"{whole[:_REASON_LENGTH]}..."


class Messages:
    """FFmpeg's errors, as (level, who, text); those of the threads that a decoder starts are in ``elsewhere``."""

    def __init__(self, elsewhere: list[tuple[int, str, str]]) -> None:
        self._elsewhere = elsewhere

    @contextmanager
    def heard(self, who: str = "") -> Iterator[list[str]]:
        """Yield a list that gets, at the end of the block, the errors reported meanwhile in this thread, and by ``who``
        in any thread.
        """
        texts: list[str] = []
        self._elsewhere.clear()
        with av().logging.Capture(local=True) as here:
            try:
                yield texts
            finally:
                others = [log for log in self._elsewhere if log[1] == who]
                texts += [text.strip() for _, _, text in (*here, *others)]


@contextmanager
def listening() -> Iterator[Messages]:
    """Have FFmpeg's errors kept while the block runs, instead of dropped; nothing is printed in either case."""
    global _listening
    logging: Any = av().logging
    with logging.Capture(local=False) as elsewhere:
        with _messages:
            _listening += 1
            if _listening == 1:
                logging.set_level(logging.ERROR)
        try:
            yield Messages(elsewhere)
        finally:
            with _messages:
                _listening -= 1
                if not _listening:
                    logging.set_level(None)
