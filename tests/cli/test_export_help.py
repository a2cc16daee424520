"""What fsr-export tells before anything is exported: its models and its help."""

from __future__ import annotations

import json
import subprocess
import sys

from typer.testing import CliRunner

from fsr_deploy.cli.export import main


def succeed(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_models_are_listed() -> None:
    lines = succeed("--list").splitlines()
    assert any(line.split()[:5] == ["aminet", "13.24", "M", "14.83", "G"] for line in lines)
    assert "aminet" in json.loads(succeed("--list", "--json"))


def test_help_shows_four_examples_and_loads_no_torch() -> None:
    script = (
        "import sys\n"
        "from fsr_deploy.cli.export import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        "    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert sum(line.startswith("fsr-export ") for line in lines) == 4 and lines[-1] == "False"
