"""Create the database's files: its folder and its password."""

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
STAGING_PREFIX = "pg-unfinished-"
TEMP_FILE_PREFIX = ".postgres-password-"
REMOVAL_TIMEOUT = 5.0


@dataclass(frozen=True)
class Layout:
    """Paths in a data folder."""

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
        """Return the highest major version that has a database, or None if there is no database."""
        majors = [
            int(found[1])
            for folder in self.data_dir.glob("pg*/PG_VERSION")
            if (found := re.fullmatch(r"pg(\d+)", folder.parent.name))
        ]
        return max(majors, default=None)


def has_database(data_dir: Path) -> bool:
    """Return True if the data folder contains a database."""
    return Layout(data_dir).newest_cluster() is not None


def prepare_data_dir(data_dir: Path) -> None:
    """Create the data folder unless it exists. It is private; if root creates it, other users can traverse it."""
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
    """Return the role's password, or None if it has not been set yet."""
    try:
        return layout.password.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise PostgresError(
            f"{layout.password} cannot be read. Run this command as the user that runs the fastDeploy server."
        ) from error


def write_password(layout: Layout) -> str:
    """Generate a password, store it and return it."""
    password = secrets.token_hex(32)
    # Write atomically, so that an interruption does not leave a partial file.
    descriptor, name = tempfile.mkstemp(prefix=TEMP_FILE_PREFIX, dir=layout.data_dir)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(password)
        file.flush()
        os.fsync(descriptor)
    give_to_owner(layout, Path(name))
    os.replace(name, layout.password)
    return password


def give_to_owner(layout: Layout, path: Path) -> None:
    """Give a file that root created to the owner of the data folder."""
    if os.geteuid() == 0:
        owner = layout.data_dir.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def remove_unfinished(layout: Layout) -> None:
    """Remove the leftovers of a startup that was killed while it was creating files."""
    for secret in layout.data_dir.glob(f"{TEMP_FILE_PREFIX}*"):
        secret.unlink()
    deadline = time.monotonic() + REMOVAL_TIMEOUT
    for unfinished in layout.data_dir.glob(f"{STAGING_PREFIX}*"):
        # A process of the killed startup could still be writing to it.
        while unfinished.exists() and time.monotonic() < deadline:
            shutil.rmtree(unfinished, ignore_errors=True)


def create_cluster(layout: Layout, bin_dir: Path, major: int, account: Account, password: str, sync: bool) -> None:
    """Create the database's folder, role and database atomically."""
    if layout.cluster(major).exists() and any(layout.cluster(major).iterdir()):
        raise PostgresError(
            f"{layout.cluster(major)} is not empty but contains no database. Move it away, or choose another --data-dir."
        )
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=layout.data_dir))
    try:
        secret = staging / "password"
        secret.touch(0o600)
        secret.write_text(password, encoding="ascii")
        for path in (secret, staging):
            os.chown(path, *account.owner)
        _run(account, _initdb(bin_dir, major, staging / "data", secret, sync))
        run_single(account, bin_dir, staging / "data", f"CREATE DATABASE {DATABASE}")
        os.rename(staging / "data", layout.cluster(major))
        _sync_folder(layout.data_dir)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def run_single(account: Account, bin_dir: Path, cluster: Path, statement: str) -> None:
    """Run a statement on a stopped database. Pass it on standard input, because it could contain a secret."""
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
    """Set the role's password while the server is stopped."""
    run_single(account, bin_dir, cluster, f"ALTER ROLE {ROLE} PASSWORD '{password}'")


def change_owner(folder: Path, account: Account) -> None:
    """Change the owner of everything in `folder` to `account`, unless it already owns the folder. Requires root."""
    uid, gid = account.owner
    if folder.stat().st_uid == uid:
        return
    for _, folders, files, descriptor in os.fwalk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
    # Change the top folder last, so that an interrupted change is repeated.
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
    with account.spawn(argv, death_signal=signal.SIGKILL, stdin=subprocess.PIPE) as process:
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
