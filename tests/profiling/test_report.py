"""Whole profiles, of engines whose latency is known: what is measured, written, read back, compared and shown."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.profiling import collect as collecting
from fsr_deploy.profiling.collect import Request, collect
from fsr_deploy.profiling.compare import Change, compare
from fsr_deploy.profiling.layers.attribution import BETWEEN, LayerWatch, ModuleTime
from fsr_deploy.profiling.record import ParityFigures, Profile, read_profile, to_json
from fsr_deploy.profiling.report.page import focus, html, markdown
from fsr_deploy.profiling.statistics import Estimate
from fsr_deploy.profiling.subjects import Subject
from fsr_deploy.profiling.timing import Clock
from fsr_deploy.profiling.yardstick import Ceilings
from fsr_deploy.runtime.machine import MachineLoad
from tests.profiling.test_layers import TABLE, SimulatedRecorder
from tests.runtime.machines import NoisyMachine, SimulatedClock, SimulatedEngine

FUSION = "network.encoders.0.fusion"


@dataclass(frozen=True)
class SimulatedSubject(Subject):
    """An engine that has layers and parity too."""

    recorder: SimulatedRecorder | None = None
    parity: ParityFigures | None = None

    def watch_layers(self, batch: int, seconds: float, clock: Clock) -> LayerWatch | None:
        return LayerWatch(self.recorder, TABLE, batch, seconds, self.recorder.clock) if self.recorder else None

    def quality(self) -> ParityFigures | None:
        return self.parity


class SimulatedYardstick:
    """Fixed work on the same noisy machine."""

    def __init__(self, clock: SimulatedClock, noise: NoisyMachine) -> None:
        self.samples: list[float] = []
        self._clock, self._noise = clock, noise

    def __call__(self) -> None:
        self.samples.append(0.005 * self._noise(self._clock.time))
        self._clock.sleep(self.samples[-1])

    def close(self) -> None:
        pass


def meter(load: MachineLoad) -> Any:
    return type("Meter", (), {"read": lambda self: load})()


Measure = Callable[..., Profile]


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Return a function that profiles simulated engines, given as name = milliseconds per face."""
    monkeypatch.setattr(collecting, "ceilings", lambda clock: Ceilings(200.0, 30.0))
    monkeypatch.setattr(collecting, "LoadMeter", lambda: meter(MachineLoad(0.0, 0.0, 0.0, 0.0)))

    def run(
        seed: int = 0,
        planted: str = "",
        factor: float = 1.0,
        drift: tuple[float, float] = (0.02, 0.02),
        **engines: float,
    ) -> Profile:
        clock = SimulatedClock()
        noise = NoisyMachine(seed, *drift)
        subjects = [
            SimulatedSubject(
                name,
                SimulatedEngine(clock, 0.002, 1e-3 * ms, noise),
                recorder=SimulatedRecorder(seed + i, planted, factor) if i == 0 else None,
                parity=ParityFigures(50.0 + i if i else None, 1.0),
            )
            for i, (name, ms) in enumerate(engines.items())
        ]
        monkeypatch.setattr(collecting, "Yardstick", lambda clock, cores: SimulatedYardstick(clock, noise))
        return collect(subjects, Request((1, 2, 4), 1.0, layers=True, budget_ms=9.0, clock=clock))

    return run


def test_a_profile_tells_latency_rate_best_batch_and_ratios(measure: Measure) -> None:
    profile = measure(fast=1.0, slow=3.0)
    fast, slow = profile.engines
    at_four = fast.at(4)
    assert at_four is not None
    assert at_four.latency.p50.value == pytest.approx(6.0, rel=0.1)
    assert at_four.latency.p50.low < at_four.latency.p50.value < at_four.latency.p50.high
    assert at_four.latency.p90 <= at_four.bound <= at_four.latency.max
    assert at_four.faces_per_second == pytest.approx(4000 / at_four.latency.p50.value)
    best, best_slow = fast.best(), slow.best()
    assert best is not None and best_slow is not None and best.batch == best_slow.batch == 4
    times = profile.ratio("slow", "fast", 4)
    assert times is not None and times.low < 14 / 6 < times.high
    back = profile.ratio("fast", "slow", 4)
    assert back is not None and back.value == pytest.approx(1 / times.value) and back.low < back.value < back.high


@pytest.mark.parametrize(("budget", "batch"), [(1000.0, 4), (0.5, None)])
def test_the_best_batch_keeps_the_latency_budget(measure: Measure, budget: float, batch: int | None) -> None:
    best = measure(fast=1.0).engines[0].best(budget)
    assert (best.batch if best else None) == batch


def test_the_best_batch_within_a_budget_is_judged_by_the_slowest_hundredth(measure: Measure) -> None:
    engine = measure(fast=1.0).engines[0]
    two, four = engine.at(2), engine.at(4)
    assert two is not None and four is not None
    assert four.latency.p50.value < four.bound and two.bound < four.bound
    just_below = engine.best(four.bound - 1e-6)
    assert just_below is not None and just_below.batch == 2


def test_a_profile_is_read_back_as_it_was_written(measure: Measure, tmp_path: Path) -> None:
    profile = measure(fast=1.0, slow=3.0)
    (tmp_path / "profile.json").write_text(to_json(profile))
    assert read_profile(tmp_path / "profile.json") == profile == read_profile(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text[:500], "not JSON that can be read"),
        (lambda text: "[]", "not a profile"),
        (lambda text: text.replace('"schema": 1', '"schema": 99'), "written by a newer fsr-deploy"),
        (lambda text: text.replace('"p90"', '"p80"', 1), r"incomplete or damaged: engines\[0\].*p90 is missing"),
        (lambda text: text.replace('"batch": 1', '"batch": "one"', 1), r"batch is str instead of int"),
    ],
)
def test_a_damaged_profile_is_named(
    measure: Measure, tmp_path: Path, change: Callable[[str], str], complaint: str
) -> None:
    path = tmp_path / "profile.json"
    path.write_text(change(to_json(measure(fast=1.0))))
    with pytest.raises(InputError, match=rf"^{path}: .*{complaint}"):
        read_profile(path)


def test_a_missing_profile_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file; name a profile\.json that fsr-profile -o wrote"):
        read_profile(tmp_path)


def test_a_profile_that_kept_no_passes_has_to_be_measured_again(measure: Measure) -> None:
    profile = measure(a=1.0)
    older = replace(profile, yardstick=replace(profile.yardstick, passes=()))
    with pytest.raises(InputError, match=r"an older fsr-deploy measured one of the profiles .*; measure again"):
        compare(older, profile)


def named(changes: list[Change]) -> set[str]:
    return {change.what for change in changes if change.regressed}


def test_a_planted_slowdown_of_a_module_is_named_when_profiles_are_compared(measure: Measure) -> None:
    found = []
    for seed in range(10, 210, 10):
        new = measure(seed + 5, planted=f"{FUSION}.branches.0", factor=1.1, engine=1.0)
        found.append(named(compare(measure(seed, engine=1.0), new)))
    assert sum(f"SKAF {FUSION} (batch 1)" in names for names in found) >= 0.9 * len(found)
    assert all(names <= {f"SKAF {FUSION} (batch 1)", "all SKAF (batch 1)"} for names in found)  # another is as it was


def test_a_module_has_to_stand_out_from_how_the_others_changed(measure: Measure) -> None:
    """Modules suffer differently from other processes: where all change by 8 %, one that does by 10 % is no news."""
    rng = np.random.default_rng(0)
    old, new = measure(10, engine=1.0), measure(15, planted=f"{FUSION}.branches.0", factor=1.1, engine=1.0)

    def scattered(profile: Profile) -> Profile:
        engine, layers = profile.engines[0], profile.engines[0].layers
        assert layers is not None

        def moved(entry: ModuleTime) -> ModuleTime:
            assert entry.beside_others is not None or entry.kind == BETWEEN
            factor = float(np.exp(rng.normal(0, 0.08)))
            return replace(entry, beside_others=entry.beside_others and entry.beside_others.times(factor))

        modules = tuple(moved(entry) if entry.module != FUSION else entry for entry in layers.modules)
        return replace(profile, engines=[replace(engine, layers=replace(layers, modules=modules, kinds=()))])

    assert named(compare(old, scattered(new))) == set()


@pytest.mark.parametrize("seed", [10, 20, 30])
def test_a_slower_engine_is_named_with_its_batch_sizes_and_a_faster_one_is_no_regression(
    measure: Measure, seed: int
) -> None:
    old = measure(seed, a=1.0, b=5.0)
    changes = compare(old, measure(seed + 5, a=1.0, b=6.5))
    assert {(change.engine, change.what) for change in changes if change.regressed} == {
        ("b", f"batch {batch}") for batch in (1, 2, 4)
    }
    back = compare(measure(seed + 5, a=1.0, b=6.5), old)
    assert not named(back)
    assert {change.engine for change in back if change.improved} == {"b"}


@pytest.mark.parametrize("seed", [10, 20, 30, 40])
@pytest.mark.parametrize("drift", [(0.02, 0.05), (1.0, 0.05), (100.0, 0.05)])
def test_two_profiles_of_the_same_engines_show_no_regression(
    measure: Measure, seed: int, drift: tuple[float, float]
) -> None:
    assert named(compare(measure(seed, drift=drift, a=1.0), measure(seed + 5, drift=drift, a=1.0))) == set()


def test_a_machine_that_others_used_more_is_not_the_engines_fault(measure: Measure) -> None:
    old, new = measure(1, a=1.0), measure(2, a=2.0)
    assert named(compare(old, new))
    assert not named(
        compare(replace(old, load=MachineLoad(0, 0, 0.0, 0.0)), replace(new, load=MachineLoad(1, 1, 0.5, 0.0)))
    )
    assert named(
        compare(replace(old, load=MachineLoad(1, 1, 0.5, 0.0)), replace(new, load=MachineLoad(1, 1, 0.5, 0.0)))
    )


def test_a_change_says_what_how_much_and_how_sure(measure: Measure) -> None:
    change = Change("aminet", "batch 4", 10.0, 12.0, Estimate(1.2, 1.15, 1.25))
    assert str(change) == "aminet, batch 4: 10.000 -> 12.000 ms, 1.200x [1.150, 1.250]"


def test_profiles_without_a_common_engine_are_not_compared(measure: Measure) -> None:
    with pytest.raises(InputError, match="share no engine and batch size; the old one has: a"):
        compare(measure(a=1.0), measure(b=1.0))


class Checker(HTMLParser):
    """Checks that elements are closed in order and that nothing outside the page is referred to."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert name not in ("src", "href", "xlink:href", "action", "srcset") or str(value).startswith("data:")
            assert not name.startswith("on")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def test_the_page_is_well_formed_and_refers_to_nothing_outside(measure: Measure) -> None:
    page = html(measure(first=1.0, second=3.0))
    checker = checked(page)
    assert checker.seen.count("svg") == 5
    assert not {"script", "link", "iframe", "object", "image"} & set(checker.seen)
    assert not any(word in page for word in ("http:", "https:", "url(", "@import", "nan", "inf,"))


def test_the_page_holds_every_part(measure: Measure) -> None:
    text = " ".join(checked(html(measure(first=1.0, second=3.0))).texts)
    for part in (
        "Throughput",
        "Best batch within 9 ms",
        "Engines compared",
        "Quality and latency",
        "Time by module: first",
        "Roofline: first",
        "SKAF",
        FUSION,
        "matrix product 200 GFLOP/s",
        "How it was measured",
        "Instructions",
        "s in all; longest ",
    ):
        assert part in text


def test_a_profile_with_one_engine_and_nothing_else_is_a_page_too(measure: Measure) -> None:
    profile = measure(only=1.0)
    bare = replace(profile.engines[0], layers=None, quality=None, batches=profile.engines[0].batches[:1])
    page = html(replace(profile, engines=[bare], ratios=[], ceilings=None, budget_ms=None))
    assert checked(page).seen.count("svg") == 2


def test_what_names_and_notes_hold_is_text_on_the_page(measure: Measure) -> None:
    profile = measure(**{"<b>bold</b>&": 1.0})
    page = html(replace(profile, notes=["<script>alert(1)</script>"]))
    assert "<b>bold" not in page and "script" not in checked(page).seen


def test_markdown_has_the_same_tables(measure: Measure) -> None:
    text = markdown(measure(first=1.0, second=3.0))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert any(line.startswith("| first | 4 | ") for line in lines)
    assert any(line.startswith(f"| {FUSION} | SKAF | ") for line in lines)
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert blocks and all(len({line.count("|") for line in block}) == 1 for block in blocks)


def test_engines_are_shown_at_a_batch_size_that_all_of_them_ran(measure: Measure) -> None:
    profile = measure(first=1.0, second=3.0)
    second = replace(profile.engines[1], batches=profile.engines[1].batches[:2])
    assert focus(profile) == 4
    assert focus(replace(profile, engines=[profile.engines[0], second])) == 2


def test_what_disturbed_the_measurement_is_noted(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "LoadMeter", lambda: meter(MachineLoad(0.1, 3.0, 0.4, 0.2)))
    notes = " ".join(measure(a=1.0).notes)
    assert "other processes took 40% of the CPU" in notes and "gave 20% of the CPU to other machines" in notes


def test_numbers_are_plain_json(measure: Measure) -> None:
    data = json.loads(to_json(measure(a=1.0)))
    assert data["schema"] == 1 and data["engines"][0]["batches"][0]["batch"] == 1
