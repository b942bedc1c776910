"""Create and change users. Passwords are checked and hashed here, before a transaction begins."""

from __future__ import annotations

from deploy.adapters.tokens import Passwords
from deploy.domain.commands import ChangeUser, CreateUser
from deploy.domain.errors import Conflict
from deploy.domain.events import UserCreated
from deploy.domain.model import User
from deploy.domain.passwords import check_rules
from deploy.domain.policy import Actor
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork, in_unit_of_work


class Accounts:
    """The accounts of users, for the API, the command line, and the first start."""

    def __init__(self, open_unit_of_work: OpenUnitOfWork, bus: MessageBus, passwords: Passwords) -> None:
        self._open_unit_of_work = open_unit_of_work
        self._bus = bus
        self._passwords = passwords

    async def create(self, by: Actor, name: str, password: str, *, is_admin: bool = False) -> User:
        """Add a user. The first user becomes an administrator.

        Raises:
            InvalidInput: The name or the password violates a rule.
            Conflict: A user with this name exists.
            Overloaded: Too many passwords are waiting to be hashed.
        """
        command = CreateUser(name=name, password_hash=await self._hash(password), is_admin=is_admin)
        events = await self._bus.handle(command, by=by)
        return await self._read(next(event.user_id for event in events if isinstance(event, UserCreated)))

    async def create_first(self, by: Actor, name: str, password: str, *, is_generated: bool) -> bool:
        """Create an administrator if there are no users. Return False if there are.

        Raises:
            InvalidPassword: The password violates a rule.
            InvalidInput: The name violates a rule.
        """
        async with self._open_unit_of_work() as uow:
            if await uow.users.count():
                return False
        command = CreateUser(
            name=name,
            password_hash=await self._hash(password),
            is_admin=True,
            has_generated_password=is_generated,
            only_first=True,
        )
        try:
            await self._bus.handle(command, by=by)
        except Conflict:
            return False  # another process was faster
        return True

    async def change(
        self,
        by: Actor,
        user_id: int,
        *,
        password: str | None = None,
        is_admin: bool | None = None,
        is_active: bool | None = None,
    ) -> User:
        """Change what is not None. This ends the user's sessions.

        Raises:
            NotFound: The user does not exist.
            InvalidInput: The password violates a rule.
            Conflict: There would be no administrator.
            Overloaded: Too many passwords are waiting to be hashed.
        """
        password_hash = await self._hash(password) if password is not None else None
        command = ChangeUser(user_id=user_id, password_hash=password_hash, is_admin=is_admin, is_active=is_active)
        await self._bus.handle(command, by=by)
        return await self._read(user_id)

    async def _hash(self, password: str) -> str:
        check_rules(password)
        return await self._passwords.hash(password)

    async def _read(self, user_id: int) -> User:
        return await in_unit_of_work(self._open_unit_of_work, lambda uow: uow.users.get(user_id))
