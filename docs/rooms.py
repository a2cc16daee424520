"""Draw docs/rooms.svg, the rooms of fsr_deploy and their imports, from the source.

python -m docs.rooms
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "fsr_deploy"
# From the lowest level up: a room imports only rooms of lower levels.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("_util",),
    ("images", "bundle"),
    ("runtime", "models", "synthetic"),
    ("datasets", "faces"),
    ("metrics", "films"),
    ("train", "exporting", "upscaler"),
    ("profiling", "serving", "cluster", "page"),
    ("choosing",),
    ("cli",),
)
EVERYWHERE = ("errors", "_util")  # used by all: no arrows
WIDTH, HEIGHT, GAP, ROW = 132, 40, 28, 92


def imports() -> dict[str, set[str]]:
    """Return the modules that each module of the package imports, deferred imports included; "" is the package."""
    paths = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {name: set(_imported(path, paths)) - {name} for name, path in paths.items()}


def room_of(module: str) -> str:
    """Return the room of a module; "" for the package's own file."""
    return module.partition(".")[0]


def rooms_svg() -> str:
    """Return the picture: a box for each room, an arrow from a room to each that it imports."""
    arrows = sorted(
        {(room_of(a), room_of(b)) for a, others in imports().items() for b in others if room_of(a) != room_of(b)}
    )
    places = _places()
    width = max(x for x, _ in places.values()) + WIDTH + GAP
    height = ROW * len(LEVELS)
    parts = [_arrow(places[a], places[b]) for a, b in arrows if a and b and b not in EVERYWHERE]
    parts += [_box(room, *place) for room, place in places.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#78909c"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, known: dict[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("fsr_deploy"):
                short = name.removeprefix("fsr_deploy").removeprefix(".")
                found.add(short if short in known else short.rpartition(".")[0])
    return found


def _places() -> dict[str, tuple[int, int]]:
    """Return the corner of each room's box, with the lowest level at the bottom."""
    widest = max(map(len, LEVELS))
    full = widest * (WIDTH + GAP)
    places = {}
    for at, level in enumerate(LEVELS):
        step = full / len(level)
        for column, room in enumerate(level):
            x = round(GAP + step * (column + 0.5) - (WIDTH + GAP) / 2)
            places[room] = (x, ROW * (len(LEVELS) - 1 - at) + (ROW - HEIGHT) // 2)
    return places


def _box(room: str, x: int, y: int) -> str:
    label = room + (".py" if (PACKAGE / f"{room}.py").exists() else "")
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#eceff1" stroke="#455a64"/>'
        f'<text x="{x + WIDTH // 2}" y="{y + HEIGHT // 2 + 5}" text-anchor="middle" font-size="15">{label}</text>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = start, end
    a, b = (x1 + WIDTH // 2, y1 + HEIGHT), (x2 + WIDTH // 2, y2)
    bend = (a[1] + b[1]) // 2
    return (
        f'<path d="M{a[0]} {a[1]}C{a[0]} {bend} {b[0]} {bend} {b[0]} {b[1]}" fill="none" stroke="#90a4ae"'
        ' stroke-width="1.3" marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    Path(__file__).with_name("rooms.svg").write_text(rooms_svg(), encoding="utf-8")
