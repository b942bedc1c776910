"""The files of the database: its folder, its password, how both come to be."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.adapters.postgres.account import Account
from deploy.adapters.postgres.errors import PostgresError

ROLE = DATABASE = "fastdeploy"
FIRST_WITH_BUILTIN_LOCALE = 17
UNFINISHED = "pg-unfinished-"
HALF_WRITTEN = ".postgres-password-"
REMOVAL_PATIENCE = 5.0


@dataclass(frozen=True)
class Layout:
    """Where things are in a data folder."""

    data_dir: Path

    @property
    def lock(self) -> Path:
        return self.data_dir / "lock"

    @property
    def log(self) -> Path:
        return self.data_dir / "postgres.log"

    @property
    def password(self) -> Path:
        return self.data_dir / "postgres-password"

    @property
    def run(self) -> Path:
        return self.data_dir / "run"

    def cluster(self, major: int) -> Path:
        return self.data_dir / f"pg{major}"

    def newest_cluster(self) -> int | None:
        """Return the highest major version of which there is a database, None when there is none."""
        majors = [
            int(found[1])
            for folder in self.data_dir.glob("pg*/PG_VERSION")
            if (found := re.fullmatch(r"pg(\d+)", folder.parent.name))
        ]
        return max(majors, default=None)


def has_database(data_dir: Path) -> bool:
    """Return whether there is a database in the data folder, so that a start need not create one."""
    return Layout(data_dir).newest_cluster() is not None


def prepare_data_dir(data_dir: Path) -> None:
    """Create the data folder unless it exists: private, but as root every user may pass through it, PostgreSQL's too."""
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir()
        data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except FileExistsError:
        if not data_dir.is_dir():
            raise PostgresError(f"{data_dir} is not a folder. Choose another --data-dir.") from None
    except OSError as error:
        raise PostgresError(
            f"The data folder {data_dir} cannot be created: {error.strerror}. Choose another --data-dir."
        ) from error


def read_password(layout: Layout) -> str | None:
    """Return the role's password, None when there is none yet."""
    try:
        return layout.password.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise PostgresError(
            f"{layout.password} cannot be read: run this as the user that runs the fastDeploy server."
        ) from error


def write_password(layout: Layout) -> str:
    """Make up a password, store it and return it."""
    password = secrets.token_hex(32)
    # In one step, so that no interruption leaves half of it.
    descriptor, name = tempfile.mkstemp(prefix=HALF_WRITTEN, dir=layout.data_dir)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(password)
        file.flush()
        os.fsync(descriptor)
    give_to_owner(layout, Path(name))
    os.replace(name, layout.password)
    return password


def give_to_owner(layout: Layout, path: Path) -> None:
    """Hand a file that root created to the owner of the data folder."""
    if os.geteuid() == 0:
        owner = layout.data_dir.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def remove_unfinished(layout: Layout) -> None:
    """Remove what a starter that was killed while it created something has left."""
    for secret in layout.data_dir.glob(f"{HALF_WRITTEN}*"):
        secret.unlink()
    deadline = time.monotonic() + REMOVAL_PATIENCE
    for unfinished in layout.data_dir.glob(f"{UNFINISHED}*"):
        # Its last process may still be writing there.
        while unfinished.exists() and time.monotonic() < deadline:
            shutil.rmtree(unfinished, ignore_errors=True)


def create_cluster(layout: Layout, bin_dir: Path, major: int, account: Account, password: str, sync: bool) -> None:
    """Create the database's folder with the role and the database in it; it appears complete or not at all."""
    if layout.cluster(major).exists() and any(layout.cluster(major).iterdir()):
        raise PostgresError(
            f"{layout.cluster(major)} is not empty but holds no database. Move it away, or choose another --data-dir."
        )
    workshop = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=layout.data_dir))
    try:
        secret = workshop / "password"
        secret.touch(0o600)
        secret.write_text(password, encoding="ascii")
        for path in (secret, workshop):
            os.chown(path, *account.owner)
        _run(account, _initdb(bin_dir, major, workshop / "data", secret, sync))
        run_single(account, bin_dir, workshop / "data", f"CREATE DATABASE {DATABASE}")
        os.rename(workshop / "data", layout.cluster(major))
        _sync_folder(layout.data_dir)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def run_single(account: Account, bin_dir: Path, cluster: Path, statement: str) -> None:
    """Run one statement on a database whose server does not run. It goes in by standard input: it may hold a secret."""
    argv: list[str | Path] = [
        bin_dir / "postgres",
        "--single",
        "-D",
        cluster,
        "-c",
        "log_min_error_statement=panic",
        "postgres",
    ]
    output = _run(account, argv, statement.encode())
    if re.search(r"^.*(ERROR|FATAL|PANIC):", output, re.MULTILINE):
        raise PostgresError(f"The database in {cluster} could not be prepared:\n{output.strip()}")


def set_password(account: Account, bin_dir: Path, cluster: Path, password: str) -> None:
    """Give the role a new password; the server does not run."""
    run_single(account, bin_dir, cluster, f"ALTER ROLE {ROLE} PASSWORD '{password}'")


def take_over(folder: Path, account: Account) -> None:
    """Give everything in `folder` to `account` when somebody else has it; only root comes here with a foreign folder."""
    uid, gid = account.owner
    if folder.stat().st_uid == uid:
        return
    for _, folders, files, descriptor in os.fwalk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
    # Last: as long as the top is not changed, an interrupted change is done again.
    os.chown(folder, uid, gid)


def _initdb(bin_dir: Path, major: int, cluster: Path, secret: Path, sync: bool) -> list[str | Path]:
    locale = ["--locale=C.UTF-8"]
    if major >= FIRST_WITH_BUILTIN_LOCALE:
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    fixed = ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--encoding=UTF8", "--data-checksums"]
    return [
        bin_dir / "initdb",
        *("-D", cluster, "-U", ROLE, f"--pwfile={secret}", "--no-instructions"),
        *fixed,
        *locale,
        *([] if sync else ["--no-sync"]),
    ]


def _run(account: Account, argv: list[str | Path], text: bytes = b"") -> str:
    with account.spawn(argv, dies_by=signal.SIGKILL, stdin=subprocess.PIPE) as process:
        output = process.communicate(text)[0].decode(errors="replace")
    if process.returncode != 0:
        raise PostgresError(f"The database could not be created: {argv[0]} failed.\n{output.strip()}")
    return output


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
