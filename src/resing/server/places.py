"""Where a server keeps its things: one folder, in which names are made here and never come from outside.

server/queue.sqlite       every job and upload, and what became of it
server/token              what opens the door
server/uploads/ID         a file as it was sent
server/jobs/ID/           what a job made
server/samples/ID.flac    how a voice sounds
server/workers/ID.lock    held by a worker as long as it lives
"""

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from resing.cache import home

ID = re.compile(r"[a-z2-7]{26}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def new_id() -> str:
    """A name that nobody guesses: 130 random bits in 26 letters and digits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(26))


def check_id(name: str) -> str:
    """The name, if it is one made by `new_id`.

    Raises:
        ValueError: it is not.
    """
    if not ID.fullmatch(name):
        raise ValueError(f"got {name[:40]!r}, expected 26 letters and digits")
    return name


@dataclass(frozen=True)
class Places:
    """The folders of a server.

    Attributes:
        root: in which all else lies.
    """

    root: Path

    @classmethod
    def usual(cls) -> "Places":
        """Those of this user, made if they are not there, closed to others."""
        places = cls(home() / "server")
        for folder in (places.root, places.uploads, places.jobs, places.samples, places.workers):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return places

    @property
    def database(self) -> Path:
        """Of jobs and uploads, where no other is named."""
        return self.root / "queue.sqlite"

    @property
    def uploads(self) -> Path:
        """A file each."""
        return self.root / "uploads"

    @property
    def jobs(self) -> Path:
        """A folder each."""
        return self.root / "jobs"

    @property
    def samples(self) -> Path:
        """A sound for each voice that was asked for it."""
        return self.root / "samples"

    @property
    def workers(self) -> Path:
        """A lock each."""
        return self.root / "workers"

    def upload(self, name: str) -> Path:
        """The file of an upload."""
        return self.uploads / check_id(name)

    def job(self, name: str) -> Path:
        """The folder of a job."""
        return self.jobs / check_id(name)

    def token(self, renew: bool = False) -> str:
        """What opens the door, kept from start to start, readable by this user alone.

        Args:
            renew: make another, so that the old one opens nothing any more.
        """
        path = self.root / "token"
        if not renew and path.is_file() and (kept := path.read_text(encoding="ascii").strip()):
            return kept
        fresh = secrets.token_urlsafe(24)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(fresh)
        return fresh
