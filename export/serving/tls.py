"""TLS for both protocols, from PEM files that may be renewed while the server runs."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from tf_mixed_nash.errors import InputError

__all__ = ["Tls", "TlsFiles"]

_log = logging.getLogger(__name__)


class TlsFiles(NamedTuple):
    """Where the parts are.

    Attributes:
      certificate: PEM: the server's certificate and those up to its authority.
      key: PEM: its key, not encrypted.
      client_ca: PEM: authorities of clients' certificates, which clients then need; None where
        they need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Tls:
    """What both servers need.

    Args:
      files: are read now, and again by `renew` when they changed.

    Attributes:
      context: for REST.

    Raises:
      InputError: if they cannot be read or do not belong together.
    """

    def __init__(self, files: TlsFiles):
        self._files = files
        self._stamp = self._look()
        self.context = self._newest = _context(files)
        # OpenSSL asks for each connection, also of clients that name no server.
        self.context.sni_callback = self._take_newest
        self._configuration = self._configure()
        self._told = self._configuration

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC."""

        def newer():
            if self._configuration is self._told:
                return None
            self._told = self._configuration
            return self._told

        fetch: Callable[[], Any] = newer
        return grpc.dynamic_ssl_server_credentials(
            self._configuration, fetch, self._files.client_ca is not None
        )

    def renew(self) -> None:
        """Takes files that have changed, for new connections; bad ones are passed over."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            context, configuration = _context(self._files), self._configure()
        except InputError as error:
            _log.warning("%s The certificate stays as it was.", error)
            return
        self._newest, self._configuration = context, configuration
        _log.info("%s was read again", self._files.certificate)

    def _take_newest(self, connection: ssl.SSLObject, *_: object) -> None:
        # What is loaded into a context is added: an authority that is gone would stay in it.
        connection.context = self._newest

    def _configure(self):
        files = self._files
        pair = files.key.read_bytes(), files.certificate.read_bytes()
        ca = files.client_ca.read_bytes() if files.client_ca else None
        return grpc.ssl_server_certificate_configuration([pair], ca)

    def _look(self) -> tuple:
        found = []
        for path in filter(None, self._files):
            try:
                s = path.stat()
                found.append((s.st_mtime_ns, s.st_size, s.st_ino))
            except OSError:
                found.append(None)
        return tuple(found)


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, files)
    if files.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    for path in filter(None, files):
        try:
            path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        context.load_cert_chain(files.certificate, files.key, _no_password)
    except ssl.SSLError as error:
        raise InputError(
            f"{files.certificate} and {files.key} are no certificate and its key ({error.reason}). "
            "Expected two PEM files that belong together."
        ) from None
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise InputError(
                f"{files.client_ca} holds no certificate of an authority ({error.reason})."
            ) from None


def _no_password() -> str:
    raise InputError(
        "The key of --ssl_key is encrypted, and nobody is here to give the password. Expected a "
        "key without one: openssl pkey -in KEY -out PLAIN."
    )
