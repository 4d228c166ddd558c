"""A voice as Diff-SVC makes them: units and melody in, the house mel out, by that system's own arithmetic.

A frame's condition is the unit it falls to plus a vector for its pitch; a WaveNet takes the noise out of a
normalised log10 mel. The voice may have a frame grid of its own (24 kHz); what it sings is moved to the house
grid here, so that everything around it stays as it is.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from resing.audio.mel import hz_to_mel, mel_centres
from resing.config import AudioConfig, DiffSvcConfig
from resing.errors import ConfigError
from resing.nets.wavenet import DiffSvcNet
from resing.synthesis import diffusion
from resing.synthesis.noise import frame_noise

HOUSE = AudioConfig()
DEFAULTS = {"sampler": "dpm-solver++", "steps": 20, "temperature": 1.0, "retries": 0}
"""What an option that was not given is for such a voice."""
SAMPLERS = {"dpm-solver++": diffusion.dpm_solver_pp_2m, "plms": diffusion.plms, "ddim": diffusion.ddim}
"""Beside these there is ancestral sampling, which draws noise at every step."""
UNITS_PER_SECOND = 50
CLEAN_LIMIT = 1.0
"""All samplers but PLMS, which is left as published, hold the clean mel within its range, as Diff-SVC does in
ancestral sampling: of what is a little wrong about pure noise comes a mel many times as large as any."""


def build(config: DiffSvcConfig) -> DiffSvcNet:
    """An untrained network of the given shape."""
    return DiffSvcNet(
        config.audio.n_mels,
        config.hidden,
        config.channels,
        config.layers,
        config.dilation_cycle,
        config.pitches,
        config.steps,
    )


def denoiser(
    net: DiffSvcNet, cond: Tensor, schedule: diffusion.NoiseSchedule, limit: float = CLEAN_LIMIT
) -> diffusion.Denoiser:
    """The clean mel within -limit .. limit that the network makes of a noisy one, told `cond` (B, H, T)."""
    said = diffusion.denoiser(lambda x, k: net.denoise_fn(x, k, cond), schedule, "eps")
    return lambda x, k: said(x, k).clamp(-limit, limit)


def pitch_rows(f0: np.ndarray, config: DiffSvcConfig) -> np.ndarray:
    """Row of the table of pitches for each f0 in Hz, (T,): even in mel, notes beyond its ends at its ends."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log(1.0 + np.asarray(hz, np.float64) / 700.0)

    low, high = mel(config.f0_min), mel(config.f0_max)
    held = np.clip(f0.astype(np.float64), config.f0_min, config.f0_max)
    place = 1.0 + (mel(held) - low) * (config.f0_bins - 2) / (high - low)
    return (np.clip(place, 1, config.f0_bins - 1) + 0.5).astype(np.int64)


def unit_of_frames(units: int, frames: int) -> np.ndarray:
    """Which of so many units each of so many frames falls to, (T,): unit i ends at floor(i d + d + 1/2)."""
    per_unit = frames / units
    ends = np.floor(np.arange(units) * per_unit + per_unit + 0.5)
    return np.minimum(np.searchsorted(ends, np.arange(frames), side="left"), units - 1)


def between_units(units: np.ndarray, frames: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Units (H, U), 50 a second, on straight lines to the centres of frames (T,): (H, T)."""
    place = (frames + 0.5) * audio.hop_length / audio.sample_rate * UNITS_PER_SECOND
    place = np.clip(place, 0, units.shape[1] - 1)
    low = np.floor(place).astype(int)
    weight = (place - low).astype(np.float32)
    return units[:, low] * (1 - weight) + units[:, np.minimum(low + 1, units.shape[1] - 1)] * weight


class DiffSvcModel:
    """Mel from units and melody.

    Args:
        net: the voice's networks and tables.
        config: their shape and arithmetic.
    """

    base_hash = ""

    def __init__(self, net: DiffSvcNet, config: DiffSvcConfig) -> None:
        self.net, self.config = net.eval().requires_grad_(False), config
        alphas = 1.0 - net.betas.double().cpu()
        self.schedule = diffusion.schedule_from_alpha_bar(alphas.cumprod(0))
        self.rate = config.audio.frame_rate / HOUSE.frame_rate

    def default_sampler(self) -> str:
        """The sampler that is taken where none is asked for."""
        return str(DEFAULTS["sampler"])

    def check_sampler(self, sampler: str) -> str:
        """The family of samplers that fits.

        Raises:
            ConfigError: `sampler` is not of that family.
        """
        if sampler not in (*SAMPLERS, "ancestral"):
            fitting = ", ".join((*SAMPLERS, "ancestral"))
            raise ConfigError(f"sampler {sampler} does not fit a Diff-SVC voice; choose one of {fitting}.")
        return "diff-svc"

    def times(self, sampler: str, steps: int) -> list[float]:
        """The steps of the schedule at which the network is called, falling.

        Args:
            sampler: a name of the family.
            steps: how many are wanted; plms and ancestral take the nearest even spacing that gives as many.

        Raises:
            ConfigError: too few.
        """
        if steps < 2:
            raise ConfigError(f"steps: got {steps}, a Diff-SVC voice needs at least 2; choose --steps 20")
        if sampler in ("plms", "ancestral"):
            count = self.config.start_step
            return diffusion.every_nth_step(count, max(1, math.ceil(count / steps)))
        return diffusion.lu_lambda_steps(self.schedule, steps, self.config.start_step - 1.0)

    def evaluations(self, sampler: str, steps: int) -> int:
        """How often the denoiser is called in a row."""
        return len(self.times(sampler, steps))

    def halo_frames(self, sampler: str, steps: int) -> int:
        """House frames of context on each side for window = whole."""
        calls = self.evaluations(sampler, steps)
        return math.ceil(calls * self.net.denoise_fn.reach / self.rate) + 2

    def condition(self, units: np.ndarray, f0: np.ndarray, start: int, stop: int) -> Tensor:
        """What the denoiser is told at its own frames start..stop, (1, H, T).

        Args:
            units: of the whole song, (H, U).
            f0: Hz > 0 at each of the whole song's own frames.
            start, stop: own frames.
        """
        if self.config.smooth_units:
            held = between_units(units, np.arange(start, stop), self.config.audio)
        else:
            held = units[:, unit_of_frames(units.shape[1], len(f0))[start:stop]]
        rows = torch.from_numpy(pitch_rows(f0[start:stop], self.config))
        cond = torch.from_numpy(held.astype(np.float32)) + self.net.pitch_embed(rows).T
        return cond[None]

    @torch.inference_mode()
    def own_mel(
        self,
        cond: Tensor,
        *,
        sampler: str,
        steps: int,
        temperature: float = 1.0,
        seed: int = 0,
        start_frame: int = 0,
    ) -> Tensor:
        """log10 mel on the voice's own grid, (1, M, T).

        Args:
            cond: (1, H, T).
            sampler, steps: see `times`.
            temperature: factor on the noise that sampling starts from.
            seed: of the noise.
            start_frame: absolute own frame of the first one; the noise is keyed by it.
        """
        self.check_sampler(sampler)
        times, bands = self.times(sampler, steps), self.config.audio.n_mels

        def noise(k: float) -> Tensor:
            return frame_noise(seed + 7 * int(k + 1), start_frame, cond.shape[-1], bands)[None].to(cond)

        limit = math.inf if sampler == "plms" else CLEAN_LIMIT
        denoise = denoiser(self.net, cond, self.schedule, limit)
        x = temperature * noise(self.config.steps)
        if sampler == "ancestral":
            x = diffusion.ancestral(denoise, x, times, self.schedule, noise)
        else:
            x = SAMPLERS[sampler](denoise, x, times, self.schedule)
        low, high = self.net.spec_min[:, None], self.net.spec_max[:, None]
        return (x + 1) / 2 * (high - low) + low

    def sing(
        self,
        units: np.ndarray,
        f0: np.ndarray,
        start: int,
        stop: int,
        *,
        sampler: str,
        steps: int,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> Tensor:
        """Natural-log mel of the house frames start..stop, (1, M, T).

        Args:
            units: of the whole song, 50 a second, (H, U).
            f0: Hz > 0 at each of the whole song's house frames, (T,).
            start, stop: house frames; at their edges as if the song ended there.
            sampler, steps, temperature, seed: see `own_mel`.
        """
        options = {"sampler": sampler, "steps": steps, "temperature": temperature, "seed": seed}
        if self.config.audio == HOUSE:
            cond = self.condition(units, f0, start, stop)
            mel = self.own_mel(cond, start_frame=start, **options)  # type: ignore[arg-type]
            return (mel * math.log(10.0)).clamp(min=math.log(HOUSE.mel_floor))
        own = math.ceil(len(f0) * self.rate)
        places = (np.arange(own) + 0.5) / self.rate - 0.5  # in house frames
        own_f0 = np.exp(np.interp(places, np.arange(len(f0)), np.log(f0)))
        first = max(0, math.floor(start * self.rate) - 1)
        last = min(own, math.ceil(stop * self.rate) + 1)
        cond = self.condition(units, own_f0, first, last)
        mel = self.own_mel(cond, start_frame=first, **options)  # type: ignore[arg-type]
        return to_house(mel * math.log(10.0), self.config.audio, first, start, stop)


def to_house(mel: Tensor, own: AudioConfig, first: int, start: int, stop: int) -> Tensor:
    """A natural-log mel of another grid as the house mel, (B, 128, stop - start).

    Args:
        mel: (B, M, T).
        own: the grid it is of.
        first: absolute own frame of its first one.
        start, stop: house frames wanted.
    """
    mel = band_matrix(own).to(mel) @ mel
    rate = own.frame_rate / HOUSE.frame_rate
    places = torch.from_numpy((np.arange(start, stop) + 0.5) * rate - 0.5 - first)
    places = places.clamp(0, mel.shape[-1] - 1)
    below = places.floor().long()
    above = (below + 1).clamp(max=mel.shape[-1] - 1)
    moved = torch.lerp(mel[..., below], mel[..., above], (places - below).to(mel))
    floor = math.log(HOUSE.mel_floor)
    unheard = torch.from_numpy(mel_centres(HOUSE.n_mels, HOUSE.f_min, HOUSE.f_max) > own.f_max)
    moved = moved + window_gain(own)
    return torch.where(unheard[:, None], torch.full_like(moved, floor), moved).clamp(min=floor)


@lru_cache(maxsize=4)
def band_matrix(own: AudioConfig) -> Tensor:
    """Straight-line interpolation between the centres of two sets of mel bands, (128, M)."""
    wanted = hz_to_mel(mel_centres(HOUSE.n_mels, HOUSE.f_min, HOUSE.f_max))
    known = hz_to_mel(mel_centres(own.n_mels, own.f_min, own.f_max))
    place = np.interp(wanted, known, np.arange(own.n_mels))
    weights = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(own.n_mels)))
    return torch.from_numpy(weights.astype(np.float32))


def window_gain(own: AudioConfig) -> float:
    """What the longer window of the house adds to a natural-log mel, for sound between harmonic and noise.

    A mel band is a mean over bins times bins per Hz. A harmonic grows with the window's length, noise with
    its root times the bins per Hz, as n^1.5 / sqrt(sample rate); the geometric mean of both is taken.
    """
    longer = HOUSE.n_fft / own.n_fft
    noise = longer**1.5 * math.sqrt(own.sample_rate / HOUSE.sample_rate)
    return math.log(math.sqrt(longer * noise))
