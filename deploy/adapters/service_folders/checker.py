"""Parse and check service folders within limits, as a separate program.

It uses the server's Python and packages but does not open any files after it starts: it reads the files of a folder
through the reader, whose socket is descriptor 1. Descriptor 0 delivers requests, one line of JSON each: first the
account to switch to, then the limits of the reader (`{"limits": …}`), then one request per folder. For a folder, the
checker first answers with one line for each file it reads (`used`: the request and the digest of its answer), so that
the server knows which files were read even if the checker is killed. Then it sends one line with the result.
"""

from __future__ import annotations

import codecs
import json
import os
import resource
import socket
import sys
import traceback
from dataclasses import asdict
from posixpath import join
from typing import Any

from deploy.adapters.ansible.locate import find_strategies
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.runs.supervisor.system import PR_SET_DUMPABLE, prctl
from deploy.adapters.service_folders.check import check_folder
from deploy.adapters.service_folders.config import FolderError
from deploy.adapters.service_folders.files import Files, TooComplex
from deploy.adapters.service_folders.survey import survey
from deploy.domain.service_config import ServiceConfig

CPU_SECONDS = 3
MEMORY_BYTES = 512 << 20
NICENESS = 5
REQUEST_LIMIT = 16 << 20
MAX_SURVEY = 4 << 20
PR_SET_NO_NEW_PRIVS = 38


def main() -> int:
    """Answer requests until the socket is closed."""
    control, reader = socket.socket(fileno=0), socket.socket(fileno=1)
    requests = control.makefile("rb")
    account = json.loads(requests.readline(REQUEST_LIMIT))
    mitogen_fault = _mitogen_fault()
    if account is not None:
        _load_everything()
        _become(*account)
    prctl(PR_SET_DUMPABLE, 0)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    files = Files(reader, lambda request, digest: control.sendall(_line({"used": [request, digest]})))
    while line := requests.readline(REQUEST_LIMIT):
        request = json.loads(line)
        if "limits" in request:
            files.limit(request["limits"])
            continue
        _limit_cpu_time()
        control.sendall(_answer(files, request, mitogen_fault))
    return 0


def _answer(files: Files, request: dict[str, Any], mitogen_fault: str) -> bytes:
    try:
        return _line(_found(files, request, mitogen_fault))
    except FolderError as error:
        return _line({"file": error.file, "reason": error.reason})
    except TooComplex as error:
        return _line({"too_complicated": str(error)})
    except RecursionError:
        return _line({"too_complicated": "it is nested too deeply"})
    except MemoryError:
        return _line({"too_complicated": f"checking it takes more than {MEMORY_BYTES >> 20} MiB of memory"})
    except EOFError:
        raise  # the reader is gone, which is not the fault of this folder
    except Exception as error:  # noqa: BLE001 - an error of ours must not keep the other folders from being synced
        traceback.print_exc()
        return _line({"file": "", "reason": f"it could not be checked ({type(error).__name__}). Please report this."})


def _found(files: Files, request: dict[str, Any], mitogen_fault: str) -> dict[str, Any]:
    folder = join(files.root, request["name"])
    files.begin()
    if "config" in request:
        found = {"survey": asdict(survey(files, folder, ServiceConfig.from_json(request["config"])))}
        if len(_line(found)) > MAX_SURVEY:  # with YAML aliases, a small file can repeat long names many times
            raise TooComplex(f"the names of its tasks and hosts are larger than {MAX_SURVEY >> 20} MiB in total")
        return found
    data, readme, readme_fault = check_folder(files, folder, accepted=request["accepted"], mitogen_fault=mitogen_fault)
    return {"data": data, "readme": readme, "readme_fault": readme_fault}


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def _mitogen_fault() -> str:
    try:
        find_strategies(ServiceConfig(mitogen=True))
    except PlaybookError as error:
        return str(error)
    return ""


def _load_everything() -> None:
    """Load packages in advance, because another account might not be able to read them."""
    import regex  # noqa: F401, PLC0415

    from deploy.adapters.inputs.check import load  # noqa: PLC0415

    load()
    for encoding in ("ascii", "utf-8", "utf-8-sig", "utf-16", "idna"):
        codecs.lookup(encoding)


def _become(uid: int, gid: int, groups: list[int]) -> None:
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _limit_cpu_time() -> None:
    """Tell the kernel to stop this process (SIGXCPU) if the next folder takes more than CPU_SECONDS."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    sys.exit(main())
