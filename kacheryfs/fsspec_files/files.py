"""``sha1://H/LABEL?manifest=M``: one file by its digest."""

from __future__ import annotations

from typing import Any

from ..core.link import FileLink, parse_link
from ..core.request import FileRequest
from .filesystem import LinkFileSystem
from .seam import IsFileError, MissingError


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

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """Return the file itself, which is all there is."""
        info = self.info(path)
        return {info["name"]: info} if detail else [info["name"]]

    def walk(self, path: str, *_: Any, **__: Any) -> Any:
        """Refuse: there is no folder."""
        raise IsFileError(f"sha1://{self._strip_protocol(path)}: it is a file, a folder's link begins with sha1dir://")
