"""The rules of docs/architecture.md: direction of imports, no cycles, light imports, sizes of files and functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from docs.rooms import LEVELS, imports, room_of, rooms_svg

IMPORTS = imports()
ROOT = Path(__file__).parents[1]
FOLDERS = ("fsr_deploy", "tests", "docs", "examples", "benchmarks")
PICTURE = ROOT / "docs" / "rooms.svg"
# The registry loads the modules that register networks with it when it is first asked for one.
BY_DESIGN = {("models.registry", "models.zoo")}
# Each command has its Arguments, two papers their Hourglass and their FRM, Triton looks for a class of its name; the
# budgets are of bytes and of errors.
SAME_NAME = {"Arguments", "FRM", "Hourglass", "TritonPythonModel", "Budget"}


def test_every_room_has_its_level() -> None:
    assert {room_of(module) for module in IMPORTS} - {""} == {room for level in LEVELS for room in level}


def test_rooms_import_only_from_levels_below() -> None:
    height = {room: at for at, level in enumerate(LEVELS) for room in level}
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if room_of(module) != room_of(other) and "" not in (room_of(module), room_of(other))
        if height[room_of(other)] >= height[room_of(module)]
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in IMPORTS.get(module, ()):
                if other and (module, other) not in BY_DESIGN:
                    visit(other, (*path, module))
            done.add(module)

    for module in filter(None, IMPORTS):  # the package's own file loads public names when they are used
        visit(module, ())


def test_the_picture_of_the_house_is_the_house() -> None:
    assert PICTURE.read_text(encoding="utf-8") == rooms_svg(), "draw it again: python -m docs.rooms"


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import fsr_deploy", ("torch", "onnx", "onnxruntime", "numpy", "cv2")),
        ("import fsr_deploy.runtime.open, fsr_deploy.runtime.folder.run", ("torch", "onnx")),
        ("from fsr_deploy import load, Upscaler", ("torch", "onnx")),
        ("from fsr_deploy import rebuild", ("torch", "onnx")),
    ],
)
def test_what_is_imported_stays_light(statement: str, unwanted: tuple[str, ...]) -> None:
    script = f"import sys; {statement}; sys.exit(', '.join(sorted(set({unwanted}) & set(sys.modules))) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def sources(*folders: str) -> dict[str, str]:
    """Return the text of every Python file in folders of the repository, by its path."""
    paths = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def longer(texts: dict[str, str], limit: int) -> dict[str, int]:
    return {name: lines for name, text in texts.items() if (lines := len(text.splitlines())) > limit}


def test_commands_are_thin() -> None:
    assert longer(sources("fsr_deploy/cli"), 120) == {}


def test_modules_have_one_subject_each() -> None:
    assert longer(sources("fsr_deploy", "tests", "examples", "docs"), 400) == {}


def test_functions_can_be_read_at_a_glance() -> None:
    functions = [
        (f"{name}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for name, text in sources("fsr_deploy", "tests", "examples", "docs").items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [(name, lines) for name, lines in functions if lines > 60] == []


def test_a_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for path, text in sources("fsr_deploy").items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1 and name not in SAME_NAME} == {}


def test_every_module_that_the_documents_name_is_there() -> None:
    """A path in backquotes may be the end of one; two are a reader's own files."""
    tree = {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    missing = [
        f"{page.name}: {name}"
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
        for name in re.findall(r"`([\w/]+\.py)`", page.read_text(encoding="utf-8"))
        if not any(f"/{path}".endswith(f"/{name}") for path in tree)
    ]
    assert missing == ["models.md: mynet.py", "models.md: fsr_deploy/models/plain.py"]
