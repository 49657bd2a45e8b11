"""What the file systems of both kinds of links have in common: reading, and refusing to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path

from ..app.embedded import Part, RemoteFile, get_fetcher
from ..errors import KacheryError
from .linkfile import LinkFile
from .seam import ReadOnlyError

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.request import FileRequest


class LinkFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Read-only files behind links."""

    root_marker = ""
    cachable = False  # the settings are those of the environment at the time
    scheme: ClassVar[str]

    def __init__(self, *args: Any, settings: Settings | None = None, **options: Any) -> None:
        """Read with ``settings``, by default those that the commands would use; ConfigError where they are wrong."""
        options = options if settings is None else {**options, "settings": settings}
        super().__init__(*args, **options)
        self.fetcher = get_fetcher(settings)

    # -- names -------------------------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Return the path within this file system; LinkError for what begins like a link and is none."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = stringify_path(path)
        return cls.path_of(text) if text.startswith(f"{cls.scheme}:/") else text.strip("/")

    @classmethod
    def path_of(cls, link: str) -> str:
        """Return the path of a link in any of its spellings."""
        raise NotImplementedError

    def request_of(self, path: str) -> FileRequest:
        """Return what to ask for the file at a stripped path; MissingError, IsFolderError."""
        raise NotImplementedError

    # -- reading -----------------------------------------------------------------------------------------------------

    def open_remote(self, path: str) -> RemoteFile:
        """Open the file at a path.

        One that nobody has now is a NotFoundError alone: were it a FileNotFoundError, a chunk of an array that its
        folder names would be filled with zeros.
        """
        return self.fetcher.open_file(self.request_of(self._strip_protocol(path)))

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> LinkFile:
        if mode != "rb":
            self._refuse()
        return LinkFile(self, path, self.open_remote(path))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes ``[start, end)`` of a file; negative ones count from its end, as in a slice."""
        (data,) = self._read([(path, start, end)], "raise")
        assert isinstance(data, bytes)
        return data

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **_: Any) -> Any:
        """Return a file's bytes, or those of each of several files by path, many at once."""
        paths = self.expand_path(path, recursive=recursive)
        if not isinstance(path, list) and paths == [self._strip_protocol(path)]:
            return self.cat_file(paths[0])
        if recursive:
            paths = [one for one in paths if self.isfile(one)]
        read = zip(paths, self._read([(one, None, None) for one in paths], on_error), strict=True)
        return {one: data for one, data in read if on_error != "omit" or not isinstance(data, Exception)}

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """Return the bytes of a range of each file, many at once; ``max_gap`` is of no use, and ignored."""
        starts = starts if isinstance(starts, Sequence) else [starts] * len(paths)
        ends = ends if isinstance(ends, Sequence) else [ends] * len(paths)
        return self._read(list(zip(paths, starts, ends, strict=True)), on_error)

    def _read(self, spans: Sequence[tuple[str, int | None, int | None]], on_error: str) -> list[bytes | KacheryError]:
        """Return the bytes of each span, or its error where that isn't to be raised."""
        parts = [self._part_of(*span) for span in spans]
        read = iter(self.fetcher.read_parts([part for part in parts if isinstance(part, Part)]))
        results = [self.told(next(read)) if isinstance(part, Part) else part for part in parts]
        for result in results:
            if on_error == "raise" and isinstance(result, KacheryError):
                raise result
        return results

    def _part_of(self, path: str, start: int | None, end: int | None) -> Part | KacheryError:
        try:
            return Part(self.request_of(self._strip_protocol(path)), start, end)
        except KacheryError as exc:
            return exc

    def told(self, result: bytes | KacheryError) -> bytes | KacheryError:
        """Return what is told of a result of reading: an error as fsspec's users expect it."""
        return result

    def ukey(self, path: str) -> str:
        """Return what identifies the content: its digest."""
        return str(self.request_of(self._strip_protocol(path)).sha1)

    checksum = ukey

    # -- what fsspec would take any error for ------------------------------------------------------------------------

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether something is there; UnreachableError where nobody can tell now."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Return whether a file is there; UnreachableError where nobody can tell now."""
        return self._type_of(path) == "file"

    def isdir(self, path: str) -> bool:
        """Return whether a folder is there; UnreachableError where nobody can tell now."""
        return self._type_of(path) == "directory"

    def _type_of(self, path: str) -> str | None:
        try:
            return str(self.info(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    # -- writing -----------------------------------------------------------------------------------------------------

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise ReadOnlyError(
            f"{self.scheme}:// is read-only: a link's content never changes. Write elsewhere, and share that"
        )

    mkdir = makedirs = mkdirs = rmdir = rm = rm_file = _rm = touch = _refuse
    pipe_file = put_file = cp_file = mv = move = copy = put = pipe = _refuse
