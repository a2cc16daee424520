"""fsr-profile as a user meets it: real engines, real profiles, the exact words and the exit code."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy.cli.profile import main
from fsr_deploy.profiling.record import read_profile, to_json
from fsr_deploy.profiling.statistics import PASSES, Estimate, typical
from tests.engines import write_onnx
from tests.fakes.plans import write_bundle

QUICK = ("--batches", "1,2", "--seconds", "0.1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle and an ONNX file; it is the current one."""
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("tiny-fp32"))
    write_onnx(Path("other.onnx"), work=2)
    return tmp_path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the profile of two engines, layers included."""
    folder = tmp_path_factory.mktemp("report")
    write_bundle(folder / "tiny-fp32")
    write_onnx(folder / "other.onnx", work=2)
    arguments = (folder / "tiny-fp32", folder / "other.onnx", "--layers", "--budget-ms", 1000, "-o", folder / "out")
    result = fsr_profile(*arguments, *QUICK)
    assert result.exit_code == 0, result.output
    return folder / "out"


def fsr_profile(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error(result: Any) -> str:
    return result.stderr.partition("error: ")[2].strip()


def test_the_main_job_writes_a_page_a_text_and_the_data(report: Path) -> None:
    assert sorted(path.name for path in report.iterdir()) == ["profile.html", "profile.json", "profile.md"]
    profile = read_profile(report)
    assert [engine.name for engine in profile.engines] == ["tiny-fp32", "other.onnx"]
    assert [one.batch for one in profile.engines[0].batches] == [1, 2]
    assert profile.budget_ms == 1000 and profile.ceilings is not None
    assert all(engine.layers is not None and engine.cold_start is not None for engine in profile.engines)
    assert {(ratio.engine, ratio.base, ratio.batch) for ratio in profile.ratios} == {
        ("other.onnx", "tiny-fp32", 1),
        ("other.onnx", "tiny-fp32", 2),
    }
    assert "<svg" in (report / "profile.html").read_text()
    assert "| tiny-fp32 | 2 |" in (report / "profile.md").read_text()


def test_it_says_what_runs_before_it_measures(here: Path) -> None:
    result = fsr_profile("tiny-fp32", "other.onnx", *QUICK, "--json")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[0] == "starting each engine afresh, three times: cold start and memory"
    assert lines[1].startswith("tiny-fp32: ONNX Runtime ") and lines[1].endswith(", device cpu, precision fp32")
    assert lines[2].startswith("other.onnx: ONNX Runtime ")
    assert lines[3] == (
        "2 engines x 2 batch sizes x 0.1 s: about 0 s, and before it the warm-up, 6 to 9 runs of each engine and size"
    )
    assert lines[4].startswith("warmed up in ") and "; measuring takes about 0 s" in lines[4]
    assert json.loads(result.stdout)["engines"][1]["name"] == "other.onnx"


def test_the_graph_itself_can_be_compared_with(here: Path) -> None:
    result = fsr_profile("tiny-fp32", "--against", "onnxruntime", *QUICK, "--json")
    assert [engine["name"] for engine in json.loads(result.stdout)["engines"]] == ["tiny-fp32", "onnxruntime"]


def test_two_profiles_without_a_change_end_well(report: Path) -> None:
    result = fsr_profile("--compare", report, report / "profile.json")
    assert result.exit_code == 0
    assert result.stdout.strip().endswith("figures compared: 0 slower beyond the noise, 0 faster")


@pytest.fixture
def slower(report: Path, tmp_path: Path) -> Path:
    """The same profile with one engine's batch 2 ten times as slow."""
    profile = read_profile(report)
    first = profile.engines[0]
    old = first.batches[1]
    p50 = old.latency.p50
    ten = replace(old.latency, p50=_exactly(10 * p50.value))
    engine = replace(first, batches=[first.batches[0], replace(old, latency=ten)])
    path = tmp_path / "slower.json"
    quiet = replace(profile, engines=[engine, profile.engines[1]])
    path.write_text(to_json(quiet))
    return path


def _exactly(value: float) -> Estimate:
    """Return a figure as a machine without noise would measure it."""
    return typical([[value * (1 + 1e-4 * i)] for i in range(PASSES)])


def test_a_regression_is_named_and_ends_with_5(report: Path, slower: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text(to_json(_quiet(report)))
    result = fsr_profile("--compare", before, slower)
    assert result.exit_code == 5
    assert result.stdout.startswith("slower: tiny-fp32, batch 2: ")
    assert "1 slower beyond the noise" in result.stdout
    assert fsr_profile("--compare", slower, before).exit_code == 0


def _quiet(report: Path) -> Any:
    """Return the profile as a machine without noise would have measured it."""
    profile = read_profile(report)

    def exact(one: Any) -> Any:
        value = one.latency.p50.value
        return replace(one, latency=replace(one.latency, p50=_exactly(value)))

    engines = [replace(engine, batches=[exact(one) for one in engine.batches]) for engine in profile.engines]
    return replace(profile, engines=engines)


def test_a_change_of_circumstances_is_told(report: Path, tmp_path: Path) -> None:
    profile = read_profile(report)
    versions = {**profile.machine.versions, "onnxruntime": "9.9"}
    other = tmp_path / "other.json"
    other.write_text(to_json(replace(profile, machine=replace(profile.machine, cpu="Abacus", versions=versions))))
    result = fsr_profile("--compare", report, other, "--json")
    assert f"not measured under the same circumstances: CPU: {profile.machine.cpu}, then Abacus" in result.stderr
    assert json.loads(result.stdout)["circumstances"][1].endswith(", then 9.9")


def test_a_regression_can_be_read_by_a_program(report: Path, slower: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text(to_json(_quiet(report)))
    result = fsr_profile("--compare", before, slower, "--json")
    data = json.loads(result.stdout)
    assert [(change["engine"], change["what"]) for change in data["regressed"]] == [("tiny-fp32", "batch 2")]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "name one or more ENGINES to measure, or two profiles to --compare"),
        (("a", "--compare", "b", "c"), 2, "--compare takes two profiles and measures nothing; leave ENGINES out"),
        (("other.onnx", "--batches", "1,x"), 2, "--batches 1,x: not numbers from 1 with commas, for example 1,8,32"),
        (("other.onnx", "--batches", "0"), 2, "--batches 0: not numbers from 1 with commas, for example 1,8,32"),
        (("other.onnx", "--against", "tensorflow"), 2, "--against tensorflow: not one of eager, channels-last, "),
        (("nowhere",), 4, "nowhere: no such file; name a bundle, an engine.plan or a model.onnx"),
        (("--compare", "old", "new"), 4, "old: no such file; name a profile.json that fsr-profile -o wrote"),
        (("other.onnx", "--against", "eager"), 4, ".: no bundle.json here; this is not a bundle that fsr-export wrote"),
        (("tiny-fp32", "--device", "cpu,cpu"), 2, "--device cpu,cpu: only fsr-run and fsr.load take several devices"),
        (("tiny-fp32", "--device", "cuda"), 3, "--device cuda:0: this ONNX Runtime has no CUDA provider"),
    ],
)
def test_what_cannot_be_done_is_said(here: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = fsr_profile(*arguments)
    assert result.exit_code == code
    assert error(result).startswith(message)


def without(module: str, *arguments: str) -> Any:
    """Run the command where a module is not installed."""
    script = f"import sys; sys.modules[{module!r}] = None; from fsr_deploy.cli.profile import main; main()"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def test_it_runs_without_torch(here: Path) -> None:
    done = without("torch", "tiny-fp32", *QUICK, "--layers", "-o", "report")
    assert done.returncode == 0, done.stderr
    assert Path("report/profile.html").is_file()


@pytest.mark.parametrize("name", ["eager", "channels-last", "compile", "compile-bf16", "autocast-bf16"])
def test_comparisons_that_need_torch_name_the_extra(here: Path, name: str) -> None:
    done = without("torch", "tiny-fp32", *QUICK, "--against", name)
    assert done.returncode == 3
    assert f"--against {name} runs the network in PyTorch" in done.stderr
    assert "pip install 'fsr-deploy[export]'" in done.stderr


def test_a_comparison_that_needs_openvino_says_how_to_install_it(here: Path) -> None:
    done = without("openvino", "tiny-fp32", *QUICK, "--against", "openvino")
    assert done.returncode == 3
    assert "OpenVINO is not installed; install it with: pip install 'fsr-deploy[openvino]'" in done.stderr


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom fsr_deploy.cli.profile import main\ntry:\n    main(['--help'])\nfinally:\n"
        "    print(sorted({'numpy', 'cv2', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("[]")
    assert done.stdout.count("\n  fsr-profile ") == 3
