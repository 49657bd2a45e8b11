"""kacheryfs: a recording in another lab reads as an ordinary file.

The Python interface; each name is imported when it is first used, so that ``import kacheryfs`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from .ephys.analyzers import load_analyzer, share_analyzer
    from .ephys.collections import Collection
    from .ephys.loading import load_recording
    from .ephys.sharing import share_recording
    from .ephys.sortings import load_sorting, share_sorting
    from .errors import (
        CancelledError,
        CatalogError,
        ChangedError,
        ClaimError,
        ConfigError,
        InputError,
        KacheryError,
        LinkError,
        ListenError,
        MountError,
        NotFoundError,
        OfflineError,
        PeerError,
        PeerLackedGroupError,
        PeerLacksError,
        PeerLiedError,
        PeerRefusedError,
        PeerUnreachableError,
        ProofError,
        ServiceError,
        StoreError,
        TimedOutError,
        TrustRefusedError,
        UnreachableError,
    )

__version__ = "0.1.0"

__all__ = [
    "CancelledError",
    "CatalogError",
    "ChangedError",
    "ClaimError",
    "Collection",
    "ConfigError",
    "InputError",
    "KacheryError",
    "LinkError",
    "ListenError",
    "MountError",
    "NotFoundError",
    "OfflineError",
    "PeerError",
    "PeerLackedGroupError",
    "PeerLacksError",
    "PeerLiedError",
    "PeerRefusedError",
    "PeerUnreachableError",
    "ProofError",
    "ServiceError",
    "StoreError",
    "TimedOutError",
    "TrustRefusedError",
    "UnreachableError",
    "__version__",
    "load_analyzer",
    "load_recording",
    "load_sorting",
    "share_analyzer",
    "share_recording",
    "share_sorting",
]

_ROOMS = {
    "Collection": "ephys.collections",
    "load_analyzer": "ephys.analyzers",
    "load_recording": "ephys.loading",
    "load_sorting": "ephys.sortings",
    "share_analyzer": "ephys.analyzers",
    "share_recording": "ephys.sharing",
    "share_sorting": "ephys.sortings",
}
"""Where a name comes from, unless it is an error's."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_room(name), name)
    globals()[name] = value
    return value


def _import_room(name: str) -> ModuleType:
    try:
        return import_module(f"{__name__}.{_ROOMS.get(name, 'errors')}")
    except ModuleNotFoundError as exc:
        from .errors import InputError

        raise InputError(f"kacheryfs.{name} needs {exc.name}: pip install 'kacheryfs[spikeinterface]'") from exc


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
