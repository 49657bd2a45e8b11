"""The text of a unit: whatever stands in a path or a variable, systemd reads it back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.cli.service_unit import Purpose, fill_template, quote, read_purpose, unit_text

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
AWKWARD = '/home/ann/my "100%" $HOME \\data é\n[Service]'
COMMAND = ["/opt/a b%/python", "-m", "kacheryfs", "mount", "--foreground", AWKWARD]


def test_every_word_is_quoted_as_systemd_reads_it() -> None:
    assert quote("a b") == '"a b"'
    assert quote('"100%"\\') == '"\\"100%%\\"\\\\"'
    assert quote("é\n") == '"\\xc3\\xa9\\x0a"'
    assert quote(os.fsdecode(b"\xff")) == '"\\xff"'


def test_a_dollar_is_no_variable_in_arguments_and_is_itself_elsewhere() -> None:
    text = unit_text(Purpose("serve", "/d"), ["/opt/$1/python", "$2"], "/f", {"KACHERYFS_DIR": "/$3"})
    assert 'ExecStart="/opt/$1/python" "$$2"\n' in text
    assert 'Environment="KACHERYFS_DIR=/$3"\n' in text


@given(st.binary(min_size=1) | st.text(st.characters(codec="utf-8"), min_size=1).map(os.fsencode))
def test_no_path_adds_a_line_and_every_path_is_found_again(name: bytes) -> None:
    purpose = Purpose("mount", os.fsdecode(b"/home/" + name))
    text = unit_text(purpose, ["/python", purpose.path], "/f", {"KACHERYFS_DIR": purpose.path})
    plain = unit_text(Purpose("mount", "/home/x"), ["/python", "/home/x"], "/f", {"KACHERYFS_DIR": "/home/x"})
    assert len(text.split("\n")) == len(plain.split("\n"))
    assert read_purpose(text) == purpose


def test_a_unit_s_name_is_short_plain_and_tells_mountpoints_apart() -> None:
    first, second = Purpose("mount", "/a/my data"), Purpose("mount", "/b/my data")
    assert first.unit.startswith("kacheryfs-mount-my-data-")
    assert first.unit != second.unit
    assert len(Purpose("mount", "/" + "x" * 5000).unit) < 100
    assert Purpose("serve", "/home/ann/.local/share/kacheryfs").unit.startswith("kacheryfs-serve-")


@pytest.mark.parametrize(
    "text", ["", "[Unit]\n", *("[X-Kacheryfs]\nOf=" + of for of in ("", "7", "[1, 2]", "[1]", "{"))]
)
def test_a_unit_of_somebody_else_is_not_ours(text: str) -> None:
    assert read_purpose(text) is None


@pytest.mark.parametrize(
    ("kind", "description", "arguments"),
    [
        ("mount", "kacheryfs mount at %h/kachery", "mount --foreground %h/kachery"),
        ("serve", "kacheryfs serve", "serve"),
    ],
)
def test_the_units_in_scripts_are_what_the_command_installs(kind: str, description: str, arguments: str) -> None:
    text = fill_template(description, f"%h/.local/bin/kacheryfs {arguments}", "%h", {})
    assert (SCRIPTS / f"kacheryfs-{kind}.service").read_text() == text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("path", ["/home/ann/kachery", AWKWARD, "/" + "é" * 100])
def test_systemd_finds_nothing_wrong(path: str, tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    program = folder / "py 100% $thon"
    folder.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    purpose = Purpose("mount", path)
    unit = tmp_path / purpose.unit
    unit.write_text(unit_text(purpose, [str(program), "mount", path], str(folder), {"KACHERYFS_DIR": path}))
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
