"""Pass settings that exceed the FIFO's capacity to the supervisor."""

import os
import socket

from deploy.adapters.runs.supervisor.control import Control


def test_a_socket_passes_the_fifo_and_a_file_with_the_settings() -> None:
    settings = b'{"argv": ["' + b"x" * 3_000_000 + b'"]}\n'
    reading, writing = os.pipe()
    file = os.memfd_create("settings")
    with open(file, "wb", closefd=False) as written:
        written.write(settings)
    ours, theirs = socket.socketpair()
    with ours:
        socket.send_fds(ours, [b"!"], [reading, file])
    os.close(reading)
    os.close(file)
    control = Control(theirs.detach())
    assert control.read() == [{"argv": ["x" * 3_000_000]}]
    os.write(writing, b'{"cancel": "Enough."}\n')
    assert control.read() == [{"cancel": "Enough."}]
    assert control.read() == []
    os.close(writing)
    os.close(control.fd)
