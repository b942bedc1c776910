"""Choose the account that PostgreSQL runs as, because it refuses to run as root."""

import ctypes
import os
import pwd
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.adapters.postgres.errors import PostgresError

PR_SET_PDEATHSIG = 1
# Inside the namespace, the user and group are `nobody`. Outside, files and processes belong to the caller.
USER_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


@dataclass(frozen=True)
class Account:
    """The account of a PostgreSQL program.

    `uid` and `gid` are None for this process's own account. `prefix` is the start of the program's argv.
    """

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()

    @property
    def owner(self) -> tuple[int, int]:
        """Return the user and group ID of the program's files, as seen by this process."""
        return (os.geteuid() if self.uid is None else self.uid, os.getegid() if self.gid is None else self.gid)

    def spawn(
        self,
        argv: Sequence[str | Path],
        *,
        death_signal: signal.Signals,
        stdin: int = subprocess.DEVNULL,
        output: int | IO[bytes] = subprocess.PIPE,
    ) -> "subprocess.Popen[bytes]":
        """Start a program that receives the signal `death_signal` when this process ends for any reason.

        Call it from the main thread, because the kernel sends the signal when the *thread* that spawned the program
        ends.
        """
        with warnings.catch_warnings():
            # Python warns about forking with threads, but the calls between fork and exec do not take locks.
            warnings.simplefilter("ignore", DeprecationWarning)
            return subprocess.Popen(
                [*self.prefix, *argv],
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                # The account might not have access to the current directory.
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                user=self.uid,
                group=self.gid,
                extra_groups=None if self.uid is None else [],
                umask=0o077,
                # Ctrl-C in a terminal signals the whole foreground process group, but the server must outlive its
                # clients.
                start_new_session=True,
                preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509 - see above
            )

    def can_access(self, bin_dir: Path, data_dir: Path) -> bool:
        """Return True if the account can run the programs in `bin_dir` and enter `data_dir`."""
        server = str(bin_dir / "postgres")
        try:
            with self.spawn(
                ["test", "-r", server, "-a", "-x", server, "-a", "-x", str(data_dir)], death_signal=signal.SIGKILL
            ) as probe:
                probe.communicate()
        except OSError:
            return False
        return probe.returncode == 0


def choose_account(bin_dir: Path, data_dir: Path, cluster: Path) -> Account:
    """Return the account that runs the server of `cluster`.

    Raises:
        PostgresError: No account has access to everything the server needs.
    """
    if os.geteuid() != 0:
        return _own_account(cluster)
    for account in _accounts_for_root(data_dir, cluster):
        if account.can_access(bin_dir, data_dir):
            return account
    raise PostgresError(
        f"PostgreSQL refuses to run as root, and no regular user can access both its programs in {bin_dir} and the data "
        f"folder {data_dir}. Choose another --data-dir that every user can access, start fastDeploy as a regular user, "
        "or set DATABASE_URL to another PostgreSQL server."
    )


def _own_account(cluster: Path) -> Account:
    if cluster.exists() and cluster.stat().st_uid != os.geteuid():
        raise PostgresError(
            f"The database in {cluster} belongs to another user (id {cluster.stat().st_uid}). Start fastDeploy as the "
            "user that created it, or choose another --data-dir."
        )
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        # In a container, the user ID can be arbitrary, but initdb requires a user name.
        return Account(prefix=USER_NAMESPACE)
    return Account()


def _accounts_for_root(data_dir: Path, cluster: Path) -> Iterator[Account]:
    """Yield candidates, best first: the owner of the files, regular users, and root in a user namespace."""
    in_namespace = Account(prefix=USER_NAMESPACE)
    if cluster.exists():
        owner = cluster.stat()
        yield Account(owner.st_uid, owner.st_gid) if owner.st_uid else in_namespace
    owner = data_dir.stat()
    if owner.st_uid:
        yield Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        yield Account(entry.pw_uid, entry.pw_gid)
    yield in_namespace


def _die_with_parent(by: signal.Signals) -> Callable[[], None]:
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, int(by))
        if os.getppid() != parent:
            os._exit(1)

    return in_child
