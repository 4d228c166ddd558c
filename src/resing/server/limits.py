"""What a server allows: every cap and its one default."""

from pydantic import Field

from resing.config import Settings

MIB, GIB = 1 << 20, 1 << 30
MINUTE, HOUR = 60.0, 3600.0


class Limits(Settings):
    """Caps on what comes in, what waits, what runs and what is kept.

    Attributes:
        upload_bytes: of one file.
        body_bytes: of any other request.
        voice_bytes: of a voice file that is brought in.
        upload_seconds, stall_seconds: a body takes no longer in all, and no longer between two pieces.
        sound_seconds, channels, sample_rate: of a decoded file.
        recordings: files that a voice is made of.
        check_seconds, check_bytes: processor time and memory for looking at an uploaded file.
        checks: files looked at at once.
        waiting: jobs in the queue.
        requests_per_minute: from one address; uploads and jobs count tenfold.
        streams: progress streams open at once.
        connections: open at once.
        listen_job_seconds, convert_job_seconds, voice_job_seconds: working time of a job.
        stored_bytes: uploads and results together.
        kept_seconds: results and uploads are deleted this long after they were last of use.
    """

    upload_bytes: int = Field(default=512 * MIB, gt=0)
    body_bytes: int = Field(default=256 << 10, gt=0)
    voice_bytes: int = Field(default=128 * MIB, gt=0)
    upload_seconds: float = Field(default=10 * MINUTE, gt=0)
    stall_seconds: float = Field(default=20.0, gt=0)
    sound_seconds: float = Field(default=30 * MINUTE, gt=0)
    channels: int = Field(default=8, gt=0)
    sample_rate: int = Field(default=192000, gt=0)
    recordings: int = Field(default=500, gt=0)
    check_seconds: float = Field(default=60.0, gt=0)
    check_bytes: int = Field(default=2 * GIB, gt=0)
    checks: int = Field(default=2, gt=0)
    waiting: int = Field(default=50, gt=0)
    requests_per_minute: int = Field(default=1200, gt=0)
    streams: int = Field(default=16, gt=0)
    connections: int = Field(default=200, gt=0)
    listen_job_seconds: float = Field(default=30 * MINUTE, gt=0)
    convert_job_seconds: float = Field(default=2 * HOUR, gt=0)
    voice_job_seconds: float = Field(default=24 * HOUR, gt=0)
    stored_bytes: int = Field(default=20 * GIB, gt=0)
    kept_seconds: float = Field(default=24 * HOUR, gt=0)
