from __future__ import annotations

from typing import Any

import pytest
from core_strategies import json_values
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.link import FileLink, TreeLink
from kacheryfs.core.model import Sha1
from kacheryfs.core.recipe import RecipePath, parse_recipe, parse_recipe_path
from kacheryfs.errors import InputError, KacheryError

H = "0123456789abcdef0123456789abcdef01234567"
RECORDING: dict[str, Any] = {"id": "r", "path": "$RAW/r.raw", "format": "binary"}
SORTING: dict[str, Any] = {"id": "s", "recording": "r", "link": f"sha1dir://{H}.s"}


def recipe(**members: object) -> dict[str, object]:
    return {"name": "c", "recording": [RECORDING], "sorting": [SORTING], **members}


def test_a_recipe_is_read() -> None:
    full = {**RECORDING, "probe": "p.json", "label": "L", "description": "D", "tags": ["b", "a", "b"]}
    found = parse_recipe(
        recipe(
            recording=[{**full, "parameters": {"num_channels": 4}}, {"id": "q", "link": f"sha1://{H}/q.nwb"}],
            folders={"RAW": "recordings/2026"},
            previous=f"sha1://{H}/c.json",
            spikeinterface="0.105",
        )
    )
    (first, second), (sorting,) = found.recordings, found.sortings
    assert (first.source, first.probe) == (RecipePath(("r.raw",), "RAW"), RecipePath(("p.json",)))
    assert (first.format, first.parameters, first.tags) == ("binary", {"num_channels": 4}, ("a", "b"))
    assert second.source == FileLink(Sha1.from_hex(H), "q.nwb")
    assert (sorting.recording_id, sorting.source) == ("r", TreeLink(Sha1.from_hex(H), "s"))
    assert found.folders == {"RAW": RecipePath(("recordings", "2026"))}
    assert found.previous == FileLink(Sha1.from_hex(H), "c.json")
    assert (found.variables, found.spikeinterface) == (["RAW"], "0.105")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a/b.raw", RecipePath(("a", "b.raw"))),
        ("./a//b.raw", RecipePath(("a", "b.raw"))),
        ("$RAW/a", RecipePath(("a",), "RAW")),
        ("${RAW}/a", RecipePath(("a",), "RAW")),
        ("$RAW", RecipePath((), "RAW")),
        ("größe ~1.raw", RecipePath(("größe ~1.raw",))),
    ],
)
def test_a_path_stays_below_its_folder(text: str, path: RecipePath) -> None:
    assert parse_recipe_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "~/x",
        "$RAW/../x",
        "$RAW//etc/passwd",
        "$home/x",
        "$/x",
        "a\0",
        "a" * 300,
    ],
)
def test_a_path_that_leaves_its_folder_is_refused(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_recipe_path(text)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"name": None}, "has no 'name'"),
        ({"name": "a/b"}, "holds a '/'"),
        ({"nome": "c"}, "unknown key 'nome'"),
        ({"description": 5}, "not text"),
        ({"recording": {}}, "not a list"),
        ({"recording": [5]}, "tables"),
        ({"recording": [{**RECORDING, "id": ".."}]}, "not a name"),
        ({"recording": [{**RECORDING, "id": 5}]}, "not text"),
        ({"recording": [{"path": "x", "format": "nwb"}]}, "recording '1' has no 'id'"),
        ({"recording": [RECORDING, RECORDING]}, "two recordings with the id 'r'"),
        ({"recording": [{"id": "r"}]}, "neither a path and a link"),
        ({"recording": [{**RECORDING, "link": f"sha1://{H}"}]}, "both a path and a link"),
        ({"recording": [{"id": "r", "path": "x"}]}, "no format"),
        ({"recording": [{**RECORDING, "path": 5}]}, "neither text nor a list"),
        ({"recording": [{**RECORDING, "path": ["a", 5]}]}, "neither text nor a list"),
        ({"recording": [{**RECORDING, "path": ["a", "../b"]}]}, "leaves its folder"),
        ({"recording": [{**RECORDING, "path": "$RAW/"}]}, "ends with .RAW: write the folder's name behind it"),
        ({"recording": [{**RECORDING, "path": ["$RAW/a", "$B/a"]}]}, "below one folder"),
        ({"recording": [{**RECORDING, "path": []}]}, "neither a path and a link"),
        ({"recording": [{"id": "r", "link": "http://x"}]}, "not a link"),
        ({"recording": [{"id": "r", "link": f"sha1://{H}", "parameters": {"a": 1}}]}, "no format that takes them"),
        ({"recording": [{"id": "r", "link": f"sha1://{H}", "probe": "p.json"}]}, "a probe goes with a path"),
        ({"recording": [{**RECORDING, "tags": [1]}]}, "not text"),
        ({"recording": [{**RECORDING, "parameters": []}]}, "not a table"),
        ({"recording": [{**RECORDING, "class": "os.system"}]}, "unknown key 'class'"),
        ({"sorting": [{**SORTING, "recording": "x"}]}, "no recording of the recipe"),
        ({"sorting": [{**SORTING, "probe": "p.json"}]}, "unknown key 'probe'"),
        ({"folders": {"RAW": "/data"}}, "leaves its folder"),
        ({"folders": {"RAW": "$OTHER/data"}}, "relative to the recipe"),
        ({"folders": {"raw": "data"}}, "capitals"),
        ({"folders": {"RAW": 5}}, "relative to the recipe"),
        ({"link": "nonsense"}, "not a link"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_in_one_line(members: dict[str, object], reason: str) -> None:
    given = {key: value for key, value in recipe(**members).items() if value is not None}
    with pytest.raises(InputError, match=reason) as refused:
        parse_recipe(given)
    assert len(str(refused.value).splitlines()) == 1


@given(st.dictionaries(st.sampled_from(["name", "recording", "sorting", "folders", "link"]), json_values, max_size=5))
def test_any_other_table_is_refused_and_never_a_crash(table: dict[str, object]) -> None:
    try:
        parse_recipe(table)
    except KacheryError as exc:
        assert len(str(exc).splitlines()) == 1
