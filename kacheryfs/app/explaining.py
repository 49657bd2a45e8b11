"""Why a file, or what lies below a folder, waits: each missing block, who was asked for it, what each said or does."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import trio

from .report import Labels, report_file, report_peer, report_wait

if TYPE_CHECKING:
    from ..core.model import Sha1
    from ..fetch.describing import BlockReport, RunReport
    from ..fetch.engine import Engine
    from ..fetch.finder import LookupReport
    from ..fetch.openfile import OpenFile
    from ..fetch.waits import Wait

Json = dict[str, Any]

MAX_EXPLAINED = 100
"""Waits, and blocks of one wait, that are told one by one: a read of 1 MiB has 5 blocks."""


def explain(engine: Engine, sha1s: Collection[Sha1], labels: Labels) -> Json:
    """Return what is known of these files: those that are open, and the reads that wait for them."""
    files = [file for file in engine.files if file.proof.sha1 in sha1s]
    waits = sorted((wait for wait in engine.waits if wait.file.proof.sha1 in sha1s), key=lambda wait: wait.since)
    return {
        "is_offline": engine.peers.is_offline,
        "read_timeout_s": engine.limits.read_timeout_s,
        "peers": [report_peer(engine, peer) for peer in engine.peers],
        "lookups": [_explain_lookup(lookup) for sha1 in sha1s for lookup in engine.finder.describe(sha1)],
        "files": [_explain_file(file, labels) for file in files],
        "n_waits": len(waits),
        "waits": [_explain_wait(engine, wait, labels) for wait in waits[:MAX_EXPLAINED]],
    }


def _explain_lookup(lookup: LookupReport) -> Json:
    now = trio.current_time()
    return {
        "waiting_s": now - lookup.since,
        "gives_up_in_s": lookup.gives_up_at - now,
        "said": dict(lookup.said),
    }


def _explain_file(file: OpenFile, labels: Labels) -> Json:
    return {**report_file(file, labels), "providers": file.words()}


def _explain_wait(engine: Engine, wait: Wait, labels: Labels) -> Json:
    reports = (engine.scheduler.describe(wait.file, block) for block in wait.blocks)
    missing = [report for report in reports if report.state.value != "present"]
    return {**report_wait(wait, labels), "blocks": [_explain_block(report) for report in missing[:MAX_EXPLAINED]]}


def _explain_block(report: BlockReport) -> Json:
    return {
        "block": report.block,
        "state": report.state.value,
        "n_waiters": report.n_waiters,
        "runs": [_explain_run(run) for run in report.runs],
        "tried": dict(report.tried),
    }


def _explain_run(run: RunReport) -> Json:
    now = trio.current_time()
    return {
        "url": run.url,
        "asked_s": now - run.since,
        "received_bytes": run.received_bytes,
        "n_bytes": run.n_bytes,
        "rate_bytes_per_s": run.rate_bytes_per_s,
        "hold_s": run.hold_s,
        "overdue_in_s": None if run.overdue_at is None else run.overdue_at - now,
    }
