"""``config``, and the settings as a command's flags change them."""

from __future__ import annotations

import argparse
import logging
import os

from ..config import Settings, load_settings
from .terminal import format_table, put, put_json

_FLAGS = {
    "listen": "listen",
    "upload_limit": "upload_limit",
    "download_limit": "download_limit",
    "max_connections": "max_connections",
    "access": "access",
    "cache_size": "cache_size",
    "read_timeout": "read_timeout",
    "require_manifest": "require_manifest",
    "offline": "offline",
    "store": "store_dir",
}
"""Which flag of a command sets which setting."""


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the effective settings of this command, and log at the level that they ask for."""
    settings = load_settings({name: getattr(args, flag, None) for flag, name in _FLAGS.items()}, os.environ)
    is_chosen = settings.sources["log_level"] != "default"
    if (is_chosen or args.ready_fd is not None) and not args.verbosity:
        logging.getLogger("kacheryfs").setLevel(settings.log_level.upper())
    return settings


def config(args: argparse.Namespace) -> int:
    rows = settings_of(args).rows()
    if args.json:
        put_json({row.name: {"value": row.value, "source": row.source} for row in rows})
        return 0
    for line in format_table([(row.name, row.text, f"({row.source})", row.help) for row in rows]):
        put(line)
    return 0
