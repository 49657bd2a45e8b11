from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.secret import MAX_CHARACTERS, MIN_CHARACTERS, Secret, is_known, parse_secrets

TOKEN = "0123456789abcdef-._~+/=="
ONE, OTHER = Secret(TOKEN), Secret("another" * 3)


def test_a_secret_is_never_shown() -> None:
    assert TOKEN not in repr(ONE)
    assert TOKEN not in str([ONE])


@pytest.mark.parametrize(
    "token",
    ["", "x" * (MIN_CHARACTERS - 1), "x" * (MAX_CHARACTERS + 1), TOKEN + " x", TOKEN + "\n", "ü" * 20, "=" * 20],
)
def test_what_could_not_travel_in_a_header_or_be_guessed_is_no_secret(token: str) -> None:
    with pytest.raises(ValueError, match="a secret has 16 to 512") as caught:
        Secret(token)
    assert not token or token not in str(caught.value)


def test_a_file_holds_a_secret_a_line() -> None:
    assert parse_secrets(f"# the lab\n\n{TOKEN}  # ann\n  {OTHER.token}\n") == [ONE, OTHER]


def test_a_file_that_holds_none_says_so_and_a_wrong_line_is_not_told() -> None:
    for text in ("", "# nothing\n"):
        with pytest.raises(ValueError, match="no secret"):
            parse_secrets(text)
    with pytest.raises(ValueError, match="line 2") as caught:
        parse_secrets(f"{TOKEN}\nshort\n")
    assert "short" not in str(caught.value)


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
def test_who_says_one_of_the_secrets_is_known(header: str) -> None:
    assert is_known(header, [ONE])
    assert is_known(header, [OTHER, ONE])
    assert not is_known(header, [OTHER])
    assert not is_known(header, [])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}=",
        f"Bearer {TOKEN.upper()}",
    ],
)
def test_who_says_something_else_is_not(header: str | None) -> None:
    assert not is_known(header, [ONE, OTHER])


@given(st.text())
def test_whatever_is_said_is_only_compared(header: str) -> None:
    assert not is_known(header, [ONE])
