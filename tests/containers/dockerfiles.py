"""The Dockerfiles of docker/, as lists of instructions."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))


@dataclass(frozen=True)
class Dockerfile:
    """The instructions of a file, in its order: (name, rest of the line), continued lines joined."""

    path: Path
    instructions: tuple[tuple[str, str], ...]

    def of(self, name: str) -> list[str]:
        """Return what follows each instruction of a name, the defaults of build arguments put in."""
        return [rest for found, rest in self.instructions if found == name]

    @property
    def arguments(self) -> dict[str, str]:
        """The build arguments and their defaults."""
        return dict(rest.split("=", 1) for rest in self.of("ARG"))

    @property
    def copied(self) -> list[tuple[list[str], str]]:
        """The files that come from the folder it is built in, and where they go."""
        lines = [shlex.split(rest) for rest in self.of("COPY") if not rest.startswith("--from=")]
        return [(words[:-1], words[-1]) for words in lines]

    def copy_into(self, folder: Path) -> None:
        """Copy what its COPY lines copy into a folder that stands for its working directory."""
        for sources, target in self.copied:
            for name in sources:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, folder / target)


def read(path: Path) -> Dockerfile:
    """Read a Dockerfile without here-documents."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return Dockerfile(path, tuple((words[0].upper(), words[1].strip()) for words in (x.split(None, 1) for x in joined)))
