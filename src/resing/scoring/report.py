"""The report of a scoring: one web page that plays, draws and tells, and needs nothing but itself."""

import base64
import hashlib
import io
import json
import math
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from resing import __version__, pitch
from resing.audio.files import BLOCK_SAMPLES
from resing.audio.mel import hz_to_mel, log_mel
from resing.audio.resampling import resample
from resing.config import AudioConfig, FeaturesConfig
from resing.errors import AudioError, ConfigError
from resing.features.extract import overlapping
from resing.features.loudness import a_weighted_level
from resing.scoring.card import Scorecard
from resing.scoring.clip import WHOLE, Clip
from resing.scoring.metrics import FRAME_SECONDS
from resing.scoring.page import parts_of, safe, share
from resing.scoring.pair import Made
from resing.whole import whole

TEMPLATE = Path(__file__).parents[1] / "assets" / "report.html"
PAGES = (".html", ".htm")
OPUS_RATE = 48000
OPUS_BITS_PER_SECOND = (32000, 96000)
SOUND_BITS = 2.1e6 * 8
"""One recording takes no more than this, until its bit rate meets the lower bound: 9 minutes."""
MOST_COLUMNS = 5200
WINDOW_FRAMES = 800
RANGE_DB = 80.0
SHADES = 32
LOUDEST_DB = -20.0
"""The loudest band of a picture counts as no quieter than this: silence stays black."""
TICKS_HZ = (200, 500, 1000, 2000, 4000, 8000)
LOUDNESS_SPAN_DB = 60.0

ProgressCallback = Callable[[str, float, float], object]


@dataclass(frozen=True, eq=False)
class _Heard:
    """What the page shows of one recording.

    Attributes:
        seconds: duration.
        sound: Opus in Ogg, base64.
        picture: the spectrogram as a PNG in a data URI.
        loudness: A-weighted dB per column of the picture.
        cents: pitch per tracker frame, 100 per semitone, 6900 is A4; None where unvoiced.
    """

    seconds: float
    sound: str
    picture: str
    loudness: list[float]
    cents: list[int | None]


def write_report(
    path: Path, card: Scorecard, output: Path, source: Path, progress: ProgressCallback | None = None
) -> Path:
    """The path of the page written: everything in one file, whole or not at all.

    Args:
        path: .html file to write.
        card: what `score` said of these two files.
        output: the file that was judged; the OUT.json beside it tells which part of the source it sings.
        source: the file that was sung again.
        progress: told of each stage and how much of it is done.

    Raises:
        AudioError: a recording cannot be read, or the page not written.
        ConfigError: `path` is not named like a web page.
    """
    path = check_page(path)
    tell = progress or (lambda stage, done, total: None)
    made = Made.beside(output)
    clips = Clip.remembered(source, made.part if made else WHOLE), Clip.read(output)
    pool = max(1, math.ceil(max(clip.seconds for clip in clips) * AudioConfig().frame_rate / MOST_COLUMNS))
    heard = []
    for number, (clip, shift) in enumerate(zip(clips, (0.0, card.transpose), strict=True)):
        tell("report", number, 3)
        heard.append(_hear(clip, shift, pool))
    tell("report", 2, 3)
    _save(path, _page(card, heard[0], heard[1], pool))
    tell("report", 3, 3)
    return path


def check_page(path: Path | str) -> Path:
    """The path of a report to be written, refused before any work if it is not named like a web page.

    Raises:
        ConfigError: its name does not end in .html.
    """
    path = Path(path)
    if path.suffix.lower() not in PAGES:
        raise ConfigError(f"{path}: a report is a web page; give it a name like report.html")
    return path


def _hear(clip: Clip, transpose: float, pool: int) -> _Heard:
    """A recording as the page shows it; its pitch with the transposition in semitones taken out."""
    bands, loudness = _levels(clip.audio_house, pool)
    f0, confidence = clip.swift
    clip.keep()
    voiced = (f0 > 0) & (confidence >= FeaturesConfig().f0_confidence)
    cents = 100.0 * (pitch.hz_to_semitones(np.where(voiced, f0, 440.0)) - transpose)
    return _Heard(
        seconds=clip.seconds,
        sound=base64.b64encode(_opus(clip)).decode(),
        picture="data:image/png;base64," + base64.b64encode(_picture(bands)).decode(),
        loudness=[round(float(level), 1) for level in loudness],
        cents=[round(c) if v else None for c, v in zip(cents.tolist(), voiced.tolist(), strict=True)],
    )


def _opus(clip: Clip) -> bytes:
    """The sound as Opus in Ogg: exact to seek in, and small."""
    bits = float(np.clip(SOUND_BITS / clip.seconds, *OPUS_BITS_PER_SECOND))
    audio = np.clip(resample(clip.audio[None], clip.sample_rate, OPUS_RATE)[0], -1.0, 1.0)
    buffer = io.BytesIO()
    level = 1.0 - (bits - 6000.0) / 250000.0  # libsndfile's scale, 6 to 256 kbit/s a channel
    with soundfile.SoundFile(
        buffer, "w", OPUS_RATE, 1, "OPUS", format="OGG", compression_level=level
    ) as file:
        for at in range(0, len(audio), BLOCK_SAMPLES):
            file.write(audio[at : at + BLOCK_SAMPLES])
    return buffer.getvalue()


def _levels(audio: np.ndarray, pool: int) -> tuple[np.ndarray, np.ndarray]:
    """Mel bands (M, columns) and loudness (columns,), both in dB, each the mean of `pool` frames.

    Args:
        audio: at the house rate, (N,).
    """
    config = AudioConfig()
    hop = config.hop_length
    size, halo = math.ceil(WINDOW_FRAMES / pool) * pool * hop, 2 * hop
    parts = []
    for skip, piece in overlapping([audio], size, halo, halo):
        wave = torch.from_numpy(piece)[None]
        mel = 20.0 / math.log(10.0) * log_mel(wave, config)[0]
        both = torch.cat([mel, a_weighted_level(wave, config)])  # (M + 1, T)
        kept = both[:, skip // hop : (skip + size) // hop].numpy()
        kept = np.pad(kept, ((0, 0), (0, -kept.shape[1] % pool)), mode="edge")
        parts.append(kept.reshape(len(kept), -1, pool).mean(axis=2))
    joined = np.concatenate(parts, axis=1)
    return joined[:-1], joined[-1]


def _picture(bands: np.ndarray) -> bytes:
    """Mel bands in dB, (M, columns), low ones at the bottom, as a PNG; white is the loudest."""
    import matplotlib

    top = max(float(bands.max()), LOUDEST_DB)
    shades = np.clip((bands[::-1] - top + RANGE_DB) / RANGE_DB, 0.0, 1.0) * (SHADES - 1)
    palette = matplotlib.colormaps["magma"](np.linspace(0.0, 1.0, SHADES), bytes=True)[:, :3]
    return _png(np.round(shades).astype(np.uint8), palette.tobytes())


def _png(shades: np.ndarray, palette: bytes) -> bytes:
    """A PNG of palette numbers, (height, width) uint8 (ISO/IEC 15948)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    height, width = shades.shape
    lines = np.pad(shades, ((0, 0), (1, 0))).tobytes()  # each line begins with 0: not filtered
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def _page(card: Scorecard, source: _Heard, output: _Heard, pool: int) -> str:
    template = TEMPLATE.read_text(encoding="utf-8")
    parts = parts_of(card) | {
        "policy": _policy(template),
        "range": f"{RANGE_DB:.0f} dB from its loudest down to black",
        "version": safe(__version__),
        "source_audio": source.sound,
        "output_audio": output.sound,
        "data": _data(card, source, output, pool),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _policy(template: str) -> str:
    """A content security policy under which the page's own script runs and nothing is fetched."""
    script = template.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )


def _data(card: Scorecard, source: _Heard, output: _Heard, pool: int) -> str:
    """What the page's script draws, as JSON that cannot end the element it stands in."""
    config = AudioConfig()
    step = pool * config.hop_length / config.sample_rate
    notes = np.array([c for heard in (source, output) for c in heard.cents if c is not None] or [6000, 7200])
    low, high = np.percentile(notes, (0.2, 99.8))
    loudest = max(source.loudness + output.loudness)
    edges = hz_to_mel(np.array([config.f_min, config.f_max]))
    height = (hz_to_mel(np.array(TICKS_HZ)) - edges[0]) / (edges[1] - edges[0])
    names = [f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz" for hz in TICKS_HZ]
    record = {
        "seconds": round(max(source.seconds, output.seconds), 3),
        "pitch": {
            "step": FRAME_SECONDS,
            "jump": 600,
            "low": math.floor(low / 100 - 1) * 100,
            "high": math.ceil(high / 100 + 1) * 100,
            "source": source.cents,
            "output": output.cents,
            "moved": [[note["start_seconds"], note["end_seconds"]] for note in card.moved],
        },
        "loudness": {
            "step": step,
            "offset": step / 2,
            "jump": 1000,
            "low": math.floor(loudest + 3 - LOUDNESS_SPAN_DB),
            "high": math.ceil(loudest + 3),
            "source": source.loudness,
            "output": output.loudness,
        },
        "spectrogram": {
            "step": step,
            "ticks": list(zip(names, height.round(4).tolist(), strict=True)),
            "pictures": {"source": source.picture, "output": output.picture},
        },
        "phrases": [[p.start_seconds, p.end_seconds, round(share(p.weak), 3)] for p in card.phrases],
    }
    return json.dumps(record, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _save(path: Path, page: str) -> None:
    try:
        with whole(path) as temporary:
            temporary.write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise AudioError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another folder"
        ) from error
