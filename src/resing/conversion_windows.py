"""Samples of a score, window by window, the same whatever the windows.

A window is given the networks' reach on both sides, noise and phase are keyed by absolute frame, so the
joined windows are what one rendering of the whole song would be, and memory does not grow with the song.
"""

from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import torch

from resing.config import ConvertOptions
from resing.conversion_melody import Score
from resing.conversion_output import gate_of
from resing.conversion_take import Take
from resing.errors import AudioError
from resing.synthesis.diff_svc import DiffSvcModel
from resing.synthesis.noise import frame_noise
from resing.synthesis.vocoder import Vocoder
from resing.voice import Voice

DIFF_SVC_WINDOW_REACHES = 8
"""Windows of a Diff-SVC voice are at least so many times its networks' reach of many seconds."""
WORK_BESIDE = 5
"""Work per frame beside the denoiser's, in evaluations of it."""


class Renderer:
    """A voice's acoustic model and a vocoder, which make a score sound."""

    def __init__(self, voice: Voice, vocoder: Vocoder) -> None:
        self.voice, self.acoustic, self.vocoder = voice, voice.acoustic, vocoder

    def song(
        self,
        score: Score,
        options: ConvertOptions,
        scratch: BinaryIO,
        take: Take | None,
        progress: Callable[[float], object],
    ) -> int:
        """Write the song at the reference level to `scratch` as float32; returns the frames sung anew.

        Windows begin at multiples of their size and are rendered as a whole, so that each comes out the same
        bit for bit whichever others are rendered; those in which nothing changed come from `take`.
        """
        frames, hop, sung = len(score.f0), self.voice.audio.hop_length, 0
        reach = self.reach(options)
        size = max(1, round(options.window_seconds * self.voice.audio.frame_rate))
        if self.voice.diff_svc:
            size = max(size, DIFF_SVC_WINDOW_REACHES * reach)
        changed = take.changed(score.melody, reach) if take else np.ones(frames, bool)
        for start in range(0, frames, size):
            stop = min(start + size, frames)
            if take and not changed[start:stop].any():
                audio = take.read(start * hop, (stop - start) * hop)
            else:
                audio, sung = self.window(score, start, stop, options), sung + stop - start
            if not np.isfinite(audio).all():
                raise AudioError(
                    "the voice gave samples that are not finite; its file is damaged, get it again"
                )
            scratch.write(audio.astype(np.float32).tobytes())
            progress(stop / frames)
        return sung

    def reach(self, options: ConvertOptions) -> int:
        """Frames on each side that a frame depends on."""
        return self.acoustic.halo_frames(options.sampler, options.steps) + self.vocoder.halo_frames

    def work(self, frames: int, options: ConvertOptions) -> float:
        """What rendering so many frames in one go costs, in evaluations of the denoiser on one frame."""
        evaluations = self.acoustic.evaluations(options.sampler, options.steps)
        return (frames + 2 * self.reach(options)) * (WORK_BESIDE + evaluations)

    def window(self, score: Score, start: int, stop: int, options: ConvertOptions) -> np.ndarray:
        """Samples of the frames start..stop, the same whatever the window, (n,) float32."""
        frames, hop = len(score.f0), self.voice.audio.hop_length
        gate = gate_of(score.features.silent, start, stop, hop)
        if not gate.any():
            return gate
        inner = max(0, start - self.vocoder.halo_frames), min(frames, stop + self.vocoder.halo_frames)
        reach = self.acoustic.halo_frames(options.sampler, options.steps)
        outer = max(0, inner[0] - reach), min(frames, inner[1] + reach)
        mel = self._sample(score, outer[0], outer[1], options)[..., inner[0] - outer[0] : inner[1] - outer[0]]
        f0, voiced, phase = (
            _batch(x[inner[0] : inner[1]]) for x in (score.f0, score.features.voiced, score.phase)
        )
        audio = self.vocoder(mel, f0, voiced, phase=phase, start_frame=inner[0], seed=options.seed)[0].numpy()
        audio = audio[(start - inner[0]) * hop : (stop - inner[0]) * hop]
        return audio * gate

    def _sample(self, score: Score, start: int, stop: int, options: ConvertOptions) -> torch.Tensor:
        """Mel of the frames start..stop, (1, M, T)."""
        heard, audio = score.features, self.voice.audio
        if isinstance(self.acoustic, DiffSvcModel):
            return self.acoustic.sing(
                np.asarray(heard.units50),
                score.f0,
                start,
                stop,
                sampler=options.sampler,
                steps=options.steps,
                temperature=options.temperature,
                seed=options.seed + 1,
            )
        f0, voiced, loudness = (_batch(x[start:stop]) for x in (score.f0, heard.voiced, heard.loudness))
        said = score.articulation
        return self.acoustic.sample(
            torch.from_numpy(heard.window(start, stop))[None],
            f0,
            voiced,
            loudness,
            self.voice.speaker,
            noise=frame_noise(options.seed + 1, start, stop - start, audio.n_mels)[None],
            sampler=options.sampler,
            steps=options.steps,
            temperature=options.temperature,
            away=score.singer,
            guidance=options.guidance,
            articulation=None if said is None else options.articulation * _batch(said[:, start:stop]),
        )


def _batch(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))[None]
