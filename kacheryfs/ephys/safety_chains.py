"""The table's chains: what cuts recordings and puts them together, with what each may be given."""

from __future__ import annotations

from .safety_classes import ClassRow, index
from .safety_filters import FILTERS
from .safety_kinds import (
    Kind,
    either,
    flag,
    ids,
    list_of,
    number,
    whole,
    word,
)
from .safety_steps import STEPS

_CORE = "spikeinterface.core"
_ONE = "recording parent_recording"


def _core(module: str, name: str, recordings: str, **kwargs: Kind) -> ClassRow:
    return ClassRow(f"{_CORE}.{module}", name, kwargs, tuple(recordings.split()))


CHAINS = (
    FILTERS
    | STEPS
    | index(
        # -- cut and put together
        _core("channelslice", "ChannelSliceRecording", _ONE, channel_ids=ids, renamed_channel_ids=ids),
        _core("frameslicerecording", "FrameSliceRecording", _ONE, start_frame=whole, end_frame=whole),
        _core("segmentutils", "SelectSegmentRecording", _ONE, segment_indices=either(list_of(whole), whole)),
        _core("segmentutils", "AppendSegmentRecording", "recording_list", sampling_frequency_max_diff=number),
        _core(
            "segmentutils",
            "ConcatenateSegmentRecording",
            "recording_list",
            ignore_times=flag,
            sampling_frequency_max_diff=number,
        ),
        _core(
            "channelsaggregationrecording",
            "ChannelsAggregationRecording",
            "recording_list_or_dict recording_list",
            renamed_channel_ids=ids,
        ),
        _core("operatorrecordings", "AddRecordings", "recording1 recording2", operator=word),
        _core("operatorrecordings", "SubtractRecordings", "recording1 recording2", operator=word),
    )
)
