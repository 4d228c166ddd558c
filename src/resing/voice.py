"""A voice in one .safetensors file: weights, settings, and a card that says whose it is and its terms.

Voices lie in two folders: the user's own, and those shipped with the package.
"""

import difflib
import os
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from resing import checkpoint
from resing.cache import home
from resing.config import AudioConfig, DiffSvcConfig, FeaturesConfig, ModelConfig
from resing.errors import VoiceError
from resing.nets.adapter import adapter_tensors, merge_adapters
from resing.synthesis import acoustic, diff_svc
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.diff_svc import DiffSvcModel
from resing.voice_file import (
    AGAIN,
    NAME,
    Contents,
    Installed,
    VoiceCard,
    add_voice_adapters,
    header,
    read_card,
    read_contents,
)

__all__ = [
    "Installed",
    "Voice",
    "VoiceCard",
    "add_voice_adapters",
    "check_name",
    "find",
    "home",
    "survey",
    "user_folder",
]

SUFFIX = ".safetensors"
SHIPPED = Path(__file__).parent / "weights" / "voices"


def user_folder() -> Path:
    """Where the user's own voices lie."""
    return home() / "voices"


def check_name(name: str) -> str:
    """The name, if it can be a voice's.

    Raises:
        VoiceError: it holds something else than letters, digits, - and _, or is too long.
    """
    if not NAME.fullmatch(name):
        raise VoiceError(
            f"{name!r} cannot be a voice's name; expected up to 64 letters, digits, - and _, "
            "the first a letter or digit"
        )
    return name


class Voice:
    """A voice ready to sing.

    Args:
        card: what it says about itself.
        model: shape of the acoustic model it changes.
        audio: the signal it was trained on.
        speaker: its vector, (S,) or (1, S).
        adapters: its changes to the base model as `adapter_tensors` names them; none is allowed.
        merged: instead of adapters, all weights of the acoustic network (a full voice).
        features: how its recordings were heard.
        diff_svc: shape of a voice as Diff-SVC makes them, whose networks `merged` then holds.

    Attributes:
        speaker: (1, S) float32.
    """

    def __init__(
        self,
        card: VoiceCard,
        model: ModelConfig,
        audio: AudioConfig,
        speaker: Tensor,
        adapters: dict[str, Tensor] | None = None,
        merged: dict[str, Tensor] | None = None,
        features: FeaturesConfig | None = None,
        diff_svc: DiffSvcConfig | None = None,
    ) -> None:
        if adapters and merged:
            raise ValueError("a voice holds adapters or merged weights, not both")
        self.card, self.model, self.audio = card, model, audio
        self.features, self.diff_svc = features or FeaturesConfig(), diff_svc
        self.speaker = speaker.detach().cpu().float().reshape(1, -1)
        self.adapters = {n: t.detach().cpu().half() for n, t in (adapters or {}).items()}
        self.merged = {n: t.detach().cpu().float() for n, t in (merged or {}).items()}

    @property
    def full(self) -> bool:
        """Whether the voice carries the whole acoustic model and needs no base."""
        return bool(self.merged)

    @cached_property
    def acoustic(self) -> AcousticModel | DiffSvcModel:
        """The acoustic model with this voice's changes merged in, built when first asked for."""
        if self.diff_svc:
            own = diff_svc.build(self.diff_svc)
            own.load_state_dict(self.merged, strict=True)
            return DiffSvcModel(own, self.diff_svc)
        if self.full:
            net = acoustic.build(self.model, self.audio)
            net.load_state_dict(self.merged, strict=True)
            return AcousticModel(net, self.model, self.card.base_hash)
        base = AcousticModel.load(acoustic.EMBEDDED)
        if base.base_hash != self.card.base_hash:
            raise VoiceError(
                f"the voice {self.card.name} needs the base model {self.card.base_hash[:12]}, installed is "
                f"{base.base_hash[:12]}; {AGAIN}"
            )
        if self.adapters:
            add_voice_adapters(base.net, self.model.adapter_rank)
            with torch.no_grad():
                for name, parameter in adapter_tensors(base.net).items():
                    parameter.copy_(self.adapters[name])
            merge_adapters(base.net)
            base.net.requires_grad_(False)
        return base

    @cached_property
    def base(self) -> AcousticModel | None:
        """The model that sings in any voice whose vector it is given; None where one voice is all it knows.

        A full voice that was a change of another base than is installed stands for that base.
        """
        if self.diff_svc or not self.card.base_hash:
            return None
        installed = AcousticModel.load(acoustic.EMBEDDED)
        if installed.base_hash == self.card.base_hash:
            return installed
        assert isinstance(self.acoustic, AcousticModel)
        return self.acoustic

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> "Voice":
        """The voice of that name, the user's own before the shipped ones, or in that file.

        Args:
            name_or_path: a name, or a path (anything with a folder part or ending in .safetensors).

        Raises:
            VoiceError: unknown, damaged, or made for another base model or encoder than is installed.
        """
        if _is_path(name_or_path):
            return cls._open(Path(name_or_path))
        return cls._open(find(str(name_or_path)), str(name_or_path))

    @classmethod
    def _open(cls, path: Path, name: str | None = None) -> "Voice":
        """The voice in `path`, whose card must bear `name`, if that is given."""
        contents = read_contents(path)
        card, stored = contents.card, contents.tensors
        if name is not None and card.name != name:
            raise VoiceError(_misnamed(path, card))
        adapters = {n.removeprefix("adapter."): t for n, t in stored.items() if n.startswith("adapter.")}
        merged = {n.removeprefix("net."): t for n, t in stored.items() if n.startswith("net.")}
        return cls(
            card,
            contents.model,
            contents.audio,
            stored["speaker"],
            adapters,
            merged,
            contents.features,
            contents.diff_svc,
        )

    @staticmethod
    def list() -> "list[VoiceCard]":
        """The cards of all voices that can be opened, by name; see `survey` for the others."""
        return survey()[0]

    @classmethod
    def install(cls, path: str | os.PathLike[str], replace: bool = False) -> "Voice":
        """Check a voice file and put it among the user's voices under its card's name.

        Args:
            path: the file.
            replace: whether it may take the place of a voice of that name.

        Raises:
            VoiceError: the file fails a check, or the name is taken.
        """
        voice = cls._open(Path(path))
        name = voice.card.name
        if not replace and name in _files():
            raise VoiceError(f"a voice named {name} is already here; to replace it, add --replace")
        voice.save(user_folder() / f"{name}{SUFFIX}")
        return voice

    @staticmethod
    def remove(name: str) -> Path:
        """Delete one of the user's voices; returns where it lay.

        Raises:
            VoiceError: unknown, or shipped with the package.
        """
        path = find(name)
        if path.parent != user_folder():
            raise VoiceError(f"{name} ships with Resing and stays; only your own voices can be removed")
        path.unlink()
        return path

    @classmethod
    def export(cls, name: str, out: str | os.PathLike[str], full: bool = False) -> Path:
        """Write a voice to a file to share; returns the file.

        Args:
            name: of the voice.
            out: the file, ending in .safetensors, or an existing folder.
            full: carry the whole acoustic model, so that the file opens beside any base model.

        Raises:
            VoiceError: unknown voice, or the file cannot be written.
        """
        voice, out = cls.load(name), Path(out)
        out = out / f"{voice.card.name}{SUFFIX}" if out.is_dir() else out
        if out.suffix != SUFFIX:
            raise VoiceError(f"{out}: a voice file ends in {SUFFIX}; write to {out.with_suffix(SUFFIX).name}")
        if not out.parent.is_dir():
            raise VoiceError(f"{out}: no such folder {out.parent}; create it: mkdir -p '{out.parent}'")
        (voice.merge() if full else voice).save(out)
        return out

    def merge(self) -> "Voice":
        """The same voice with the base model inside; it sings bit for bit the same."""
        if self.full:
            return self
        weights = self.acoustic.net.state_dict()
        return Voice(self.card, self.model, self.audio, self.speaker, merged=weights, features=self.features)

    def tensors(self) -> dict[str, Tensor]:
        """What is stored, by its name in the file."""
        changes = {f"adapter.{n}": t for n, t in self.adapters.items()}
        return {"speaker": self.speaker[0]} | changes | {f"net.{n}": t for n, t in self.merged.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the voice, whole or not at all.

        Raises:
            VoiceError: a weight is not finite, or the file cannot be written.
        """
        tensors = self.tensors()
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise VoiceError(f"voice {self.card.name}: {name} holds NaN or infinity; train it again")
        contents = Contents(self.card, self.model, self.audio, self.features, tensors, self.diff_svc)
        try:
            checkpoint.save(Path(path), tensors, header(contents))
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VoiceError(
                f"{path}: cannot be written ({reason}); free some space or write elsewhere"
            ) from error


def _is_path(name_or_path: str | os.PathLike[str]) -> bool:
    if not isinstance(name_or_path, str):
        return True
    return "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(SUFFIX)


def _misnamed(path: Path, card: VoiceCard) -> str:
    return f"{path} holds the voice {card.name}; rename the file to {card.name}{SUFFIX}"


def _files() -> dict[str, Path]:
    """Voice files by name; the user's own hide shipped ones of the same name."""
    folders = (SHIPPED, user_folder())
    return {
        p.stem: p for folder in folders for p in sorted(folder.glob(f"*{SUFFIX}")) if NAME.fullmatch(p.stem)
    }


def find(name: str) -> Path:
    """The file of the voice called `name`.

    Raises:
        VoiceError: there is none; says which names are near.
    """
    files = _files()
    if name not in files:
        near = difflib.get_close_matches(name.lower(), [n.lower() for n in files], n=3, cutoff=0.5)
        named = [n for n in files if n.lower() in near] or sorted(files)[:8]
        hint = f"did you mean {' or '.join(named)}?" if near else f"here are: {', '.join(named) or 'none'}."
        raise VoiceError(f"no voice named {name!r}; {hint} All voices: resing voice list")
    return files[name]


def survey() -> tuple[list[VoiceCard], list[str]]:
    """The cards of all voices by name, and in plain words what is wrong with files that have none."""
    cards, problems = [], []
    for name, path in sorted(_files().items()):
        try:
            card = read_card(path)
            if card.name != name:
                raise VoiceError(_misnamed(path, card))
            cards.append(card)
        except VoiceError as error:
            problems.append(str(error))
    return cards, problems
