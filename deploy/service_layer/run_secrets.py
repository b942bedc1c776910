"""Seal, store, open, and delete the secrets of runs. Each happens in one place, for all of them together."""

from __future__ import annotations

from cachetools import TTLCache

from deploy.adapters.sealing import Unsealable, Vault
from deploy.domain.masking import Mask
from deploy.domain.model import Deployment
from deploy.domain.run_secrets import RunSecrets
from deploy.service_layer.unit_of_work import UnitOfWork

# Masks of runs that report over HTTP. A mask for long values takes some time to create.
CACHE_SIZE, CACHE_SECONDS = 64, 60.0


class StoredSecrets:
    """The secrets of unfinished runs, which are encrypted in the database."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._masks: TTLCache[bytes | int, Mask] = TTLCache(CACHE_SIZE, CACHE_SECONDS)

    async def keep(self, deployment_id: int, secrets: RunSecrets, uow: UnitOfWork) -> bool:
        """Store the secrets of a run until it ends, in place of earlier ones. Return False if it has ended."""
        return await uow.secrets.put(deployment_id, self._vault.seal(secrets.values(), deployment_id))

    async def keep_first(self, deployment_id: int, secrets: RunSecrets, uow: UnitOfWork) -> bool:
        """Store the secrets of a run until it ends, unless there are others. Return False if there are or it has ended."""
        return await uow.secrets.put_first(deployment_id, self._vault.seal(secrets.values(), deployment_id))

    async def open(self, deployment: Deployment, uow: UnitOfWork) -> RunSecrets:
        """Return the secrets of a run.

        Raises:
            Unsealable: The secrets are not stored or cannot be decrypted.
        """
        return self._opened(deployment, await uow.secrets.get(deployment.id))

    async def find(self, deployment: Deployment, uow: UnitOfWork) -> RunSecrets:
        """Return the secrets of a run, or the reason they are not known, to mask its output."""
        return self._found(deployment, await uow.secrets.get(deployment.id))

    async def mask(self, deployment: Deployment, uow: UnitOfWork) -> Mask:
        """Return the mask for single reports of a run."""
        sealed = await uow.secrets.get(deployment.id)
        key = sealed or deployment.id
        mask = self._masks.get(key)
        if mask is None:
            mask = self._masks[key] = self._found(deployment, sealed).mask()
        return mask

    def _found(self, deployment: Deployment, sealed: bytes | None) -> RunSecrets:
        try:
            return self._opened(deployment, sealed)
        except Unsealable as error:
            return RunSecrets(fault=str(error))

    def _opened(self, deployment: Deployment, sealed: bytes | None) -> RunSecrets:
        if sealed is not None:
            return RunSecrets.of(self._vault.open(sealed, deployment.id))
        if deployment.secret_inputs:
            raise Unsealable("Its secret inputs are no longer stored. Start the deployment again.")
        return RunSecrets()
