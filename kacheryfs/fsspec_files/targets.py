"""Any file system of fsspec's as a target for copies: buckets, WebDAV, SFTP; nothing half written gets its name.

A bucket shows an object once its upload is completed. Elsewhere a file is written beside its place and moved there.
What is gone on with after an interruption is the list of files: fsspec can't take up a file in the middle.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fsspec.core import url_to_fs
from fsspec.registry import known_implementations, registry

from ..errors import InputError, KacheryError, StoreError

BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "obs"})
"""Where an object is there as a whole or not at all, and folders aren't made."""
PART_BYTES = 16 * 1024 * 1024
"""Of one upload in a bucket: S3 takes 5 MiB and more, and holds each in memory."""
MAX_PARTS = 9_000
"""S3 takes 10,000."""
PARTS = ".kacheryfs-mirror"
_KNOWN_TO_WORK = (
    "name a folder, or a URL of s3://, gs://, az://, sftp:// or webdav://, each once its package is installed: "
    "pip install s3fs, gcsfs, adlfs, paramiko, webdav4"
)

Seam = Callable[[], contextlib.AbstractContextManager[None]]


class FsspecTarget:
    """Implements ``app.export.Target``."""

    def __init__(self, url: str) -> None:
        """Find the file system of ``url`` with fsspec's own settings; InputError where there is none."""
        scheme, _, rest = url.partition("://")
        secret, at, _ = rest.partition("/")[0].rpartition("@")
        self._secret = secret + at
        self._shown = f"{scheme}://{rest.removeprefix(self._secret)}"
        self._scheme = scheme
        unknown = [name for name in scheme.split("::") if name not in {*known_implementations, *registry}]
        if unknown:
            raise InputError(f"{self._shown}: no file system is known by {unknown[0]}://; {_KNOWN_TO_WORK}")
        try:
            self._fs, root = url_to_fs(url)
        except Exception as exc:  # some connect at once, and raise what their libraries raise
            raise InputError(f"{self._shown}: {self._words_of(exc)}") from exc
        self._root = str(root).rstrip("/")
        protocol = self._fs.protocol
        self._is_bucket = not BUCKETS.isdisjoint([protocol] if isinstance(protocol, str) else protocol)
        if self._is_bucket and not self._root.partition("/")[0]:
            raise InputError(f"{self._shown} names no bucket: {scheme}://BUCKET/PREFIX")

    @property
    def place(self) -> str:
        """The URL as it was given, but for a user's name and password."""
        return self._shown

    @property
    def public_url(self) -> str | None:
        """Return what the bucket answers at, if it lets everybody read."""
        if self._scheme in ("gs", "gcs"):
            return f"https://storage.googleapis.com/{self._root}"
        if self._scheme not in ("s3", "s3a"):
            return None
        with self._seam("asked for its URL"):
            signed = urlsplit(str(self._fs.url(f"{self._root}/sha1")))
        return urlunsplit(signed._replace(path=signed.path.removesuffix("/sha1"), query="", fragment=""))

    def find_size(self, path: str) -> int | None:
        with self._seam("read"):
            try:
                return int(self._fs.info(self._at(path))["size"])
            except FileNotFoundError:
                return None

    def put(self, path: str, data: bytes) -> None:
        upload = self.start(path, len(data))
        try:
            upload.write(data)
            upload.commit()
        finally:
            upload.close()

    def start(self, path: str, size_bytes: int) -> BucketUpload | MovedUpload:
        place, seam = self._at(path), partial(self._seam, "written")
        if self._is_bucket:
            return BucketUpload(self._fs, place, size_bytes, seam)
        return MovedUpload(
            self._fs, place, self._at(f"{PARTS}/{posixpath.basename(path)}.{secrets.token_hex(4)}"), seam
        )

    def close(self) -> None:
        """Nothing is kept here for a next try."""

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextlib.contextmanager
    def _seam(self, done: str) -> Iterator[None]:
        """Translate: each file system raises what its own libraries raise."""
        try:
            yield
        except KacheryError:
            raise
        except Exception as exc:
            words = self._words_of(exc)
            raise StoreError(f"{self._shown} can't be {done}: {words}; see fsspec's settings for its keys") from exc

    def _words_of(self, exc: Exception) -> str:
        unable = "fsspec doesn't know how" if isinstance(exc, NotImplementedError) else type(exc).__name__
        words = " ".join(str(exc).split()) or unable
        return (words.replace(self._secret, "") if self._secret else words)[:300]


class BucketUpload:
    """Implements ``app.export.Upload`` where an object appears as a whole, once its upload is completed."""

    def __init__(self, fs: Any, place: str, size_bytes: int, seam: Seam) -> None:
        self._fs = fs
        self._place = place
        self._seam = seam
        self._is_small = size_bytes <= PART_BYTES
        self._part_bytes = max(PART_BYTES, -(-size_bytes // MAX_PARTS))
        self._file: Any = None
        self.restart()

    def read_kept(self) -> bytes:
        return b""

    def restart(self) -> None:
        self.close()
        with self._seam():
            self._file = io.BytesIO() if self._is_small else self._open()

    def _open(self) -> Any:
        return self._fs.open(self._place, "wb", block_size=self._part_bytes, autocommit=False)

    def write(self, data: bytes | memoryview) -> None:
        with self._seam():
            self._file.write(data)

    def commit(self) -> None:
        with self._seam():
            if self._is_small:  # one request instead of three
                self._fs.pipe_file(self._place, self._file.getvalue())
            else:
                self._file.close()
                self._file.commit()
        self._file = None

    def close(self) -> None:
        """Give up what was sent: a bucket lets nobody go on with it who wasn't told its number, and bills for it."""
        file, self._file = self._file, None
        if file is None or self._is_small:
            return
        with self._seam():
            file.discard()
        file.closed = True  # fsspec's collector would send the rest, and make an object of it


class MovedUpload:
    """Implements ``app.export.Upload`` where files are files: written beside the place, and moved there."""

    def __init__(self, fs: Any, place: str, part: str, seam: Seam) -> None:
        """Write to ``part``, a name that nobody else uses: another's half file would be moved with ours."""
        self._fs = fs
        self._place = place
        self._part = part
        self._n_bytes = 0
        self._seam = seam
        self._file: Any = None
        self.restart()

    def read_kept(self) -> bytes:
        return b""

    def restart(self) -> None:
        self.close()
        with self._seam():
            for path in (self._part, self._place):
                self._fs.makedirs(posixpath.dirname(path), exist_ok=True)
            self._file = self._fs.open(self._part, "wb")
        self._n_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        with self._seam():
            self._file.write(data)
        self._n_bytes += len(data)

    def commit(self) -> None:
        with self._seam():
            self._file.close()
            found_bytes = int(self._fs.info(self._part)["size"])
            if found_bytes != self._n_bytes:
                raise OSError(f"it took {found_bytes} of {self._n_bytes} bytes of {posixpath.basename(self._place)}")
            if self._fs.exists(self._place):  # of another size; SFTP doesn't move over what is there
                self._fs.rm_file(self._place)
            self._fs.mv(self._part, self._place)
        self._file = None

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with self._seam(), contextlib.suppress(FileNotFoundError):
                file.close()
                self._fs.rm_file(self._part)
