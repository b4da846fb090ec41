"""Certificates that are made when they are needed, and are gone with the server."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from seawall.testing.extra import need

if TYPE_CHECKING:
    from typing import Any, Literal


class Certificates:
    """An authority of one server, its certificate, and those that no client should accept."""

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts

    @cached_property
    def _authority(self) -> Any:
        return need("trustme").CA()

    @cached_property
    def _good(self) -> ssl.SSLContext:
        return _context(self._authority.issue_cert(*self._hosts))

    def client(self) -> ssl.SSLContext:
        """Return a new context for clients, which trusts this server and nobody else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(context)
        return context

    def server(self) -> ssl.SSLContext:
        """Return the context of the server, which offers HTTP/2 and HTTP/1.1."""
        return self._good

    def bad(self, kind: Literal["expired", "other host", "untrusted"]) -> ssl.SSLContext:
        """Return a context with a certificate that clients should refuse."""
        if kind == "untrusted":
            return _context(need("trustme").CA().issue_cert(*self._hosts))
        if kind == "other host":
            return _context(self._authority.issue_cert("another-host.invalid"))
        yesterday = datetime.now(UTC) - timedelta(days=1)
        return _context(self._authority.issue_cert(*self._hosts, not_after=yesterday))


def _context(certificate: Any) -> ssl.SSLContext:
    need("h2")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
