"""How many CPUs there are for a process, by what Linux says of its control groups."""

import os
from pathlib import Path

import pytest

from vitrine.server.engine.cpus import usable_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def cpus_of(folder: Path, membership: str, files: dict[str, str]) -> int:
    (folder / "membership").write_text(membership)
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return usable_cpus(folder / "membership", folder / "groups")


@pytest.mark.parametrize(
    ("quota", "cpus"), [("300000 100000", 3), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", 8)]
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, cpus: int) -> None:
    assert cpus_of(tmp_path, "0::/\n", {"cpu.max": quota}) == cpus


def test_the_quotas_of_the_groups_around_it_count(tmp_path: Path) -> None:
    files = {"system.slice/cpu.max": "200000 100000", "system.slice/vitrine.service/cpu.max": "600000 100000"}
    assert cpus_of(tmp_path, "0::/system.slice/vitrine.service\n", files) == 2


def test_a_group_that_is_named_as_the_host_sees_it_is_found_at_the_mount(tmp_path: Path) -> None:
    assert cpus_of(tmp_path, "0::/kubepods/pod12/34\n", {"cpu.max": "400000 100000"}) == 4


def test_version_1_counts(tmp_path: Path) -> None:
    membership = "3:memory:/docker/12\n2:cpu,cpuacct:/docker/12\n1:name=systemd:/docker/12\n"
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}
    assert cpus_of(tmp_path, membership, files) == 2


def test_version_1_without_a_quota_has_all(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cpus_of(tmp_path, "1:cpu:/\n", files) == 8


def test_a_quota_above_the_cpus_that_are_there_gives_no_more(tmp_path: Path) -> None:
    assert cpus_of(tmp_path, "0::/\n", {"cpu.max": "1600000 100000"}) == 8


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "nothing", tmp_path / "nowhere") == 8
