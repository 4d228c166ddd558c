"""Copy-synthesis by the vocoder, by WORLD and by Griffin-Lim, judged against the recordings.

    python benchmarks/vocoder.py render --data ../shared/data --out COPIES [--weights FILE]
    python benchmarks/vocoder.py judge COPIES

The first runs in the package's environment and also says how fast the vocoder is beside NSF-HiFiGAN's shape,
in one run; the second runs in the judge's (scripts/judge-env), with the package's source on the path
(PYTHONPATH=src). WORLD hears the waveform itself, Griffin-Lim the mel alone, the vocoder mel and f0. The row
`floor` is the recording with noise 60 dB under it: what the trackers themselves make of next to nothing.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from ears import Ears, Heard
from tables import markdown_table
from vocoder_clips import HOP, RATE, Sound, made, recordings

SHIFTS = (-12, -7, -5, 5, 7, 12)
SYSTEMS = ("vocoder", "WORLD", "Griffin-Lim", "floor")
FIGURES = {
    "pesq": 2, "mel_l1": 2, "spectral": 2, "f0_median_cents": 2, "coverage": 3, "voicing_error": 3,
    "hnr_change_db": 2, "cpp_ratio": 2, "worst_band_db": 1, "top_band_db": 1, "silence_db": 1,
}  # fmt: skip
"""Figures of a copy and their decimals."""
FFT_SIZES = (512, 1024, 2048)
TOP_HZ = 17900.0
"""Centre of the third octave that ends at 20 kHz."""
WORST = 3


@dataclass
class Row:
    """What the judge has to know of a clip."""

    name: str
    groups: list[str]
    bandwidth_hz: float
    shifts: list[int]


def render(data: Path, out: Path, weights: Path | None) -> None:
    """Write each clip, its copy, and its copies at other pitches."""
    import torch

    from resing.audio.mel import log_mel
    from resing.config import AudioConfig, FeaturesConfig
    from resing.features.f0 import SWIFT_RATE, fill_unvoiced, track
    from resing.synthesis.vocoder import EMBEDDED, Vocoder, phase_at_frames

    torch.set_num_threads(2)
    vocoder, config = Vocoder.load(weights or EMBEDDED), AudioConfig()
    out.mkdir(parents=True, exist_ok=True)

    def sing(sound: Sound, f0: np.ndarray, shift: int = 0) -> np.ndarray:
        filled = fill_unvoiced(f0) * 2.0 ** (shift / 12)
        mel = log_mel(torch.from_numpy(sound.audio)[None], config)
        pitch, voiced, phase = (
            torch.from_numpy(a.astype(np.float32))[None]
            for a in (filled, f0 > 0, phase_at_frames(filled, config)[:-1])
        )
        return vocoder(mel, pitch, voiced, phase=phase)[0].numpy()

    rows = []
    for sound in [*recordings(data), *made()]:
        f0 = sound.f0
        if f0 is None:
            f0, _ = track(
                soxr.resample(sound.audio, RATE, SWIFT_RATE),
                len(sound.audio) // HOP,
                config,
                FeaturesConfig(),
            )
        median = float(np.median(f0[f0 > 0])) if (f0 > 0).any() else 0.0
        shifts = [k for k in SHIFTS if sound.f0 is None and 50.0 <= median * 2.0 ** (k / 12) <= 1500.0]
        write(out / f"{sound.name}.source.wav", sound.audio)
        write(out / f"{sound.name}.vocoder.wav", sing(sound, f0))
        for shift in shifts:
            write(out / f"{sound.name}.{shift:+d}.wav", sing(sound, f0, shift))
        rows.append(asdict(Row(sound.name, sound.groups(median), sound.bandwidth_hz, shifts)))
    (out / "clips.json").write_text(json.dumps({"vocoder": vocoder.vocoder_id, "clips": rows}, indent=1))
    print(f"{len(rows)} clips by {vocoder.vocoder_id}")
    speed(vocoder)


def speed(vocoder: object, seconds: float = 5.0) -> None:
    """Print real-time factors on two threads, of ours and of NSF-HiFiGAN's shape with random weights."""
    import torch

    from resing.config import AudioConfig
    from resing.nets.nsf_hifigan import NSFHiFiGAN
    from resing.synthesis.vocoder import Vocoder

    frames = round(seconds * RATE / HOP)
    pitch = torch.full((1, frames), 220.0)
    arrays = (torch.zeros(1, 128, frames), pitch, torch.ones(1, frames))
    both = {"ours": vocoder, "NSF-HiFiGAN": Vocoder(NSFHiFiGAN(AudioConfig().n_mels), AudioConfig())}
    spent: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(4):
        for name, one in both.items():
            began = time.perf_counter()
            one(*arrays, phase=torch.zeros(1, frames))  # type: ignore[operator]
            spent[name].append((time.perf_counter() - began) / seconds)
    ours, theirs = (min(times) for times in spent.values())
    print(
        f"real-time factor, 2 threads: {ours:.4f}; NSF-HiFiGAN {theirs:.3f}, {theirs / ours:.0f} times ours"
    )


def write(path: Path, audio: np.ndarray) -> None:
    """In floats, so that nothing is clipped."""
    soundfile.write(path, audio, RATE, subtype="FLOAT")


def world(audio: np.ndarray) -> np.ndarray:
    """Copy-synthesis by WORLD (harvest, cheaptrick, d4c) from the waveform itself."""
    return next(world_at(audio, [0]))


def world_at(audio: np.ndarray, shifts: Sequence[int]) -> Iterator[np.ndarray]:
    """The same, so many semitones up."""
    import pyworld

    signal = audio.astype(np.float64)
    f0, at = pyworld.harvest(signal, RATE)
    envelope, noise = pyworld.cheaptrick(signal, f0, at, RATE), pyworld.d4c(signal, f0, at, RATE)
    for shift in shifts:
        sung = pyworld.synthesize(f0 * 2.0 ** (shift / 12), envelope, noise, RATE)
        yield np.resize(sung, len(audio)).astype(np.float32)


def griffin_lim(audio: np.ndarray) -> np.ndarray:
    """From the house mel: least-squares magnitudes, phases by fast Griffin-Lim (Perraudin et al. 2013)."""
    import librosa
    import torch

    from resing.audio.mel import log_mel, mel_filterbank
    from resing.config import AudioConfig

    config = AudioConfig()
    mel = log_mel(torch.from_numpy(audio)[None], config)[0].exp().numpy()
    filters = mel_filterbank(RATE, config.n_fft, config.n_mels, config.f_min, config.f_max).numpy()
    magnitude = np.maximum(np.linalg.pinv(filters) @ mel, 0.0)
    magnitude = np.pad(magnitude, ((0, 0), (0, 1)), mode="edge")
    sung = librosa.griffinlim(magnitude, n_iter=60, hop_length=HOP, random_state=0, length=len(audio))
    return np.pad(sung, (HOP // 2, 0))[: len(audio)].astype(np.float32)  # the house mel begins half a hop on


def beside_noise(audio: np.ndarray) -> np.ndarray:
    """With white noise 60 dB under it."""
    noise = np.random.default_rng(0).standard_normal(len(audio)).astype(np.float32)
    return audio + 1e-3 * float(np.sqrt(np.mean(audio**2))) * noise


BASELINES = {"WORLD": world, "Griffin-Lim": griffin_lim, "floor": beside_noise}


def figures(a: Heard, b: Heard, bandwidth: float) -> dict[str, float | None]:
    """Every figure of copy `b` against recording `a`."""
    from pesq import NoUtterancesError, pesq

    from resing.scoring.melody import pitch_agreement
    from resing.scoring.metrics import band_levels, silence_floor, worst_deficit

    quality, own = b.quality(a.pitch), a.own_quality
    pitch = pitch_agreement(a.pitch, b.pitch, 0.0, a.active_frames)
    top = np.array([TOP_HZ])
    try:
        heard = float(pesq(16000, a.audio_16k, b.audio_16k, "wb"))
    except NoUtterancesError:
        heard = None
    return {
        "pesq": heard,
        "mel_l1": float(np.mean(mel_difference(a.audio, b.audio, bandwidth))),
        "spectral": spectral(a.audio, b.audio, bandwidth),
        "hnr_change_db": difference(quality["hnr_db"], own["hnr_db"]),
        "cpp_ratio": quality["cpp_db"] / own["cpp_db"] if quality["cpp_db"] and own["cpp_db"] else None,
        "worst_band_db": worst_deficit(b.spectrum, a.spectrum, bandwidth)[0],
        "top_band_db": float((band_levels(*b.spectrum, top) - band_levels(*a.spectrum, top))[0])
        if bandwidth >= 20000
        else None,
        "silence_db": silence_floor(a.audio, b.audio, (RATE, RATE))["output_floor_db"],
        **{name: pitch[name] for name in ("coverage", "f0_median_cents", "voicing_error")},
    }


def difference(a: float | None, b: float | None) -> float | None:
    """`a` less `b` where both are known."""
    return a - b if a is not None and b is not None else None


def mel_difference(a: np.ndarray, b: np.ndarray, bandwidth: float, everywhere: bool = False) -> np.ndarray:
    """Mean absolute difference of house mels below the bandwidth by frame, where it sounds or everywhere."""
    import torch

    from resing.audio.mel import log_mel, mel_centres
    from resing.config import AudioConfig

    config = AudioConfig()
    mels = [log_mel(torch.from_numpy(x.astype(np.float32))[None], config)[0].numpy() for x in (a, b)]
    bands = mel_centres(config.n_mels, config.f_min, config.f_max) < 0.95 * bandwidth
    loud = mels[0].mean(0) > mels[0].mean(0).max() - 6.0
    off = np.abs(mels[0] - mels[1])[bands].mean(0)
    return np.where(loud, off, 0.0) if everywhere else off[loud]


def spectral(a: np.ndarray, b: np.ndarray, bandwidth: float) -> float:
    """Mean absolute difference of log magnitudes in nats at three resolutions (Yamamoto et al. 2020)."""
    import torch

    from resing.training.spectral import band_mask, log_magnitude, masked_mean

    sounds = [torch.from_numpy(x.astype(np.float32))[None] for x in (a, b)]
    mask = torch.tensor([bandwidth])
    parts = []
    for size in FFT_SIZES:
        first, second = (log_magnitude(x, size)[1] for x in sounds)
        parts.append(float(masked_mean((first - second).abs(), band_mask(mask, first.shape[1], RATE / 2))))
    return float(np.mean(parts))


def moved(a: Heard, copy: Heard, shifted: Heard, semitones: int) -> dict[str, float | None]:
    """How a copy at another pitch follows it, and its HNR less that of the copy at its own pitch."""
    from resing.scoring.melody import pitch_agreement
    from resing.scoring.metrics import Pitch

    follows = pitch_agreement(a.pitch, shifted.pitch, semitones, a.active_frames)
    asked = Pitch(a.pitch.f0 * 2.0 ** (semitones / 12), a.pitch.confidence)
    hoarse = difference(shifted.quality(asked)["hnr_db"], copy.quality(a.pitch)["hnr_db"])
    return {
        "f0_median_cents": follows["f0_median_cents"],
        "coverage": follows["coverage"],
        "hnr_change_db": hoarse,
    }


def judge(folder: Path) -> None:
    """Print and write the tables, and the worst places."""
    about, ears = json.loads((folder / "clips.json").read_text()), Ears()
    results, shifts, places = [], [], []
    copies: dict[str, Heard] = {}
    for row in about["clips"]:
        name = row["name"]
        a = Heard(folder / f"{name}.source.wav", ears)
        for system in SYSTEMS:
            path = folder / f"{name}.{system}.wav"
            if not path.exists():
                write(path, BASELINES[system](a.audio))
            b = copies[system] = Heard(path, ears)
            results.append({"system": system, **row, **figures(a, b, row["bandwidth_hz"])})
            if system == "vocoder":
                places += [(*where, name) for where in worst(a.audio, b.audio, row["bandwidth_hz"])]
        for k, other_pitch in zip(row["shifts"], world_at(a.audio, row["shifts"]), strict=True):
            write(folder / f"{name}.WORLD{k:+d}.wav", other_pitch)
            for system, path in (("vocoder", f"{name}.{k:+d}.wav"), ("WORLD", f"{name}.WORLD{k:+d}.wav")):
                follows = moved(a, copies[system], Heard(folder / path, ears), k)
                shifts.append({"system": system, "shift": k, **row, **follows})
        print(name, {k: v for k, v in results[-4].items() if k in FIGURES}, flush=True)
    lines = []
    for system in SYSTEMS:
        mine = [r for r in results if r["system"] == system]
        for group in dict.fromkeys(g for r in mine for g in r["groups"]):
            own = [r for r in mine if group in r["groups"]]
            lines.append([f"{system}, {group}", str(len(own)), *(mean(own, f, FIGURES[f]) for f in FIGURES)])
    pitch = ("f0_median_cents", "coverage", "hnr_change_db")
    moves = []
    for system, group in dict.fromkeys((r["system"], g) for r in shifts for g in r["groups"]):
        for k in SHIFTS:
            own = [r for r in shifts if r["system"] == system and group in r["groups"] and r["shift"] == k]
            if own:
                moves.append(
                    [f"{system}, {group}", f"{k:+d}", str(len(own)), *(mean(own, f, 2) for f in pitch)]
                )
    named = [
        f"{name}, {at:.1f} s, around {hz:.0f} Hz: {off:.2f} nats" for off, at, hz, name in sorted(places)
    ]
    tables = [
        markdown_table(["", "clips", *FIGURES], lines),
        markdown_table(["group", "semitones", "clips", *pitch], moves),
        "\n".join(f"- {place}" for place in named[: -WORST - 1 : -1]),
    ]
    (folder / "figures.json").write_text(json.dumps({"copies": results, "shifts": shifts}, indent=1))
    (folder / "table.md").write_text("\n\n".join(tables) + "\n")
    print("\n\n".join(tables))


def mean(rows: list[dict], name: str, decimals: int) -> str:
    """Mean of a figure over the rows that have it."""
    values = [r[name] for r in rows if r[name] is not None]
    return f"{np.mean(values):.{decimals}f}" if values else "-"


def worst(a: np.ndarray, b: np.ndarray, bandwidth: float) -> list[tuple[float, float, float]]:
    """The quarter second whose mel is off most: by how much, at which second, around which Hz."""
    import torch

    from resing.audio.mel import log_mel, mel_centres
    from resing.config import AudioConfig

    config = AudioConfig()
    off = mel_difference(a, b, bandwidth, everywhere=True)
    frames = round(0.25 * RATE / HOP)
    if len(off) <= frames:
        return []
    smooth = np.convolve(off, np.ones(frames) / frames, "valid")
    at = int(np.argmax(smooth))
    mels = [log_mel(torch.from_numpy(x.astype(np.float32))[None], config)[0].numpy() for x in (a, b)]
    centres = mel_centres(config.n_mels, config.f_min, config.f_max)
    heard = centres < 0.95 * bandwidth
    gap = np.abs(mels[0] - mels[1])[heard, at : at + frames].mean(1)
    return [(float(smooth[at]), (at + frames / 2) * HOP / RATE, float(centres[heard][np.argmax(gap)]))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("render", "judge"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    if options.action == "render":
        render(options.data, options.out, options.weights)
    else:
        judge(options.folder)
