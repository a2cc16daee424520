"""What is wrong with a film, by the numbers of its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class BadPart:
    """Frames ``first`` to ``last``, counted from 0, with the time of the first in seconds where it is known, and what
    is wrong with them. Without numbers it is about the whole film.
    """

    reason: str
    first: int | None = None
    last: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.first is None:
            return self.reason
        many = self.last is not None and self.last > self.first
        when = "" if self.seconds is None else f" ({'from ' if many else ''}{self.seconds:.3f} s)"
        frames = f"frames {self.first} to {self.last}" if many else f"frame {self.first}"
        return f"{frames}{when}: {self.reason}"


class BadParts:
    """Collects bad frames; those that follow each other with the same reason become one part. ``notice`` gets each part
    when it is complete.
    """

    def __init__(self, notice: Callable[[str], None] = lambda line: None) -> None:
        self.parts: list[BadPart] = []
        self._notice = notice
        self._open: BadPart | None = None

    def add(self, number: int, reason: str, seconds: float | None = None) -> None:
        """Add a frame; numbers come in order."""
        last = self._open
        if last and last.reason == reason and last.last == number - 1:
            self._open = replace(last, last=number)
            return
        self.close()
        self._open = BadPart(reason, number, number, seconds)

    def add_film(self, reason: str) -> None:
        """Add what is wrong with the film as a whole."""
        self.close()
        self._open = BadPart(reason)
        self.close()

    def close(self) -> None:
        """Complete the last part."""
        if self._open:
            self.parts.append(self._open)
            self._notice(str(self._open))
        self._open = None

    @property
    def frames(self) -> int:
        """How many frames are in the parts."""
        return sum(
            part.last - part.first + 1 for part in self.parts if part.first is not None and part.last is not None
        )
