"""The numbers that the open protocol is told, each in the unit that it has there."""

from dataclasses import replace
from pathlib import Path

import pytest

from vitrine.oip import model_config_pb2 as config_pb
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.inference.config import BatchingConfig
from vitrine.server.inference.statistics import Duration, ModelStatistics
from vitrine.server.models.snapshot import Entry, ServedModel
from vitrine.server.protocols.oip.describe import write_config, write_entry, write_statistics


@pytest.fixture(scope="module")
def model(tiny_artifact: Path) -> ServedModel:
    return replace(load_artifact(tiny_artifact, Device.CPU), name="tiny", version="7")


DONE = ModelStatistics(
    success=Duration(11, 1.5),
    failure=Duration(2, 0.25),
    queue=Duration(12, 0.125),
    input=Duration(13, 3e-9),
    compute=Duration(14, 0.75),
    output=Duration(15, 2.0),
    images=99,
    runs=5,
    last=1_700_000_000.25,
)


def test_a_models_counts_are_its_own(model: ServedModel) -> None:
    written = write_statistics(model, DONE)
    assert (written.name, written.version) == ("tiny", "7")
    assert (written.inference_count, written.execution_count) == (99, 5)


def test_the_last_request_was_so_many_milliseconds_after_1970(model: ServedModel) -> None:
    assert write_statistics(model, DONE).last_inference == 1_700_000_000_250


@pytest.mark.parametrize(
    ("name", "count", "nanoseconds"),
    [
        ("success", 11, 1_500_000_000),
        ("fail", 2, 250_000_000),
        ("queue", 12, 125_000_000),
        ("compute_input", 13, 3),
        ("compute_infer", 14, 750_000_000),
        ("compute_output", 15, 2_000_000_000),
        ("cache_hit", 0, 0),
        ("cache_miss", 0, 0),
    ],
)
def test_each_step_has_its_own_duration_in_nanoseconds(
    model: ServedModel, name: str, count: int, nanoseconds: int
) -> None:
    duration = getattr(write_statistics(model, DONE).inference_stats, name)
    assert (duration.count, duration.ns) == (count, nanoseconds)


def test_the_config_has_the_queues_delay_in_microseconds_and_every_parallel_run(model: ServedModel) -> None:
    config = write_config(model, 640, BatchingConfig(max_delay=0.0015, parallel=3))
    assert config.max_batch_size == 640
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    assert [group.count for group in config.instance_group] == [3]


def test_what_runs_elsewhere_than_on_a_cpu_runs_on_a_gpu(model: ServedModel) -> None:
    class Engine:
        provider = "CUDAExecutionProvider"
        run = model.engine.run

    (group,) = write_config(replace(model, engine=Engine()), 1, BatchingConfig()).instance_group
    assert (group.name, group.kind) == ("CUDAExecutionProvider", config_pb.ModelInstanceGroup.KIND_GPU)


def test_a_version_that_answers_is_ready_whatever_is_said_of_it(model: ServedModel) -> None:
    answers, fails = write_entry(Entry("tiny", "7", model, "it is gone")), write_entry(Entry("tiny", "8", None, "bad"))
    assert (answers.state, answers.reason) == ("READY", "it is gone")
    assert (fails.state, fails.reason) == ("UNAVAILABLE", "bad")
