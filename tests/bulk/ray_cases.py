"""Scoring in bulk by two workers of a real Ray on this machine: nothing is lost, and nothing is there twice."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from bulk.conftest import BROKEN, Drawings, as_folder, rows_of, write_pixels
from click.testing import CliRunner
from support.artifacts import random_pixels
from support.serving import RunningServer

from vitrine.bulk import Job, open_source, score
from vitrine.bulk.cli import score as command
from vitrine.bulk.engines import OpenEngine
from vitrine.bulk.engines.local import open_local
from vitrine.bulk.engines.remote import open_remote
from vitrine.bulk.on_ray import score_on_ray
from vitrine.model import VitrineError

WORKERS = 2


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=WORKERS, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["local", "remote"])
def engine(request: pytest.FixtureRequest, judging_artifact: Path, judging_server: RunningServer) -> OpenEngine:
    if request.param == "local":
        return partial(open_local, judging_artifact)
    return partial(open_remote, {"target": judging_server.target})


def job_of(source: Path, folder: Path, engine: OpenEngine, part_images: int) -> Job:
    return Job(open_source(source, part_images), folder, engine, ["relu_1"])


def test_rows_are_those_of_one_process_and_a_bad_image_is_one_of_them(
    engine: OpenEngine, tmp_path: Path, drawings: Drawings
) -> None:
    source = as_folder(tmp_path, drawings)
    told: list[int] = []
    summary = score_on_ray(job_of(source, tmp_path / "out", engine, 2), WORKERS, told.append)
    asyncio.run(score(job_of(source, tmp_path / "alone", engine, 2)))
    assert (summary.images, summary.errors, sum(told)) == (len(drawings), 1, len(drawings))
    assert [without_values(row) for row in rows_of(tmp_path / "out")] == [
        without_values(row) for row in rows_of(tmp_path / "alone")
    ]
    assert [row["id"].rpartition("/")[2] for row in rows_of(tmp_path / "out") if row["error"]] == [BROKEN]


def without_values(row: dict[str, Any]) -> dict[str, Any]:
    """A row without numbers that depend on the size of the batch in their last digits."""
    return {name: row[name] for name in ("id", "label", "digit", "is_digit", "error")}


def test_only_missing_parts_are_scored(tmp_path: Path, judging_artifact: Path) -> None:
    source = write_pixels(tmp_path / "many.parquet", random_pixels(200), rows=20)
    job = job_of(source, tmp_path / "out", partial(open_local, judging_artifact), 20)
    assert score_on_ray(job, WORKERS).images == 200
    for part in (3, 7):
        (tmp_path / "out" / f"part-{part:05}.parquet").unlink()
    summary = score_on_ray(job, WORKERS)
    assert (summary.images, summary.images_before) == (40, 160)
    assert [row["id"] for row in rows_of(tmp_path / "out")] == [f"many.parquet:{row}" for row in range(200)]


def test_workers_that_find_no_free_cpu_are_not_waited_for(tmp_path: Path, judging_artifact: Path) -> None:
    source = write_pixels(tmp_path / "many.parquet", random_pixels(200), rows=20)
    job = job_of(source, tmp_path / "out", partial(open_local, judging_artifact), 20)
    assert score_on_ray(job, WORKERS + 2).images == 200
    assert [row["id"] for row in rows_of(tmp_path / "out")] == [f"many.parquet:{row}" for row in range(200)]


@pytest.mark.parametrize("workers", [WORKERS, WORKERS + 2])
def test_a_worker_that_dies_costs_no_image(workers: int, tmp_path: Path, judging_artifact: Path) -> None:
    """Its process ends with the first part that comes to it. Another worker may have waited for its CPU."""
    source = write_pixels(tmp_path / "many.parquet", random_pixels(200), rows=20)
    engine = partial(open_once_dying, judging_artifact, tmp_path / "died", os.getpid())
    summary = score_on_ray(job_of(source, tmp_path / "out", engine, 20), workers)
    assert (tmp_path / "died").exists()
    assert summary.images == 200
    assert [row["id"] for row in rows_of(tmp_path / "out")] == [f"many.parquet:{row}" for row in range(200)]


def open_once_dying(model: Path, mark: Path, test: int) -> Any:
    """Opens an engine; the first process but the test's own that does is killed."""
    if os.getpid() != test:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return open_local(model)
        os.kill(os.getpid(), signal.SIGKILL)
    return open_local(model)


def test_the_failure_of_a_worker_is_a_sentence(tmp_path: Path, judging_artifact: Path) -> None:
    source = write_pixels(tmp_path / "small.parquet", random_pixels(8, shape=(4, 4)))
    job = job_of(source, tmp_path / "out", partial(open_local, judging_artifact), 4)
    with pytest.raises(VitrineError, match=r"^small\.parquet:\d has 16 pixels, and the model takes 18 × 18$"):
        score_on_ray(job, WORKERS)


def test_the_command_takes_workers(
    tmp_path: Path, judging_artifact: Path, drawings: Drawings, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_folder(tmp_path, drawings)
    monkeypatch.chdir(tmp_path)
    arguments = ["images", "--out", "out", "--local", "--artifact", os.path.relpath(judging_artifact), "--json"]
    ran = CliRunner().invoke(command, [*arguments, "--ray-workers", "2", "--part-images", "3"])
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout.splitlines()[-1])  # Ray may still tell of workers that died in the test before
    assert (document["images"], document["errors"]) == (len(drawings), 1)
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 4
