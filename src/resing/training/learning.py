"""What each preset has to learn, and the voice that comes of it."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from resing import checkpoint, hub
from resing.config import PRESETS, FeaturesConfig, Preset, PresetName, TrainingConfig
from resing.features import content, ears, hubert
from resing.nets.convnext import DepthwiseConv
from resing.synthesis import acoustic
from resing.synthesis.acoustic import AcousticModel, mean_speaker
from resing.training.dataset import VoiceData
from resing.training.doctor import several_voices
from resing.training.task import OwnNet, VoiceNet, VoiceTask, speaker_vectors
from resing.training.task_classic import ClassicNet, ClassicTask
from resing.voice import Installed, Voice, VoiceCard

AnyTask = VoiceTask | ClassicTask


@dataclass(frozen=True)
class Learning:
    """A voice about to learn.

    Attributes:
        task: for the loop.
        stamp: what must be the same for a training to be taken up again.
        notes: what the user should know, in plain words.
    """

    task: AnyTask
    stamp: dict[str, Any]
    notes: list[str]


def models(name: PresetName) -> Installed:
    """The models a preset's voices depend on, as their cards name them.

    Raises:
        DownloadError: one that listens is not here; says how to get it.
    """
    preset, installed = PRESETS[name], Installed.read()
    ears.require(preset.features, f"the preset {name}")
    if not preset.model and not preset.diff_svc:
        return installed
    kind = preset.features.content_encoder
    foreign = hubert.MODELS.get(kind)
    return replace(
        installed,
        base_hash="",
        encoder_id=f"{kind}-{hub.look(foreign).digest}" if foreign else installed.encoder_id,
        vocoder_id=preset.vocoder or installed.vocoder_id,
        model=preset.model or installed.model,
    )


def encoder_hash(features: FeaturesConfig) -> str:
    """SHA-256 of the encoder's file, as published."""
    foreign = hubert.MODELS.get(features.content_encoder)
    return hub.look(foreign).source_sha256 if foreign else checkpoint.file_hash(content.EMBEDDED)


def begin(name: PresetName, data: VoiceData, installed: Installed, training: TrainingConfig) -> Learning:
    """What learns in a preset, at its start; the same from the same seed.

    Args:
        name: of the preset.
        data: the recordings.
        installed: the models, see `models`.
        training: how to train.
    """
    preset, base = PRESETS[name], AcousticModel.load(acoustic.EMBEDDED)
    vectors = speaker_vectors(base, data.stretches())
    speaker = mean_speaker(vectors)
    stamp: dict[str, Any] = {"fingerprint": data.report.fingerprint, "base_hash": installed.base_hash}
    stamp |= {"adapter_rank": base.config.adapter_rank, "seed": training.seed}
    if preset.model or preset.diff_svc:
        stamp |= {"preset": name, "shape": (preset.model or preset.diff_svc).model_dump()}  # type: ignore[union-attr]
    learns = start(preset, base, speaker, data, training)
    return Learning(learns, stamp, [note for note in [several_voices(vectors.numpy())] if note])


def start(
    preset: Preset, base: AcousticModel, speaker: Tensor, data: VoiceData, training: TrainingConfig
) -> AnyTask:
    """What learns in a preset.

    Args:
        preset: the preset.
        base: the base that ships.
        speaker: the voice's vector, (S,).
        data: the recordings.
        training: batches and segments, and the seed of fresh networks.
    """
    if preset.diff_svc:
        shape = preset.diff_svc.model_copy(update={"hidden": base.config.n_units})
        classic = ClassicNet(shape, speaker, data)
        start_afresh(classic.net, training.seed)
        return ClassicTask(classic, data, training)
    if preset.model:
        net = acoustic.build(preset.model, data.audio)
        start_afresh(net, training.seed)
        net.speaker_encoder.load_state_dict(base.net.speaker_encoder.state_dict())
        return VoiceTask(OwnNet(net, speaker), data, preset.model, training)
    voice = VoiceNet(base.net, speaker, base.config.adapter_rank, training.seed)
    return VoiceTask(voice, data, base.config, training)


def start_afresh(net: nn.Module, seed: int) -> None:
    """Give the layers of an untrained network random weights that follow from the seed alone.

    Weights are even in 1 / sqrt(inputs), as torch draws them; those of convolutions, which only Diff-SVC's
    networks have, are normal as there (He et al. 2015, arXiv 1502.01852). Zeros stay, biases become zero.
    """
    random = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if not isinstance(module, nn.Linear | nn.Conv1d | nn.Embedding | DepthwiseConv):
            continue
        weight = module.weight.data
        if isinstance(module, nn.Embedding):
            weight.normal_(generator=random)
            continue
        bound = (len(weight) if isinstance(module, DepthwiseConv) else weight[0].numel()) ** -0.5
        if isinstance(module, nn.Conv1d) and weight.any():
            weight.normal_(0.0, 2**0.5 * bound, generator=random)
        elif weight.any():
            weight.uniform_(-bound, bound, generator=random)
        if module.bias is not None:
            module.bias.data.zero_()


def voice(task: AnyTask, weights: dict[str, Tensor], card: VoiceCard, installed: Installed) -> Voice:
    """The voice that a training ends in.

    Args:
        task: that was trained.
        weights: the best of what learnt, by name.
        card: of the voice.
        installed: the models it depends on.
    """
    features, model, audio = task.data.features, installed.model, installed.audio
    if isinstance(task.voice, VoiceNet):
        return adapted(weights, card, installed, features)
    learnt = _of_net(weights)
    whole = {n: t.detach().cpu().float() for n, t in task.voice.net.state_dict().items()} | learnt
    shape = task.voice.shape if isinstance(task, ClassicTask) else None
    speaker = task.voice.speaker
    return Voice(card, model, audio, speaker, merged=whole, features=features, diff_svc=shape)


def adapted(
    weights: dict[str, Tensor], card: VoiceCard, installed: Installed, features: FeaturesConfig
) -> Voice:
    """A voice that is a change of the base that ships: its vector and adapters, as they were learnt."""
    model, audio, speaker = installed.model, installed.audio, weights["speaker"]
    return Voice(card, model, audio, speaker, _of_net(weights), features=features)


def _of_net(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix("net."): t for n, t in weights.items() if n.startswith("net.")}
