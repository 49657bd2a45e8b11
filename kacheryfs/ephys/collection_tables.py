"""A collection as a table: for a terminal, a notebook, pandas and a spreadsheet."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence

from ..core.collection import Collection, RecordingEntry, SortingEntry

COLUMNS = (
    "kind",
    "id",
    "recording",
    "label",
    "sampling_frequency",
    "n_channels",
    "duration_s",
    "probe",
    "n_units",
    "tags",
    "description",
    "link",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t")


def rows_of(collection: Collection) -> list[dict[str, object]]:
    """Return one row for each recording and then each sorting, with all of ``COLUMNS``; None for what isn't known."""
    return [*map(_recording_row, collection.recordings.values()), *map(_sorting_row, collection.sortings.values())]


def _recording_row(entry: RecordingEntry) -> dict[str, object]:
    return _row(
        "recording", entry, entry.id, n_channels=entry.n_channels, duration_s=entry.duration_s, probe=entry.probe
    )


def _sorting_row(entry: SortingEntry) -> dict[str, object]:
    return _row("sorting", entry, entry.recording_id, n_units=entry.n_units)


def _row(kind: str, entry: RecordingEntry | SortingEntry, recording_id: str, **others: object) -> dict[str, object]:
    known = {
        "kind": kind,
        "id": entry.id,
        "recording": recording_id,
        "label": entry.label,
        "sampling_frequency": entry.sampling_frequency,
        "tags": " ".join(entry.tags),
        "description": entry.description,
        "link": str(entry.link),
        **others,
    }
    return {column: known.get(column) for column in COLUMNS}


def to_csv(collection: Collection) -> str:
    """Return the table as CSV with a header; no cell of it is a formula to a spreadsheet."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows_of(collection))
    return file.getvalue()


def _cell(value: object) -> object:
    """A stranger's label "=cmd|…" must not be run by who opens the table."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def to_html(collection: Collection, link: str | None) -> str:
    """Return the collection as HTML for a notebook; all of a stranger's text is escaped."""
    shown = ("id", "label", "sampling_frequency", "n_channels", "duration_s", "probe", "n_units", "tags")
    head = f"<b>{html.escape(collection.name)}</b> {html.escape(collection.description)}"
    where = f"<code>{html.escape(link)}</code>" if link else "not shared yet"
    tables = [_html_table(kind, rows_of(collection), shown) for kind in ("recording", "sorting")]
    return f"<div><p>{head}<br>{where}</p>{''.join(tables)}</div>"


def _html_table(kind: str, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    chosen = [row for row in rows if row["kind"] == kind]
    used = [column for column in columns if any(row[column] not in (None, "") for row in chosen)]
    if not chosen:
        return ""
    head = "".join(f"<th>{column}</th>" for column in used)
    body = "".join("<tr>" + "".join(f"<td>{_html_cell(row[c])}</td>" for c in used) + "</tr>" for row in chosen)
    return f"<p>{len(chosen)} {kind}{'' if len(chosen) == 1 else 's'}</p><table><tr>{head}</tr>{body}</table>"


def _html_cell(value: object) -> str:
    return "" if value is None else html.escape(f"{value:g}" if isinstance(value, float) else str(value))
