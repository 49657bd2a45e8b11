"""The table's filters, and what shifts, scales and references traces, with what each may be given."""

from __future__ import annotations

from .safety_classes import ClassRow, index
from .safety_kinds import (
    Kind,
    dtype,
    either,
    flag,
    id_groups,
    id_or_ids,
    named,
    number,
    numbers,
    one_of,
    order,
    small,
    whole,
    word,
)

CHUNKS: dict[str, Kind] = {
    "method": word,
    "num_chunks_per_segment": small,
    "chunk_duration": either(word, number),
    "chunk_size": whole,
    "margin_frames": whole,
    "concatenated": flag,
    "return_in_uV": flag,
    "return_scaled": flag,
    "seed": whole,
}
chunks = named(**CHUNKS)

_FILTER: dict[str, Kind] = {
    "btype": word,
    "filter_order": order,
    "ftype": word,
    "filter_mode": word,
    "add_reflect_padding": flag,
    "coeff": numbers,
    "direction": word,
    "margin_ms": either(number, word),
    "dtype": dtype,
}
_PASS: dict[str, Kind] = {
    **_FILTER,
    "freq_min": number,
    "ignore_low_freq_error": flag,
    "_skip_margin_warning_for_old_version": flag,
}


def step(module: str, name: str, **kwargs: Kind) -> ClassRow:
    """A preprocessor; older versions call its recording ``parent_recording``."""
    return ClassRow(f"spikeinterface.preprocessing.{module}", name, kwargs, ("recording", "parent_recording"))


FILTERS = index(
    # -- filters
    step("filter", "FilterRecording", band=numbers, **_FILTER),
    step("filter", "BandpassFilterRecording", freq_max=number, **_PASS),
    step("filter", "HighpassFilterRecording", **_PASS),
    step("filter", "NotchFilterRecording", freq=number, q=number, **_FILTER),
    step("filter_gaussian", "GaussianFilterRecording", freq_min=number, freq_max=number, margin_sd=number),
    step(
        "highpass_spatial_filter",
        "HighpassSpatialFilterRecording",
        n_channel_pad=small,
        n_channel_taper=small,
        direction=word,
        apply_agc=flag,
        agc_window_length_s=number,
        highpass_butter_order=order,
        highpass_butter_wn=number,
        epsilon=number,
        random_slice_kwargs=chunks,
        dtype=dtype,
        rms_values=numbers,
    ),
    # -- gains, references, shifts
    step(
        "normalize_scale",
        "NormalizeByQuantileRecording",
        scale=number,
        median=number,
        q1=number,
        q2=number,
        mode=word,
        dtype=dtype,
        **CHUNKS,
    ),
    step("normalize_scale", "ScaleRecording", gain=numbers, offset=numbers, dtype=dtype),
    step("normalize_scale", "CenterRecording", mode=word, dtype=dtype, **CHUNKS),
    step(
        "normalize_scale",
        "ZScoreRecording",
        mode=word,
        gain=numbers,
        offset=numbers,
        int_scale=number,
        dtype=dtype,
        **CHUNKS,
    ),
    step("scale", "ScaleToPhysicalUnits"),
    step(
        "whiten",
        "WhitenRecording",
        dtype=dtype,
        apply_mean=flag,
        regularize=flag,
        regularize_kwargs=named(method=one_of("GraphicalLassoCV", "GraphicalLasso", "LedoitWolf", "OAS")),
        mode=word,
        radius_um=number,
        int_scale=number,
        eps=number,
        W=numbers,
        M=numbers,
        **CHUNKS,
    ),
    step(
        "common_reference",
        "CommonReferenceRecording",
        reference=word,
        operator=word,
        groups=id_groups,
        ref_channel_ids=id_or_ids,
        local_radius=numbers,
        min_local_neighbors=whole,
        dtype=dtype,
    ),
    step("phase_shift", "PhaseShiftRecording", margin_ms=number, inter_sample_shift=numbers, dtype=dtype),
)
