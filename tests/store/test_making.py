from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kacheryfs.core.model import Blake3, Sha1
from kacheryfs.errors import NotFoundError
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.making import share_bytes
from kacheryfs.store.sharing import share


def test_made_bytes_are_offered_under_their_digest_until_they_are_unshared(tmp_path: Path) -> None:
    data = b'{"made":"here"}'
    with Catalog(tmp_path) as catalog:
        link = share_bytes(catalog, data, "made.json")
        assert str(link) == f"sha1://{hashlib.sha1(data).hexdigest()}/made.json"
        buffer = bytearray(len(data))
        with catalog.open_original(Sha1.of(data)) as original:
            original.read_into(0, memoryview(buffer))
        assert buffer == data
        assert share_bytes(catalog, data, "made.json") == link
        (told,) = catalog.shares()
        assert (told.link, told.n_files, told.total_bytes, told.state) == (str(link), 1, len(data), "ok")
        assert list(catalog.tree_digests()) == []
        catalog.unshare(str(link))
        with pytest.raises(NotFoundError):
            catalog.open_original(Sha1.of(data))
        assert not [path for path in (tmp_path / "trees").rglob("*") if path.is_file()]


def test_made_bytes_of_several_blocks_have_the_manifest_that_a_file_has(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    (tmp_path / "same.bin").write_bytes(data)
    with Catalog(tmp_path / "catalog") as catalog:
        made = share_bytes(catalog, data, "same.bin")
        assert share(catalog, tmp_path / "same.bin").link == made
        assert isinstance(made.manifest, Blake3)
        assert catalog.find_manifest_part(made.manifest) is not None
