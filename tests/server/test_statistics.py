"""What is counted of calls: hand-made ones, whose stages took times that are known."""

import pytest

from vitrine.server.inference.call import Call, Outcome, Stage
from vitrine.server.inference.statistics import ModelStatistics, Statistics


def call(*passages: tuple[Stage, float, float], outcome: Outcome = Outcome.OK, images: int = 3) -> Call:
    made = Call("/some.Service/Method", model="tiny@1", images=images, outcome=outcome, begin=0.0)
    for passage in passages:
        made.passed(*passage)
    return made


def observed(*calls: Call) -> ModelStatistics:
    statistics = Statistics()
    for one in calls:
        statistics.observe(one)
    return statistics.of("tiny@1")


def test_every_stage_is_counted_where_triton_has_it() -> None:
    done = observed(
        call(
            (Stage.PREPARE, 0.0, 1.0),
            (Stage.QUEUE, 1.0, 3.0),
            (Stage.BATCH, 3.0, 3.5),
            (Stage.COMPUTE, 3.5, 7.5),
            (Stage.ENCODE, 8.0, 8.25),
            (Stage.ENCODE, 8.25, 8.5),
        )
    )
    assert done.queue.seconds == 2.0
    assert done.input.seconds == 1.5
    assert done.compute.seconds == 4.0
    assert done.output.seconds == 0.5
    assert [step.count for step in (done.success, done.queue, done.input, done.compute, done.output)] == [1] * 5
    assert (done.images, done.failure.count) == (3, 0)
    assert done.last > 0


def test_rows_in_several_runs_at_once_spend_the_time_once() -> None:
    done = observed(
        call((Stage.QUEUE, 0.0, 1.0), (Stage.QUEUE, 0.0, 3.0), (Stage.COMPUTE, 1.0, 4.0), (Stage.COMPUTE, 3.0, 5.0))
    )
    assert done.queue.seconds == 3.0
    assert done.compute.seconds == 4.0


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.OK}))
def test_a_call_that_is_not_answered_is_a_failure(outcome: Outcome) -> None:
    done = observed(call((Stage.QUEUE, 0.0, 1.0), outcome=outcome))
    assert (done.failure.count, done.success.count, done.images) == (1, 0, 0)
    assert done.queue.count == 0


def test_a_call_without_images_is_none_of_the_models() -> None:
    assert observed(call(images=0)) == ModelStatistics()


def test_runs_are_counted_by_version() -> None:
    statistics = Statistics()
    statistics.ran("tiny@1")
    statistics.ran("tiny@2")
    statistics.ran("tiny@2")
    assert [statistics.of(label).runs for label in ("tiny@1", "tiny@2", "tiny@3")] == [1, 2, 0]
