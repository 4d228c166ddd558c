"""Losses on waveforms: log spectra at several resolutions, and the energy distance that teaches noise."""

import torch
from torch import Tensor

from resing.audio.mel import hann_window, mel_filterbank

FLOOR = 2e-5


def magnitude(audio: Tensor, n_fft: int) -> Tensor:
    """STFT magnitude scaled so that white noise of standard deviation s has bins of rms s, (B, F, T)."""
    window = hann_window(n_fft).to(audio)
    spectrum = torch.stft(audio, n_fft, n_fft // 4, n_fft, window, center=False, return_complex=True)
    return spectrum.abs() / window.square().sum().sqrt()


def log_magnitude(audio: Tensor, n_fft: int) -> tuple[Tensor, Tensor]:
    """Magnitude and its natural log above FLOOR, each (B, F, T)."""
    mag = magnitude(audio, n_fft)
    return mag, torch.log(mag + FLOOR)


def band_mask(bandwidth_hz: Tensor, bins: int, top_hz: float) -> Tensor:
    """1 for the linearly spaced bins below each clip's real bandwidth, (B, bins, 1).

    Args:
        bandwidth_hz: (B,).
        bins: number of bins from 0 to `top_hz`.
        top_hz: frequency of the last bin.
    """
    frequency = torch.linspace(0, top_hz, bins, device=bandwidth_hz.device)
    return (frequency[None, :] <= bandwidth_hz[:, None] * 0.97).float().unsqueeze(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, F, T) where the broadcast `mask` (B, F, 1) is 1."""
    return (values * mask).sum() / (mask.sum() * values.shape[-1])


def energy_distance(
    first: Tensor, second: Tensor, target: Tensor, bandwidth_hz: Tensor, n_fft: int, rate: int
) -> Tensor:
    """Spectral energy distance between generated and real log spectra at one resolution.

    With two renderings that differ in their noise only, the mean distance to the target minus half the
    distance between them is smallest when both have the target's distribution, noise level included
    (Gritsenko et al. 2020, arXiv 2008.01160). Spectral convergence (Arik et al. 2018, arXiv 1808.06719)
    is added for the peaks.

    Args:
        first: a rendering, (B, N).
        second: another with fresh noise, (B, N).
        target: the recording, (B, N).
        bandwidth_hz: real bandwidth of each clip, (B,).
        n_fft: window length; its hop is a quarter.
        rate: Hz.
    """
    mag_a, log_a = log_magnitude(first, n_fft)
    mag_b, log_b = log_magnitude(second, n_fft)
    mag_x, log_x = log_magnitude(target, n_fft)
    mask = band_mask(bandwidth_hz, log_x.shape[1], rate / 2)
    toward = masked_mean((log_a - log_x).abs() + (log_b - log_x).abs(), mask)
    apart = masked_mean((log_a - log_b).abs(), mask)
    error = (((mag_a - mag_x).square() + (mag_b - mag_x).square()) * mask).sum((1, 2))
    size = (mag_x.square() * mask).sum((1, 2))
    convergence = torch.sqrt(error / 2 / (size + 1e-4 * size.mean() + 1e-6) + 1e-8).mean()
    return 0.5 * toward - 0.5 * apart + 0.5 * convergence


def mel_distance(
    generated: Tensor, target: Tensor, bandwidth_hz: Tensor, n_fft: int, n_mels: int, rate: int
) -> Tensor:
    """Mean absolute difference of log mels below each clip's bandwidth, at one resolution."""
    filters = mel_filterbank(rate, n_fft, n_mels, 0.0, rate / 2).to(generated)
    logs = [
        torch.log(filters @ magnitude(a, n_fft) + FLOOR * filters.sum(1, keepdim=True))
        for a in (generated, target)
    ]
    centres = torch.argmax(filters, dim=1) * (rate / n_fft)
    mask = (centres[None] <= bandwidth_hz[:, None] * 0.97).float().unsqueeze(-1)
    return masked_mean((logs[0] - logs[1]).abs(), mask)
