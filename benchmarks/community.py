"""How fast the presets' parts are beside the embedded ones, in one run; random weights of true shapes.

    python benchmarks/community.py [--threads 2] [--seconds 5] [--steps 2]

Prints two Markdown tables: parts of a conversion, as seconds of processor time per second of audio (on one
thread that is the real-time factor of a processor with nothing else to do), and steps of training, each at
the same batch.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from resing.config import PRESETS, AudioConfig, ConvertOptions, DiffSvcConfig, FeaturesConfig
from resing.features import f0 as notes
from resing.features import rmvpe
from resing.features.content import ContentEncoder
from resing.features.hubert import HubertEncoder
from resing.nets.hubert import Hubert
from resing.nets.nsf_hifigan import NSFHiFiGAN
from resing.nets.rmvpe import Rmvpe
from resing.synthesis import acoustic, diff_svc
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.vocoder import Vocoder
from resing.training import learning
from resing.training.dataset import Piece, VoiceData
from resing.training.doctor import DatasetReport
from resing.training.loop import Randomness

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


def jobs(seconds: float) -> dict[str, tuple[Callable[[], object], torch.nn.Module | None]]:
    """What is timed, and the network whose parameters are counted."""
    house = AudioConfig()
    frames = house.frame_count(round(seconds * house.sample_rate))
    audio = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)
    row = torch.full((1, frames), 220.0)
    mel, noise = torch.randn(1, 128, frames) - 5, torch.randn(1, 128, frames)
    base, encoder, vocoder = AcousticModel.load(), ContentEncoder.load(), Vocoder.load()
    score = (row, row * 0 + 1, row * 0 - 10, torch.randn(1, 128))
    shape = PRESETS["big"].model
    big = AcousticModel(acoustic.build(shape, house), shape)
    tracker, heard = Rmvpe().eval().requires_grad_(False), FeaturesConfig()
    contentvec = HubertEncoder(Hubert(512, 768, 3072, 12))
    narrow = HubertEncoder(Hubert(512, 768, 3072, 9, 256))
    nsf = Vocoder(NSFHiFiGAN(128), house)
    high, low = imported(house, 384), imported(LOW, 256)
    units, f0 = np.random.default_rng(1).normal(size=(256, round(50 * seconds))), row[0].numpy()

    def first_units(model: AcousticModel) -> Callable[[], object]:
        own = torch.randn(1, model.config.n_units, frames)
        return lambda: model.sample(own, *score, noise=noise, sampler="heun", steps=steps)

    def sing(model: diff_svc.DiffSvcModel, sampler: str, steps: int) -> Callable[[], object]:
        return lambda: model.sing(units, f0, 0, frames, sampler=sampler, steps=steps)

    steps = ConvertOptions().steps
    return {
        "pitch, embedded (SwiftF0)": (lambda: notes.swift_frames(audio, heard), None),
        "pitch, RMVPE": (lambda: rmvpe.tracker(tracker).hear(audio, heard), tracker),
        "encoder, embedded": (lambda: encoder(audio), encoder.net),
        "encoder, ContentVec layer 12": (lambda: contentvec(audio), contentvec.net),
        "encoder, ContentVec layer 9 to 256": (lambda: narrow(audio), narrow.net),
        f"acoustic model, embedded, {steps} steps of heun": (first_units(base), base.net),
        f"acoustic model, big, {steps} steps of heun": (first_units(big), big.net),
        "Diff-SVC (classic) 44.1 kHz, 20 steps of dpm-solver++": (sing(high, "dpm-solver++", 20), high.net),
        "Diff-SVC (classic) 44.1 kHz, PLMS, speed-up 20": (sing(high, "plms", 50), high.net),
        "Diff-SVC 24 kHz, 20 steps of dpm-solver++": (sing(low, "dpm-solver++", 20), low.net),
        "vocoder, embedded": (lambda: vocoder(mel, row, row * 0 + 1, phase=row * 0), vocoder.net),
        "vocoder, NSF-HiFiGAN": (lambda: nsf(mel, row, row * 0 + 1, phase=row * 0), nsf.net),
    }


def task(preset: str, rows: int = 8) -> learning.AnyTask:
    """What learns in a preset, on made recordings."""
    base, random = AcousticModel.load(), torch.Generator().manual_seed(0)
    chosen, house = PRESETS[preset], AudioConfig()
    width = chosen.model.n_units if chosen.model else base.config.n_units
    made = [
        Piece(
            f"{number}.wav",
            torch.randn(house.n_mels, 300, generator=random) - 5,
            torch.randn(4, width, 300, generator=random).half(),
            torch.full((300,), 220.0),
            torch.ones(300),
            torch.zeros(300),
            house.sample_rate / 2,
        )
        for number in range(4)
    ]
    data = VoiceData(made, house, DatasetReport("made", "", "", []))
    training = chosen.training.model_copy(update={"batch_size": rows})
    return learning.start(chosen, base, torch.zeros(base.config.speaker_dim), data, training)


def step_seconds(task: learning.AnyTask, steps: int) -> float:
    """Seconds of the fastest of some steps, without the optimiser's own share."""
    times = []
    for number in range(steps):
        random = Randomness.at(0, number)
        batch = task.batch(random)
        began = time.process_time()
        task.loss(batch, random)[0].backward()
        times.append(time.process_time() - began)
    return min(times)


def show_training(steps: int) -> None:
    """A row for each preset."""
    print("\n| preset, 8 segments of 128 frames | parameters that learn | processor seconds for a step |")
    print("|---|---|---|")
    for preset in PRESETS:
        learns = task(preset)
        millions = sum(p.numel() for p in learns.model.parameters() if p.requires_grad) / 1e6
        print(f"| {preset} | {millions:.1f} M | {step_seconds(learns, steps):.2f} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"| part, {options.threads} threads | parameters | processor seconds per second |\n|---|---|---|")
    for name, (job, net) in jobs(options.seconds).items():
        times = []
        for _ in range(2):
            began = time.process_time()
            job()
            times.append(time.process_time() - began)
        size = f"{sum(p.numel() for p in net.parameters()) / 1e6:.1f} M" if net else "-"
        print(f"| {name} | {size} | {min(times) / options.seconds:.3f} |", flush=True)
    show_training(options.steps)


if __name__ == "__main__":
    main()
