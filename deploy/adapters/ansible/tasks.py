"""Read the task names of a playbook from its files, to show as steps before the first deployment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from posixpath import dirname, join

from deploy.adapters.ansible.command import AnsibleSettings
from deploy.adapters.ansible.playbook_yaml import PlaybookError, Vaulted, load_yaml
from deploy.adapters.ansible.search import Found, Search
from deploy.adapters.ansible.tags import TagFilter, tags_of
from deploy.adapters.service_folders.files import Files, TooComplex

# Limit on plays, tasks, and roles. With YAML aliases, a few lines can expand to billions of them.
MAX_VISITED = 20_000
GATHERING_FACTS = "Gathering Facts"
_DEFAULTS = AnsibleSettings()

# Any other key of a task is the name of its module.
TASK_KEYWORDS = frozenset(
    (
        "any_errors_fatal",
        "args",
        "async",
        "become",
        "become_exe",
        "become_flags",
        "become_method",
        "become_user",
        "changed_when",
        "check_mode",
        "collections",
        "connection",
        "debugger",
        "delay",
        "delegate_facts",
        "delegate_to",
        "diff",
        "environment",
        "failed_when",
        "ignore_errors",
        "ignore_unreachable",
        "loop",
        "loop_control",
        "module_defaults",
        "name",
        "no_log",
        "notify",
        "poll",
        "port",
        "register",
        "remote_user",
        "retries",
        "run_once",
        "tags",
        "throttle",
        "timeout",
        "until",
        "vars",
        "when",
        "listen",
    )
)


def task_names(
    files: Files, playbook: str, folder: str | None = None, settings: AnsibleSettings = _DEFAULTS
) -> list[str]:
    """Return the task names in Ansible's order, starting with `Gathering Facts`.

    `settings` are those of the `ansible.cfg` in `folder`. Leave out everything that is only known when the playbook runs:
    names and files that contain templates, encrypted files, roles outside the folders that can be read, the tasks that an
    `include_…` loads (the include itself is listed), handlers, and tasks whose tags are not selected.

    Raises:
        PlaybookError: A file is not a playbook. The text includes the file and line.
        TooComplex: There are more than MAX_VISITED plays, tasks and roles.
    """
    search = Search.of(files, folder or dirname(playbook), settings)
    reading = _Reading(files, search, TagFilter.of(settings.tags_to_run, settings.tags_to_skip))
    names = _playbook(playbook, reading, parents=())
    return [GATHERING_FACTS, *(name for name in names if "{{" not in name and "{%" not in name)]


class _Reading:
    """The files of a playbook, where to search for others, and the number of plays, tasks, and roles visited so far."""

    def __init__(self, files: Files, search: Search, tags: TagFilter) -> None:
        self.files = files
        self.search = search
        self.tags = tags
        self._visited = 0

    def visit(self) -> None:
        self._visited += 1
        if self._visited > MAX_VISITED:
            raise TooComplex(f"its playbook has more than {MAX_VISITED} tasks")


@dataclass(frozen=True)
class _Context:
    """The context of a list of tasks: their file, their role, their tags, and the folders that are searched for imports."""

    reading: _Reading
    file: str
    playbook_folder: str
    role: str = ""
    role_folder: str | None = None
    parents: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    roles_run: set[str] = field(default_factory=set)

    def qualified(self, name: str) -> str:
        return f"{self.role} : {name}" if self.role else name

    def find(self, name: str) -> str | None:
        folders = [dirname(self.file), self.playbook_folder]
        if self.role_folder is not None:
            folders.insert(1, join(self.role_folder, "tasks"))
        return next((file for folder in folders if self.reading.files.is_file(file := join(folder, name))), None)

    def load(self, file: str) -> object:
        try:
            return load_yaml(self.reading.files, file)
        except Vaulted:
            return None

    def runs(self, item: object) -> bool:
        return self.reading.tags.runs(self.tags | tags_of(item))

    def tagged(self, item: object) -> _Context:
        return replace(self, tags=self.tags | tags_of(item))

    def into(self, file: str) -> _Context:
        return replace(self, file=file, parents=(*self.parents, self.file))

    def into_role(self, file: str, role: str, folder: str) -> _Context:
        return replace(self, file=file, role=role, role_folder=folder, parents=(*self.parents, self.file))


def _playbook(file: str, reading: _Reading, parents: tuple[str, ...]) -> Iterator[str]:
    if file in parents:
        raise PlaybookError("it imports itself", file)
    try:
        plays = load_yaml(reading.files, file)
    except Vaulted:
        return
    if not isinstance(plays, list):
        raise PlaybookError("a playbook must be a list of plays", file, 1)
    for play in plays:
        if not isinstance(play, dict):
            raise PlaybookError("a playbook must be a list of plays", file, 1)
        reading.visit()
        yield from _play(play, file, reading, parents)


def _play(play: dict[object, object], file: str, reading: _Reading, parents: tuple[str, ...]) -> Iterator[str]:
    for key, value in play.items():
        if _short(key) == "import_playbook":
            imported = reading.search.playbook(str(value), dirname(file))
            if imported is not None:
                yield from _playbook(imported, reading, (*parents, file))
            return
    context = _Context(reading, file, dirname(file), tags=tags_of(play))
    yield from _tasks(play.get("pre_tasks"), context)
    for entry in _list(play.get("roles"), context):
        yield from _role(entry, context)
    yield from _tasks(play.get("tasks"), context)
    yield from _tasks(play.get("post_tasks"), context)


def _tasks(tasks: object, context: _Context) -> Iterator[str]:
    for task in _list(tasks, context):
        context.reading.visit()
        if not isinstance(task, dict):
            raise PlaybookError(f"a task must be a mapping, not {_yaml_type(task)}", context.file)
        yield from _task(task, context)


def _task(task: dict[object, object], context: _Context) -> Iterator[str]:
    if "block" in task:
        yield from _tasks(task["block"], context.tagged(task))
        yield from _tasks(task.get("always"), context.tagged(task))
        return
    module, arguments = _module(task)
    kind = _short(module)
    if kind == "import_tasks":
        yield from _imported_tasks(_argument(arguments, "file"), context.tagged(task))
    elif kind == "import_role":
        yield from _role(arguments, context.tagged(task), again=True)
    elif not context.runs(task):
        return
    elif task.get("name"):
        yield context.qualified(str(task["name"]))
    elif kind == "include_role":
        yield f"{module} : {_argument(arguments, 'name') or _argument(arguments, 'role')}"
    elif module:
        yield context.qualified(module)


def _imported_tasks(name: str, context: _Context) -> Iterator[str]:
    file = context.find(name) if name else None
    if file is None:
        return
    if file in (*context.parents, context.file):
        raise PlaybookError("it imports itself", file)
    yield from _tasks(context.load(file), context.into(file))


def _role(entry: object, context: _Context, *, again: bool = False) -> Iterator[str]:
    """Yield the tasks of a role's dependencies, then its own. `again` allows a role to run more than once."""
    context.reading.visit()
    path = _argument(entry, "role") or _argument(entry, "name")
    beside = None if context.role_folder is None else dirname(context.role_folder)
    found = context.reading.search.role(path, context.playbook_folder, beside) if path else None
    if found is None or (path in context.roles_run and not again):
        return
    context.roles_run.add(path)  # before its dependencies, which could depend on each other
    has_tasks = False
    for name in _tasks_of_role(found, entry, context):
        has_tasks = True
        yield name
    if not has_tasks:
        context.roles_run.discard(path)


def _tasks_of_role(found: Found, entry: object, context: _Context) -> Iterator[str]:
    tasks_from = (_argument(entry, "tasks_from") if isinstance(entry, dict) else "") or "main"
    start = _yaml_file(join(found.folder, "tasks"), tasks_from, context)
    context = context.tagged(entry)
    yield from _dependencies(found.folder, context)
    yield from _validation(found, tasks_from, context)
    if start is not None and start not in context.parents:
        yield from _tasks(context.load(start), context.into_role(start, found.name, found.folder))


def _validation(role: Found, entry_point: str, context: _Context) -> Iterator[str]:
    """Yield the task that Ansible puts in front of a role that specifies its arguments."""
    own = _yaml_file(join(role.folder, "meta"), "argument_specs", context)
    file = own or _yaml_file(join(role.folder, "meta"), "main", context)
    content = context.load(file) if file else None
    specs = content.get("argument_specs") if isinstance(content, dict) else None
    spec = specs.get(entry_point) if isinstance(specs, dict) else None
    if isinstance(spec, dict) and spec and context.runs({"tags": "always"}):
        described = f" - {spec['short_description']}" if "short_description" in spec else ""
        yield f"{role.name} : Validating arguments against arg spec '{entry_point}'{described}"


def _dependencies(folder: str, context: _Context) -> Iterator[str]:
    meta = _yaml_file(join(folder, "meta"), "main", context)
    content = context.load(meta) if meta else None
    if isinstance(content, dict):
        for entry in _list(content.get("dependencies"), context):
            yield from _role(entry, context)


def _yaml_file(folder: str, stem: str, context: _Context) -> str | None:
    candidates = (join(folder, name) for name in (stem, f"{stem}.yml", f"{stem}.yaml"))
    return next((file for file in candidates if context.reading.files.is_file(file)), None)


def _module(task: dict[object, object]) -> tuple[str, object]:
    """Return the module that a task calls, as written, and the module's arguments."""
    for key in ("action", "local_action"):
        if key in task:
            action = task[key]
            if isinstance(action, dict):
                return str(action.get("module", "")), action
            return str(action or "").partition(" ")[0], action
    for keyword, arguments in task.items():
        module = str(keyword)
        if module not in TASK_KEYWORDS and not module.startswith("with_"):
            return module, arguments
    return "", None


def _argument(arguments: object, name: str) -> str:
    """Return an argument as text. If the arguments are a string (free-form), return that string."""
    if isinstance(arguments, dict):
        return str(arguments.get(name) or "")
    return arguments if isinstance(arguments, str) else ""


def _short(module: object) -> str:
    return str(module).removeprefix("ansible.builtin.").removeprefix("ansible.legacy.")


def _list(value: object, context: _Context) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise PlaybookError(f"expected a list, not {_yaml_type(value)}", context.file)
    return value


def _yaml_type(value: object) -> str:
    """Return the type of a value for an error message, which must not include the value itself."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "something else")
