"""Diffusion as plain functions over a callable: targets, noise schedules, spacings, samplers.

Direction of time, here and nowhere else. Two families, each with its own clock:

* `flow` counts t from 0 (the start: prior mean plus noise) UP to 1 (data). A time grid rises, holds
  both ends, and has one entry more than it has steps.
* `ddpm` counts k from 0 (almost clean) to 999 (almost pure noise); sampling goes DOWN. A list of steps
  falls and holds the steps at which the network is called; after the last comes the clean data. Steps
  may lie between two integers: the log-SNR is interpolated.

x is (B, ...), in practice a normalised mel (B, M, T); t and k are (B,). Everything acts on each element
of x alone, so nothing here widens a receptive field: a sampler's halo is the network's own times
`evaluations`. All is deterministic given the noise passed in, and gradients are the caller's choice.

References: Ho et al. 2020 (arXiv 2006.11239), Song et al. 2021 (2010.02502), Salimans & Ho 2022
(2202.00512), Liu et al. 2022 (2209.03003), Lu et al. 2022 (2211.01095), Albergo et al. 2023 (2310.03725),
Liu et al. 2022 (PNDM, 2202.09778).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import torch
from torch import Tensor

from resing.errors import ConfigError

Velocity = Callable[[Tensor, Tensor], Tensor]
"""velocity(x (B, ...), t (B,)) -> dx/dt (B, ...)."""

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoise(x (B, ...), k (B,)) -> the expected clean data (B, ...)."""

Prediction = Literal["eps", "v", "x0"]


def _per_example(values: Tensor, x: Tensor) -> Tensor:
    """(B,) values as (B, 1, ...) in x's dtype, to multiply with x (B, ...)."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))


def _clock(value: float, x: Tensor) -> Tensor:
    """One time for the whole batch, (B,), in float32 or finer: bfloat16 would round 999 to 1000."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.full((x.shape[0],), value, dtype=dtype, device=x.device)


def _require_steps(steps: int) -> None:
    if steps < 1:
        raise ConfigError(f"steps: got {steps}, expected at least 1; choose for example --steps 4")


# ---------------------------------------------------------------------------------------------- flow


@dataclass(frozen=True, eq=False)
class FlowPair:
    """One training batch of a flow: the network sees `x_t` (B, ...) and is to answer `target` (B, ...)."""

    x_t: Tensor
    target: Tensor


def flow_start(prior_mean: Tensor | float, sigma: float, noise: Tensor) -> Tensor:
    """The flow's start at t = 0: prior_mean + sigma * noise.

    With a deterministic decoder's mel as `prior_mean` the flow only has to travel from there (a coupling
    that depends on the data, Albergo et al. 2023); with 0 and sigma 1 it is plain rectified flow.

    Args:
        prior_mean: (B, ...) or a number.
        sigma: standard deviation of the start around it, in units of normalised mel.
        noise: (B, ...) standard normal.
    """
    return prior_mean + sigma * noise


def flow_pair(x1: Tensor, prior_mean: Tensor | float, sigma: float, t: Tensor, noise: Tensor) -> FlowPair:
    """x_t = (1 - t) x0 + t x1 on the straight path and its velocity v = x1 - x0 (Liu et al. 2022, eq. 1).

    Args:
        x1: data (B, ...).
        prior_mean: see `flow_start`.
        sigma: see `flow_start`.
        t: (B,) in [0, 1].
        noise: (B, ...) standard normal.
    """
    start = flow_start(prior_mean, sigma, noise)
    return FlowPair(x_t=torch.lerp(start, x1, _per_example(t, x1)), target=x1 - start)


def uniform_times(steps: int) -> list[float]:
    """The flow's grid of `steps` equal steps: steps + 1 times from 0 to 1."""
    _require_steps(steps)
    return [i / steps for i in range(steps + 1)]


def _require_rising(times: Sequence[float]) -> None:
    if len(times) < 2 or any(later <= earlier for earlier, later in pairwise(times)):
        raise ValueError(f"times must rise and hold at least two entries, got {list(times)}")


def euler(velocity: Velocity, x: Tensor, times: Sequence[float]) -> Tensor:
    """x (B, ...) carried along dx/dt = velocity from times[0] to times[-1], first order: one call a step."""
    _require_rising(times)
    for t, t_next in pairwise(times):
        x = x + (t_next - t) * velocity(x, _clock(t, x))
    return x


def heun(velocity: Velocity, x: Tensor, times: Sequence[float]) -> Tensor:
    """As `euler`, second order: the mean of the velocities at both ends of a step, two calls a step."""
    _require_rising(times)
    for t, t_next in pairwise(times):
        step = t_next - t
        here = velocity(x, _clock(t, x))
        there = velocity(x + step * here, _clock(t_next, x))
        x = x + step / 2 * (here + there)
    return x


# ---------------------------------------------------------------------------------------------- ddpm


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much noise step k carries: x_k = alpha_k x0 + sigma_k eps with alpha^2 + sigma^2 = 1.

    Attributes:
        log_snr: (K,) float64, lambda_k = ln(alpha_k / sigma_k) as in Lu et al. 2022; falls with k.
    """

    log_snr: Tensor

    @property
    def last_step(self) -> int:
        """The noisiest step, K - 1."""
        return len(self.log_snr) - 1


@dataclass(frozen=True, eq=False)
class DdpmPair:
    """One training batch of ddpm: the network sees `x_k` (B, ...) and is to answer `target` (B, ...)."""

    x_k: Tensor
    target: Tensor


def schedule_from_alpha_bar(alpha_bar: Tensor) -> NoiseSchedule:
    """The schedule with these alpha_bar_k = alpha_k^2 (K,), falling inside (0, 1)."""
    table = alpha_bar.to("cpu", torch.float64)
    log_snr = (table / (1 - table)).log() / 2
    if len(table) < 2 or not bool(log_snr.isfinite().all()) or not bool((log_snr.diff() < 0).all()):
        raise ValueError("alpha_bar must fall strictly, inside (0, 1), over at least two steps")
    return NoiseSchedule(log_snr)


def linear_schedule(steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> NoiseSchedule:
    """The schedule of Ho et al. 2020 (section 4): alpha_bar_k = prod (1 - beta_i), betas on a line."""
    betas = torch.linspace(beta_first, beta_last, steps, dtype=torch.float64)
    return schedule_from_alpha_bar((1 - betas).cumprod(0))


def log_snr_at(schedule: NoiseSchedule, k: Tensor) -> Tensor:
    """lambda at steps k (B,), also between integers; k outside the schedule counts as its nearest end."""
    k = k if k.is_floating_point() else k.float()
    table = schedule.log_snr.to(k.device, k.dtype)
    k = k.clamp(0, schedule.last_step)
    below = k.long().clamp(max=schedule.last_step - 1)
    return torch.lerp(table[below], table[below + 1], k - below)


def step_at(schedule: NoiseSchedule, log_snr: Tensor) -> Tensor:
    """The steps k (n,), rarely integers, at which lambda is `log_snr` (n,): inverts `log_snr_at`."""
    rising = -schedule.log_snr.to(log_snr.device, log_snr.dtype)
    below = torch.searchsorted(rising, -log_snr, right=True).sub(1).clamp(0, schedule.last_step - 1)
    part = (-log_snr - rising[below]) / (rising[below + 1] - rising[below])
    return below + part.clamp(0, 1)


def alpha_sigma(schedule: NoiseSchedule, k: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) at steps k (B,), each (B,); through lambda, so both keep their digits in float32."""
    log_snr = log_snr_at(schedule, k)
    return (2 * log_snr).sigmoid().sqrt(), (-2 * log_snr).sigmoid().sqrt()


def _alpha_sigma_like(schedule: NoiseSchedule, k: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma = alpha_sigma(schedule, k if isinstance(k, Tensor) else _clock(k, x))
    return _per_example(alpha, x), _per_example(sigma, x)


def diffuse(x0: Tensor, k: Tensor | float, noise: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_k = alpha_k x0 + sigma_k noise (Ho et al. 2020, eq. 4).

    With a decoder's mel as `x0` this is the shallow start of DiffSinger and Diff-SVC (their `k_step`): sample
    on from it over steps that begin at k.

    Args:
        x0: data (B, ...).
        k: (B,) or one step for all, 0 .. schedule.last_step.
        noise: (B, ...) standard normal.
        schedule: the noise schedule.
    """
    alpha, sigma = _alpha_sigma_like(schedule, k, x0)
    return alpha * x0 + sigma * noise


def ddpm_pair(
    x0: Tensor, k: Tensor, noise: Tensor, schedule: NoiseSchedule, prediction: Prediction = "v"
) -> DdpmPair:
    """x_k and what the network must answer there: eps, v = alpha eps - sigma x0, or x0 itself.

    Args:
        x0: data (B, ...).
        k: (B,), 0 .. schedule.last_step.
        noise: (B, ...) standard normal.
        schedule: the noise schedule.
        prediction: what the network predicts.
    """
    alpha, sigma = _alpha_sigma_like(schedule, k, x0)
    targets = {"eps": noise, "v": alpha * noise - sigma * x0, "x0": x0}
    return DdpmPair(x_k=alpha * x0 + sigma * noise, target=targets[prediction])


def to_x0(
    value: Tensor, x: Tensor, k: Tensor | float, schedule: NoiseSchedule, prediction: Prediction
) -> Tensor:
    """The clean data (B, ...) that a prediction `value` at (x, k) stands for (Salimans & Ho 2022)."""
    alpha, sigma = _alpha_sigma_like(schedule, k, x)
    if prediction == "eps":
        return (x - sigma * value) / alpha
    return alpha * x - sigma * value if prediction == "v" else value


def from_x0(
    x0: Tensor, x: Tensor, k: Tensor | float, schedule: NoiseSchedule, prediction: Prediction
) -> Tensor:
    """The prediction at (x, k) that stands for the clean data `x0` (B, ...): inverts `to_x0`."""
    alpha, sigma = _alpha_sigma_like(schedule, k, x)
    if prediction == "x0":
        return x0
    eps = (x - alpha * x0) / sigma
    return eps if prediction == "eps" else alpha * eps - sigma * x0


def denoiser(
    network: Callable[[Tensor, Tensor], Tensor], schedule: NoiseSchedule, prediction: Prediction
) -> Denoiser:
    """A network that predicts eps or v as the function the samplers take, denoise(x, k) -> x0."""

    def denoise(x: Tensor, k: Tensor) -> Tensor:
        return to_x0(network(x, k), x, k, schedule, prediction)

    return denoise


def uniform_steps(schedule: NoiseSchedule, steps: int, start: float | None = None) -> list[float]:
    """`steps` steps that cut 0 .. `start` (default: the last step) into equal parts, from `start` down.

    With few steps this loses variance, which in a mel sounds muffled; prefer `lu_lambda_steps`.
    """
    first = _start(schedule, steps, start)
    return [first * (1 - i / steps) for i in range(steps)]


def lu_lambda_steps(schedule: NoiseSchedule, steps: int, start: float | None = None) -> list[float]:
    """`steps` steps evenly in log-SNR from `start` (default: the last) down to 0 (as Lu et al. 2022)."""
    first = _start(schedule, steps, start)
    noisy, clean = log_snr_at(schedule, torch.tensor([first, 0.0], dtype=torch.float64)).tolist()
    return [float(k) for k in step_at(schedule, torch.linspace(noisy, clean, steps, dtype=torch.float64))]


def _start(schedule: NoiseSchedule, steps: int, start: float | None) -> float:
    """The checked first step of a spacing."""
    _require_steps(steps)
    first = float(schedule.last_step if start is None else start)
    if not 0 < first <= schedule.last_step:
        raise ConfigError(f"start step: got {start}, expected above 0 and at most {schedule.last_step}")
    return first


def ddim(denoise: Denoiser, x: Tensor, steps: Sequence[float], schedule: NoiseSchedule) -> Tensor:
    """Clean data from x (B, ...) at steps[0], first order, one call a step (Song et al. 2021, eq. 12)."""
    return _solve(denoise, x, steps, schedule, second_order=False)


def dpm_solver_pp_2m(denoise: Denoiser, x: Tensor, steps: Sequence[float], schedule: NoiseSchedule) -> Tensor:
    """As `ddim`, second order by reusing the last call (Lu et al. 2022, algorithm 2); one call a step."""
    return _solve(denoise, x, steps, schedule, second_order=True)


def _solve(
    denoise: Denoiser, x: Tensor, steps: Sequence[float], schedule: NoiseSchedule, *, second_order: bool
) -> Tensor:
    """The one loop behind `ddim` and `dpm_solver_pp_2m`, which differ only in the x0 they steer towards.

    A step from (alpha, sigma) to (alpha', sigma') with x0 held fixed is exactly
    x' = (sigma' / sigma) x + (alpha' - alpha sigma' / sigma) x0, for DDIM (alpha' x0 + sigma' eps) as for
    DPM-Solver++ (Lu et al. 2022, algorithm 2), since its alpha' (1 - e^-h) is alpha' - alpha sigma' / sigma.
    The last step goes to (1, 0), that is to x0 itself, and so is always of first order.
    """
    _require_falling(steps)
    grid = torch.tensor(steps, dtype=torch.float64)
    log_snr = [*log_snr_at(schedule, grid).tolist(), math.inf]
    alphas, sigmas = (level.tolist() for level in alpha_sigma(schedule, grid))
    alphas, sigmas = [*alphas, 1.0], [*sigmas, 0.0]
    previous: Tensor | None = None
    for i, k in enumerate(steps):
        x0 = aim = denoise(x, _clock(k, x))
        if second_order and previous is not None and i + 1 < len(steps):
            lead = (log_snr[i + 1] - log_snr[i]) / (log_snr[i] - log_snr[i - 1]) / 2
            aim = x0 + lead * (x0 - previous)
        carry = sigmas[i + 1] / sigmas[i]
        x = carry * x + (alphas[i + 1] - alphas[i] * carry) * aim
        previous = x0
    return x


def every_nth_step(count: int, interval: int) -> list[float]:
    """The multiples of `interval` below `count`, falling to 0: the steps of Diff-SVC at that speed-up."""
    if not 1 <= interval < count:
        raise ConfigError(f"speed-up: got {interval}, expected 1 to {count - 1}; choose more --steps")
    return [float(k) for k in reversed(range(0, count, interval))]


def plms(denoise: Denoiser, x: Tensor, steps: Sequence[float], schedule: NoiseSchedule) -> Tensor:
    """x (B, ...) carried from steps[0] to steps[-1], where it counts as clean (Liu et al. 2022, 2202.09778).

    Pseudo linear multistep: the noise is extrapolated over the last four calls by Adams-Bashforth, which
    wants evenly spaced steps (`every_nth_step`); the first step looks ahead once, the last needs no call.
    """
    _require_falling(steps)
    bars = (2 * log_snr_at(schedule, torch.tensor(steps, dtype=torch.float64))).sigmoid().tolist()

    def noise(x: Tensor, k: float) -> Tensor:
        return from_x0(denoise(x, _clock(k, x)), x, k, schedule, "eps")

    past: list[Tensor] = []
    for i, (k, k_next) in enumerate(pairwise(steps)):
        here = noise(x, k)
        if past:
            weights = _ADAMS_BASHFORTH[len(past) + 1]
            slope = sum((w * e for w, e in zip(weights, [here, *past], strict=True)), torch.zeros_like(x))
        else:
            slope = (here + noise(_transfer(x, here, bars[i], bars[i + 1]), k_next)) / 2
        x = _transfer(x, slope, bars[i], bars[i + 1])
        past = [here, *past][:3]
    return x


_ADAMS_BASHFORTH: Final = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def _transfer(x: Tensor, noise: Tensor, bar: float, bar_next: float) -> Tensor:
    """x moved from alpha_bar to the next along its noise (Liu et al. 2022, 2202.09778, eq. 11)."""
    root, root_next = math.sqrt(bar), math.sqrt(bar_next)
    of_x = 1 / (root * (root + root_next))
    of_noise = 1 / (root * (math.sqrt((1 - bar_next) * bar) + math.sqrt((1 - bar) * bar_next)))
    return x + (bar_next - bar) * (of_x * x - of_noise * noise)


def ancestral(
    denoise: Denoiser,
    x: Tensor,
    steps: Sequence[float],
    schedule: NoiseSchedule,
    noise: Callable[[float], Tensor],
) -> Tensor:
    """Clean data from x (B, ...) at steps[0] by drawing from the posterior (Ho et al. 2020, eq. 6 and 7).

    Args:
        denoise: the denoiser.
        x: (B, ...).
        steps: falling; every step of the schedule for the sampler as published.
        schedule: the noise schedule.
        noise: standard normal (B, ...) to add on the way down to a step.
    """
    _require_falling(steps)
    bars = (2 * log_snr_at(schedule, torch.tensor(steps, dtype=torch.float64))).sigmoid().tolist()
    for i, (k, k_next) in enumerate(pairwise(steps)):
        bar, bar_next = bars[i], bars[i + 1]
        x0 = denoise(x, _clock(k, x))
        beta = 1 - bar / bar_next
        mean = math.sqrt(bar_next) * beta * x0 + math.sqrt(bar / bar_next) * (1 - bar_next) * x
        x = mean / (1 - bar) + math.sqrt(beta * (1 - bar_next) / (1 - bar)) * noise(k_next)
    return denoise(x, _clock(steps[-1], x))


def _require_falling(steps: Sequence[float]) -> None:
    if not steps or any(later >= earlier for earlier, later in pairwise(steps)):
        raise ValueError(f"steps must fall and hold at least one entry, got {list(steps)}")


# ------------------------------------------------------------------------------------------ samplers

SAMPLERS: Final[Mapping[str, Mapping[str, Callable[..., Tensor]]]] = {
    "flow": {"euler": euler, "heun": heun},
    "ddpm": {"ddim": ddim, "dpm-solver++": dpm_solver_pp_2m},
}
"""Flow samplers take (velocity, x, times); ddpm samplers take (denoise, x, steps, schedule)."""

_CALLS_PER_STEP: Final = {"euler": 1, "heun": 2, "ddim": 1, "dpm-solver++": 1}


def evaluations(sampler: str, steps: int) -> int:
    """How often a sampler calls the network in a row; the halo is that many receptive fields."""
    _require_steps(steps)
    if sampler not in _CALLS_PER_STEP:
        known = ", ".join(_CALLS_PER_STEP)
        raise ConfigError(f"sampler: got {sampler!r}, expected one of {known}; choose one with --sampler")
    return steps * _CALLS_PER_STEP[sampler]
