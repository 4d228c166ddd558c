"""Models of the community on this machine: fetched once, checked, converted, and found again by name.

A model is one file, `models/NAME.safetensors` in the user's folder, whose header says where it came from. Its
published file is read once, in a child process (`checkpoint_foreign`), and not kept.
"""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from torch import Tensor

from resing import checkpoint, checkpoint_foreign, hub_fetch
from resing.cache import home
from resing.errors import DownloadError, VoiceError
from resing.hub_catalogue import CATALOGUE, Model
from resing.whole import whole

HASH = re.compile("[0-9a-f]{64}")
LARGEST_MEMBER = 1 << 30

AnyNet = TypeVar("AnyNet")
Progress = Callable[[str, float, float], object]
"""Told of a stage, how much of it is done, of how much."""


@dataclass(frozen=True)
class Held:
    """A model of the catalogue and what of it is here.

    Attributes:
        model: the entry.
        path: where it lies, or would lie.
        here: it can be used.
        verified: True where its published file had the published hash, False where that hash is not known
            beforehand and was pinned at the first use, None where the model is not here.
        source_sha256: of the published file, "" where the model is not here.
    """

    model: Model
    path: Path
    here: bool = False
    verified: bool | None = None
    source_sha256: str = ""

    @property
    def digest(self) -> str:
        """A short id of the published file, which says where it is unverified."""
        return f"{'' if self.verified else 'unverified-'}{self.source_sha256[:12]}"

    @property
    def state(self) -> str:
        """In a word: here, here (unverified), not here."""
        if not self.here:
            return "not here"
        return "here" if self.verified else "here (unverified)"

    def record(self) -> dict[str, Any]:
        """What listings print as JSON."""
        model = self.model
        return {
            "name": model.name,
            "what": model.what,
            "url": model.url,
            "revision": model.revision,
            "size": model.size,
            "sha256": model.sha256 if model.published_hash else None,
            "licence": model.licence,
            "licence_url": model.licence_url,
            "non_commercial": model.non_commercial,
            "path": str(self.path),
            "here": self.here,
            "verified": self.verified,
            "source_sha256": self.source_sha256 or None,
        }


def folder() -> Path:
    """Where models of the community lie."""
    return home() / "models"


def entry(name: str) -> Model:
    """The model of that name in the catalogue.

    Raises:
        DownloadError: there is none.
    """
    if name not in CATALOGUE:
        raise DownloadError(
            f"no model named {name!r:.60}; there are {', '.join(CATALOGUE)}: resing models list"
        )
    return CATALOGUE[name]


def look(name: str) -> Held:
    """What of a model is here, by its header alone."""
    model = entry(name)
    path = folder() / f"{name}.safetensors"
    if not path.exists():
        return Held(model, path)
    try:
        header = checkpoint.read_metadata(path)
        digest, verified = str(header["source_sha256"]), bool(header["verified"])
    except (VoiceError, KeyError):
        return Held(model, path)
    return Held(model, path, True, verified, digest)


def survey() -> list[Held]:
    """Every model of the catalogue."""
    return [look(name) for name in CATALOGUE]


def command(name: str) -> str:
    """The command that brings a model."""
    accept = " --accept-licence" if entry(name).non_commercial else ""
    return f"resing models download {name}{accept}"


def locate(name: str) -> Path:
    """Where a model lies that is here.

    Raises:
        DownloadError: it is not here; says how to get it.
    """
    held = look(name)
    if not held.here:
        raise DownloadError(f"the model {name} is not here; get it: {command(name)}")
    return held.path


def build(name: str, builder: Callable[[dict[str, Tensor]], AnyNet]) -> tuple[AnyNet, str]:
    """What a builder makes of a model that is here, and a short id of it, which says where it is unverified.

    Args:
        name: in the catalogue.
        builder: makes a network of the tensors; raises where they do not fit.

    Raises:
        DownloadError: the model is not here, or not what it should be; says how to get it.
    """
    path = locate(name)
    try:
        tensors, _ = checkpoint.load(path)
        net = builder(tensors)
    except (VoiceError, KeyError, IndexError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DownloadError(
            f"{path} is no {name} ({reason:.120}); remove it and get it again: {command(name)}"
        ) from error
    return net, look(name).digest


def verify(name: str) -> Held:
    """A model that is here, read through: undamaged, and from the file that was published or pinned.

    Raises:
        DownloadError: it is not here, or it fails.
    """
    path = locate(name)
    again = f"fetch it again: {command(name)}"
    try:
        tensors, header = checkpoint.load(path)
    except VoiceError as error:
        raise DownloadError(f"{error} Or {again}") from error
    if checkpoint.tensors_hash(tensors) != header.get("content_hash"):
        raise DownloadError(f"{path} is damaged: its weights are not those it was saved with; {again}")
    held = look(name)
    _check_hash(held.model, held.source_sha256, f"{path} was made from another file", again)
    return held


def download(
    name: str,
    *,
    accept_licence: bool = False,
    source: Path | None = None,
    progress: Progress | None = None,
) -> Held:
    """Bring a model: from a file, the hub's cache on this machine, or the network; checked, then converted.

    Args:
        name: in the catalogue.
        accept_licence: the user has read a licence that forbids commercial use.
        source: the published file, fetched elsewhere; it is not changed.
        progress: told how far it is; raise from it to cancel.

    Raises:
        DownloadError: the licence is not accepted, the file cannot be had, or is not the published one.
    """
    model, held = entry(name), look(name)
    if held.here and source is None:
        return verify(name)
    if model.non_commercial and not accept_licence:
        raise DownloadError(
            f"{name} is under {model.licence}, which forbids commercial use: read {model.licence_url}; to "
            f"accept it: {command(name)}"
        )
    folder().mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder() / f"{name}.lock", timeout=0):
            return _bring(model, held.path, source, progress or (lambda stage, done, total: None))
    except Timeout:
        raise DownloadError(f"{name} is being fetched by another process; wait for it") from None


def _bring(model: Model, path: Path, source: Path | None, tell: Progress) -> Held:
    part = folder() / f"{model.name}.part"
    published = source or _in_hub_cache(model)
    if published is None:
        published = part
        hub_fetch.fetch(model.url, part, model.size, lambda done, total: tell("fetch", done, total or done))
    elif not published.is_file():
        raise DownloadError(f"{published}: no such file; give the published {model.file_name}")
    digest = checkpoint.file_hash(published)
    try:
        _check_hash(model, digest, f"{published} is not the published {model.file_name}", "get it again")
    except DownloadError:
        part.unlink(missing_ok=True)
        raise
    tell("convert", 0.0, 1.0)
    _convert(model, published, digest, path)
    tell("convert", 1.0, 1.0)
    part.unlink(missing_ok=True)
    return look(model.name)


def _check_hash(model: Model, digest: str, what: str, repair: str) -> None:
    """The published hash, or the one pinned at the first use; pins it if this is the first."""
    pin = folder() / f"{model.name}.sha256"
    pinned = pin.read_text(encoding="ascii", errors="replace").strip() if pin.is_file() else ""
    expected = model.sha256 if model.published_hash else pinned or model.sha256
    if not digest.startswith(expected):
        known = "" if model.published_hash or not pinned else f", pinned at its first use in {pin}"
        raise DownloadError(f"{what}: SHA-256 {digest}, expected {expected}{known}; {repair}")
    if not model.published_hash and not pinned:
        with whole(pin) as temporary:
            temporary.write_text(digest + "\n", encoding="ascii")


def _in_hub_cache(model: Model) -> Path | None:
    """The published file in Hugging Face's own cache, where another program has put it there."""
    if not (model.on_hugging_face and model.published_hash):
        return None
    home_ = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home_ / "hub")
    snapshots = cache / f"models--{model.source.replace('/', '--')}" / "snapshots"
    for path in sorted(snapshots.glob(f"*/{model.file}")):
        if (
            path.is_file()
            and path.stat().st_size == model.size
            and checkpoint.file_hash(path) == model.sha256
        ):
            return path
    return None


def _convert(model: Model, published: Path, digest: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="resing-", dir=folder()) as scratch:
        wanted = _member(model, published, Path(scratch)) if model.member else published
        try:
            tensors = checkpoint_foreign.read(wanted, model.places)
        except VoiceError as error:
            raise DownloadError(str(error)) from error
    header = {
        "model": model.name,
        "url": model.url,
        "licence": model.licence,
        "source_sha256": digest,
        "verified": model.published_hash,
        "content_hash": checkpoint.tensors_hash(tensors),
    }
    checkpoint.save(path, tensors, header)


def _member(model: Model, archive: Path, scratch: Path) -> Path:
    """The one wanted file of a zip, under a name of ours."""
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [i for i in opened.infolist() if i.filename.endswith(model.member) and i.file_size]
            if len(found) != 1 or found[0].file_size > LARGEST_MEMBER:
                raise DownloadError(
                    f"{archive}: got {len(found)} files that end in {model.member}, expected one of at most "
                    f"{LARGEST_MEMBER >> 20} MB; get the published {model.file_name}"
                )
            out = scratch / "weights"
            with opened.open(found[0]) as inner, open(out, "wb") as file:
                shutil.copyfileobj(inner, file, 1 << 20)
            return out
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise DownloadError(f"{archive}: not a zip that can be read ({error}); get it again") from error
