"""Settings of the application: the server's, under the names of its flags, as YAML or `serve run` give them.

It knows no Ray. Limits that hold for a worker of the server hold for a replica here.
"""

from collections.abc import Mapping
from typing import Any

from vitrine.server.engine.device import Device
from vitrine.server.errors import ConfigError
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.config import BatchingConfig, Limits
from vitrine.server.models.config import RELOAD_SECONDS, RepositoryConfig
from vitrine.server.models.version_policy import VersionPolicy
from vitrine.server.service_config import ServiceConfig

MEBIBYTE = 1 << 20
MEGAPIXEL = 1_000_000
MICROSECONDS = 1_000_000

LIMITS, BATCHING, ADMISSION = Limits(), BatchingConfig(), AdmissionConfig()
"""The configs with their defaults."""

DEFAULTS: Mapping[str, str | int | float] = {
    "model": "",
    "repository": "",
    "versions": "latest:1",
    "default_model": "",
    "reload_seconds": RELOAD_SECONDS,
    "device": "auto",
    "threads": 1,
    "tokens": "",
    "max_message_mb": LIMITS.max_message_bytes // MEBIBYTE,
    "max_images": LIMITS.max_images,
    "max_image_megapixels": LIMITS.max_image_pixels // MEGAPIXEL,
    "caller_rate": LIMITS.caller_rate,
    "max_batch_rows": BATCHING.max_rows,
    "max_queue_delay_us": round(BATCHING.max_delay * MICROSECONDS),
    "max_pending_images": ADMISSION.max_images,
    "max_pending_mb": ADMISSION.max_bytes // MEBIBYTE,
    "cache_mb": 0,
}
"""Each setting's value where none is given; an empty text stands for none."""


def service_config(given: Mapping[str, Any]) -> ServiceConfig:
    """The settings of a replica's service.

    Args:
        given: some of `DEFAULTS`. Numbers may be texts: `serve run` gives nothing else.

    Raises:
        ConfigError: a setting is unknown, is no number where it should be one, or is out of its range.
    """
    if unknown := sorted(set(given) - set(DEFAULTS)):
        raise ConfigError(f"the application knows no setting {unknown[0]!r}; it knows {', '.join(DEFAULTS)}")
    values: dict[str, Any] = {name: _read(name, given.get(name)) for name in DEFAULTS}
    return ServiceConfig(
        model=values["model"] or None,
        repository=_repository(values),
        device=_chosen(Device, "device", values["device"]),
        threads=values["threads"],
        batching=BatchingConfig(values["max_batch_rows"], values["max_queue_delay_us"] / MICROSECONDS),
        admission=AdmissionConfig(values["max_pending_images"], values["max_pending_mb"] * MEBIBYTE),
        limits=Limits(
            values["max_images"],
            values["max_message_mb"] * MEBIBYTE,
            values["max_image_megapixels"] * MEGAPIXEL,
            values["caller_rate"],
        ),
        tokens=values["tokens"] or None,
        cache_bytes=values["cache_mb"] * MEBIBYTE,
    )


def _repository(values: Mapping[str, Any]) -> RepositoryConfig | None:
    if not values["repository"]:
        if values["default_model"]:
            raise ConfigError("default_model names a model of repository, which isn't set")
        return None
    policy = _chosen(VersionPolicy.parse, "versions", values["versions"])
    return RepositoryConfig(values["repository"], policy, values["default_model"], values["reload_seconds"])


def _read(name: str, value: Any) -> Any:
    """A value of the default's type; the default for none."""
    usual = DEFAULTS[name]
    if value is None:
        return usual
    return _chosen(type(usual), name, str(value))  # as text, so that 1.5 images are no image


def _chosen(read: Any, name: str, value: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ConfigError(f"{name} is {value!r}: {error}") from error
