"""Warns of a certificate that is about to expire, or has expired."""

import logging
import time

from vitrine.server.security.certificates import Certificates, TlsFiles

logger = logging.getLogger(__name__)

DAY_SECONDS = 86_400

WARNING_DAYS = 14
"""Days before a certificate expires from which on the log warns, once a day."""


class ExpiryWarning:
    """Warns at once, and then once a day.

    Args:
        files: where the certificates are from.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._known: Certificates | None = None
        self._next = 0.0

    def __call__(self, certificates: Certificates) -> None:
        """Looks at the certificates that are in force."""
        now = time.time()
        if certificates is self._known and now < self._next:
            return
        self._known, self._next = certificates, now + DAY_SECONDS
        days = (certificates.expires - now) / DAY_SECONDS
        if days < 0:
            logger.error("the certificate in %s has expired: clients don't trust it, renew it", self._files.cert)
        elif days < WARNING_DAYS:
            logger.warning("the certificate in %s expires in %.1f days: renew it", self._files.cert, days)
