"""The queue in the database: nothing accepted is lost, whoever dies, and what nobody needs goes."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import redis_server
from filelock import FileLock
from redis_server import RedisServer

from resing.errors import ConfigError, ResingError
from resing.server import database
from resing.server.database import BusyError
from resing.server.entries import StateError, UnknownError
from resing.server.keeper import Keeper
from resing.server.limits import Limits
from resing.server.places import Places, check_id, new_id
from resing.server.store import LANES, Store
from resing.server.task import OutOfTime, StopWork, Task
from resing.server.worker import work_on

SONGS = LANES["songs"]
SAMPLE = {"kind": "sample", "voice": "nobody"}
ALIVE = "a" * 26
DEAD = "d" * 26


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests here; each has its own records in it, by its RESING_HOME."""
    with redis_server.running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of its own for each test, of each kind."""
    if request.param == "redis":
        monkeypatch.setenv(database.QUEUE, request.getfixturevalue("redis").url)
    return Store(Places.usual())


def add(store: Store, kind: str = "sample", needs: tuple[str, ...] = (), waiting: int = 50) -> str:
    return store.add_job({"kind": kind}, "A title", needs, waiting)[0]


def upload(store: Store, content: bytes = b"sound") -> str:
    name = new_id()
    store.places.upload(name).write_bytes(content)
    store.add_upload("song.wav", name, {"seconds": 1.0})
    return name


def test_a_job_goes_from_the_queue_to_its_end(store: Store):
    job, secret = store.add_job(SAMPLE, "How it sounds", (), 50)
    assert store.job(job).state == "queued" and store.job(job).request == SAMPLE
    assert (
        store.knows(job, secret) and not store.knows(job, secret + "x") and not store.knows("b" * 26, secret)
    )
    with store.database.reading() as records:
        assert secret not in str(records.get("jobs", job))
    entry = store.claim(ALIVE, SONGS)
    assert entry is not None and (entry.id, entry.state, entry.attempts) == (job, "running", 1)
    assert store.claim(ALIVE, SONGS) is None
    assert store.tell(job, {"share": 0.5}) is True
    store.finish(job, {"found": [1, 2]})
    done = store.job(job)
    assert (done.state, done.result, done.owner) == ("done", {"found": [1, 2]}, None)
    assert [text for _, text in store.log(job)] == ["Accepted.", "Started.", "Done."]


def test_quick_kinds_come_first_and_each_lane_has_its_own(store: Store):
    jobs = {kind: add(store, kind) for kind in ("convert", "voice", "listen")}
    assert store.ahead(store.job(jobs["convert"])) == 1 and store.ahead(store.job(jobs["voice"])) == 0
    claimed = [store.claim(ALIVE, SONGS) for _ in range(3)]
    assert [entry and entry.kind for entry in claimed] == ["listen", "convert", None]
    assert store.waiting(LANES["voices"]) == 1


def test_a_full_queue_takes_no_more(store: Store):
    jobs = [add(store, waiting=2), add(store, waiting=2)]
    with pytest.raises(BusyError, match="2 jobs are waiting"):
        add(store, waiting=2)
    store.cancel(jobs[0])
    with pytest.raises(BusyError):
        add(store, waiting=1)
    add(store, waiting=2)
    with pytest.raises(BusyError):
        store.retry(jobs[0], 2)


def test_a_hundred_claims_at_once_give_each_job_to_one(store: Store):
    jobs, taken = {add(store, waiting=100) for _ in range(20)}, []

    def take() -> None:
        mine = Store(store.places)
        while (entry := mine.claim(ALIVE, SONGS)) is not None:
            taken.append(entry.id)

    threads = [threading.Thread(target=take) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(jobs)


def test_any_process_can_cancel(store: Store):
    waiting, running = add(store), add(store)
    assert store.cancel(waiting).state == "cancelled"
    with FileLock(store.places.workers / f"{ALIVE}.lock"):
        assert store.claim(ALIVE, SONGS).id == running
        done = subprocess.run(
            [sys.executable, "-m", "resing", "jobs", "cancel", running],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert store.job(running).state == "running" and store.job(running).cancel is not None
        assert store.tell(running, {}) is False
    with pytest.raises(StateError, match="is cancelled already"):
        store.cancel(waiting)
    with pytest.raises(UnknownError):
        store.cancel("b" * 26)


def test_a_job_whose_worker_lives_is_left_alone(store: Store):
    job = add(store)
    with FileLock(store.places.workers / f"{ALIVE}.lock"):
        store.claim(ALIVE, SONGS)
        assert store.reclaim() == [] and store.job(job).state == "running"
    assert store.reclaim() == [job] and store.job(job).state == "queued"
    assert not list(store.places.workers.iterdir())


def test_a_job_whose_workers_die_is_taken_up_once_more_and_then_failed_with_the_reason(store: Store):
    job = add(store)
    store.claim(DEAD, SONGS)
    store.reclaim()
    assert store.job(job).state == "queued" and "worker died" in store.log(job)[-1][1]
    assert store.claim(DEAD, SONGS).attempts == 2
    store.reclaim()
    failed = store.job(job)
    assert (
        failed.state == "failed" and failed.error["code"] == "died" and "2 times" in failed.error["message"]
    )
    again = store.retry(job, 50)
    assert (again.state, again.attempts, again.error) == ("queued", 0, None)


def test_a_cancelled_job_of_a_dead_worker_is_cancelled(store: Store):
    job = add(store)
    store.claim(DEAD, SONGS)
    assert store.cancel(job).state == "cancelled"


def test_giving_back_is_no_attempt(store: Store):
    job = add(store)
    store.claim(ALIVE, SONGS)
    store.give_back(job)
    assert store.job(job).state == "queued" and store.job(job).attempts == 0


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (StopWork(), "cancelled", None),
        (OutOfTime(), "failed", "time"),
        (ResingError("the song /x is bad"), "failed", "error"),
        (MemoryError(), "failed", "memory"),
        (OSError(28, "No space left on device"), "failed", "system"),
        (ZeroDivisionError("oh"), "failed", "internal"),
    ],
)
def test_however_a_job_ends_the_database_says_how(
    store: Store, error: Exception, state: str, code: str | None
):
    job = add(store)
    entry = store.claim(ALIVE, SONGS)

    def fail(_: Task) -> dict[str, object]:
        raise error

    if code in ("memory", "system", "internal"):  # the worker ends, and another is started
        with pytest.raises(type(error)):
            work_on(Task(store, entry, Limits()), fail)
    else:
        work_on(Task(store, entry, Limits()), fail)
    assert store.job(job).state == state
    assert (store.job(job).error or {}).get("code") == code


def test_messages_name_the_song_and_no_path_of_the_server(store: Store):
    song = upload(store)
    store.add_job({"kind": "listen", "upload": song}, "A title", [song], 50)
    entry = store.claim(ALIVE, SONGS)

    def fail(task: Task) -> dict[str, object]:
        raise ResingError(f"{task.places.upload(song)}: is damaged; see {task.folder}/lead.flac")

    work_on(Task(store, entry, Limits()), fail)
    assert store.job(entry.id).error["message"] == "song.wav: is damaged; see lead.flac"


def test_progress_is_the_share_of_all_stages_and_the_time_left(store: Store):
    job = add(store)
    task = Task(store, store.claim(ALIVE, SONGS), Limits())
    task.expect({"separate": 6.0, "sing": 2.0})
    task.stage("separate", 1, 2)
    assert store.job(job).progress | {"remark": "", "figures": {}} == {
        "stage": "separate",
        "share": 0.375,
        "seconds_left": 5.0,
        "remark": "",
        "figures": {},
    }
    task._told = 0.0
    store.cancel(job) if store.is_alive(ALIVE) else store.drop(job)
    with pytest.raises(StopWork):
        task.stage("sing", 1, 2)


def test_a_job_that_takes_too_long_is_stopped(store: Store):
    add(store)
    task = Task(store, store.claim(ALIVE, SONGS), Limits(listen_job_seconds=0.01))
    time.sleep(0.02)
    with pytest.raises(OutOfTime):
        task.tell("sing", 0.5)


def test_what_nobody_needs_any_more_is_deleted_and_what_a_job_needs_stays(store: Store):
    needed, lonely = upload(store), upload(store)
    over, waiting = add(store), add(store, "listen", (needed,))
    store.cancel(over)
    store.places.job(over).mkdir()
    (store.places.jobs / "not ours").mkdir()
    stray = store.places.uploads / new_id()
    stray.write_bytes(b"half a song")
    keeper = Keeper(store, Limits(kept_seconds=1e-6))
    time.sleep(0.01)
    assert store.expire(1e-6) == 2
    assert not store.places.job(over).exists() and not store.places.upload(lonely).exists()
    assert store.places.upload(needed).exists() and store.job(waiting).state == "queued"
    assert keeper.sweep() == 0 and stray.exists()  # it may still be on its way in
    os.utime(stray, (0, 0))
    assert keeper.sweep() == 1 and not stray.exists()
    with pytest.raises(StateError, match="still needs"):
        store.remove_upload(needed)
    os.utime(store.places.jobs / "not ours", (0, 0))
    assert keeper.sweep() == 1


def test_a_job_that_another_needs_cannot_be_removed(store: Store):
    first = add(store)
    store.claim(ALIVE, SONGS)
    with pytest.raises(StateError, match="running; cancel it first"):
        store.remove_job(first)
    store.finish(first, {})
    second = add(store, "score", (first,))
    with pytest.raises(StateError, match="another job"):
        store.remove_job(first)
    store.cancel(second)
    store.remove_job(first)
    with pytest.raises(UnknownError):
        store.job(first)


def test_names_are_ours(store: Store):
    assert len({new_id() for _ in range(100)}) == 100 and check_id(new_id())
    for name in ("", "../../etc/passwd", "a" * 25, "A" * 26, "a" * 27, "a" * 25 + "\n"):
        with pytest.raises(ValueError, match="26 letters"):
            store.places.upload(name)


def test_the_token_stays_and_is_closed_to_others():
    places = Places.usual()
    token = places.token()
    assert places.token() == token and len(token) > 30
    assert (places.root / "token").stat().st_mode & 0o077 == 0 and places.root.stat().st_mode & 0o077 == 0
    assert places.token(renew=True) != token


def test_the_log_keeps_its_end(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "LONGEST_LOG", 5)
    job = add(store)
    for number in range(10):
        store.note(job, str(number))
    assert [text for _, text in store.log(job)] == ["5", "6", "7", "8", "9"]


def test_what_goes_wrong_in_a_change_changes_nothing(store: Store):
    job = add(store)
    with pytest.raises(ZeroDivisionError), store.database.changing() as records:
        records.remove("jobs", job)
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="JSON"):
        store.finish(job, {"level_db": float("nan")})
    assert store.job(job).state == "queued" and store.job(job).result is None
    store.note(job, "nobody holds the lock")


def test_a_killed_redis_has_kept_what_was_accepted(redis: RedisServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(database.QUEUE, redis.url)
    store = Store(Places.usual())
    job = add(store)
    redis.kill()
    with pytest.raises(BusyError, match="does not do its work"):
        store.job(job)
    with pytest.raises(ConfigError, match="leads to no Redis"):
        Store(store.places)
    redis.start()
    assert store.claim(ALIVE, SONGS).id == job


def test_a_change_that_lost_the_lock_is_refused(redis: RedisServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(database.QUEUE, redis.url)
    store = Store(Places.usual())
    job = add(store)
    with pytest.raises(BusyError, match="try again"), store.database.changing() as records:
        records.remove("jobs", job)
        store.database.client.set(f"{store.database.prefix}:lock", "another's", px=200)
    assert store.job(job).state == "queued"
    assert store.claim(ALIVE, SONGS).id == job  # when the other's has run out
    monkeypatch.setenv(database.QUEUE, "ftp://somewhere")
    with pytest.raises(ConfigError, match="redis://127"):
        Store(store.places)
