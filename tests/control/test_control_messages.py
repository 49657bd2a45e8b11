"""The words of the control socket: what is well formed passes unchanged, the rest is refused in one line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs import errors
from kacheryfs.control.messages import (
    COMMANDS,
    MAX_ANSWER_BYTES,
    Request,
    decode_answer,
    decode_request,
    encode_failure,
    encode_request,
    encode_result,
)
from kacheryfs.errors import InputError, KacheryError, MountError

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=50)  # lone surrogates are names too
VALUES = {str: any_text, bool: st.booleans(), type(None): st.none()}
requests = st.sampled_from(sorted(COMMANDS)).flatmap(
    lambda command: st.builds(
        Request,
        st.just(command),
        st.fixed_dictionaries(
            {name: st.one_of(*(VALUES[kind] for kind in kinds)) for name, kinds in COMMANDS[command].items()}
        ),
    )
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text, lambda inner: st.lists(inner, max_size=3)
)


@given(requests)
def test_a_request_survives_the_socket(request_: Request) -> None:
    line = encode_request(request_)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert decode_request(line) == request_


@given(json_values)
def test_a_result_survives_the_socket(result: object) -> None:
    assert decode_answer(encode_result(result)) == result


@pytest.mark.parametrize("kind", [errors.NotFoundError, errors.UnreachableError, errors.LinkError, errors.StoreError])
def test_an_error_keeps_its_class_and_so_its_exit_code(kind: type[KacheryError]) -> None:
    with pytest.raises(kind, match="nobody has it") as caught:
        decode_answer(encode_failure(kind("nobody has it")))
    assert caught.value.exit_code == kind.exit_code


@pytest.mark.parametrize("kind", ["OSError", "logging", "annotations", "", None, 5, "__name__"])
def test_an_unknown_kind_of_error_is_the_mounts(kind: object) -> None:
    with pytest.raises(MountError):
        decode_answer(json.dumps({"error": "x", "kind": kind}).encode())


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_in_one_line(line: bytes) -> None:
    with pytest.raises(InputError) as caught:
        decode_request(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        "status",
        {},
        {"command": "status", "arguments": {}},
        {"kacheryfs": 2, "command": "status", "arguments": {}},
        {"kacheryfs": 1, "command": 5, "arguments": {}},
        {"kacheryfs": 1, "command": "status", "arguments": []},
        {"kacheryfs": 1, "command": "shutdown", "arguments": {}},
        {"kacheryfs": 1, "command": "status", "arguments": {"x": 1}},
        {"kacheryfs": 1, "command": "why", "arguments": {}},
        {"kacheryfs": 1, "command": "why", "arguments": {"path": 5}},
        {"kacheryfs": 1, "command": "umount", "arguments": {"force": 1}},
    ],
)
def test_what_is_no_request_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        decode_request(json.dumps(value).encode())


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(InputError):
        decode_request(b"[" * 200_000)


def test_an_answer_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(MountError, match="limit"):
        encode_result("x" * MAX_ANSWER_BYTES)
