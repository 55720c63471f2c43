"""Cores, bandwidth and money for a number of images a second. It measures nothing: costs and prices are given."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GIGA = 1e9
SECONDS_PER_HOUR = 3600
PIXEL_BYTES = 18 * 18
"""Bytes of one image's pixels."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What is assumed of machines and their prices; a reader changes it by options of `report`."""

    core_hour: float
    """A core for an hour, in dollars."""
    gigabyte: float
    """Bytes that leave a machine, in dollars for 10⁹ of them."""
    machine_cores: int
    """Cores of a machine."""
    machine_gbit: float
    """Bandwidth of a machine, in 10⁹ bits a second each way."""
    busy: float
    """The share of a core's time that is planned for; 0 to 1. The rest keeps queues short."""


@dataclass(frozen=True, slots=True)
class CallCosts:
    """CPU time of a server, in seconds."""

    call: float
    """Each call, whatever it holds."""
    image: float
    """Each image, its run and its prediction included."""
    byte: float
    """Each byte of activations."""

    def of(self, images: int, activation_bytes: int) -> float:
        """CPU seconds of a call of some images with so many bytes of activations for each."""
        return self.call + images * (self.image + activation_bytes * self.byte)


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of the servers."""

    images_per_second: float
    images_per_call: int
    activation_bytes: int
    """Bytes of activations for each image."""
    overhead_bytes: float
    """Bytes of each call and its answer that are neither pixels nor activations."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What it takes."""

    cores: float
    gbit_in: float
    """10⁹ bits a second that reach the servers."""
    gbit_out: float
    """10⁹ bits a second that leave them."""
    machines: int
    """Machines that have enough of both."""
    bound: str
    """What decides about the number of machines: `cores` or `network`."""
    machine_dollars: float
    """Price of the machines' cores for an hour, in dollars."""
    traffic_dollars: float
    """Price of an hour's bytes out, where the network is paid by the byte, in dollars."""


def fitted(calls: Sequence[tuple[int, int, float]]) -> CallCosts:
    """The costs that explain measured calls best, none of them below zero.

    Args:
        calls: images, bytes of activations in the whole answer, CPU seconds; at least three different ones.
    """
    rows = np.array([(1, images, size) for images, size, _ in calls], float)
    seconds = np.array([spent for *_, spent in calls])
    weights = 1 / seconds  # relative errors count alike, for small calls and large ones
    solved, *_ = np.linalg.lstsq(rows * weights[:, None], seconds * weights)
    return CallCosts(*np.maximum(solved, 0.0).tolist())


def bill(demand: Demand, costs: CallCosts, prices: Prices) -> Bill:
    """What a demand takes."""
    calls = demand.images_per_second / demand.images_per_call
    cores = calls * costs.of(demand.images_per_call, demand.activation_bytes) / prices.busy
    overhead = calls * demand.overhead_bytes / 2
    bytes_in = demand.images_per_second * PIXEL_BYTES + overhead
    bytes_out = demand.images_per_second * demand.activation_bytes + overhead
    gbit_in, gbit_out = bytes_in * 8 / GIGA, bytes_out * 8 / GIGA
    for_cores = cores / prices.machine_cores
    for_network = max(gbit_in, gbit_out) / (prices.machine_gbit * prices.busy)
    machines = math.ceil(max(for_cores, for_network))
    return Bill(
        cores,
        gbit_in,
        gbit_out,
        machines,
        "cores" if for_cores >= for_network else "network",
        machines * prices.machine_cores * prices.core_hour,
        bytes_out * SECONDS_PER_HOUR / GIGA * prices.gigabyte,
    )
