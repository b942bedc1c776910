"""Pass values to a real playbook with every supported ansible-core: types, templates, and masked secrets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.runs.directory import Record
from deploy.domain.masking import Mask
from deploy.service_layer.ingest.entries import masked_entries
from tests.ansible_versions import PYTHONS, ROOT, installed, installed_line
from tests.integration.ansible_runs import Run, run, write_playbook

EVALUATE = "{{ lookup('pipe', 'touch evaluated') }}"
# Each of these values changes if anything guesses its type, trims it, or evaluates it.
TEXTS = [
    *("1.10", "01067", "0", "-1", "+1", "1_000", "0x1F", "0b11", "0o17", "1e3", "1E400", "12:30", "12:30:45", "1,5"),
    *(
        "yes",
        "no",
        "on",
        "off",
        "y",
        "N",
        "true",
        "False",
        "null",
        "Null",
        "None",
        "~",
        "",
        "=",
        "<<",
        "omit",
        "undef",
    ),
    *(
        "2026-03-31",
        "2026-03-31T12:30:00Z",
        ".inf",
        "-.inf",
        ".nan",
        "Infinity",
        "NaN",
        "9" * 40,
        "\u0661\u0662\u0663\u0664",
    ),
    *(
        "[1]",
        "[]",
        "{}",
        '{"a": 1}',
        "{'a': 1}",
        "[1, 'a'",
        "a: b",
        "- a",
        "? a",
        "#x",
        "a #x",
        "!vault x",
        "!unsafe 1",
    ),
    *(
        "&a",
        "*a",
        "|",
        ">",
        "%YAML 1.1",
        "@a",
        "`a`",
        "---",
        "...",
        "'",
        '"',
        "\\",
        "\\n",
        "\\u0041",
        "a=b c=d",
        "$HOME",
    ),
    *(
        " ",
        "  a  ",
        "\ta\t",
        "\n",
        "a\nb\r\n\n  c\n",
        "\r",
        "\x01\x1b[0m\x7f",
        "\x80\x85\x9f",
        "\u00a0\u2028\u2029\u200b",
    ),
    *("\ufeffa", "\ufffe\uffff", "Gr\u00fc\u00dfe", "\u6f22\u5b57", "\U0001f600\U0001fffe", "%RUN_DIR%", "x" * 2000),
    *(
        "{{ 6 * 7 }}",
        "{% if %}",
        "{# x #}",
        "{{",
        "}}",
        "{{ undefined_name }}",
        "{% raw %}{{ 1 }}{% endraw %}",
        EVALUATE,
    ),
    *(
        "#jinja2: variable_start_string: '[['",
        "[[ 6 * 7 ]]",
        "{{ 'a' }}b",
        "__ansible_unsafe",
        '{"__ansible_unsafe": "a"}',
    ),
]
OTHERS: dict[str, Any] = {
    "zero": 0,
    "negative": -1,
    "beyond_doubles": 2**53 + 1,
    "beyond_64_bits": 2**64 + 1,
    "huge": 10**300 + 1,
    "whole_float": 1.0,
    "third": 1 / 3,
    "large_float": 1e16,
    "largest_float": 1.7976931348623157e308,
    "tiny_float": 5e-324,
    "yes": True,
    "no": False,
    "nothing": None,
    "empty_list": [],
    "empty_object": {},
    "nested": [[], [[1, "1", 1.5, None, True, [{"a": {"b": ["1.10", EVALUATE]}}]]], {"": {"x": []}}],
    "nul": "a\0b",
    "long": "0123456789" * 20_000,
}
# Field names that JSON can carry safely.
FIELDS = dict.fromkeys(("1.10", "yes", "null", "01067", "", "<<", "=", "a b", "\n", "x" * 2000, "2026-03-31"), 1)
HOSTILE = {
    EVALUATE: 1,
    "{{ 6 * 7 }}": [2],
    "{%": {"{": "{ 6 * 7 }}"},
    "__ansible_unsafe": EVALUATE,
    "unsafe": {"__ansible_unsafe": EVALUATE},
    "unsafe object": {"__ansible_unsafe": {"a": EVALUATE}},
    "vault": {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n6162"},
    "type": {"__ansible_type": "TrustedAsTemplate", "value": EVALUATE},
    "wrapped": {
        "__ansible_type": "_AnsibleTaggedStr",
        "value": EVALUATE,
        "tags": [{"__ansible_type": "TrustedAsTemplate"}],
    },
}
SECRETS = {"pin": "0012345", "number": "7654321", "decimal": "98765.40"}
LISTLIKE = '["0012345", 7654321]'

PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    indirect: "{{ texts }}"
    first_name: "{{ few_fields | first }}"
  tasks:
    - name: Compare
      assert:
        quiet: true
        that:
          - version == '1.10' and version != 1.1 and version is string
          - plz == '01067' and plz | length == 5
          - answer == 'yes' and answer is not boolean
          - empty == '' and empty is defined and empty is not none
          - note == text_of_note
          - day.split('-') | length == 3
          - beyond_doubles == 9007199254740993 and beyond_doubles is integer
          - nothing is none and yes is true and no is false
          - fastdeploy_deployment_id == 7 and fastdeploy_service == 'shop'
          - fastdeploy_context.version == version
    - name: Condition
      set_fact: {condition: true}
      when: answer == 'yes' and version == '1.10'
    - name: Arguments
      command:
        argv: "{{ [ansible_playbook_python, '-c', 'import json, sys; print(json.dumps(sys.argv[1:]))'] + texts }}"
        expand_argument_vars: false
      register: arguments
    - name: Loop
      set_fact: {looped: "{{ looped | default([]) + [item] }}"}
      loop: "{{ few }}"
    - name: Loop over names
      set_fact: {names_seen: "{{ names_seen | default([]) + [item.key] }}"}
      loop: "{{ few_fields | dict2items }}"
    - name: Loop over a list of names
      set_fact: {names_listed: "{{ names_listed | default([]) + [item] }}"}
      loop: "{{ few_fields | list }}"
    - name: Facts
      set_fact: {fact: "{{ version }}", facts: "{{ fastdeploy_context }}", note_fact: "{{ note }}"}
    - name: Name {{ note }}
      debug: {msg: "{{ version }} {{ plz }} {{ note }} {{ first_name }}"}
    - name: Content
      copy: {content: "{{ listlike }}", dest: "{{ playbook_dir }}/content", mode: "0600"}
      diff: true
    - name: Everything
      template: {src: observed.j2, dest: "{{ playbook_dir }}/observed.json", mode: "0600"}
    - name: Secrets
      debug:
        msg: ["{{ pin }}", "{{ pin | int }}", "{{ number }}", "{{ number | int }}", "{{ decimal }}", "{{ decimal | float }}"]
    - name: Secrets in values
      debug: {msg: {pin: "{{ pin | int }}", number: "{{ number | int }}", decimal: "{{ decimal | float }}", context: "{{ fastdeploy_context.pin }}"}}
    - name: Secrets in items
      debug: {msg: "{{ item }}"}
      loop: ["{{ pin }}", "{{ number | int }}"]
    - name: Secrets in a failure
      fail: {msg: "{{ pin }} {{ number | int }}"}
      ignore_errors: true
"""
OBSERVED = """
{
  "context": {{ fastdeploy_context | to_json }},
  "variables": {
    {% for name in variables %}
    {{ name | to_json }}: [{{ lookup('vars', name) | to_json }}, {{ lookup('vars', name) | type_debug | to_json }}]
    {{- "" if loop.last else "," }}
    {% endfor %}
  },
  "text_types": {{ texts | map('type_debug') | unique | list | to_json }},
  "indirect": {{ indirect | to_json }},
  "first_name": {{ first_name | to_json }},
  "fact": {{ fact | to_json }},
  "facts": {{ facts | to_json }},
  "note_fact": {{ note_fact | to_json }},
  "looped": {{ looped | to_json }},
  "names_seen": {{ names_seen | to_json }},
  "names_listed": {{ names_listed | to_json }},
  "condition": {{ condition | default(false) | to_json }},
  "arguments": {{ arguments.stdout | to_json }},
  "written": "{{ version }} {{ plz }} {{ answer }} {{ at }} {{ day }}"
}
"""


@dataclass
class Given:
    """A finished run: the values that it started with, and the values that the playbook saw."""

    values: dict[str, Any]
    run: Run
    folder: Path
    observed: dict[str, Any]


def values_of_kind(hostile: dict[str, Any]) -> dict[str, Any]:
    named = {
        "version": "1.10",
        "plz": "01067",
        "answer": "yes",
        "day": "2026-03-31",
        "at": "12:30",
        "empty": "",
        "note": EVALUATE,
        "text_of_note": EVALUATE,
        "listlike": LISTLIKE,
        **OTHERS,
        **SECRETS,
    }
    return {
        **named,
        "texts": TEXTS,
        "few": ["1.10", "~", "[1]", EVALUATE],
        "fields": {**FIELDS, **hostile},
        "few_fields": {**dict(list(hostile.items())[:3]), "1.10": 1, "01067": 2},
        "variables": list(named),
        "not a name": "1.10",
        **hostile,
    }


# In the first tier: the hostile values here, and plain ones in
# test_ansible_callback.py::test_values_are_never_evaluated.
@pytest.fixture(scope="module", params=[pytest.param("plain", marks=pytest.mark.slow), "hostile"])
def kind(request: pytest.FixtureRequest) -> str:
    """`plain`: JSON, with the linear strategy. `hostile`: names that need YAML, with Mitogen."""
    return str(request.param)


LINES = [pytest.param(line, marks=() if line == installed_line() else pytest.mark.slow, id=line) for line in PYTHONS]


@pytest.fixture(scope="module", params=LINES)
def given(request: pytest.FixtureRequest, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Run the playbook once with each supported version. All tests share the run."""
    ansible = installed(request.param)
    folder = tmp_path_factory.mktemp(f"values-{ansible.line}")
    (folder / "observed.j2").write_text(OBSERVED.lstrip())
    values = values_of_kind(HOSTILE if kind == "hostile" else {})
    path = write_playbook(folder, PLAYBOOK)
    result = run(path, values=values, ansible=ansible, mitogen=kind == "hostile")
    assert result.code == 0, result.text + result.printed
    return Given(values, result, folder, json.loads((folder / "observed.json").read_text()))


def same(one: object, other: object) -> bool:
    """Return True if both are equal, including their types. In Python, 1 equals True and 1.0."""
    return json.dumps(one) == json.dumps(other)


def test_every_value_arrives_unchanged(given: Given) -> None:
    assert same(given.observed["context"], given.values)


def test_variables_have_the_given_values_and_types(given: Given) -> None:
    types = {str: {"str", "AnsibleUnsafeText"}}
    for name, (value, type_name) in given.observed["variables"].items():
        assert same(value, given.values[name]), name
        assert type_name in types.get(type(given.values[name]), {type(given.values[name]).__name__}), name


def test_strings_stay_strings_wherever_they_are_used(given: Given) -> None:
    seen = given.observed
    assert set(seen["text_types"]) <= {"str", "AnsibleUnsafeText"}
    assert seen["indirect"] == TEXTS
    assert seen["fact"] == "1.10"
    assert same(seen["facts"], given.values)
    assert seen["note_fact"] == EVALUATE
    assert seen["looped"] == given.values["few"]
    assert json.loads(seen["arguments"]) == TEXTS
    assert seen["written"] == "1.10 01067 yes 12:30 2026-03-31"
    assert seen["condition"] is True


def test_field_names_stay_strings(given: Given) -> None:
    names = list(given.values["few_fields"])
    assert given.observed["names_seen"] == given.observed["names_listed"] == names
    assert given.observed["first_name"] == names[0]


def test_a_file_contains_exactly_the_given_string(given: Given) -> None:
    assert (given.folder / "content").read_text() == LISTLIKE


def test_no_template_in_a_value_is_evaluated(given: Given) -> None:
    assert not list(given.folder.rglob("evaluated"))
    assert f"Name {EVALUATE}" in given.run.task_names()
    message = given.run.message(f"Name {EVALUATE}").removesuffix("\n")
    assert message == f"1.10 01067 {EVALUATE} {given.observed['first_name']}"


def test_numeric_secrets_are_masked_as_strings_and_numbers(given: Given) -> None:
    records = [Record(1, 0.0, "event", json.dumps(item)) for item in given.run.objects]
    shown = "\n".join(map(str, masked_entries(records, Mask(SECRETS.values()))))
    assert shown.count("***") > 20
    unmasked = "\n".join(map(str, masked_entries(records, Mask(()))))
    for digits in ("12345", "7654321", "98765.4"):
        # As a whole number: the long string of digits also contains these digits, and it is not a secret.
        pattern = rf"(?<!\d)0*{re.escape(digits)}0?(?!\d)"
        assert re.search(pattern, unmasked)
        assert not re.search(pattern, shown)


def test_the_versions_match_the_lock_file_and_the_supported_range() -> None:
    locked = re.findall(r'name = "ansible-core"\nversion = "(\d+\.\d+)\.', (ROOT / "uv.lock").read_text())
    [oldest] = re.findall(r'"ansible-core>=(\d+\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert next(iter(PYTHONS)) == oldest
    assert set(locked) <= set(PYTHONS)
    assert list(PYTHONS) == [f"2.{minor}" for minor in range(17, 17 + len(PYTHONS))]
