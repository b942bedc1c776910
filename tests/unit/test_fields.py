"""Each field of a deployment or step is declared once, in its class. Everything else is compared with it."""

from __future__ import annotations

import ast
import inspect
import json
import re
from dataclasses import replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel
from sqlalchemy import ARRAY, JSON, BigInteger, Boolean, Column, DateTime, Double, Integer, Table, Text
from sqlalchemy import Enum as SqlEnum

from benchmarks import bare_app
from deploy.adapters import orm
from deploy.adapters.repository import steps as step_sql
from deploy.domain import run
from deploy.domain.fields import changing, names_of, sent
from deploy.domain.model import Deployment, Held, Step, StepState
from deploy.entrypoints.schemas.deployments import DeploymentOut, StepOut
from deploy.entrypoints.schemas.services import ServiceOut
from deploy.service_layer.messages import deployment_fields, step_fields
from tests.runs import START, a_deployment

FRONTEND = Path(__file__).parents[2] / "frontend"
SCHEMAS = json.loads((FRONTEND / "openapi.json").read_text(encoding="utf-8"))["components"]["schemas"]
SQL_TYPES: dict[Any, tuple[type[Any], ...]] = {
    int: (Integer, BigInteger),
    float: (Double,),
    bool: (Boolean,),
    str: (Text,),
    datetime: (DateTime,),
    dict: (JSON,),
    Held: (JSON,),
    list: (JSON, ARRAY),
}
STORED = [(Deployment, orm.deployments), (Step, orm.steps)]
A_STEP = Step(
    id=4,
    deployment_id=7,
    name="Build",
    position=1,
    state=StepState.SUCCESS,
    description="Makes it",
    message="done",
    started=START,
    finished=START,
    run_order=2,
    first_line=3,
    last_line=9,
    detail={"a": 1},
    hosts=[{"host": "web1"}],
    expected_seconds=1.5,
    host_counts={"ok": 1},
)


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without None, and True if it included None."""
    parts = [part for part in get_args(hint) if part is not NoneType]
    return (parts[0], True) if NoneType in get_args(hint) else (hint, False)


def sql_types(hint: Any) -> tuple[type[Any], ...]:
    """Return the column types that can store a field of this type."""
    kind = get_origin(hint) or hint
    return (SqlEnum,) if isinstance(kind, type) and issubclass(kind, Enum) else SQL_TYPES[kind]


@pytest.mark.parametrize(("kind", "table"), STORED)
def test_the_table_has_a_column_for_each_field(kind: type[Any], table: Table) -> None:
    columns = {column.name for column in table.columns}
    missing, unknown = set(names_of(kind)) - columns, columns - set(names_of(kind))
    assert not missing, f"Add {sorted(missing)} to the table {table.name} in deploy/adapters/orm and add a migration."
    assert not unknown, f"Add {sorted(unknown)} to the class {kind.__name__} in deploy/domain/model."


@pytest.mark.parametrize(
    ("hint", "column"),
    [
        pytest.param(hint, table.columns[name], id=f"{table.name}.{name}")
        for kind, table in STORED
        for name, hint in get_type_hints(kind).items()
        if name in table.columns
    ],
)
def test_a_column_has_the_type_of_its_field(hint: Any, column: Column[Any]) -> None:
    kind, is_optional = without_none(hint)
    assert isinstance(column.type, sql_types(kind)), f"{column} is {column.type!r}, but the field is {hint}"
    assert column.nullable == is_optional, f"{column} must {'' if is_optional else 'not '}accept NULL"
    if isinstance(column.type, SqlEnum):
        assert column.type.enum_class is kind


@pytest.mark.parametrize(("kind", "response"), [(Deployment, DeploymentOut), (Step, StepOut)])
def test_the_response_model_has_the_fields_that_are_sent(kind: type[Any], response: type[BaseModel]) -> None:
    wanted = set(sent(kind) or names_of(kind))  # every field of a step is sent
    assert response.model_fields.keys() == wanted, (
        f"{response.__name__} in deploy/entrypoints/schemas/deployments.py differs from {kind.__name__}: "
        f"{sorted(response.model_fields.keys() ^ wanted)}"
    )
    types = get_type_hints(kind)
    for name, field in response.model_fields.items():
        if name not in ("hosts", "held"):  # the response describes the objects in them
            assert field.annotation == types[name], f"{response.__name__}.{name} differs from {kind.__name__}.{name}"


@pytest.mark.parametrize("response", [DeploymentOut, StepOut])
def test_the_generated_types_of_the_page_are_up_to_date(response: type[BaseModel]) -> None:
    name = response.__name__
    assert SCHEMAS[name]["properties"].keys() == response.model_fields.keys(), (
        f"{name} in frontend/openapi.json is out of date. Update it with: just openapi"
    )
    types = (FRONTEND / "src" / "api" / "schema.d.ts").read_text(encoding="utf-8")
    found = re.search(rf"^        {name}: \{{\n(.*?)^        \}};", types, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert set(re.findall(r"^            (\w+)\??:", found[1], re.MULTILINE)) == response.model_fields.keys(), (
        f"{name} in frontend/src/api/schema.d.ts is out of date. Update it with: just openapi"
    )


def test_a_message_has_the_fields_that_are_sent() -> None:
    deployment = a_deployment(finished=START)
    message = deployment_fields(deployment)
    assert message == {name: getattr(deployment, name) for name in sent(Deployment)}
    assert type(message["state"]) is str


def test_what_changes_is_stored() -> None:
    """A field without CHANGES is only written when the deployment is added, so a later change would be lost."""
    assigned = {
        target.attr
        for node in ast.walk(ast.parse(inspect.getsource(Deployment) + inspect.getsource(run)))
        if isinstance(node, (ast.Assign, ast.AugAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) in {"self", "deployment", "self.deployment"}
    }
    missing = assigned & set(names_of(Deployment)) - set(changing(Deployment))
    assert not missing, f"Add CHANGES to {sorted(missing)} in the class Deployment."


class TestStep:
    """Steps are spelled out in several places because this is faster."""

    def test_each_field_differs_from_its_default(self) -> None:
        default = Step(id=0, deployment_id=0, name="", position=0)
        assert [name for name in names_of(Step) if getattr(A_STEP, name) == getattr(default, name)] == []

    def test_a_message_has_every_field(self) -> None:
        fields = {name: getattr(A_STEP, name) for name in names_of(Step)}
        assert step_fields(A_STEP) == {**fields, "hosts": []}  # results are messages of their own

    def test_a_row_has_every_field(self) -> None:
        row = step_sql._row(A_STEP)
        assert row.keys() == set(names_of(Step)) == {name for name, _ in step_sql._COLUMNS}
        as_text = {name: json.dumps(getattr(A_STEP, name)) for name in ("detail", "hosts", "host_counts")}
        assert row == {**{name: getattr(A_STEP, name) for name in names_of(Step)}, **as_text}

    @pytest.mark.parametrize(("name", "kind"), step_sql._COLUMNS)
    def test_a_column_is_written_with_its_type(self, name: str, kind: str) -> None:
        sql = {"DATETIME": "timestamptz", "DOUBLE": "double precision", "VARCHAR": "text"}
        declared = orm.steps.columns[name].type
        shown = "text" if isinstance(declared, SqlEnum) else sql.get(str(declared), str(declared).lower())
        assert kind == shown

    def test_a_snapshot_has_every_field(self) -> None:
        assert A_STEP.snapshot() == A_STEP
        assert replace(A_STEP).snapshot().detail is not A_STEP.detail


@pytest.mark.parametrize(
    ("response", "baseline"), [(DeploymentOut, bare_app.Deployment), (ServiceOut, bare_app.Service)]
)
def test_the_baseline_of_the_benchmarks_returns_the_same_fields(
    response: type[BaseModel], baseline: type[BaseModel]
) -> None:
    assert baseline.model_fields.keys() == response.model_fields.keys(), (
        f"{baseline.__name__} in benchmarks/bare_app.py differs from {response.__name__}"
    )
