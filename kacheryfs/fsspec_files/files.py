"""``sha1://H/LABEL?manifest=M``: one file by its digest."""

from __future__ import annotations

import os
from typing import Any

from ..app.embedded import RemoteFile
from ..core.link import FileLink, parse_link
from ..core.request import FileRequest
from ..errors import KacheryError, NotFoundError
from .filesystem import LinkFileSystem
from .seam import IsFileError, MissingError, as_missing, missing_as_fsspec


class Sha1FileSystem(LinkFileSystem):
    """Files by their digest; there are no folders, and nothing is listed.

    Examples
    --------
    >>> import fsspec
    >>> with fsspec.open("sha1://H/x.npy?manifest=M", "rb") as file:  # doctest: +SKIP
    ...     traces = numpy.load(file)
    """

    protocol = scheme = "sha1"

    @classmethod
    def path_of(cls, link: str) -> str:
        if not link.removeprefix("sha1:").strip("/"):
            return ""
        return str(parse_link(link)).removeprefix("sha1://")

    def request_of(self, path: str) -> FileRequest:
        if not path:
            raise MissingError("sha1:// alone names no file: a link has a digest, and digests are not listed")
        link = parse_link(f"sha1://{path}")
        assert isinstance(link, FileLink)
        return FileRequest(link.sha1, link.manifest)

    def open_remote(self, path: str) -> RemoteFile:
        """Open the file; one that nobody has is a missing one."""
        with missing_as_fsspec():
            return super().open_remote(path)

    def told(self, result: bytes | KacheryError) -> bytes | KacheryError:
        return as_missing(result) if isinstance(result, NotFoundError) else result

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return a file's name, size, type, digest and trust."""
        path = self._strip_protocol(path)
        with self.open_remote(path) as file:
            found: dict[str, Any] = {"name": path, "size": file.size_bytes, "type": "file"}
            return found | {"sha1": file.request.sha1.hex, "trust": str(file.trust)}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return the file itself, which is all there is."""
        info = self.info(path)
        return [info] if detail else [info["name"]]

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself where it is there: a link's ``?`` stands for nothing else."""
        path = self._strip_protocol(path)
        return [path] if self.exists(path) else []

    def expand_path(self, path: Any, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> list[str]:
        """Return the paths as they stand; see ``glob``."""
        paths = self._strip_protocol(path if isinstance(path, list) else [path])
        if not paths:
            raise MissingError("no link was given")
        return list(paths)

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, **options: Any) -> None:
        """Copy files to a path, or into a folder that is there or ends with ``/``, each by its name in the link."""
        links = rpath if isinstance(rpath, list) else [rpath]
        places = lpath if isinstance(lpath, list) else [self._place_in(link, str(lpath)) for link in links]
        for link, place in zip(links, places, strict=True):
            self.get_file(link, place, **options)

    def _place_in(self, link: str, place: str) -> str:
        if not place.endswith("/") and not os.path.isdir(place):
            return place
        parsed = parse_link(f"sha1://{self._strip_protocol(link)}")
        return os.path.join(place, parsed.label or parsed.sha1.hex)

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """Return the file itself, which is all there is."""
        info = self.info(path)
        return {info["name"]: info} if detail else [info["name"]]

    def walk(self, path: str, *_: Any, **__: Any) -> Any:
        """Refuse: there is no folder."""
        raise IsFileError(f"sha1://{self._strip_protocol(path)}: it is a file, a folder's link begins with sha1dir://")
