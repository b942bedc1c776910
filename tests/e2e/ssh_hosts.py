"""Create real SSH hosts on this machine, each with its own network namespace, hostname, host key, and sshd."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("ip", "unshare", "ssh", "ssh-agent", "ssh-add", "ssh-keygen", "/usr/sbin/sshd")
READY_TIMEOUT = 20
"""Number of seconds in which a server must respond."""

SSHD_CONFIG = """
ListenAddress {address}:22
HostKey {folder}/hostkey
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin prohibit-password
SetEnv HOME={home}
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Host:
    """One host: its hostname, its address, its namespace, the folder with its keys, and root's home."""

    name: str
    address: str
    namespace: str
    folder: Path
    home: Path

    def public_key(self) -> str:
        """Type and key, as written in `known_hosts`."""
        return " ".join((self.folder / "hostkey.pub").read_text().split()[:2])

    def set_link(self, state: str) -> None:
        """Connect (`up`) or disconnect (`down`) the network."""
        run("ip", "-n", self.namespace, "link", "set", "eth0", state)


@dataclass(frozen=True)
class SshHosts:
    """The hosts, an agent with the key to all of them, and a file with their host keys."""

    hosts: list[Host]
    agent: str
    known_hosts: Path

    def inventory(self, known_hosts: Path | None = None) -> str:
        """Return the lines for an INI inventory. Host keys are read from `known_hosts`."""
        options = f"-o UserKnownHostsFile={known_hosts or self.known_hosts}"
        return "".join(
            f"{host.name} ansible_host={host.address} ansible_user=root ansible_remote_tmp={host.folder}/tmp"
            f" ansible_ssh_common_args='{options}'\n"
            for host in self.hosts
        )


def missing() -> str:
    """Return the reason such hosts cannot be created here, or an empty string if they can."""
    gone = [name for name in PROGRAMS if shutil.which(name) is None]
    if gone:
        return f"{', '.join(gone)} not installed"
    probe = f"fdp{os.getpid() % 100_000}"
    for kind in (["link", "add", probe, "type", "bridge"], ["netns", "add", probe]):
        made = subprocess.run(["ip", *kind], capture_output=True, text=True, check=False)
        if made.returncode:
            return f"no CAP_NET_ADMIN or no CAP_SYS_ADMIN: {made.stderr.strip()}"
        run("ip", kind[0], "del", probe)
    return ""


def run(*argv: str, env: dict[str, str] | None = None) -> str:
    """Run a command that must succeed and return its output."""
    finished = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    assert finished.returncode == 0, f"{' '.join(argv)}: {finished.stderr}"
    return finished.stdout


def wait_until_true(condition: Callable[[], bool]) -> None:
    """Wait for the condition. Fail after READY_WITHIN."""
    deadline = time.monotonic() + READY_TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.02)


@contextmanager
def ssh_hosts(folder: Path, count: int = 2, home: Path | None = None) -> Iterator[SshHosts]:
    """Create the hosts. Remove everything afterward.

    Root's home is `home`, or else an empty folder per host. Shells read their startup files there at each login.
    """
    # Several test processes can do this at once, so each one uses its own names and network.
    number = os.getpid() % 100_000
    network = f"10.213.{number % 250}"
    bridge = f"fdb{number}"
    Path("/run/sshd").mkdir(exist_ok=True)
    with ExitStack() as stack:
        run("ip", "link", "add", bridge, "type", "bridge")
        stack.callback(run, "ip", "link", "del", bridge)
        run("ip", "addr", "add", f"{network}.1/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id"))
        agent = stack.enter_context(_agent(folder))
        hosts = []
        for i in range(1, count + 1):
            place = folder / f"web{i}"
            host = Host(place.name, f"{network}.{10 + i}", f"fd{number}h{i}", place, home or place / "home")
            hosts.append(stack.enter_context(_host(folder, host, bridge)))
        known_hosts = folder / "known_hosts"
        known_hosts.write_text("".join(f"{host.address} {host.public_key()}\n" for host in hosts))
        for host in hosts:
            _wait_for(host, agent, known_hosts)
        yield SshHosts(hosts, agent, known_hosts)


@contextmanager
def _agent(folder: Path) -> Iterator[str]:
    socket = folder / "agent.sock"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until_true(socket.exists)
            run("ssh-add", "-q", str(folder / "id"), env={**os.environ, "SSH_AUTH_SOCK": str(socket)})
            yield str(socket)
        finally:
            process.terminate()


@contextmanager
def _host(folder: Path, host: Host, bridge: str) -> Iterator[Host]:
    host.folder.mkdir()
    host.home.mkdir(exist_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host.folder / "hostkey"))
    shutil.copy(folder / "id.pub", host.folder / "authorized_keys")
    settings = SSHD_CONFIG.format(address=host.address, folder=host.folder, home=host.home)
    (host.folder / "sshd_config").write_text(settings)
    run("ip", "netns", "add", host.namespace)
    try:
        _connect(host, bridge)
        with (host.folder / "sshd.log").open("wb") as log, _sshd(host, log.fileno()):
            yield host
    finally:
        run("ip", "netns", "del", host.namespace)


def _connect(host: Host, bridge: str) -> None:
    cable = host.namespace.replace("fd", "fdv")
    run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    run("ip", "link", "set", cable, "master", bridge, "up")
    run("ip", "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
    run("ip", "-n", host.namespace, "link", "set", "eth0", "up")
    run("ip", "-n", host.namespace, "link", "set", "lo", "up")


@contextmanager
def _sshd(host: Host, log: int) -> Iterator[None]:
    command = f"hostname {host.name}; exec /usr/sbin/sshd -D -e -f {host.folder}/sshd_config"
    argv = ["ip", "netns", "exec", host.namespace, "unshare", "-m", "-u", "sh", "-c", command]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log):
        try:
            yield
        finally:
            # Everything in the namespace: sshd, its sessions, and their commands.
            for pid in run("ip", "netns", "pids", host.namespace).split():
                os.kill(int(pid), signal.SIGKILL)


def _wait_for(host: Host, agent: str, known_hosts: Path) -> None:
    argv = ["ssh", "-o", f"UserKnownHostsFile={known_hosts}", "-o", "BatchMode=yes", f"root@{host.address}", "true"]
    env = {**os.environ, "SSH_AUTH_SOCK": agent}
    wait_until_true(lambda: subprocess.run(argv, env=env, capture_output=True, check=False).returncode == 0)
