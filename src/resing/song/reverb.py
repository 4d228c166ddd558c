"""How much a lead rings on, heard from its decays, and a tail that rings on like it.

The late part of reverberation is what was sung before, its power decaying exponentially (Lebart, Boucher and
Denbigh, A new method based on spectral subtraction for speech dereverberation, Acta Acustica 87, 2001): with
P the power heard, R that of the late part, D = P - R that of the direct sound, per frame,

    R(t) = sum over s >= 0 of k r^s D(t - s) = k' sum of r'^s P(t - s),  r' = r / (1 + k),  k' = k / (1 + k).

After the end of a note P decays as R does. So where the level falls, each frame is predicted from what was
heard some frames before, and the right r' is the one by which the lowest ratios of heard to predicted are all
alike: whatever the singer does, nothing decays faster than the room (Ratnam et al., Blind estimation of
reverberation time, JASA 114, 2003). In a dry lead no r' makes them alike.
"""

from dataclasses import dataclass

import numpy as np

from resing.song.hearing import EMPTY, REVERB_BANDS_HZ, Envelope, hop_size

LOG_ENERGY_60_DB = 13.815510557964274  # ln(10^6)
AHEAD_SECONDS = 0.07  # how far ahead a decay is predicted: past the window and the early reflections
FALL_SECONDS = 0.05
PEAK_SECONDS = 0.5
FALLEN_DB = 10.0  # frames this far under the loudest of the last half second belong to a decay
FROM_LOUD_DB = 20.0
FLOOR_DB, DEEPEST_DB = 8.0, 60.0
FEWEST_FRAMES = 40
SPREAD_DB = (
    6.0  # of the lower ratios: above, it is no reverb; 1 to 5.7 in reverberant, 8 to 21 in dry singing
)
DOUBT_DB = 3.0  # by which a level that was heard may be too low
LONGEST_T60, LOUDEST_DB, FAINTEST_DB = 4.0, 6.0, -25.0
OVER_MIDDLE = 1.5  # times the middle T60 that a band's may be: more is accompaniment that is left in the lead
TAIL_T60 = 1.2  # length of the tail

_Parts = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Reverb:
    """Reverberation in each of the three bands.

    Attributes:
        t60: seconds of a decay by 60 dB.
        level_db: energy of the late part relative to the direct sound.
    """

    t60: tuple[float, ...]
    level_db: tuple[float, ...]


def late_power(power: np.ndarray, decay: float) -> np.ndarray:
    """Sum over s >= 0 of decay^s power(t - s), (T,), by doubling."""
    total, step = power.astype(np.float64), 1
    while decay > 1e-9 and step < len(power):
        total[step:] += decay * total[:-step].copy()
        decay, step = decay * decay, 2 * step
    return total


def decaying(power: np.ndarray, sample_rate: int) -> np.ndarray:
    """Frames in the decay of something loud, above the noise, bool (T,)."""
    frame = hop_size(sample_rate) / sample_rate
    level = 10 * np.log10(power + EMPTY)
    active, quiet = np.percentile(level, [95, 3])
    recent = level.copy()
    for step in range(1, round(PEAK_SECONDS / frame)):
        recent[step:] = np.maximum(recent[step:], level[:-step])
    smooth, back = np.convolve(level, np.ones(5) / 5, mode="same"), max(1, round(FALL_SECONDS / frame))
    falls = np.zeros(len(level), bool)
    falls[back:] = smooth[back:] < smooth[:-back]
    audible = level > max(active - DEEPEST_DB, quiet + FLOOR_DB)
    return falls & audible & (level < recent - FALLEN_DB) & (recent > active - FROM_LOUD_DB)


def hear_reverb(lead: Envelope, sample_rate: int) -> Reverb | None:
    """The reverberation of a lead, or None if it is dry or never falls silent.

    Args:
        lead: what is heard.
        sample_rate: Hz.
    """
    found = [_hear_band(power, sample_rate) for power in lead.bands]
    clear = [band for band in found if band is not None]
    if len(clear) < 2:
        return None
    middle = tuple(float(np.median(values)) for values in zip(*clear, strict=True))
    bands = [(min(t60, OVER_MIDDLE * middle[0]), level) for t60, level in (band or middle for band in found)]
    return Reverb(*(tuple(values) for values in zip(*bands, strict=True)))


def _hear_band(power: np.ndarray, sample_rate: int) -> tuple[float, float] | None:
    """T60 in seconds and level in dB of the late part, from the power of one band, (T,)."""
    frame = hop_size(sample_rate) / sample_rate
    ahead = max(1, round(AHEAD_SECONDS / frame))
    if len(power) <= ahead or np.count_nonzero(fall := decaying(power, sample_rate)) < FEWEST_FRAMES:
        return None
    level, share = 10 * np.log10(power + EMPTY)[fall], np.linspace(1e-5, 0.9, 2000)
    best, narrowest = None, SPREAD_DB
    for pole in np.exp(-LOG_ENERGY_60_DB * frame / np.geomspace(0.1, 5.0, 40)):
        heard = np.concatenate([np.zeros(ahead), late_power(power, pole)[:-ahead]])[fall]
        low, middle, high = np.percentile(level - 10 * np.log10(heard + EMPTY), [10, 25, 45])
        # the ratio is k' r^ahead = k' (r' / (1 - k'))^ahead
        k = float(np.interp(10 ** (middle / 10), share * (pole / (1 - share)) ** ahead, share))
        decay = pole / (1 - k)
        if decay >= 1 or high - low >= narrowest:
            continue
        t60 = -LOG_ENERGY_60_DB * frame / np.log(decay)
        late_db = 10 * np.log10(k / (1 - k) * decay / (1 - decay))
        if t60 <= LONGEST_T60 and late_db <= LOUDEST_DB:
            best, narrowest = (float(t60), float(late_db)), high - low
    return best


def missing_reverb(
    original: Envelope, converted: Envelope, heard: Reverb, sample_rate: int, amount: float = 1.0
) -> Reverb | None:
    """The reverberation that makes the converted lead ring on as loud as the original where that decays.

    Both are aligned in time, so their levels can be held against each other: where they sing, and where the
    original has only its late part left. None if nothing is missing.

    Args:
        original: the original lead.
        converted: the converted lead.
        heard: the original's reverberation.
        sample_rate: Hz.
        amount: share of the reverberation's energy that is wanted.
    """
    frame, levels = hop_size(sample_rate) / sample_rate, []
    count = min(len(original.sharp), len(converted.sharp))
    sung = (original.active & converted.active)[:count]
    bands = zip(
        original.bands[:, :count] + EMPTY, converted.bands[:, :count], heard.t60, heard.level_db, strict=True
    )
    for own, other, t60, level_db in bands:
        decay = np.exp(-LOG_ENERGY_60_DB * frame / t60)
        k = 10 ** (level_db / 10) * (1 - decay) / decay
        late = late_power(own, decay / (1 + k)) * k / (1 + k)
        rings = decaying(own, sample_rate) & (own < 2 * late)
        after = np.concatenate([[0.0], late_power(other, decay)[:-1]])
        parts = [(other[frames] / own[frames], after[frames] / own[frames]) for frames in (rings, sung)]
        levels.append(_match(parts[0], parts[1], amount) / (1 - decay))
    missing_db = tuple(
        float(min(10 * np.log10(level + EMPTY), most + DOUBT_DB))
        for level, most in zip(levels, heard.level_db, strict=True)
    )
    return Reverb(heard.t60, missing_db) if max(missing_db) > FAINTEST_DB else None


def _match(rings: _Parts, sung: _Parts, amount: float) -> float:
    """The k >= 0 by which the late part is as loud as `amount` of the original's, by bisection.

    Args:
        rings: direct and late part for k = 1, over the original's power, where only its late part is left.
        sung: the same where both sing: the level that the others are measured by.
        amount: share of the original's late part that is wanted.
    """

    def ratio(k: float) -> float:
        return float(np.median(rings[0] + k * rings[1]) / np.median(sung[0] + k * sung[1]))

    if not len(rings[0]) or not len(sung[0]) or ratio(0.0) >= amount:
        return 0.0
    low, high = 0.0, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if ratio(middle) >= amount else (middle, high)
    return high


def reverb_tail(reverb: Reverb, sample_rate: int, channels: int, seed: int = 0) -> np.ndarray:
    """Decaying noise, different in each channel, each of energy `level_db` in its bands, (channels, taps).

    It begins after one hop: there is no late part in the direct sound (Moorer, About this reverberation
    business, Computer Music Journal 3, 1979: the tail as filtered, decaying noise).

    Args:
        reverb: decay and level per band.
        sample_rate: Hz.
        channels: how many independent tails.
        seed: of the noise.
    """
    hop = hop_size(sample_rate)
    count = round(TAIL_T60 * max(reverb.t60) * sample_rate)
    noise = np.random.default_rng(seed).standard_normal((channels, count))
    spectrum, hz = np.fft.rfft(noise), np.fft.rfftfreq(count, 1.0 / sample_rate)
    seconds, tail = np.arange(count) / sample_rate, np.zeros((channels, count))
    for share, t60, level_db in zip(band_shares(hz), reverb.t60, reverb.level_db, strict=True):
        envelope = np.exp(-LOG_ENERGY_60_DB / 2 * seconds / t60)
        gain = np.sqrt(10 ** (level_db / 10) / np.sum(envelope**2))
        tail += gain * envelope * np.fft.irfft(spectrum * share, count)
    return np.pad(tail, ((0, 0), (hop, 0)))


def reverb_gain(reverb: Reverb | None, hz: np.ndarray) -> np.ndarray | float:
    """Factor by which a reverberation raises the mean power at frequencies, (F,)."""
    return 1.0 if reverb is None else 1.0 + (10 ** (np.array(reverb.level_db) / 20) @ band_shares(hz)) ** 2


def band_shares(hz: np.ndarray) -> np.ndarray:
    """Gain of each band at frequencies, (3, F): their sum is 1 above the lowest edge, and 0 far below."""
    octaves = np.log2(np.maximum(hz, 1.0)[None] / np.array(REVERB_BANDS_HZ[:3])[:, None])
    rising = np.sin(np.pi / 2 * np.clip(octaves + 0.5, 0.0, 1.0)) ** 2  # (3, F)
    return rising - np.concatenate([rising[1:], np.zeros((1, len(hz)))])
