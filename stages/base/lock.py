"""One process at a time, of one machine or of several that share the folder.

Two things together. The system's lock of a file goes with its process, however that ends. Between the processes of one
kernel, containers included, it always holds; across machines where the file system passes it on (NFS 4; NFS 3 with lockd; SMB
since Linux 5.5), and not elsewhere (NFS mounted `nolock` or `local_lock=flock`, many file systems of FUSE). So a file beside
it names the holder, who touches it every BEAT seconds: who gets the lock while a holder on another machine was heard of
within GONE has not got it. That takes no clock but the file system's own.
"""

import errno
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from stages.base import host, temporaries
from stages.base.files import make_folder, unwritable

BEAT = 10.0  # seconds
GONE = 60.0  # seconds without a beat after which a holder on another machine is taken for dead
SETTLES = 0.2  # seconds that taking a dead holder's place takes
LOOK_EVERY = 0.5  # seconds, while another process is waited for, between two looks whether somebody asked to stop
UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems without locks


@dataclass(frozen=True)
class Holder:
    """What the holder of a lock says of itself; empty where it does not, or is of an earlier version."""

    process: str = ""  # as host.process
    place: str = ""
    boot: str = ""
    host: str = ""
    command: str = ""
    run: str = ""  # what is trained
    claim: str = ""  # random, of this one time

    @property
    def in_words(self) -> str:
        """As `process 4711 on gpu2 (maskcli folds)`; the host where it is another than this."""
        if not self.process:
            return "another process"
        where = f" on {self.host}" if self.host and self.place != host.place() else ""
        return f"process {self.process.partition('-')[0]}{where}" + (f" ({self.command})" if self.command else "")


class Held(Exception):
    """Another process holds the lock."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder.in_words)
        self.holder = holder


@contextmanager
def held(
    path: Path, run: str = "", patience: float | None = 0.0, asked: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hold the lock `path`, a file that is made where it is not there, within the block.

    patience: seconds to wait for another process, None for as long as it takes. Raises Held; KeyboardInterrupt once `asked`;
    UserError where the file cannot be made.
    """
    make_folder(path.parent)
    system = filelock.FileLock(path)
    own = _own(run)
    try:
        _take(system, own, patience, asked)
    except OSError as error:
        system.release()
        raise unwritable(path, error) from error
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(_told(path), own, ended), daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        if read(path) == own:
            # Windows refuses where somebody reads it at this moment; the system's lock says that nobody holds it.
            with suppress(OSError):
                _told(path).unlink(missing_ok=True)
        system.release()


def read(path: Path) -> Holder:
    """Who holds the lock `path`, as far as that is told."""
    return _read(_told(path))[0]


def _own(run: str) -> Holder:
    command = " ".join(["maskcli", *sys.argv[1:]])
    who = host.process(), host.place(), host.boot(), host.name()
    return Holder(*who, command=command, run=run, claim=secrets.token_hex(8))


def _told(path: Path) -> Path:
    """Where the holder of a lock tells of itself."""
    return path.with_suffix(".holder.json")


def _take(system: filelock.BaseFileLock, own: Holder, patience: float | None, asked: Callable[[], bool]) -> None:
    path = Path(system.lock_file)
    began = time.monotonic()
    while True:
        left = LOOK_EVERY if patience is None else max(0.0, min(LOOK_EVERY, began + patience - time.monotonic()))
        with suppress(filelock.Timeout):
            by_system = _locked(system, left)
            if _claimed(_told(path), own, by_system):
                return
            system.release()
            time.sleep(left)
        if asked():
            raise KeyboardInterrupt
        if patience is not None and time.monotonic() >= began + patience:
            raise Held(read(path))


def _locked(system: filelock.BaseFileLock, patience: float) -> bool:
    """Take the system's lock; False where the file system has none. Raises filelock.Timeout."""
    try:
        system.acquire(timeout=patience)
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
        return False
    return True


def _claimed(told: Path, own: Holder, by_system: bool) -> bool:
    """Write the holder's file, unless another holder lives; by_system: who would hold it on this machine is dead."""
    holder, beat = _read(told)
    if beat is not None:
        if _lives(holder, beat, told.parent, by_system):
            return False
        if not _moved_away(told, holder):
            return False
    if not _written(told, own):
        return False
    if beat is not None:  # another machine may have taken this for what it had read
        time.sleep(SETTLES)
    return _read(told)[0] == own


def _written(told: Path, own: Holder) -> bool:
    """Write the holder's file unless there is one."""
    try:
        with told.open("x", encoding="utf-8") as file:
            file.write(json.dumps(vars(own), indent=2) + "\n")
    except FileExistsError:  # another machine was faster
        return False
    return True


def _lives(holder: Holder, beat: float, folder: Path, by_system: bool) -> bool:
    if by_system and holder.boot in ("", host.boot()) and holder.process:
        return False
    if holder.place == host.place():
        return host.lives(holder.process)
    return temporaries.moment(folder) - beat < GONE


def _moved_away(told: Path, holder: Holder) -> bool:
    """Take away what a dead holder told; False where another machine did so first, and has told of itself by now."""
    aside = temporaries.beside(told)
    try:
        told.rename(aside)
    except FileNotFoundError:
        return True
    if _read(aside)[0] == holder:
        aside.unlink()
        return True
    with suppress(FileExistsError):
        os.link(aside, told)
    aside.unlink()
    return False


def _beat(told: Path, own: Holder, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            if _read(told)[0] == own:
                os.utime(told)  # to the file system's own time


def _read(told: Path) -> tuple[Holder, float | None]:
    """What a holder tells and when it was last heard of; None where there is none. Opened, not only looked at: NFS keeps what it
    knows of a file for a minute, but asks again when it is opened.
    """
    try:
        with told.open(encoding="utf-8") as file:
            beat, text = os.fstat(file.fileno()).st_mtime, file.read()
    except (OSError, UnicodeDecodeError):
        return Holder(), None
    try:
        found: dict[str, Any] = json.loads(text)
        return Holder(**_known(found)), beat
    except (ValueError, TypeError, AttributeError):  # half of it, as another machine is just writing it
        return Holder(), beat


def _known(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(found[name]) for name in Holder.__dataclass_fields__ if name in found}
