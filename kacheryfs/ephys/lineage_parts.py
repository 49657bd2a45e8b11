"""Parts of a recording as the lineage named them: channels by id or by group, frames from one to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from ..core.lineage_fields import UnitId
from ..core.lineage_recording import PartOfRecording
from ..errors import ProofError


def take_part(recording: BaseRecording, part: PartOfRecording) -> BaseRecording:
    """Return the channels and frames of ``part``, lazily; ProofError for what the recording hasn't got."""
    if part.channel_ids is not None:
        recording = recording.select_channels(_find_channels(recording, part.channel_ids))
    elif part.groups is not None:
        recording = recording.select_channels(_channels_of(recording, part.groups))
    if part.start_frame is None and part.stop_frame is None:
        return recording
    n_frames = recording.get_num_samples()
    start, stop = part.start_frame or 0, n_frames if part.stop_frame is None else part.stop_frame
    if not 0 <= start <= stop <= n_frames:
        raise ProofError(f"a subrecording is frames [{start}, {stop}) of a recording that has {n_frames}")
    return recording.frame_slice(start, stop)


def _find_channels(recording: BaseRecording, wanted: Sequence[UnitId]) -> list[Any]:
    """Return the recording's own ids: a number may be text there, as channel names of NWB are."""
    own = {str(channel): channel for channel in recording.channel_ids}
    missing = [channel for channel in wanted if str(channel) not in own]
    if missing:
        raise ProofError(f"a subrecording names the channel {str(missing[0])[:40]!r}, which its recording hasn't got")
    return [own[str(channel)] for channel in wanted]


def _channels_of(recording: BaseRecording, groups: Sequence[UnitId]) -> list[Any]:
    """Return the channels of some groups; groups with names were numbered by the lineage in their sorted order."""
    values = recording.get_property("group")
    if values is None:
        values = np.zeros(recording.get_num_channels(), dtype="int64")
    numbers = values if values.dtype.kind in "iu" else np.unique(values, return_inverse=True)[1]
    wanted = {str(group) for group in groups}
    channels = [
        channel
        for channel, number, name in zip(recording.channel_ids, numbers, values, strict=True)
        if str(number) in wanted or str(name) in wanted
    ]
    if not channels:
        raise ProofError(f"a subrecording names the group {str(groups[:1])[1:41]}, which its recording hasn't got")
    return channels
