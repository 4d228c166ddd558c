"""Diffusion against exact answers: ODEs with known solutions and the exact denoiser of Gaussian data.

With Gaussian data every sampler is affine in its noise, so pushing noise 0 and noise 1 through it gives the
output's mean and standard deviation exactly, without drawing samples.
"""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from resing.errors import ConfigError
from resing.synthesis import diffusion
from resing.synthesis.diffusion import Prediction

SCHEDULE = diffusion.linear_schedule()
MU = 0.7
PREDICTIONS: list[Prediction] = ["eps", "v", "x0"]
ZERO_AND_ONE = torch.tensor([[0.0], [1.0]], dtype=torch.float64)


def gaussian_denoiser(std: float, mu: float = MU) -> diffusion.Denoiser:
    """E[x0 | x_k] for x0 ~ N(mu, std^2), in closed form."""

    def denoise(x: Tensor, k: Tensor) -> Tensor:
        alpha, sigma = (level[:, None] for level in diffusion.alpha_sigma(SCHEDULE, k))
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return mu + gain * (x - alpha * mu)

    return denoise


def gaussian_velocity(start: tuple[float, float], data: tuple[float, float]) -> diffusion.Velocity:
    """E[x1 - x0 | x_t] for independent x0 and x1, each given as (mean, std), in closed form."""
    (m0, s0), (m1, s1) = start, data

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        t = t[:, None]
        gain = (t * s1**2 - (1 - t) * s0**2) / ((1 - t) ** 2 * s0**2 + t**2 * s1**2)
        return m1 - m0 + gain * (x - (1 - t) * m0 - t * m1)

    return velocity


def mean_and_std(output: Tensor) -> tuple[float, float]:
    """Of a sampler's output for noise 0 and noise 1."""
    return output[0].item(), (output[1] - output[0]).item()


def ddpm_std_ratio(sampler: str, steps: Sequence[float], std: float) -> float:
    output = diffusion.SAMPLERS["ddpm"][sampler](gaussian_denoiser(std), ZERO_AND_ONE, steps, SCHEDULE)
    return mean_and_std(output)[1] / std


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------------------------------------- flow


@pytest.mark.parametrize(("sampler", "gain"), [("euler", 2.0), ("heun", 4.0)])
def test_order_of_convergence_on_an_ode_with_a_known_answer(sampler: str, gain: float) -> None:
    """dx/dt = cos(t) x from 1 has x(1) = exp(sin 1)."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return t.cos()[:, None] * x

    def error(steps: int) -> float:
        x = torch.ones(1, 1, dtype=torch.float64)
        answer = diffusion.SAMPLERS["flow"][sampler](velocity, x, diffusion.uniform_times(steps))
        return abs(answer.item() - math.exp(math.sin(1)))

    errors = [error(steps) for steps in (20, 40, 80)]
    assert errors[0] / errors[1] == pytest.approx(gain, rel=0.06)
    assert errors[1] / errors[2] == pytest.approx(gain, rel=0.03)
    assert errors[2] < (0.02 if sampler == "euler" else 1e-4)


@pytest.mark.parametrize("std", [0.3, 0.05])
@pytest.mark.parametrize(("sampler", "steps", "within"), [("euler", 100, 0.1), ("heun", 50, 0.02)])
def test_flow_between_gaussians(std: float, sampler: str, steps: int, within: float) -> None:
    start, data = (0.2, 0.5), (MU, std)
    x = diffusion.flow_start(start[0], start[1], ZERO_AND_ONE)
    run = diffusion.SAMPLERS["flow"][sampler]
    mean, spread = mean_and_std(run(gaussian_velocity(start, data), x, diffusion.uniform_times(steps)))
    assert mean == pytest.approx(MU, abs=1e-9)
    assert spread / std == pytest.approx(1, abs=within)


@pytest.mark.parametrize(
    ("sampler", "steps", "wide", "narrow"),
    [("euler", 4, 0.70, 0.28), ("euler", 10, 0.87, 0.62), ("heun", 4, 1.00, 1.51), ("heun", 10, 1.00, 1.08)],
)
def test_what_few_flow_steps_cost(sampler: str, steps: int, wide: float, narrow: float) -> None:
    """Output std / true std for data std .3 and .05 from a start of .5: few Euler steps lose variance."""
    for std, expected in ((0.3, wide), (0.05, narrow)):
        velocity = gaussian_velocity((0.0, 0.5), (MU, std))
        run = diffusion.SAMPLERS["flow"][sampler]
        _, spread = mean_and_std(run(velocity, 0.5 * ZERO_AND_ONE, diffusion.uniform_times(steps)))
        assert spread / std == pytest.approx(expected, abs=0.02)


def test_flow_pair_teaches_the_known_velocity() -> None:
    """The least-squares fit of the target on x_t is the conditional mean, that is the velocity."""
    start, data = (0.2, 0.5), (MU, 0.3)
    n = 200_000
    x1 = data[0] + data[1] * normal(n, 1, seed=1)
    for t in (0.1, 0.5, 0.9):
        pair = diffusion.flow_pair(x1, start[0], start[1], torch.full((n,), t), normal(n, 1, seed=2))
        design = torch.cat([torch.ones(n, 1, dtype=torch.float64), pair.x_t], dim=1)
        offset, gain = torch.linalg.lstsq(design, pair.target).solution.flatten().tolist()
        t_pair = torch.full((2,), t, dtype=torch.float64)
        exact_offset, exact_gain = mean_and_std(gaussian_velocity(start, data)(ZERO_AND_ONE, t_pair))
        assert offset == pytest.approx(exact_offset, abs=0.01)
        assert gain == pytest.approx(exact_gain, abs=0.01)


def test_flow_pair_lies_on_the_straight_path() -> None:
    x1, prior, noise = (normal(3, 4, 5, seed=seed) for seed in range(3))
    t = torch.tensor([0.0, 0.25, 1.0])
    pair = diffusion.flow_pair(x1, prior, 0.5, t, noise)
    torch.testing.assert_close(pair.x_t[0], diffusion.flow_start(prior, 0.5, noise)[0])
    torch.testing.assert_close(pair.x_t[2], x1[2])
    torch.testing.assert_close(pair.x_t + (1 - t.double())[:, None, None] * pair.target, x1)


def test_one_euler_step_of_a_perfect_answer_reaches_the_data() -> None:
    x1, prior, noise = (normal(2, 4, 5, seed=seed) for seed in range(3))
    pair = diffusion.flow_pair(x1, prior, 0.5, torch.zeros(2), noise)
    reached = diffusion.euler(lambda x, t: pair.target, pair.x_t, diffusion.uniform_times(1))
    torch.testing.assert_close(reached, x1)


# ---------------------------------------------------------------------------------------------- ddpm


def test_alpha_bar_endpoints() -> None:
    alpha, sigma = diffusion.alpha_sigma(SCHEDULE, torch.tensor([0.0, 999.0], dtype=torch.float64))
    assert SCHEDULE.last_step == 999
    assert alpha[0].item() ** 2 == pytest.approx(1 - 1e-4, rel=1e-12)
    product = math.prod(1 - (1e-4 + i * (0.02 - 1e-4) / 999) for i in range(1000))
    assert alpha[1].item() ** 2 == pytest.approx(product, rel=1e-9)
    assert product == pytest.approx(4.036e-5, rel=1e-3)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(2, dtype=torch.float64))


def test_levels_keep_their_digits_in_float32() -> None:
    k = torch.arange(1000)
    single = diffusion.alpha_sigma(SCHEDULE, k)
    double = diffusion.alpha_sigma(SCHEDULE, k.double())
    for narrow, wide in zip(single, double, strict=True):
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow.double(), wide, rtol=2e-6, atol=0)


def test_steps_between_integers_invert() -> None:
    k = torch.tensor([0.0, 0.3, 1.0, 57.25, 500.5, 998.9, 999.0], dtype=torch.float64)
    torch.testing.assert_close(diffusion.step_at(SCHEDULE, diffusion.log_snr_at(SCHEDULE, k)), k)


def test_lu_steps_are_even_in_log_snr() -> None:
    steps = diffusion.lu_lambda_steps(SCHEDULE, 10)
    log_snr = diffusion.log_snr_at(SCHEDULE, torch.tensor(steps, dtype=torch.float64))
    assert (steps[0], steps[-1], len(steps)) == (999.0, 0.0, 10)
    torch.testing.assert_close(log_snr.diff(), log_snr.diff().mean().expand(9))
    assert diffusion.lu_lambda_steps(SCHEDULE, 5, start=100.0)[0] == pytest.approx(100)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_prediction_round_trip(prediction: Prediction) -> None:
    x0, noise = normal(4, 3, 7, seed=1), normal(4, 3, 7, seed=2)
    k = torch.tensor([0.0, 10.5, 400.0, 999.0], dtype=torch.float64)
    pair = diffusion.ddpm_pair(x0, k, noise, SCHEDULE, prediction)
    torch.testing.assert_close(pair.x_k, diffusion.diffuse(x0, k, noise, SCHEDULE))
    torch.testing.assert_close(diffusion.to_x0(pair.target, pair.x_k, k, SCHEDULE, prediction), x0)
    torch.testing.assert_close(diffusion.from_x0(x0, pair.x_k, k, SCHEDULE, prediction), pair.target)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_every_prediction_samples_alike(prediction: Prediction, sampler: str) -> None:
    exact = gaussian_denoiser(0.3)
    run = diffusion.SAMPLERS["ddpm"][sampler]
    steps = diffusion.lu_lambda_steps(SCHEDULE, 10)

    def network(x: Tensor, k: Tensor) -> Tensor:
        return diffusion.from_x0(exact(x, k), x, k, SCHEDULE, prediction)

    through = run(diffusion.denoiser(network, SCHEDULE, prediction), ZERO_AND_ONE, steps, SCHEDULE)
    torch.testing.assert_close(through, run(exact, ZERO_AND_ONE, steps, SCHEDULE))


@pytest.mark.parametrize("std", [0.3, 0.05])
@pytest.mark.parametrize(("sampler", "within"), [("ddim", 0.05), ("dpm-solver++", 0.03)])
def test_many_steps_reproduce_the_data(std: float, sampler: str, within: float) -> None:
    steps = diffusion.lu_lambda_steps(SCHEDULE, 100)
    run = diffusion.SAMPLERS["ddpm"][sampler]
    mean, spread = mean_and_std(run(gaussian_denoiser(std), ZERO_AND_ONE, steps, SCHEDULE))
    assert mean == pytest.approx(MU, abs=0.01)
    assert spread / std == pytest.approx(1, abs=within)


@pytest.mark.parametrize("std", [0.3, 0.05])
@pytest.mark.parametrize("k_start", [50.0, 200.0])
def test_shallow_start_keeps_data_that_is_already_right(std: float, k_start: float) -> None:
    """Data of the right distribution, noised to k and denoised, keeps its distribution."""
    clean = torch.tensor([[MU], [MU + std], [MU]], dtype=torch.float64)  # affine in both: two unit responses
    noise = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    x = diffusion.diffuse(clean, k_start, noise, SCHEDULE)
    steps = diffusion.lu_lambda_steps(SCHEDULE, 10, start=k_start)
    centre, from_data, from_noise = diffusion.dpm_solver_pp_2m(gaussian_denoiser(std), x, steps, SCHEDULE)
    spread = math.hypot((from_data - centre).item(), (from_noise - centre).item())
    assert centre.item() == pytest.approx(MU, abs=1e-6)
    assert spread / std == pytest.approx(1, abs=0.03)


def test_uniform_ddim_loses_variance_and_lu_spacing_keeps_it() -> None:
    """The reason for `lu_lambda_steps`: 10 steps, output std / true std at data std .3."""
    uniform, lu = diffusion.uniform_steps(SCHEDULE, 10), diffusion.lu_lambda_steps(SCHEDULE, 10)
    assert uniform[:2] == [999.0, pytest.approx(899.1)]
    assert ddpm_std_ratio("ddim", uniform, 0.3) == pytest.approx(0.64, abs=0.03)
    assert ddpm_std_ratio("dpm-solver++", lu, 0.3) == pytest.approx(1.03, abs=0.04)


TABLE = [
    ("ddim", "leading", {10: (0.64, 0.33), 20: (0.80, 0.44), 50: (0.92, 0.65)}),
    ("dpm-solver++", "uniform", {10: (0.64, 0.14), 20: (0.86, 0.27), 50: (0.98, 0.53)}),
    ("dpm-solver++", "lu", {10: (1.03, 0.95), 20: (1.01, 0.99), 50: (1.00, 0.98)}),
]


@pytest.mark.parametrize(("sampler", "spacing", "rows"), TABLE)
def test_spacing_table(sampler: str, spacing: str, rows: dict[int, tuple[float, float]]) -> None:
    """Output std / true std for data std .3 and .05 as measured with diffusers 0.42.1's own spacings."""
    spacings: dict[str, Callable[[int], list[float]]] = {
        "leading": lambda n: [float(i * (1000 // n)) for i in reversed(range(n))],
        "uniform": lambda n: diffusion.uniform_steps(SCHEDULE, n),
        "lu": lambda n: diffusion.lu_lambda_steps(SCHEDULE, n),
    }
    for steps, expected in rows.items():
        measured = [ddpm_std_ratio(sampler, spacings[spacing](steps), std) for std in (0.3, 0.05)]
        assert measured == pytest.approx(expected, abs=0.012)


def test_dpm_solver_converges_faster_than_ddim() -> None:
    """Error of the std against 4000 steps on the same ends: halving the steps' size gives /2 and /4."""

    def error(sampler: str, steps: int) -> float:
        exact = ddpm_std_ratio("dpm-solver++", diffusion.lu_lambda_steps(SCHEDULE, 4000), 0.3)
        return abs(ddpm_std_ratio(sampler, diffusion.lu_lambda_steps(SCHEDULE, steps), 0.3) - exact)

    assert error("ddim", 40) / error("ddim", 80) == pytest.approx(2, rel=0.1)
    assert error("dpm-solver++", 40) / error("dpm-solver++", 80) == pytest.approx(4, rel=0.15)


def test_one_step_is_the_denoiser() -> None:
    x = normal(2, 3)
    exact = gaussian_denoiser(0.3)
    for sampler in diffusion.SAMPLERS["ddpm"].values():
        answer = sampler(exact, x, diffusion.lu_lambda_steps(SCHEDULE, 1), SCHEDULE)
        torch.testing.assert_close(answer, exact(x, torch.full((2,), 999.0, dtype=torch.float64)))


# ---------------------------------------------------------------------------------- every sampler


def sample(family: str, sampler: str, noise: Tensor) -> Tensor:
    """Four steps of a sampler on a smooth, non-linear network that acts on each element alone."""

    def network(x: Tensor, clock: Tensor) -> Tensor:
        return torch.sin(x + clock[:, None, None] / 100)

    run = diffusion.SAMPLERS[family][sampler]
    if family == "flow":
        return run(network, noise, diffusion.uniform_times(4))
    denoise = diffusion.denoiser(network, SCHEDULE, "v")
    return run(denoise, noise, diffusion.lu_lambda_steps(SCHEDULE, 4), SCHEDULE)


EVERY = [(family, name) for family, names in diffusion.SAMPLERS.items() for name in names]


@pytest.mark.parametrize(("family", "sampler"), EVERY)
def test_same_noise_same_output_and_frames_are_independent(family: str, sampler: str) -> None:
    noise = normal(2, 8, 50).float()
    whole = sample(family, sampler, noise)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, sample(family, sampler, noise.clone()))
    torch.testing.assert_close(sample(family, sampler, noise[:, :, 13:31]), whole[:, :, 13:31])
    torch.testing.assert_close(sample(family, sampler, noise[1:]), whole[1:])


@pytest.mark.parametrize(("family", "sampler"), EVERY)
@pytest.mark.parametrize("steps", [1, 5])
def test_evaluations_counts_the_network_calls(family: str, sampler: str, steps: int) -> None:
    calls: list[Tensor] = []

    def network(x: Tensor, clock: Tensor) -> Tensor:
        calls.append(clock)
        return x

    x = normal(3, 2).to(torch.bfloat16)
    if family == "flow":
        diffusion.SAMPLERS[family][sampler](network, x, diffusion.uniform_times(steps))
    else:
        diffusion.SAMPLERS[family][sampler](network, x, diffusion.uniform_steps(SCHEDULE, steps), SCHEDULE)
        assert calls[0][0].item() == 999.0  # the clock is not rounded to bfloat16
    assert len(calls) == diffusion.evaluations(sampler, steps)
    assert all(clock.shape == (3,) and clock.dtype == torch.float32 for clock in calls)


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(("interval", "wide", "narrow"), [(20, 1.0, 0.84), (10, 1.0, 0.94)])
def test_plms_on_gaussian_data(interval: int, wide: float, narrow: float) -> None:
    """Output std / true std for data std .3 and .05 at Diff-SVC's usual speed-ups."""
    steps = diffusion.every_nth_step(1000, interval)
    assert len(steps) == 1000 // interval and steps[0] == 1000 - interval and steps[-1] == 0
    for std, expected in ((0.3, wide), (0.05, narrow)):
        output = diffusion.plms(gaussian_denoiser(std), ZERO_AND_ONE, steps, SCHEDULE)
        mean, spread = mean_and_std(output)
        assert spread / std == pytest.approx(expected, abs=0.03)
        assert mean == pytest.approx(MU, abs=0.02)


def test_plms_converges_faster_than_ddim() -> None:
    def error(sampler: Callable[..., Tensor], interval: int) -> float:
        """Distance from the exact answer at step 0, which for Gaussian data is affine in the noise."""
        steps, std = diffusion.every_nth_step(1000, interval), 0.3
        start = torch.ones(1, 1, dtype=torch.float64)
        alpha, sigma = diffusion.alpha_sigma(SCHEDULE, torch.tensor([steps[0], 0.0], dtype=torch.float64))
        total = (alpha**2 * std**2 + sigma**2).sqrt()
        exact = alpha[1] * MU + total[1] / total[0] * (1.0 - alpha[0] * MU)
        return abs(sampler(gaussian_denoiser(std), start, steps, SCHEDULE).item() - exact.item())

    fine, coarse = error(diffusion.plms, 10), error(diffusion.plms, 40)
    assert fine < coarse / 8 and fine < error(diffusion.ddim, 10) / 10


def test_ancestral_sampling_draws_from_the_data() -> None:
    draws, random = 20_000, torch.Generator().manual_seed(0)

    def noise(_: float) -> Tensor:
        return torch.randn(draws, 1, generator=random, dtype=torch.float64)

    steps = diffusion.every_nth_step(1000, 1)
    output = diffusion.ancestral(gaussian_denoiser(0.3), noise(0), steps, SCHEDULE, noise)
    assert output.mean().item() == pytest.approx(MU, abs=0.01)
    assert output.std().item() == pytest.approx(0.3, rel=0.03)


def test_speed_ups_that_do_not_fit() -> None:
    for interval in (0, 1000, 5000):
        with pytest.raises(ConfigError, match=r"speed-up: got \d+, expected 1 to 999"):
            diffusion.every_nth_step(1000, interval)
    with pytest.raises(ValueError, match="must fall"):
        diffusion.plms(gaussian_denoiser(0.3), ZERO_AND_ONE, [1.0, 2.0], SCHEDULE)


def test_refusals() -> None:
    x = normal(1, 1)
    with pytest.raises(ConfigError, match="sampler: got 'plms', expected one of euler, heun, ddim"):
        diffusion.evaluations("plms", 4)
    with pytest.raises(ConfigError, match="steps: got 0, expected at least 1"):
        diffusion.uniform_times(0)
    with pytest.raises(ConfigError, match="start step: got 1000, expected above 0 and at most 999"):
        diffusion.lu_lambda_steps(SCHEDULE, 4, start=1000)
    with pytest.raises(ValueError, match="times must rise"):
        diffusion.euler(lambda x, t: x, x, [1.0, 0.0])
    with pytest.raises(ValueError, match="steps must fall"):
        diffusion.ddim(gaussian_denoiser(0.3), x, [0.0, 999.0], SCHEDULE)
    with pytest.raises(ValueError, match="alpha_bar must fall"):
        diffusion.schedule_from_alpha_bar(torch.tensor([0.5, 0.9]))


# ----------------------------------------------------------------------------- independent reference


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spacing", ["ddim", "dpm-solver++", "lu"])
def test_samplers_agree_with_diffusers(spacing: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    betas = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    if spacing == "ddim":
        scheduler = diffusers.DDIMScheduler(**betas, clip_sample=False)
    else:
        scheduler = diffusers.DPMSolverMultistepScheduler(**betas, use_lu_lambdas=spacing == "lu")
    scheduler.set_timesteps(10)
    steps = [float(k) for k in scheduler.timesteps]
    if spacing == "lu":  # diffusers rounds the clock it shows the network, not the noise levels it steps over
        steps = diffusion.lu_lambda_steps(SCHEDULE, 10)
        assert steps == pytest.approx([float(k) for k in scheduler.timesteps], abs=0.51)
    exact = gaussian_denoiser(0.3)
    x = theirs = normal(5, 1)
    for shown, k in zip(scheduler.timesteps, steps, strict=True):
        clock = torch.full((5,), k, dtype=torch.float64)
        eps = diffusion.from_x0(exact(theirs, clock), theirs, clock, SCHEDULE, "eps")
        theirs = scheduler.step(eps, shown, theirs).prev_sample
    run = diffusion.ddim if spacing == "ddim" else diffusion.dpm_solver_pp_2m
    ours = run(exact, x, steps, SCHEDULE)
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-3 if spacing == "lu" else 1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_training_pairs_agree_with_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    x0, noise, k = normal(4, 3, 7, seed=1), normal(4, 3, 7, seed=2), torch.tensor([0, 10, 400, 999])
    pair = diffusion.ddpm_pair(x0, k, noise, SCHEDULE, "v")
    torch.testing.assert_close(pair.x_k, scheduler.add_noise(x0, noise, k), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pair.target, scheduler.get_velocity(x0, noise, k), rtol=1e-4, atol=1e-5)
