"""The secrets that we say to peers: kept for each URL in a file that only its owner reads."""

from __future__ import annotations

from pathlib import Path

from ..core.secret import Secret
from ..errors import ConfigError
from ..kept import KeptFile
from .address import parse_peer_url

FILE_NAME = "peer-secrets"


class KeptSecrets:
    """A line of URL and secret for each peer; methods block for a file of a few lines. ConfigError."""

    def __init__(self, folder: Path) -> None:
        self._file = KeptFile(folder / FILE_NAME, "the list of peers' secrets")  # made with mode 0600

    def find(self, url: str) -> Secret | None:
        """Return what is said to the peer at ``url``, and to no other."""
        return self._read().get(str(parse_peer_url(url)))

    def keep(self, url: str, secret: Secret) -> None:
        with self._file.locked():
            self._write(self._read() | {str(parse_peer_url(url)): secret})

    def forget(self, url: str) -> None:
        """Forget the secret of a peer, if there is one."""
        address = str(parse_peer_url(url))
        if address in self._read():
            with self._file.locked():
                self._write({kept: secret for kept, secret in self._read().items() if kept != address})

    def _read(self) -> dict[str, Secret]:
        try:
            words = [line.split() for line in self._file.read().splitlines()]
            return {url: Secret(token) for url, token in words}
        except ValueError as exc:
            raise ConfigError(f"{self._file.path}: a line is not a URL and a secret; remove it") from exc

    def _write(self, secrets: dict[str, Secret]) -> None:
        self._file.write("".join(f"{url} {secret.token}\n" for url, secret in sorted(secrets.items())))
