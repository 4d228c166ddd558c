"""A client for programs: the API as typed calls, with nothing but the standard library behind it.

with_voice = Client.local()
song = with_voice.send("song.mp3")
job = with_voice.convert(song.id, "kumi", ConvertOptions(transpose=-2))
job.wait(lambda now: print(now.progress.stage))
job.save("song.flac", "out.flac")
"""

import http.client
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, TypeAdapter

from resing.config import ConvertOptions, PresetName, SongOptions, TrainingConfig
from resing.errors import ConfigError, ResingError
from resing.server import schema
from resing.server.database import OVER
from resing.server.places import Places
from resing.training.request import VoiceFacts
from resing.whole import whole

Model = TypeVar("Model", bound=BaseModel)
LOOK_SECONDS = 0.5
TIMEOUT_SECONDS = 300.0


class RefusedError(ResingError):
    """The server refused something; `status` is that of HTTP, `code` its short name."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Client:
    """A server.

    Args:
        address: such as http://127.0.0.1:8765.
        token: that it printed when it started.
    """

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"got the address {address!r}, expected such as http://127.0.0.1:8765")
        self.address, self.token = parts, token

    @classmethod
    def local(cls, port: int = 8765) -> "Client":
        """The server of this user on this machine, whose token lies in a file that only this user reads."""
        return cls(f"http://127.0.0.1:{port}", Places.usual().token())

    def about(self) -> schema.About:
        """Version, limits and defaults."""
        return schema.About(**self.ask("GET", "/about"))

    def voices(self) -> list[schema.VoiceAnswer]:
        """All voices."""
        return schema.Voices(**self.ask("GET", "/voices")).voices

    def send(self, path: Path | str, name: str | None = None) -> schema.Upload:
        """Send a file; it is read piece by piece.

        Args:
            path: the file.
            name: to be shown; by default the file's.
        """
        path = Path(path)
        query = urlencode({"name": name or path.name})
        with open(path, "rb") as file:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
            return schema.Upload(**self.ask("POST", f"/uploads?{query}", file, headers))

    def listen(self, upload: str) -> "Work":
        """Hear a song's notes and how it lies in each voice's range."""
        return self.start(schema.Listen(kind="listen", upload=upload))

    def convert(
        self,
        upload: str,
        voice: str,
        options: ConvertOptions | None = None,
        song: SongOptions | None = None,
        preview: bool = False,
    ) -> "Work":
        """Sing a song that was sent in a voice."""
        return self.start(
            schema.Convert(
                kind="convert",
                upload=upload,
                voice=voice,
                options=options or ConvertOptions(),
                song=song or SongOptions(),
                preview=preview,
            )
        )

    def retake(self, job: str, start_seconds: float, end_seconds: float) -> "Work":
        """Sing a phrase of a conversion once more; gives the whole song with the other take in it.

        Args:
            job: id of the conversion, or of an earlier retake.
            start_seconds: of the place in the song where the phrase is.
            end_seconds: of the same.
        """
        place = {"start_seconds": start_seconds, "end_seconds": end_seconds}
        return self.start(schema.Retake(kind="retake", job=job, **place))

    def score(self, job: str) -> "Work":
        """Judge what a conversion made."""
        return self.start(schema.Score(kind="score", job=job))

    def look_at(self, uploads: list[str], songs: bool = False, preset: PresetName = "embedded") -> "Work":
        """Look at recordings for a voice that will be made with a preset."""
        heard = schema.Recordings(kind="recordings", uploads=tuple(uploads), songs=songs, preset=preset)
        return self.start(heard)

    def create_voice(
        self, recordings: str, facts: VoiceFacts, training: TrainingConfig | None = None
    ) -> "Work":
        """Make a voice of recordings that were looked at, by the id of that job."""
        training = training or TrainingConfig()
        return self.start(
            schema.CreateVoice(kind="voice", recordings=recordings, facts=facts, training=training)
        )

    def start(self, request: schema.Request) -> "Work":
        """Ask for any work."""
        made = schema.NewJob(**self.ask("POST", "/jobs", request))
        return Work(self, made.job.id, made.secret)

    def jobs(self) -> list[schema.Job]:
        """The newest jobs."""
        return TypeAdapter(list[schema.Job]).validate_python(self.ask("GET", "/jobs"))

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The JSON that the server answers; `body` is a record, a file or nothing.

        Raises:
            RefusedError: it refuses.
        """
        if isinstance(body, BaseModel):
            body = body.model_dump_json().encode()
            headers = {"Content-Type": "application/json"} | (headers or {})
        answer, line = self._open(method, path, body, headers or {})
        try:
            content = answer.read()
        finally:
            line.close()
        return json.loads(content) if content else None

    def fetch(self, path: str, out: Path, headers: dict[str, str]) -> None:
        """Write what the server answers to a file, whole or not at all."""
        answer, line = self._open("GET", path, None, headers)
        try:
            with whole(out) as temporary, open(temporary, "wb") as file:
                shutil.copyfileobj(answer, file)
        finally:
            line.close()

    def _open(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        host = str(self.address.hostname)
        kind = http.client.HTTPSConnection if self.address.scheme == "https" else http.client.HTTPConnection
        line = kind(host, self.address.port, timeout=TIMEOUT_SECONDS)
        known = {"Authorization": f"Bearer {self.token}"}
        try:
            line.request(method, f"/api{path}", body, known | headers)
            answer = line.getresponse()
        except OSError as error:
            line.close()
            raise ConfigError(
                f"{self.address.netloc} does not answer ({error}); start the server: resing serve"
            ) from error
        if answer.status >= 400:
            content = answer.read()
            line.close()
            raise _refusal(answer.status, content)
        return answer, line


@dataclass(frozen=True)
class Work:
    """A job that was asked for, with its secret: keep both to come back to it later."""

    client: Client
    id: str
    secret: str

    def now(self) -> schema.Job:
        """How it is doing."""
        return schema.Job(**self.client.ask("GET", f"/jobs/{self.id}"))

    def watch(self) -> Iterator[schema.Job]:
        """The job now and then until it is over."""
        while True:
            job = self.now()
            yield job
            if job.state in OVER:
                return
            time.sleep(LOOK_SECONDS)

    def wait(self, tell: Callable[[schema.Job], object] | None = None) -> dict[str, Any]:
        """What it found out, when it is over.

        Args:
            tell: told of the job now and then.

        Raises:
            RefusedError: it failed or was cancelled.
        """
        for job in self.watch():
            if tell:
                tell(job)
        if job.state != "done":
            problem = job.error or schema.Problem(code=job.state, message=f"the job was {job.state}")
            raise RefusedError(409, problem.code, problem.message)
        return self.result()

    def result(self) -> dict[str, Any]:
        """What it found out."""
        return dict(self.client.ask("GET", f"/jobs/{self.id}/result", None, self._key)["result"])

    def save(self, name: str, out: Path | str) -> Path:
        """Write a file that it made, such as song.flac; returns where.

        Args:
            name: as in `now().files`.
            out: the file to write.
        """
        self.client.fetch(f"/jobs/{self.id}/files/{quote(name, safe='')}", Path(out), self._key)
        return Path(out)

    def cancel(self) -> schema.Job:
        """End it."""
        return schema.Job(**self.client.ask("POST", f"/jobs/{self.id}/cancel"))

    def retry(self) -> schema.Job:
        """Put it into the queue again after it failed or was cancelled."""
        return schema.Job(**self.client.ask("POST", f"/jobs/{self.id}/retry"))

    def forget(self) -> None:
        """Delete it with what it made."""
        self.client.ask("DELETE", f"/jobs/{self.id}", None, self._key)

    @property
    def _key(self) -> dict[str, str]:
        return {"X-Job-Secret": self.secret}


def _refusal(status: int, content: bytes) -> RefusedError:
    try:
        problem = schema.Failure(**json.loads(content)).error
    except ValueError:
        return RefusedError(status, "error", f"the server said {status}: {content[:200]!r}")
    return RefusedError(status, problem.code, problem.message)
