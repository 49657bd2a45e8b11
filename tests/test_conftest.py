"""The rules that ``conftest`` lays on every test, tried on tests that break them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RULED = """
import logging, os, warnings
import pytest

log = logging.getLogger("kacheryfs.some.module")

def test_quiet(): log.info("fine"); logging.getLogger("other").warning("not ours")
def test_warns(): log.warning("disk is %s", "full")
@pytest.mark.expects_warnings
def test_expects(): log.error("as it should")
@pytest.mark.kernel
def test_kernel(): pass
def test_python_warns(): warnings.warn("old", DeprecationWarning)
def test_settings(): assert not [name for name in os.environ if name.startswith("KACHERYFS_")]
"""


def _run(tmp_path: Path, source: str = RULED) -> str:
    here = Path(__file__).parent
    (tmp_path / "conftest.py").write_text((here / "conftest.py").read_text())
    (tmp_path / "pyproject.toml").write_text((here.parent / "pyproject.toml").read_text())
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_ruled.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-rA", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "KACHERYFS_DIR": "/somebodys/own"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def test_unexpected_warnings_fail_a_test_and_settings_of_the_user_stay_out(tmp_path: Path) -> None:
    report = _run(tmp_path)
    assert "ERROR tests/test_ruled.py::test_warns - Failed: unexpected in the log" in report
    assert "WARNING kacheryfs.some.module: disk is full" in report
    assert "FAILED tests/test_ruled.py::test_python_warns - DeprecationWarning: old" in report
    for name in ("test_quiet", "test_expects", "test_settings"):
        assert f"PASSED tests/test_ruled.py::{name}" in report
        assert f"ERROR tests/test_ruled.py::{name}" not in report


def test_kernel_tests_are_skipped_only_where_dev_fuse_is_absent(tmp_path: Path) -> None:
    report = _run(tmp_path)
    if Path("/dev/fuse").exists():
        assert "PASSED tests/test_ruled.py::test_kernel" in report
    else:
        assert "/dev/fuse is absent" in report


def test_a_misspelt_mark_is_an_error(tmp_path: Path) -> None:
    assert "'misspelt' not found in `markers`" in _run(
        tmp_path, "import pytest\n@pytest.mark.misspelt\ndef test_mark(): pass\n"
    )
