"""Commands for groups and grants. They use the database directly, whether or not a server is running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.domain.model.grants import Permission
from deploy.entrypoints.cli.local import Json, with_app_state
from deploy.entrypoints.cli.settings import DataDir, server_settings

if TYPE_CHECKING:
    from deploy.domain.access import AccessState
    from deploy.domain.commands import ChangeAccess, Command
    from deploy.domain.model import Grant
    from deploy.entrypoints.app_state import AppState
    from deploy.service_layer.access import Explanation, Preview

groups = typer.Typer(help="Manage groups of users.", no_args_is_help=True)
grants = typer.Typer(help="Manage who can view, deploy, and manage which services.", no_args_is_help=True)
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]
Users = Annotated[list[str], typer.Argument(metavar="USER...", help="Names of users.")]
GrantIds = Annotated[
    list[int], typer.Argument(metavar="GRANT_ID...", help="IDs of grants. List grants with: fastdeploy grant list")
]
PreviewOnly = Annotated[
    bool, typer.Option("--preview", help="Only show whose permissions would change, and change nothing.")
]
PERMISSIONS = tuple(permission.value for permission in Permission)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(groups, name="group")
    app.add_typer(grants, name="grant")


@groups.command("list")
def list_groups(json: Json = False, data_dir: DataDir = None) -> None:
    """List groups and their members."""
    from deploy.entrypoints.schemas.access import AccessOut

    state = with_app_state(server_settings(data_dir), _read)
    if json:
        typer.echo("[" + ",".join(group.model_dump_json() for group in AccessOut.of(state).groups) + "]")
        return
    names = {user.id: user.name for user in state.users}
    for group in state.groups:
        members = sorted(names[user_id] for user_id in state.members.get(group.id, ()))
        typer.echo(f"{group.name}\t{'all users' if group.is_everyone else ', '.join(members) or 'no members'}")


@groups.command("create")
def create_group(name: GroupName, data_dir: DataDir = None) -> None:
    """Create a group without members."""
    from deploy.domain.commands import CreateGroup

    async def run(state: AppState) -> None:
        await _handle(state, CreateGroup(name=name))

    with_app_state(server_settings(data_dir), run)
    typer.echo(f"Group {name} created")


@groups.command("rename")
def rename_group(
    name: GroupName,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="New name.")],
    data_dir: DataDir = None,
) -> None:
    """Rename a group."""
    from deploy.domain.commands import RenameGroup

    async def run(state: AppState) -> None:
        await _handle(state, RenameGroup(group_id=_group_id(await _read(state), name), name=new_name))

    with_app_state(server_settings(data_dir), run)
    typer.echo(f"Group {name} renamed to {new_name}")


@groups.command("delete")
def delete_group(name: GroupName, data_dir: DataDir = None) -> None:
    """Delete a group, with its grants."""
    from deploy.domain.commands import DeleteGroup

    async def run(state: AppState) -> None:
        await _handle(state, DeleteGroup(group_id=_group_id(await _read(state), name)))

    with_app_state(server_settings(data_dir), run)
    typer.echo(f"Group {name} deleted")


@groups.command("add")
def add_members(name: GroupName, users: Users, preview: PreviewOnly = False, data_dir: DataDir = None) -> None:
    """Add users to a group."""
    _change_members(name, users, preview=preview, data_dir=data_dir, join=True)


@groups.command("remove")
def remove_members(name: GroupName, users: Users, preview: PreviewOnly = False, data_dir: DataDir = None) -> None:
    """Remove users from a group."""
    _change_members(name, users, preview=preview, data_dir=data_dir, join=False)


@grants.command("list")
def list_grants(json: Json = False, data_dir: DataDir = None) -> None:
    """List grants: ID, user or group, permission, services, and environment."""
    from deploy.domain.rights import EVERYTHING
    from deploy.entrypoints.schemas.access import AccessOut

    async def run(state: AppState) -> tuple[AccessState, dict[int, str]]:
        async with state.open_unit_of_work() as uow:
            services = {service.id: service.name for service in await uow.services.list(visible=EVERYTHING)}
        return await _read(state), services

    state, services = with_app_state(server_settings(data_dir), run)
    if json:
        typer.echo("[" + ",".join(grant.model_dump_json() for grant in AccessOut.of(state).grants) + "]")
        return
    for grant in state.grants:
        where = _where(grant, services.get(grant.service_id or 0, ""))
        typer.echo(f"{grant.id}\t{_subject(grant, state)}\t{grant.permission.value}\t{where}")


@grants.command("add")
def add_grant(
    permission: Annotated[str, typer.Argument(metavar="PERMISSION", help=f"One of: {', '.join(PERMISSIONS)}.")],
    user: Annotated[str | None, typer.Option(help="Name of the user to give it to.")] = None,
    group: Annotated[str | None, typer.Option(help="Name of the group to give it to.")] = None,
    service: Annotated[str | None, typer.Option(help="Only on this service.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only on services with this tag.")] = None,
    environment: Annotated[str | None, typer.Option(help="Only in this environment.")] = None,
    preview: PreviewOnly = False,
    data_dir: DataDir = None,
) -> None:
    """Give a permission to a user or a group. Without --service and --tag, it applies to all services."""
    from deploy.domain.commands import ChangeAccess, NewGrant
    from deploy.domain.errors import InvalidInput, NotFound
    from deploy.domain.rights import EVERYTHING

    settings = server_settings(data_dir)
    if permission not in PERMISSIONS:
        raise InvalidInput(f"There is no permission {permission}. Choose one of: {', '.join(PERMISSIONS)}.")

    async def run(state: AppState) -> Preview | None:
        found = await _read(state)
        service_id = None
        if service is not None:
            async with state.open_unit_of_work() as uow:
                known = await uow.services.find(service, visible=EVERYTHING)
            if known is None:
                raise NotFound(f"Service {service} does not exist. List services with: fastdeploy services list")
            service_id = known.id
        new = NewGrant(
            Permission(permission),
            user_id=None if user is None else _user_id(found, user),
            group_id=None if group is None else _group_id(found, group),
            service_id=service_id,
            tag=tag,
            environment=environment,
        )
        return await _apply(state, ChangeAccess(add=(new,), by="command line"), preview=preview)

    _show(with_app_state(settings, run), "Grant added")


@grants.command("remove")
def remove_grants(grant_ids: GrantIds, preview: PreviewOnly = False, data_dir: DataDir = None) -> None:
    """Remove grants."""
    from deploy.domain.commands import ChangeAccess

    async def run(state: AppState) -> Preview | None:
        return await _apply(state, ChangeAccess(remove=tuple(grant_ids), by="command line"), preview=preview)

    _show(with_app_state(server_settings(data_dir), run), "Grants removed" if len(grant_ids) > 1 else "Grant removed")


@grants.command("explain")
def explain_rights(
    user: Annotated[str, typer.Argument(metavar="USER", help="Name of the user.")],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show what a user can do on which service, and why."""
    from deploy.entrypoints.schemas.access import RightsOut

    async def run(state: AppState) -> Explanation:
        return await state.access.explain(_user_id(await _read(state), user))

    found = with_app_state(server_settings(data_dir), run)
    if json:
        typer.echo(RightsOut.of(found).model_dump_json())
        return
    if not found.user.is_active:
        typer.echo(f"{user} is disabled and cannot do anything.")
    elif found.user.is_admin:
        typer.echo(f"{user} is an administrator and can do everything.")
    else:
        typer.echo(f"{user} can{'' if found.rights.can_sync else 'not'} sync services.")
    for each in found.services:
        reasons = [
            f"{reason.grant.permission.value} through {f'the group {reason.group.name}' if reason.group else 'a grant'}"
            f" on {_where(reason.grant, each.service.name)}"
            for reason in each.reasons
        ]
        held = found.rights.on(each.service.id)
        permission = held.value if held is not None else "in some environments"
        typer.echo(f"{each.service.name}\t{permission}\t{'; '.join(reasons) or 'administrator'}")


def _change_members(name: str, users: list[str], *, preview: bool, data_dir: DataDir, join: bool) -> None:
    from deploy.domain.commands import ChangeAccess, Membership

    async def run(state: AppState) -> Preview | None:
        found = await _read(state)
        group_id = _group_id(found, name)
        members = tuple(Membership(group_id, _user_id(found, user)) for user in users)
        change = ChangeAccess(join=members if join else (), leave=() if join else members, by="command line")
        return await _apply(state, change, preview=preview)

    shown = with_app_state(server_settings(data_dir), run)
    _show(shown, f"{', '.join(users)} {'added to' if join else 'removed from'} {name}")


async def _read(state: AppState) -> AccessState:
    from deploy.service_layer.access import access_state

    async with state.open_unit_of_work() as uow:
        return await access_state(uow)


async def _handle(state: AppState, command: Command) -> None:
    from deploy.domain.policy import COMMAND_LINE

    await state.bus.handle(command, by=COMMAND_LINE)


async def _apply(state: AppState, change: ChangeAccess, *, preview: bool) -> Preview | None:
    """Make a change and return None, or return what it would do."""
    from deploy.domain.policy import COMMAND_LINE

    if preview:
        return await state.access.preview(COMMAND_LINE, change)
    await _handle(state, change)
    return None


def _show(preview: Preview | None, done: str) -> None:
    """Print what a change would do, or that it was made."""
    if preview is None:
        typer.echo(done)
        return
    if not preview.changes:
        typer.echo("No permissions would change.")
    for change in preview.changes:
        where = preview.services.get(change.service_id or 0, "all services")
        environment = f" in {change.environment}" if change.environment else ""
        before, after = (held.value if held is not None else "nothing" for held in (change.before, change.after))
        typer.echo(f"{preview.users[change.user_id]}\t{where}{environment}\t{before} -> {after}")


def _user_id(state: AccessState, name: str) -> int:
    from deploy.domain.errors import NotFound

    for user in state.users:
        if user.name == name:
            return user.id
    raise NotFound(f"User {name} does not exist. List users with: fastdeploy user list")


def _group_id(state: AccessState, name: str) -> int:
    from deploy.domain.errors import NotFound

    for group in state.groups:
        if group.name == name:
            return group.id
    raise NotFound(f"Group {name} does not exist. List groups with: fastdeploy group list")


def _subject(grant: Grant, state: AccessState) -> str:
    if grant.group_id is not None:
        return next(f"group {group.name}" for group in state.groups if group.id == grant.group_id)
    return next(f"user {user.name}" for user in state.users if user.id == grant.user_id)


def _where(grant: Grant, service: str) -> str:
    objects = f"tag {grant.tag}" if grant.tag else (service if grant.service_id else "all services")
    return f"{objects} in {grant.environment}" if grant.environment else objects
