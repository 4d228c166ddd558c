"""The community's models that can be fetched: where each lies, how large it is, its hash and its terms."""

from dataclasses import dataclass

HUGGING_FACE = "https://huggingface.co"


@dataclass(frozen=True)
class Model:
    """One entry of the catalogue.

    Attributes:
        name: what commands call it.
        what: what it does, in a few words.
        source: repository that publishes it.
        file: the published file, a path in the repository or the name of a release's file.
        revision: of the repository, or the release; a branch is given only where a hash fixes the content.
        licence: of the weights.
        licence_url: where its text is.
        non_commercial: commercial use is not allowed, so the user accepts the licence first.
        size: in bytes; None where it is not known.
        sha256: of the file; its first digits where no more is known, "" where nothing is.
        on_hugging_face: published there, else as a release on GitHub.
        member: how the wanted file in a zip ends; "" where the file itself is wanted.
        places: keys under which a checkpoint keeps the weights, tried in order; the top level comes last.
    """

    name: str
    what: str
    source: str
    file: str
    revision: str
    licence: str
    licence_url: str
    non_commercial: bool = False
    size: int | None = None
    sha256: str = ""
    on_hugging_face: bool = False
    member: str = ""
    places: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where the file is fetched from."""
        if self.on_hugging_face:
            return f"{HUGGING_FACE}/{self.source}/resolve/{self.revision}/{self.file}"
        return f"https://github.com/{self.source}/releases/download/{self.revision}/{self.file}"

    @property
    def file_name(self) -> str:
        """The file's own name, without folders."""
        return self.file.rsplit("/", 1)[-1]

    @property
    def published_hash(self) -> bool:
        """Whether the whole SHA-256 is known beforehand; otherwise it is pinned at the first use."""
        return len(self.sha256) == 64


CATALOGUE = {
    model.name: model
    for model in (
        Model(
            name="contentvec",
            what="content units, 768 or 256 wide, 50 a second",
            source="lj1995/VoiceConversionWebUI",
            file="hubert_base/pytorch_model.bin",
            revision="main",
            licence="MIT",
            licence_url="https://github.com/auspicious3000/contentvec",
            size=189206711,
            sha256="cc8c20f4b90a520757260197a3ff2505705a7adbd20ad9eeaa4e1a9b38442ef5",
            on_hugging_face=True,
        ),
        Model(
            name="hubert-soft",
            what="content units, 256 wide, 50 a second",
            source="bshall/hubert",
            file="hubert-soft-0d54a1f4.pt",
            revision="v0.1",
            licence="MIT",
            licence_url="https://github.com/bshall/hubert",
            sha256="0d54a1f4",
            places=("hubert",),
        ),
        Model(
            name="rmvpe",
            what="pitch tracker, 100 frames a second",
            source="lj1995/VoiceConversionWebUI",
            file="rmvpe.pt",
            revision="main",
            licence="MIT",
            licence_url="https://github.com/Dream-High/RMVPE",
            size=181184272,
            sha256="6d62215f4306e3ca278246188607209f09af3dc77ed4232efdd069798c4ec193",
            on_hugging_face=True,
        ),
        Model(
            name="nsf-hifigan",
            what="vocoder, 44.1 kHz, 128 mel bands",
            source="openvpi/vocoders",
            file="nsf_hifigan_44.1k_hop512_128bin_2024.02.zip",
            revision="nsf-hifigan-44.1k-hop512-128bin-2024.02",
            licence="CC BY-NC-SA 4.0",
            licence_url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
            non_commercial=True,
            member=".ckpt",
            places=("generator",),
        ),
    )
}
