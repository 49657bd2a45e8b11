from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kacheryfs.core.link import FileLink, parse_link
from kacheryfs.core.model import Sha1
from kacheryfs.errors import ConfigError, InputError
from kacheryfs.store.collection_names import CollectionNames


def link(n: int) -> FileLink:
    return FileLink(Sha1(bytes([n]) * 20), "c.json")


def test_a_name_stands_for_its_link_in_every_process(tmp_path: Path) -> None:
    names = CollectionNames(tmp_path / "data")
    assert names.all() == {}
    assert names.find("a") is None
    names.put("b", link(2))
    names.put("a", link(1))
    assert list(CollectionNames(tmp_path / "data").all().items()) == [("a", link(1)), ("b", link(2))]
    assert names.find("a") == link(1)


def test_a_new_version_takes_the_place_of_the_one_that_it_was_made_of_and_no_other(tmp_path: Path) -> None:
    names = CollectionNames(tmp_path)
    names.advance("a", None, link(1))
    names.advance("a", None, link(1))
    with pytest.raises(InputError, match="another collection here by now"):
        names.advance("a", None, link(2))
    names.advance("a", link(1), link(2))
    with pytest.raises(InputError, match="another collection here by now"):
        names.advance("a", link(1), link(3))
    assert names.find("a") == link(2)
    names.put("a", link(3))
    assert names.find("a") == link(3)


def test_a_name_is_forgotten_once(tmp_path: Path) -> None:
    names = CollectionNames(tmp_path)
    names.put("a", link(1))
    assert names.remove("a")
    assert not names.remove("a")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\n", "\x1b[2J"])
def test_a_name_is_one_that_a_folder_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="can't be called"):
        CollectionNames(tmp_path).put(name, link(1))


@pytest.mark.parametrize(
    "text", [" ", "[]", "{", '{"version": 2, "collections": {}}', '{"version": 1, "collections": {"a": "file:///x"}}']
)
def test_a_damaged_file_is_named_and_not_overwritten(tmp_path: Path, text: str) -> None:
    names = CollectionNames(tmp_path)
    names.path.write_text(text)
    with pytest.raises(ConfigError, match=r"collection-names\.json") as refused:
        names.put("a", link(1))
    assert len(str(refused.value).splitlines()) == 1
    assert names.path.read_text() == text


def test_a_folder_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        CollectionNames(tmp_path / "file").put("a", link(1))


def test_processes_that_name_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kacheryfs.core.link import parse_link\n"
        "from kacheryfs.store.collection_names import CollectionNames\n"
        "names = CollectionNames(Path(sys.argv[1]))\n"
        "for i in range(20): names.put(f'{sys.argv[2]}{i}', parse_link('sha1://' + '0' * 40))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen([*command, prefix]) for prefix in "abc"]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert set(CollectionNames(tmp_path).all()) == {f"{prefix}{i}" for prefix in "abc" for i in range(20)}
    assert CollectionNames(tmp_path).find("a0") == parse_link("sha1://" + "0" * 40)
    assert [path.name for path in tmp_path.iterdir()] == ["collection-names.json"]
