"""One process at a time; a file system without locks keeps nobody from working."""

import ast
import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fsr_deploy
from fsr_deploy._util.locks import locked
from fsr_deploy.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_one_is_refused_and_nothing_is_left_behind(tmp_path: Path):
    path = tmp_path / "lock"
    with locked(path, "busy"), pytest.raises(InputError, match=r"^busy$"), locked(path, "busy"):
        pytest.fail("locked twice")
    assert names(tmp_path) == []
    with locked(tmp_path / "lock", "busy"):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path):
    code = (
        "import os, signal, sys; from pathlib import Path; from fsr_deploy._util.locks import locked\n"
        "with locked(Path(sys.argv[1]), 'busy'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "lock"], check=False)
    assert names(tmp_path) == ["lock"]
    with locked(tmp_path / "lock", "busy"):
        pass
    assert names(tmp_path) == []


def test_many_at_once_are_one_after_the_other(tmp_path: Path):
    """Each writes a file that the next must not find; some come between another's opening and locking the file."""
    code = (
        "import sys; from pathlib import Path\n"
        "from fsr_deploy.errors import InputError; from fsr_deploy._util.locks import locked\n"
        "folder, done = Path(sys.argv[1]), 0\n"
        "while done < 40:\n"
        "    try:\n"
        "        with locked(folder / 'lock', 'busy'):\n"
        "            (folder / 'inside').touch(exist_ok=False)\n"
        "            (folder / 'inside').unlink()\n"
        "            done += 1\n"
        "    except InputError as error:\n"
        "        assert str(error) == 'busy'\n"
    )
    together = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(3)]
    assert [process.wait() for process in together] == [0, 0, 0]
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
):
    def no_locks(*_: object) -> None:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for _ in range(2):
        with locked(tmp_path / "lock", "busy"):
            pass
        assert capsys.readouterr().err == (
            f"warning: {tmp_path}: this file system has no locks; let no other process write here at the same time\n"
        )
    assert names(tmp_path) == []


def test_a_lock_file_that_cannot_be_made_is_no_lock_of_others(tmp_path: Path):
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(OSError, match="Too many levels of symbolic links"), locked(tmp_path / "lock", "busy"):
        pytest.fail("the link was followed")
    assert names(tmp_path) == ["lock"]


def test_no_module_imports_what_only_posix_has():
    """Windows users are not kept out by a module that they do not need."""
    posix = {"fcntl", "grp", "pwd", "resource", "termios"}
    for path in Path(fsr_deploy.__file__).parent.rglob("*.py"):
        statements = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        imported = {alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names}
        assert not imported & posix, path
