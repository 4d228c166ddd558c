"""How long a song will take on this machine: said before it starts, learnt from every run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from resing import cache
from resing.whole import whole

USUAL = {"separate": 0.05, "listen": 0.03, "sing": 0.05, "mix": 0.06}
"""Seconds of work per second of song by stage, on two cores, before anything was learnt."""
WARM_UP_SECONDS = 2.0
"""Opening the models, however short the song is."""
NEW_SHARE = 0.5
"""Weight of the newest run among those before it."""
REMEMBERED_SHARE = 0.1
"""A stage faster than this share of its pace did nothing: its result was kept from an earlier run."""
SHORTEST_SECONDS = 20.0
"""A run over less song than this says little about pace."""


@dataclass(frozen=True)
class Pace:
    """Seconds of work per second of song, by stage."""

    per_second: Mapping[str, float]

    @classmethod
    def known(cls) -> Self:
        """What earlier runs on this machine took, or what is usual before the first."""
        try:
            kept = json.loads(_file().read_text(encoding="utf-8"))
            return cls(USUAL | {k: float(v) for k, v in kept.items() if k in USUAL and float(v) > 0})
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(USUAL)

    def estimate(self, stages: Mapping[str, float]) -> float:
        """Seconds that a run will take.

        Args:
            stages: seconds of song that each stage has to do.
        """
        return WARM_UP_SECONDS + sum(self.per_second[name] * seconds for name, seconds in stages.items())

    def learn(self, seconds: float, times: Mapping[str, float]) -> "Pace":
        """The pace with a run taken into account, kept for the next one.

        Args:
            seconds: of song.
            times: seconds that each stage took.
        """
        if seconds < SHORTEST_SECONDS:
            return self
        seen = dict(self.per_second)
        for name in seen.keys() & times.keys():
            new = times[name] / seconds
            if new > REMEMBERED_SHARE * seen[name]:
                seen[name] = (1 - NEW_SHARE) * seen[name] + NEW_SHARE * new
        learnt = Pace(seen)
        try:
            _file().parent.mkdir(parents=True, exist_ok=True)
            with whole(_file()) as temporary:
                temporary.write_text(json.dumps(seen), encoding="utf-8")
        except OSError:
            return learnt  # without a cache only the next estimate is worse
        return learnt


def _file() -> Path:
    return cache.folder() / "pace.json"
