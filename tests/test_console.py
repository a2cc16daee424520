import json
import os
import signal

import pytest
from typer.testing import CliRunner

from fsr_deploy import console
from fsr_deploy.console import command, finish_on_interrupt, print_json, progress, refuse_unknown, say, warn
from fsr_deploy.errors import ExitCode, InputError, MissingError, ParityError, UsageError


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
