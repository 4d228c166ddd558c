"""How fast the community's networks are beside the embedded ones, in one run; random weights of true shapes.

    python benchmarks/community.py [--threads 2] [--seconds 5]

Prints a Markdown table. Real-time factor: seconds of computing per second of audio.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from resing.config import AudioConfig, ConvertOptions, DiffSvcConfig
from resing.features.content import ContentEncoder
from resing.features.hubert import HubertEncoder
from resing.nets.hubert import Hubert
from resing.nets.nsf_hifigan import NSFHiFiGAN
from resing.synthesis import diff_svc
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.vocoder import Vocoder

LOW = AudioConfig(
    sample_rate=24000, hop_length=128, win_length=512, n_fft=512, n_mels=80, f_min=30.0, f_max=12000.0
)


def imported(audio: AudioConfig, channels: int) -> diff_svc.DiffSvcModel:
    """A Diff-SVC voice of the usual shape."""
    config = DiffSvcConfig(
        audio=audio,
        encoder="contentvec-256",
        f0_min=40.0,
        f0_max=1100.0,
        f0_bins=256,
        pitches=300,
        hidden=256,
        channels=channels,
        layers=20,
        dilation_cycle=4,
        steps=1000,
        start_step=1000,
    )
    net = diff_svc.build(config)
    net.betas.copy_(torch.linspace(1e-4, 0.02, 1000))
    return diff_svc.DiffSvcModel(net, config)


def jobs(seconds: float) -> dict[str, tuple[Callable[[], object], torch.nn.Module]]:
    """What is timed, and the network whose parameters are counted."""
    house = AudioConfig()
    frames = house.frame_count(round(seconds * house.sample_rate))
    audio = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)
    row = torch.full((1, frames), 220.0)
    mel, noise = torch.randn(1, 128, frames) - 5, torch.randn(1, 128, frames)
    base, encoder, vocoder = AcousticModel.load(), ContentEncoder.load(), Vocoder.load()
    score = (torch.randn(1, base.config.n_units, frames), row, row * 0 + 1, row * 0 - 10, torch.randn(1, 128))
    contentvec = HubertEncoder(Hubert(512, 768, 3072, 12))
    narrow = HubertEncoder(Hubert(512, 768, 3072, 9, 256))
    nsf = Vocoder(NSFHiFiGAN(128), house)
    high, low = imported(house, 384), imported(LOW, 256)
    units, f0 = np.random.default_rng(1).normal(size=(256, round(50 * seconds))), row[0].numpy()

    def sing(model: diff_svc.DiffSvcModel, sampler: str, steps: int) -> Callable[[], object]:
        return lambda: model.sing(units, f0, 0, frames, sampler=sampler, steps=steps)

    steps = ConvertOptions().steps
    return {
        "encoder, embedded": (lambda: encoder(audio), encoder.net),
        "encoder, ContentVec layer 12": (lambda: contentvec(audio), contentvec.net),
        "encoder, ContentVec layer 9 to 256": (lambda: narrow(audio), narrow.net),
        f"acoustic model, embedded, {steps} steps of heun": (
            lambda: base.sample(*score, noise=noise, sampler="heun", steps=steps),
            base.net,
        ),
        "Diff-SVC 44.1 kHz, 20 steps of dpm-solver++": (sing(high, "dpm-solver++", 20), high.net),
        "Diff-SVC 24 kHz, 20 steps of dpm-solver++": (sing(low, "dpm-solver++", 20), low.net),
        "vocoder, embedded": (lambda: vocoder(mel, row, row * 0 + 1, phase=row * 0), vocoder.net),
        "vocoder, NSF-HiFiGAN": (lambda: nsf(mel, row, row * 0 + 1, phase=row * 0), nsf.net),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"| part, {options.threads} threads | parameters | real-time factor |\n|---|---|---|")
    for name, (job, net) in jobs(options.seconds).items():
        times = []
        for _ in range(2):
            began = time.perf_counter()
            job()
            times.append(time.perf_counter() - began)
        millions = sum(p.numel() for p in net.parameters()) / 1e6
        print(f"| {name} | {millions:.1f} M | {min(times) / options.seconds:.3f} |", flush=True)


if __name__ == "__main__":
    main()
