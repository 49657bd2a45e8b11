"""The lineage's band-pass as a lazy step of SpikeInterface: a Butterworth filter of order 5, forward and backward.

The lineage filtered in the frequency domain and let the upper edge roll off over ``freq_wid`` Hz (an error function);
the edges here are as steep as the order makes them, so ``freq_wid`` changes nothing but is kept as an annotation.
"""

from __future__ import annotations

from spikeinterface.core import BaseRecording

from ..core.lineage_recording import BandpassFilter
from ..errors import ProofError

ORDER = 5
MIN_EDGE_HZ = 0.1
"""Five periods of the lower edge are read on both sides of what is filtered: 50 s at this one."""
LOWPASS_MARGIN_MS = 5.0


def apply_filter(recording: BaseRecording, band: BandpassFilter) -> BaseRecording:
    """Return the recording behind the filter, as float32 in the unit of its samples."""
    nyquist_hz = recording.get_sampling_frequency() / 2
    low_hz = band.freq_min_hz
    high_hz = band.freq_max_hz if 0 < band.freq_max_hz < nyquist_hz else 0.0
    if low_hz >= nyquist_hz:
        raise ProofError(f"a filter from {low_hz:g} Hz on lets nothing pass of {2 * nyquist_hz:g} samples a second")
    if 0 < low_hz < MIN_EDGE_HZ or 0 < high_hz < MIN_EDGE_HZ:
        raise ProofError(f"a filter's edge is below {MIN_EDGE_HZ} Hz: it would need the whole recording for any frame")
    if not low_hz and not high_hz:
        return recording
    filtered = _butterworth(recording, low_hz, high_hz)
    filtered.annotate(freq_wid_hz=band.freq_wid_hz)
    return filtered


def _butterworth(recording: BaseRecording, low_hz: float, high_hz: float) -> BaseRecording:
    """Make the step; 0 is no edge on that side."""
    from scipy.signal import iirfilter
    from spikeinterface.preprocessing import bandpass_filter, highpass_filter
    from spikeinterface.preprocessing.filter import FilterRecording

    if low_hz and high_hz:
        return bandpass_filter(recording, low_hz, high_hz, dtype="float32", ignore_low_freq_error=True)
    if low_hz:
        return highpass_filter(recording, low_hz, dtype="float32", ignore_low_freq_error=True)
    # SpikeInterface has no low-pass of its own, but takes any coefficients.
    rate_hz = recording.get_sampling_frequency()
    coeff = iirfilter(ORDER, high_hz, fs=rate_hz, btype="lowpass", ftype="butter", output="sos")
    return FilterRecording(recording, coeff=coeff, margin_ms=LOWPASS_MARGIN_MS, dtype="float32")
