"""The end of serving: health says so, load balancers hear of it, and calls under way finish."""

import asyncio
import logging
import time
from collections.abc import Sequence

from vitrine.server.frontends import Frontend
from vitrine.server.inference.service import Service
from vitrine.server.process.config import ProcessConfig

logger = logging.getLogger(__name__)


async def drain(frontends: Sequence[Frontend], service: Service, config: ProcessConfig) -> float:
    """Reports NOT_SERVING, waits for load balancers to notice, and lets requests finish; gives the seconds left."""
    service.readiness.leave()
    logger.info("stopping: serving for %g s more, so that load balancers can drain", config.propagation_seconds)
    if config.propagation_seconds:  # else nobody who hears of it can call before the drain begins
        await asyncio.sleep(config.propagation_seconds)
    logger.info("draining for up to %g s", config.drain_seconds)
    begin = time.monotonic()
    await asyncio.gather(*(frontend.drain(config.drain_seconds) for frontend in frontends))
    return config.drain_seconds - (time.monotonic() - begin)
