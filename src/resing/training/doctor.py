"""Are these recordings good enough for a voice, and if not, what to do: said in plain words, with figures."""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from resing.config import AudioConfig
from resing.errors import DatasetError
from resing.features.loudness import FLOOR_DB

USABLE_SECONDS = 20.0
VOICED_SECONDS = 5.0
GOOD_MINUTES = 5.0
CLIPPED_SHARE = 2e-4
QUIET_DB = -50.0
NOISY_DB = 30.0
NARROW_HZ = 12000.0
NARROW_SEMITONES = 12
RARE_SECONDS = 1.0
VOICES_COSINE = 0.5
LEAST_BACKGROUND_FRAMES = 40
SPECTRUM_FFT = 4096
CLIFF_DB, CLIFF_HZ, LOWEST_CLIFF_HZ, EMPTY_DB = 20.0, 1500.0, 3000.0, -95.0
EDGE_DB, EDGE_SHARE = 5.0, 0.96
VOICES_APART = 3.0
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class Recording:
    """One recording as measured.

    Attributes:
        file: path relative to the folder of recordings.
        content_hash: SHA-256 of the file's bytes.
        seconds: its length.
        usable_seconds: singing or speech in it, silences cut away.
        level_db: A-weighted level before it was brought to the reference, dB of full scale.
        snr_db: level above the background noise; None where there is no background to measure.
        clipped_share: samples that sit at a flat top, as a share of all.
        bandwidth_hz: up to where it holds sound.
        notes: minutes heard per semitone, by MIDI number.
    """

    file: str
    content_hash: str
    seconds: float
    usable_seconds: float
    level_db: float
    snr_db: float | None
    clipped_share: float
    bandwidth_hz: float
    notes: dict[str, float]


@dataclass(frozen=True)
class DatasetReport:
    """What `prepare` found.

    Attributes:
        folder: the prepared dataset.
        settings_hash: of the `audio` and `features` sections it was prepared with.
        encoder_id: the content encoder its units come from.
        recordings: those that are used.
        ignored: files that are not audio, or hidden.
        unreadable: audio files that could not be used, with the reason.
        duplicates: files with the same bytes as another, with that other.
        minutes: usable singing or speech.
        range_hz: lowest and highest note, 1st and 99th percentile of the voiced time.
        f0_histogram: minutes per semitone, by MIDI number.
        bandwidth_hz: of the recording in the middle (by time).
        snr_db: of the recording in the middle.
        warnings: what could be better, one sentence each.
    """

    folder: str
    settings_hash: str
    encoder_id: str
    recordings: list[Recording]
    ignored: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    minutes: float = 0.0
    range_hz: list[float] = field(default_factory=list)
    f0_histogram: dict[str, float] = field(default_factory=dict)
    bandwidth_hz: float = 0.0
    snr_db: float | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """Changes when the recordings, the settings or the encoder change (16 hex digits)."""
        parts = [self.settings_hash, self.encoder_id, *sorted(r.content_hash for r in self.recordings)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "DatasetReport":
        """The report written by `to_json`."""
        return cls(**(record | {"recordings": [Recording(**r) for r in record["recordings"]]}))


def summarise(
    folder: str,
    settings_hash: str,
    encoder_id: str,
    recordings: list[Recording],
    ignored: list[str],
    unreadable: dict[str, str],
    duplicates: dict[str, str],
) -> DatasetReport:
    """The whole dataset's figures and warnings; see `DatasetReport`."""
    histogram = dict(sorted(add_notes([r.notes for r in recordings]).items(), key=lambda note: int(note[0])))
    report = DatasetReport(
        folder,
        settings_hash,
        encoder_id,
        recordings,
        ignored,
        unreadable,
        duplicates,
        minutes=sum(r.usable_seconds for r in recordings) / 60,
        range_hz=note_range(histogram),
        f0_histogram=histogram,
        bandwidth_hz=_middle([r.bandwidth_hz for r in recordings], recordings) or 0.0,
        snr_db=_middle([r.snr_db for r in recordings], recordings),
    )
    report.warnings.extend(_warnings(report))
    return report


def require_enough(report: DatasetReport) -> None:
    """Refuse what no voice can be made of.

    Raises:
        DatasetError: no audio, silence only, no voice, or less than 20 s of it.
    """
    seconds, usable = sum(r.seconds for r in report.recordings), report.minutes * 60
    where = f"{len(report.recordings)} recording{'s' * (len(report.recordings) != 1)}"
    more = "Add recordings and run the same command again; ten minutes of varied singing are best."
    bad = "".join(f" {file}: {reason}" for file, reason in list(report.unreadable.items())[:1])
    if not report.recordings:
        raise DatasetError(f"no usable audio file was found, at least one is needed.{bad} {more}")
    if usable == 0:
        raise DatasetError(f"{where} ({seconds:.0f} s) hold only silence. {more}")
    if usable < USABLE_SECONDS:
        raise DatasetError(
            f"{where} ({seconds:.0f} s) hold {usable:.1f} s of singing or speech, at least "
            f"{USABLE_SECONDS:.0f} s are needed.{bad} {more}"
        )
    voiced = sum(report.f0_histogram.values()) * 60
    if voiced < VOICED_SECONDS:
        raise DatasetError(
            f"{where} hold {voiced:.1f} s with a pitch, at least {VOICED_SECONDS:.0f} s are needed: they "
            f"seem to be whispered, or not a voice. {more}"
        )


def several_voices(vectors: np.ndarray) -> str | None:
    """A warning if the speaker vectors fall into two groups far apart.

    The vectors are parted by 2-means; the groups count as two voices when their centres point in different
    directions and lie several times as far apart (squared) as the vectors lie from their own centre.

    Args:
        vectors: of stretches of the recordings, (K, S).
    """
    if len(vectors) < 8:
        return None
    distance = np.square(vectors - vectors.mean(0)).sum(1)
    first = vectors[int(np.argmax(distance))]
    second = vectors[int(np.argmax(np.square(vectors - first).sum(1)))]
    for _ in range(20):
        nearer = np.square(vectors - first).sum(1) < np.square(vectors - second).sum(1)
        if nearer.all() or not nearer.any():
            return None
        first, second = vectors[nearer].mean(0), vectors[~nearer].mean(0)
    within = np.square(vectors - np.where(nearer[:, None], first, second)).sum(1).mean()
    share = min(nearer.mean(), 1 - nearer.mean())
    cosine = float(first @ second / np.sqrt(np.square(first).sum() * np.square(second).sum()))
    if share < 0.1 or cosine > VOICES_COSINE or np.square(first - second).sum() < VOICES_APART * within:
        return None
    return (
        f"The recordings sound like two voices ({share:.0%} of the time it is the other one): "
        "keep one singer per voice, or the result is a mixture."
    )


def measure_clipping(audio: np.ndarray) -> float:
    """Share of the samples (N,) that lie in flat tops: four or more in a row at the recording's peak."""
    peak = float(np.abs(audio).max(initial=0.0))
    if peak < 0.1:
        return 0.0
    top = np.concatenate([[0], (np.abs(audio) >= peak * (1 - 1e-4)).astype(np.int8), [0]])
    edges = np.diff(top)
    runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return float(runs[runs >= 4].sum() / len(audio))


def measure_snr(loudness: np.ndarray, f0: np.ndarray) -> float | None:
    """How far in dB the noise lies below the voice: the 10th percentile of what has no pitch.

    Args:
        loudness: dB relative to the recording, (T,); its floor counts as digital silence.
        f0: Hz, 0 where unvoiced, (T,).

    Returns:
        None where there is too little without pitch to tell.
    """
    background = loudness[(f0 == 0) & (loudness > FLOOR_DB)]
    if len(background) < LEAST_BACKGROUND_FRAMES:
        return None
    return -float(np.percentile(background, 10))


def measure_bandwidth(audio: np.ndarray, config: AudioConfig) -> float:
    """Up to how many Hz a recording at the reference level holds sound.

    That is where its long-term spectrum falls off a cliff (20 dB within 1.5 kHz) to near nothing and
    stays there, as resampled and compressed recordings do; a slow fall is a voice's own. A band that
    covers the mel's counts as full.

    Args:
        audio: (N,).
        config: rate and the mel's upper end.
    """
    spectrum = 10 * np.log10(_long_term_power(audio) + 1e-20)
    frequency = np.linspace(0.0, config.sample_rate / 2, len(spectrum))
    span = int(np.searchsorted(frequency, CLIFF_HZ))
    loudest_above = np.maximum.accumulate(spectrum[::-1])[::-1][span:]
    cliff = (spectrum[:-span] - loudest_above >= CLIFF_DB) & (loudest_above < EMPTY_DB)
    found = frequency[:-span][cliff & (frequency[:-span] >= LOWEST_CLIFF_HZ)]
    if not len(found) or 0.95 * found[0] >= config.f_max:
        return config.sample_rate / 2
    start = int(np.searchsorted(frequency, found[0]))
    before = float(np.median(spectrum[start - span // 2 : start + 1]))
    edge = np.flatnonzero(spectrum[: start + span] >= before - EDGE_DB)[-1]
    return float(EDGE_SHARE * frequency[edge])


def _long_term_power(audio: np.ndarray) -> np.ndarray:
    """Mean power per bin of 4096-point frames, smoothed over 200 Hz, (2049,)."""
    hop = SPECTRUM_FFT // 2
    audio = np.pad(audio, (0, max(0, 2 * SPECTRUM_FFT - len(audio))))
    window = np.hanning(SPECTRUM_FFT).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, SPECTRUM_FFT)[::hop]
    power = np.zeros(SPECTRUM_FFT // 2 + 1)
    for start in range(0, len(frames), 512):
        power += np.square(np.abs(np.fft.rfft(frames[start : start + 512] * window))).sum(0)
    power *= 4 / (len(frames) * np.square(window).sum() * SPECTRUM_FFT)
    return np.convolve(np.pad(power, 9, mode="edge"), np.ones(19) / 19, mode="valid")


def count_notes(f0: np.ndarray, frame_rate: float) -> dict[str, float]:
    """Minutes per semitone, by MIDI number, of f0 in Hz with 0 where unvoiced (T,)."""
    midi = np.round(69 + 12 * np.log2(f0[f0 > 0] / 440)).astype(int)
    return {str(note): frames / frame_rate / 60 for note, frames in sorted(Counter(midi.tolist()).items())}


def add_notes(histograms: list[dict[str, float]]) -> dict[str, float]:
    """Several histograms of minutes per semitone in one."""
    total: Counter[str] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return dict(total)


def note_range(histogram: dict[str, float]) -> list[float]:
    """1st and 99th percentile in Hz of the time in a histogram; nothing where it is empty."""
    if not histogram:
        return []
    notes = np.arange(min(map(int, histogram)), max(map(int, histogram)) + 1)
    minutes = np.array([histogram.get(str(n), 0.0) for n in notes])
    edges = np.concatenate([[notes[0] - 0.5], notes + 0.5])
    reached = np.concatenate([[0.0], np.cumsum(minutes)]) / minutes.sum()
    midi = np.interp([0.01, 0.99], reached, edges)
    return [round(float(440 * 2 ** ((m - 69) / 12)), 1) for m in midi]


def note_name(midi: int) -> str:
    """Such as A4 for 69."""
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"


def rare_notes(histogram: dict[str, float]) -> list[tuple[int, int]]:
    """First and last MIDI number of each stretch inside the range whose notes have less than a second."""
    if not histogram:
        return []
    low, high = (round(69 + 12 * np.log2(hz / 440)) for hz in note_range(histogram))
    rare = [n for n in range(low, high + 1) if histogram.get(str(n), 0.0) * 60 < RARE_SECONDS]
    stretches: list[tuple[int, int]] = []
    for note in rare:
        if stretches and stretches[-1][1] == note - 1:
            stretches[-1] = (stretches[-1][0], note)
        else:
            stretches.append((note, note))
    return stretches


def _middle(values: list[float | None], recordings: list[Recording]) -> float | None:
    """The median over the recordings that have a value, weighted by usable time."""
    known = sorted((v, r.usable_seconds) for v, r in zip(values, recordings, strict=True) if v is not None)
    time = np.cumsum([seconds for _, seconds in known])
    return known[int(np.searchsorted(time, time[-1] / 2))][0] if known else None


def _warnings(report: DatasetReport) -> list[str]:
    found = []
    recordings = report.recordings
    clipped = sorted(
        (r for r in recordings if r.clipped_share > CLIPPED_SHARE), key=lambda r: -r.clipped_share
    )
    if clipped:
        found.append(
            f"{len(clipped)} of {len(recordings)} recordings are clipped, {clipped[0].file} most "
            f"({clipped[0].clipped_share:.2%} of its samples): record them again with less gain."
        )
    quiet = [r for r in recordings if r.level_db < QUIET_DB and r.usable_seconds > 0]
    if quiet:
        found.append(
            f"{len(quiet)} of {len(recordings)} recordings are very quiet ({quiet[0].file}: "
            f"{quiet[0].level_db:.0f} dB): record with more gain, noise comes up with them."
        )
    if report.snr_db is not None and report.snr_db < NOISY_DB:
        found.append(
            f"The background is only about {report.snr_db:.0f} dB below the voice (at least {NOISY_DB:.0f} "
            "is good): record in a quieter, less echoing room, closer to the microphone."
        )
    if recordings and report.bandwidth_hz < NARROW_HZ:
        found.append(
            f"The recordings end at about {report.bandwidth_hz / 1000:.1f} kHz: the sound above is guessed "
            "from other voices; use recordings that were not made for a telephone or compressed."
        )
    found += _note_warnings(report)
    found += [f"{file} is not used: {reason}" for file, reason in report.unreadable.items()]
    found += [
        f"{file} is the same recording as {other} and counts once."
        for file, other in report.duplicates.items()
    ]
    return found


def _note_warnings(report: DatasetReport) -> list[str]:
    found = []
    if 0 < report.minutes < GOOD_MINUTES:
        found.append(
            f"{report.minutes:.1f} minutes of voice: it works, {GOOD_MINUTES:.0f} to 10 are clearly better."
        )
    if report.range_hz:
        low, high = report.range_hz
        width = 12 * np.log2(high / low)
        if width < NARROW_SEMITONES:
            found.append(
                f"The notes span only {width:.0f} semitones ({low:.0f} to {high:.0f} Hz): "
                "sing higher and lower too, also louder and softer."
            )
    for first, last in rare_notes(report.f0_histogram):
        notes = note_name(first) if first == last else f"{note_name(first)} to {note_name(last)}"
        found.append(f"Almost no time at {notes}, in the middle of the range: a scale through it helps.")
    return found
