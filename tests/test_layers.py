"""The house, as DESIGN.md draws it: imports point down, and modules and functions stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import kacheryfs
from kacheryfs import errors

PACKAGE = Path(kacheryfs.__file__).parent
LAYERS = (
    {"core", "errors", "config", "folders", "kept"},
    {"store", "peers"},
    {"fetch"},
    {"mount", "serve", "control", "daemon"},
    {"app"},
    {"ephys", "fsspec_files", "viewer"},
    {"cli"},
    {"__main__"},
)
"""From the ground up; rooms of one layer don't import each other, but for the words of the lowest."""
TRIO_ROOMS = {"fetch", "mount", "serve", "control", "peers", "app", "cli"}
SPIKEINTERFACE_ROOMS = {"ephys", "viewer"}
HEAVY = {"fsspec", "numpy", "pyfuse3", "spikeinterface", "trio"}
"""What ``import kacheryfs`` must not pay for."""
CORE_MAY_IMPORT = {"blake3", "kacheryfs", "typing_extensions"}
IMPURE = {"asyncio", "io", "os", "pathlib", "random", "select", "selectors", "shutil", "socket", "sqlite3", "ssl"} | {
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
}
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60


@dataclass(frozen=True)
class Module:
    path: Path
    name: str
    source: str
    syntax: ast.Module

    @property
    def room(self) -> str:
        """The part of the package that the module belongs to; "" for the package's own ``__init__``."""
        return self.name.removeprefix("kacheryfs").removeprefix(".").split(".")[0]

    def imports(self) -> Iterator[str]:
        """Yield the full name of all that is imported anywhere in it, for types alone too."""
        for node in ast.walk(self.syntax):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from self._imports_from(node)

    def _imports_from(self, node: ast.ImportFrom) -> Iterator[str]:
        base = node.module or ""
        if node.level:
            package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
            base = ".".join([*package.split(".")[: len(package.split(".")) + 1 - node.level], *filter(None, [base])])
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _load(path: Path) -> Module:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    source = path.read_text()
    return Module(path, name, source, ast.parse(source))


MODULES = [_load(path) for path in sorted(PACKAGE.rglob("*.py"))]


def each_module(check: Callable[[Module], None]) -> Callable[[], None]:
    """Make one test of a rule for all modules: one for each module took longer than the rules themselves."""

    def test() -> None:
        wrong = []
        for module in MODULES:
            try:
                check(module)
            except AssertionError as exc:
                wrong.append(f"{module.name}: {exc}")
        assert not wrong, "\n".join(wrong)

    test.__name__ = check.__name__
    return test


def _top(name: str) -> str:
    return name.split(".")[0]


def _layer_of(room: str) -> int:
    return next(index for index, rooms in enumerate(LAYERS) if room in rooms)


def _rooms_imported(module: Module) -> set[str]:
    """Return the rooms that it imports; what the package itself gives lazily belongs to nobody's room."""
    ours = {name for name in module.imports() if name.startswith("kacheryfs.")}
    return {name.split(".")[1] for name in ours} - {"__version__"}


def test_every_room_has_its_layer() -> None:
    assert {module.room for module in MODULES} - {""} <= set().union(*LAYERS)


@each_module
def test_imports_point_down(module: Module) -> None:
    if module.room == "":
        return  # names of every room, for types alone: the next test looks at what is imported
    layer = _layer_of(module.room)
    for room in _rooms_imported(module) - {module.room}:
        is_words = layer == _layer_of(room) == 0
        assert _layer_of(room) < layer or is_words, f"{module.name} imports {room}"


@each_module
def test_core_imports_errors_and_itself_alone(module: Module) -> None:
    if module.room == "core":
        assert _rooms_imported(module) <= {"core", "errors"}
    elif module.room == "errors":
        assert not _rooms_imported(module)


@each_module
def test_core_is_pure(module: Module) -> None:
    if module.room not in ("core", "errors"):
        return
    names = set(module.imports())
    assert {_top(name) for name in names} <= CORE_MAY_IMPORT | sys.stdlib_module_names
    touched = {banned for banned in IMPURE for name in names if name == banned or name.startswith(banned + ".")}
    assert not touched


@each_module
def test_pyfuse3_is_imported_by_its_adapter_alone(module: Module) -> None:
    if module.name != "kacheryfs.mount.fuse":
        assert "pyfuse3" not in {_top(name) for name in module.imports()}


@each_module
def test_trio_is_imported_only_where_something_waits(module: Module) -> None:
    if module.room not in TRIO_ROOMS:
        assert "trio" not in {_top(name) for name in module.imports()}


@each_module
def test_spikeinterface_is_imported_only_by_its_own_rooms(module: Module) -> None:
    if module.room not in SPIKEINTERFACE_ROOMS:
        assert "spikeinterface" not in {_top(name) for name in module.imports()}


@each_module
def test_fsspec_is_imported_by_its_own_room_alone(module: Module) -> None:
    if module.room != "fsspec_files":
        assert "fsspec" not in {_top(name) for name in module.imports()}


def _loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_kacheryfs_pulls_in_nothing_heavy() -> None:
    assert not _loaded_by("import kacheryfs") & HEAVY


def test_an_error_is_had_from_the_package_without_the_rest() -> None:
    assert not _loaded_by("from kacheryfs import KacheryError") & HEAVY


def test_every_error_is_had_from_the_package() -> None:
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert classes <= set(kacheryfs.__all__)
    assert all(getattr(kacheryfs, name) is getattr(errors, name) for name in classes)


def test_every_name_of_the_package_is_there_and_documented() -> None:
    pytest.importorskip("spikeinterface")
    for name in set(kacheryfs.__all__) - {"__version__"}:
        assert getattr(kacheryfs, name).__doc__, name
    assert set(kacheryfs.__all__) <= set(dir(kacheryfs))


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'kacheryfs' has no attribute 'lod_recording'"):
        kacheryfs.lod_recording  # noqa: B018


@each_module
def test_no_module_is_longer_than_300_lines(module: Module) -> None:
    n_lines = len(module.source.splitlines())
    if module.name == "kacheryfs.core.wire":  # its docstring is the protocol's specification, and has no limit
        n_lines -= len((ast.get_docstring(module.syntax, clean=False) or "").splitlines())
    assert n_lines <= MAX_MODULE_LINES


@each_module
def test_no_function_is_longer_than_60_lines(module: Module) -> None:
    for node in ast.walk(module.syntax):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert n_lines <= MAX_FUNCTION_LINES, f"{node.name} has {n_lines} lines"


@each_module
def test_every_module_opens_with_a_sentence(module: Module) -> None:
    assert (ast.get_docstring(module.syntax) or "").splitlines()[:1], "no docstring"
