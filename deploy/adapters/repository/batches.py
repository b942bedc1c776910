"""What one batch of a run changes, stored by one statement: it happens after every line that a script prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.repository.events import APPEND_EVENTS, NOTIFY_OF_DEPLOYMENT, StoredEvent, event_arrays
from deploy.adapters.repository.steps import PUT_STEPS, step_arrays
from deploy.domain.model import Deployment, Step

# What a run changes of its deployment.
_CHANGED = (
    "state",
    "finished",
    "reason",
    "exit_code",
    "run_ended",
    "seq",
    "lines",
    "spool_offset",
    "step_count",
    "run_count",
    "has_failed_step",
)
_SET = ", ".join(f"{name} = :{name}" for name in _CHANGED)
_STORE = text(
    f"WITH ours AS (UPDATE deployments SET {_SET} "  # noqa: S608 - our own names
    "WHERE id = CAST(:deployment_id AS bigint) AND seq = :old_seq AND spool_offset = :old_offset RETURNING id AS stored), "
    f"put AS ({PUT_STEPS.format(also=', ours')}), appended AS ({APPEND_EVENTS.format(also=', ours')}) "
    f"SELECT {NOTIFY_OF_DEPLOYMENT} FROM ours"
)


class Batches:
    """Stores what a run says, bit by bit."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def store(
        self,
        deployment: Deployment,
        *,
        seq: int,
        spool_offset: int,
        steps: Iterable[Step],
        events: Sequence[StoredEvent],
    ) -> bool:
        """Store a deployment with the steps and events of a batch, and tell the listening processes, once this is committed.

        Only if the row still is what it was read as: at that `seq` and `spool_offset`. Returns whether it was; the row
        is ours from then on, until the transaction ends.
        """
        if deployment in self._session:
            self._session.expunge(deployment)  # or it would be stored a second time
        values = {name: getattr(deployment, name) for name in _CHANGED}
        values |= {"state": deployment.state.value, "old_seq": seq, "old_offset": spool_offset}
        values |= step_arrays(list(steps)) | event_arrays(deployment.id, events)
        return (await self._session.execute(_STORE, values)).first() is not None
