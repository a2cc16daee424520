import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from fsr_deploy._util import console
from fsr_deploy._util.console import (
    command,
    finish_on_interrupt,
    options_from,
    print_json,
    printable,
    read_stdin,
    show,
)
from fsr_deploy._util.log import progress, say, warn
from fsr_deploy.errors import ExitCode, InputError, MissingError, ParityError, UsageError, refuse_unknown


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("why"), 2), (MissingError("why"), 3), (InputError("why"), 4), (ParityError("why"), 5)],
)
def test_an_error_is_one_line_and_an_exit_code(error: Exception, code: int):
    @command
    def main() -> None:
        raise error

    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.stderr, result.stdout) == (code, "error: why\n", "")


@dataclass(frozen=True)
class Words:
    what: Annotated[str, typer.Argument(help="What is said.")]
    times: Annotated[int, typer.Option(min=1, help="How often.")] = 1


@dataclass(frozen=True)
class MoreWords(Words):
    loud: Annotated[bool, typer.Option("--loud")] = False


def test_the_options_of_a_command_are_the_fields_of_a_dataclass():
    @command
    @options_from(MoreWords)
    def main(given: MoreWords) -> None:
        """Say it."""
        show((given.what.upper() if given.loud else given.what) * given.times)

    result = CliRunner().invoke(main, ["a", "--times", "2", "--loud"])
    assert (result.exit_code, result.stdout) == (0, "AA\n")
    assert CliRunner().invoke(main, []).exit_code == CliRunner().invoke(main, ["a", "--times", "0"]).exit_code == 2
    help_text = CliRunner().invoke(main, ["--help"]).stdout
    assert "Say it." in help_text and help_text.index("--times") < help_text.index("--loud")


def test_a_defect_keeps_its_traceback():
    @command
    def main() -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(main, []).exception, ZeroDivisionError)


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (ExitCode.DONE, 0), (ExitCode.PARTIAL, 6)])
def test_a_command_returns_its_exit_code(returned: ExitCode | None, code: int):
    @command
    def main() -> ExitCode | None:
        return returned

    assert CliRunner().invoke(main, []).exit_code == code


def test_ctrl_c_is_exit_code_130():
    @command
    def main() -> None:
        raise KeyboardInterrupt

    assert CliRunner().invoke(main, []).exit_code == 130


def test_messages_go_to_standard_error_and_the_summary_to_standard_output(capsys: pytest.CaptureFixture[str]):
    say("hello")
    warn("beware")
    print_json({"a": 1})
    captured = capsys.readouterr()
    assert captured.err == "hello\nwarning: beware\n"
    assert json.loads(captured.out) == {"a": 1}


def test_a_summary_is_json_for_every_program_whatever_the_numbers(capsys: pytest.CaptureFixture[str]):
    def refuse(name: str) -> None:
        raise ValueError(name)

    print_json({"psnr": float("inf"), "rows": [{"a": float("nan")}, (-float("inf"), 1.5, True, None, "Infinity")]})
    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"psnr": None, "rows": [{"a": None}, [None, 1.5, True, None, "Infinity"]]}


def test_an_unknown_value_is_refused_with_those_known():
    refuse_unknown("--io", "uint8", ("uint8", "float"))
    with pytest.raises(UsageError, match="--io int4: not one of uint8, float"):
        refuse_unknown("--io", "int4", ("uint8", "float"))


def test_progress_is_plain_lines_now_and_then_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    seconds = iter([0.0, 1.0, 6.0, 7.0, 20.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(seconds))
    with progress("faces", 40) as advance:
        for _ in range(4):
            advance(10)
    assert capsys.readouterr().err == "faces: 20/40, 3.3/s, 6 s left\n"


def test_the_first_ctrl_c_asks_to_finish_and_the_second_ends(capsys: pytest.CaptureFixture[str]):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), finish_on_interrupt("finishing") as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        assert capsys.readouterr().err == "finishing\n"
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# Names that others chose, and streams that are not there.


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a\x1b]0;owned\x07b", r"a\x1b]0;owned\x07b"),
        ("a\rb\tc\x7f\x9b", r"a\x0db\x09c\x7f\x9b"),
        ("gpj.\u202eexe\u2028\u2066", r"gpj.\u202eexe\u2028\u2066"),
        (os.fsdecode(b"latin1_\xe9.png"), r"latin1_\xe9.png"),
        ("\ud800", r"\ud800"),
        ("new\nerror: line.png", r"new\x0aerror: line.png"),
        ("these modules:\n  one\n  two", "these modules:\n  one\n  two"),
        ("größer 顔 😀 [bold]x[/bold]", "größer 顔 😀 [bold]x[/bold]"),
    ],
)
def test_a_terminal_is_shown_what_it_would_otherwise_obey(capsys: pytest.CaptureFixture[str], message: str, shown: str):
    say(message)
    assert capsys.readouterr().err == f"{shown}\n"
    assert printable(message) == shown


def test_a_wrong_argument_is_shown_without_control_characters_too():
    @command
    def main() -> None:
        pass

    result = CliRunner().invoke(main, ["a\x1b[31m.png"])
    assert result.exit_code == 2
    assert r"a\x1b[31m.png" in result.stderr


def test_a_result_is_shown_line_by_line(capsys: pytest.CaptureFixture[str]):
    show("# one\n| \x1b[2J\r |\n")
    assert capsys.readouterr().out == "# one\n| \\x1b[2J\\x0d |\n\n"


@pytest.mark.parametrize(
    ("encoding", "printed"), [("ascii:strict", b"gr\\xf6\\udcff\n"), ("utf-8:strict", b"gr\xc3\xb6\\udcff\n")]
)
def test_what_is_printed_fits_the_encoding(encoding: str, printed: bytes):
    code = "from fsr_deploy._util.console import command; command(lambda: print('gr\\xf6\\udcff'))([])"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, printed)


def test_names_that_are_no_text_come_back_from_json(capsys: pytest.CaptureFixture[str]):
    name = os.fsdecode(b"\xff\x1b \xe9\n")
    print_json({name: name})
    out = capsys.readouterr().out
    assert out.isascii() and "\x1b" not in out
    assert json.loads(out) == {name: name}


def test_a_stream_that_takes_only_ascii_gets_escapes(monkeypatch: pytest.MonkeyPatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", "strict")
    monkeypatch.setattr(sys, "stderr", stream)
    say("größer 顔")
    assert stream.buffer.getvalue() == b"gr\\xf6\\xdfer \\u9854\n"


@pytest.mark.parametrize("stream", [None, "closed"])
def test_where_nobody_listens_nothing_is_said(monkeypatch: pytest.MonkeyPatch, stream: str | None):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", stream and closed)
    say("hello")
    monkeypatch.setattr(sys, "stderr", None)
    with progress("faces", 2) as advance:
        advance(1)
    monkeypatch.setattr(sys, "stdin", None)
    assert read_stdin() == b""


COMMAND = """
import sys
from fsr_deploy._util.console import command, print_json
from fsr_deploy._util.log import say
from fsr_deploy.errors import ExitCode

@command
def main() -> ExitCode:
    say("on the way")
    with open(OUT, "w") as file:
        print(file.fileno(), file=file)
    print_json({"done": ["x" * 70] * 3000})  # more than a pipe holds
    say("done")
    return ExitCode.PARTIAL

main([])
"""


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        ("2>&-", 6),
        (">&-", 6),
        ("<&-", 6),
        ("<&- >&- 2>&-", 6),
        ("2>/dev/full", 6),
        ("2>&1 | true", 6),
        (">/dev/full", 4),
        ("2>&1 | head -c 1 >/dev/null", 6),
    ],
)
def test_the_exit_code_is_right_whatever_became_of_the_streams(tmp_path: Path, streams: str, code: int):
    script = COMMAND.replace("OUT", repr(str(tmp_path / "out")))
    (tmp_path / "script.py").write_text(script)
    line = f"set -o pipefail; {sys.executable} {tmp_path / 'script.py'} {streams}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert int((tmp_path / "out").read_text()) > 2, "a file took a closed stream's number: libraries print into it"


def test_progress_and_interrupts_work_outside_the_main_thread(capsys: pytest.CaptureFixture[str]):
    stopped: list[bool] = []

    def work() -> None:
        with finish_on_interrupt("finishing") as stop, progress("faces", 1) as advance:
            advance(1)
            stopped.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert stopped == [False]
