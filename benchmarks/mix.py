"""How near a converted lead comes to the original's place, stage by stage, and what the mix does to the band.

    python benchmarks/mix.py --lead vocals.flac --accompaniment band.flac [--voice kumi] [--out RESULTS]

Converts the lead (or takes --converted), places it with one more stage at a time; a table and a picture.
"""

import argparse
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from tables import markdown_table

import resing
from resing.audio import files
from resing.config import MixOptions
from resing.song import reverb, sibilance, tone
from resing.song.hearing import Envelope, LongTerm
from resing.song.mix import mix
from resing.song.pitch_shift import shift_pitch
from resing.song.placement import hear_placement

mpl.use("Agg")
from matplotlib import pyplot as plt

OFF = {"match_loudness": False, "match_tone": 0, "match_reverb": 0, "match_width": 0, "de_ess": False}
STAGES = ("match_loudness", "match_tone", "de_ess", "match_reverb", "match_width")
BANDS = ("low", "middle", "high")


class Lead:
    """A lead and what is heard in it."""

    def __init__(self, path: Path, sample_rate: int) -> None:
        self.audio, self.rate = files.read(path, sample_rate)
        self.envelope = Envelope.of([self.audio], self.rate)
        self.long_term = LongTerm.of([self.audio], self.rate, self.envelope.active)
        self.octaves = tone.third_octaves(self.long_term.power, self.rate)
        self.reverb = reverb.hear_reverb(self.envelope, self.rate)
        self.width = hear_placement(self.long_term, self.rate).width


def differences(lead: Lead, original: Lead, lufs: tuple[float, float]) -> list[str]:
    """Cells of the table: how far a lead is from the original."""
    heard = (tone.CENTRES_HZ > 250) & (tone.CENTRES_HZ < 9000)
    spectrum = (lead.octaves - original.octaves)[heard]
    spectrum -= spectrum.mean()
    slope = np.polyfit(np.log2(tone.CENTRES_HZ[heard]), spectrum, 1)[0]
    sung = lead.envelope.active & original.envelope.active
    decays = []
    for ours, theirs in zip(lead.envelope.bands, original.envelope.bands, strict=True):
        rings = reverb.decaying(theirs, original.rate)
        ratio = np.median(ours[rings] / theirs[rings]) / np.median(ours[sung] / theirs[sung])
        decays.append(10 * np.log10(ratio))
    sharp = [
        np.percentile(level[which], 95)
        for level, which in map(sibilance.sharpness, (lead.envelope, original.envelope))
    ]
    width = [10 * np.log10(np.maximum(x.width, 1e-5)) for x in (lead, original)]
    t60 = "-" if lead.reverb is None else " ".join(f"{value:.2f}" for value in lead.reverb.t60)
    return [
        f"{lufs[0] - lufs[1]:+.2f}",
        f"{np.std(spectrum):.1f}",
        f"{slope:+.2f}",
        f"{sharp[0] - sharp[1]:+.1f}",
        " ".join(f"{value:+.1f}" for value in decays),
        t60,
        " ".join(f"{value:+.0f}" for value in width[0] - width[1]),
    ]


def lag(mixed: np.ndarray, band: np.ndarray) -> int:
    """Samples by which the accompaniment is late in the mix, by cross-correlation."""
    size = 1 << int(np.ceil(np.log2(2 * mixed.shape[1])))
    product = np.fft.rfft(mixed.mean(0), size) * np.conj(np.fft.rfft(band.mean(0), size))
    at = int(np.argmax(np.fft.irfft(product, size)))
    return at if at < size // 2 else at - size


def draw(out: Path, leads: dict[str, Lead]) -> None:
    """Levels over time in three bands, where it decays, and spectra."""
    figure, axes = plt.subplots(4, 1, figsize=(12, 13))
    for name, lead in leads.items():
        seconds = np.arange(lead.envelope.bands.shape[1]) * 512 / lead.rate
        for axis, power, band in zip(axes, lead.envelope.bands, BANDS, strict=False):
            axis.plot(seconds, 10 * np.log10(power / np.median(power[lead.envelope.active]) + 1e-9), lw=0.8)
            axis.set(ylabel=f"{band} band, dB", ylim=(-60, 15), xlim=(8, 20))
        axes[3].semilogx(tone.CENTRES_HZ, lead.octaves - lead.octaves[6:18].mean(), label=name)
    axes[3].set(ylabel="long-term spectrum, dB", xlabel="Hz", ylim=(-50, 20))
    axes[3].legend()
    figure.tight_layout()
    figure.savefig(out / "mix.png", dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lead", type=Path, required=True)
    parser.add_argument("--accompaniment", type=Path, required=True)
    parser.add_argument("--voice", default="kumi")
    parser.add_argument("--converted", type=Path)
    parser.add_argument("--out", type=Path, default=Path("mix_results"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    converted = options.converted or options.out / "converted.flac"
    if not options.converted:
        resing.convert(options.lead, converted, options.voice)
    info = files.probe(options.lead)
    original, rows, chosen = Lead(options.lead, info.sample_rate), [], dict(OFF)
    leads = {"original": original, "converted": Lead(converted, info.sample_rate)}
    for stage in ("as converted", *STAGES):
        if stage in chosen:
            chosen[stage] = MixOptions.model_fields[stage].default
        path = options.out / "placed.wav"
        writer = files.AudioWriter(path, info.sample_rate, info.channels)
        quiet = MixOptions(**chosen, limit=False, lead_gain_db=-20)
        report = mix(converted, options.lead, None, writer, quiet)
        placed = Lead(path, info.sample_rate)
        rows.append([stage, *differences(placed, original, (report.mix_lufs + 20, report.original_lufs))])
    leads["placed"] = placed
    headings = ["stage", "loudness LU", "spectrum dB", "tilt dB/oct", "sibilants dB", "decays dB", "T60 s"]
    print(markdown_table([*headings, "width dB"], rows), "\n")
    draw(options.out, leads)
    band, _ = files.read(options.accompaniment)
    began, out = time.process_time(), options.out / "mix.flac"
    writer = files.AudioWriter(out, info.sample_rate, info.channels)
    report = mix(converted, options.lead, options.accompaniment, writer)
    seconds, (mixed, _) = time.process_time() - began, files.read(out)
    print(*report.words(), sep="\n")
    print(
        f"{mixed.shape[1] - band.shape[1]} samples longer, accompaniment late by {lag(mixed, band)} samples"
    )
    print(f"{seconds:.1f} s of processor time for {band.shape[1] / info.sample_rate:.1f} s")
    for semitones in (-2, 3):
        shift_pitch(options.accompaniment, options.out / f"band{semitones:+d}.flac", semitones)


if __name__ == "__main__":
    main()
