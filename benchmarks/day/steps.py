"""The steps of a GPU day, the most important question first, each a process of its own."""

from __future__ import annotations

from dataclasses import dataclass

# TensorRT 8.6 on an H100 took 70 s for AMINet or the small network at level 0 with one profile, and over 117 s for the
# small one at level 1 with two: first what is sure to end.
PROFILES, QUICK = "1,64,64", 0
AMINET = '{"model": "aminet", "options": {}, "lr_size": 16, "scale": 8}'
PYTEST = "-m pytest -p benchmarks.day.gpu_tests -p no:cacheprovider -o addopts= -m gpu -q -rA --tb=short tests/gpu -k"


@dataclass(frozen=True)
class Step:
    """One process: ``arguments`` for the Python with TensorRT, or with ``torch`` for the one with PyTorch.

    ``{rows}``, ``{bundles}``, ``{work}`` and ``{torch}`` in them stand for paths. ``group`` is what --steps calls it.
    It may take ``most`` seconds, and leaves ``reserve`` of the day's to the steps after it. ``bundle`` has to have
    been brought ("aminet-fp16@3" is a copy of "aminet-fp16", for a plan of its own), ``plan`` is one whose plan has to
    be there, ``unless`` one whose plan makes the step needless.
    ``answers`` are the exit codes that leave nothing to be asked again.
    """

    name: str
    group: str
    arguments: tuple[str, ...]
    most: float
    reserve: float = 0.0
    bundle: str = ""
    plan: str = ""
    unless: str = ""
    answers: tuple[int, ...] = (0,)
    torch: bool = False


def steps() -> tuple[Step, ...]:
    """Return all steps in their order."""
    tiny, aminet, tiny8, aminet8 = "tiny-fp16", "aminet-fp16", "tiny-int8-fp16", "aminet-int8-fp16"
    return (
        Step("facts", "facts", _words("-m benchmarks.day.facts -o {rows} --go-on --torch {torch}"), 40),
        Step("doctor", "doctor", _words("-m fsr_deploy.cli.doctor"), 40),
        _build(tiny, "tiny", 150),
        _build(aminet, "aminet", 170, reserve=100),
        _parity(tiny, "parity", 60, "1,2,8,32,64"),
        _parity(aminet, "parity", 60, "1,2,8,32,64"),
        _speed(tiny, "speed", 60, "8,32,64"),
        _speed(aminet, "speed", 60, "8,32,64"),
        Step(
            "eager",
            "eager",
            ("-m", "benchmarks.gpu_eager", AMINET, *_words("--seconds 1.5 -o {rows} --go-on")),
            170,
            reserve=75,
            torch=True,
        ),
        *(step for batch in (64, 1) for step in _with_main_plan("layers", batch, 40, f"gpu_layers --batch {batch}")),
        *_with_main_plan("run", "", 60, "gpu_pipeline --count 2000 --formats png"),
        _build(f"{aminet}@3", "effort", 300, level=3),
        _speed(f"{aminet}@3", "effort", 30, "8,32,64"),
        _build(tiny8, "int8", 120, reserve=20),
        _parity(tiny8, "int8", 30, "1,8,64"),
        _build(aminet8, "int8", 150, reserve=30),
        _speed(aminet8, "int8", 30, "64"),
        _parity(aminet8, "int8", 60, "1,64"),
        *(
            step
            for name in ("sparnet", "mfspnet")
            for step in (_build(f"{name}-fp16", name, 120, reserve=25), _speed(f"{name}-fp16", name, 25, "64"))
        ),
        Step("tests", "pytest", (*_words(PYTEST), "not damaged"), 200, reserve=20, bundle=tiny, answers=(0, 1)),
        # A plan that is cut in half may end the process on TensorRT 8.6: by itself, and last.
        Step("tests-damaged", "pytest", (*_words(PYTEST), "damaged"), 40, bundle=tiny, answers=(0, 1)),
    )


def groups() -> tuple[str, ...]:
    """Return the names that --steps takes."""
    return tuple(dict.fromkeys(step.group for step in steps()))


def _build(bundle: str, group: str, most: float, *, reserve: float = 0, level: int = QUICK) -> Step:
    words = f"-m benchmarks.gpu_build {{bundles}}/{bundle} --timing-cache {{work}}/timings --level {level}"
    arguments = (*_words(words), "--profiles", PROFILES, *_words("-o {rows} --go-on"))
    return Step(f"build-{bundle}", group, arguments, most, reserve, bundle=bundle)


def _parity(bundle: str, group: str, most: float, batches: str, *, reserve: float = 0) -> Step:
    words = f"-m benchmarks.gpu_parity {{bundles}}/{bundle} --batches {batches} -o {{rows}} --go-on"
    return Step(f"parity-{bundle}", group, _words(words), most, reserve, plan=bundle, answers=(0, 5))


def _speed(bundle: str, group: str, most: float, batches: str, *, reserve: float = 0) -> Step:
    words = f"-m benchmarks.gpu_speed {{bundles}}/{bundle} --batches {batches} --seconds 1.5 -o {{rows}} --go-on"
    return Step(f"speed-{bundle}", group, _words(words), most, reserve, plan=bundle)


def _with_main_plan(group: str, mark: object, most: float, benchmark: str) -> tuple[Step, Step]:
    """Return a step for AMINet's plan, and one for the small network's, for where AMINet's is not built."""
    module, *options = benchmark.split()

    def step(bundle: str, unless: str = "") -> Step:
        words = ["-m", f"benchmarks.{module}", f"{{bundles}}/{bundle}", *options, *_words("-o {rows} --go-on")]
        name = "-".join(filter(None, (group, str(mark), bundle)))
        return Step(name, group, tuple(words), most, plan=bundle, unless=unless)

    return step("aminet-fp16"), step("tiny-fp16", unless="aminet-fp16")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())
