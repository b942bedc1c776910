"""Read Ansible's YAML without Ansible. Custom tags are ignored, and nothing is evaluated."""

from __future__ import annotations

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor

from deploy.adapters.service_folders.files import FileError, Files


class PlaybookError(Exception):
    """A playbook or its configuration cannot be used. `str()` is a sentence that includes the file and line."""

    def __init__(self, reason: str, file: str | None = None, line: int | None = None) -> None:
        place = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(f"{place}: {reason}" if place else reason)
        self.reason = reason
        self.file = file
        self.line = line


class Vaulted(PlaybookError):
    """A file is encrypted. Ansible can read it, but its content is not known before the run."""


def load_yaml(files: Files, path: str) -> object:
    """Return the first document of a file, or None if it is empty.

    Raises:
        Vaulted: The file is encrypted.
        PlaybookError: The file cannot be read or is not valid YAML.
    """
    try:
        content = files.read(path)
        if content.startswith(b"$ANSIBLE_VAULT;"):
            raise Vaulted("it is encrypted", path)
        return yaml.load(content, Loader=_PlaybookLoader)  # noqa: S506 - it is a SafeLoader
    except FileError as error:
        raise PlaybookError(str(error), path) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise PlaybookError(error.problem or "it is not YAML", path, mark.line + 1 if mark else None) from error
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a timestamp such as 2024-99-99. The first line describes the problem; the others locate it in the
        # stream.
        raise PlaybookError(str(error).splitlines()[0], path) from error
    except RecursionError as error:
        raise PlaybookError("it is nested too deeply", path) from error


class _Tagless(SafeConstructor):
    """Constructs plain values and accepts unknown tags (`!vault`, `!unsafe`, and those of plugins)."""

    def construct_tagged(self, _suffix: str, node: yaml.Node) -> object:
        """Return the value of a tagged node, ignoring the tag."""
        if isinstance(node, yaml.MappingNode):
            return self.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return self.construct_sequence(node, deep=True)
        return node.value


_Tagless.add_multi_constructor("", _Tagless.construct_tagged)


def _loader() -> type[yaml.SafeLoader | yaml.CSafeLoader]:
    """Return a safe loader. It is based on libyaml if PyYAML includes it, which is several times faster.

    PyYAML's own CSafeLoader also composes nodes in C. On deeply nested files, it overflows the stack and crashes the
    process. The Python Composer raises RecursionError instead.
    """
    if not yaml.__with_libyaml__:
        return type("_Loader", (_Tagless, yaml.SafeLoader), {})

    class Loader(_Tagless, Composer, yaml.CSafeLoader):
        def __init__(self, stream: bytes) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)

    return Loader


_PlaybookLoader = _loader()
