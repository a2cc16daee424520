import pytest

from fsr_deploy.runtime.folder.rates import Stage, report


def stage(name: str, workers: int, frames: int, seconds: float) -> Stage:
    made = Stage(name, workers)
    made.frames, made.seconds = frames, seconds
    return made


def test_a_rate_counts_all_workers_and_only_the_time_they_worked():
    assert stage("decode", 4, 100, 2.0).rate == 200.0


def test_efficiency_is_the_share_of_time_that_the_slowest_stage_worked():
    stages = [stage("decode", 2, 100, 1.0), stage("engine", 1, 100, 9.0), stage("encode", 2, 100, 6.0)]
    found = report(stages, 100, 10.0)
    assert found is not None
    assert (found.bottleneck, found.end_to_end, found.efficiency) == ("engine", 10.0, pytest.approx(0.9))
    assert found.stages == {"decode": 200.0, "engine": pytest.approx(100 / 9), "encode": pytest.approx(100 / 3)}


def test_nothing_is_reported_where_nothing_was_done():
    assert report([stage("decode", 2, 10, 1.0), Stage("engine", 1)], 0, 1.0) is None


def test_a_timed_step_counts_what_it_did_also_when_it_fails():
    counted = Stage("engine", 1)
    assert counted.timed(sum, len)([1, 2, 3]) == 6
    with pytest.raises(TypeError):
        counted.timed(sum, len)(["a", "b"])
    assert counted.frames == 5
    assert counted.seconds > 0
