"""The composition root: register the handler of each command, with its dependencies.

The web server, the worker, and the command line all use it.
"""

from __future__ import annotations

from functools import partial

from deploy.adapters.filesystem import ServiceFolders
from deploy.domain import commands, events
from deploy.domain.rules import WaitingLimits
from deploy.service_layer.clock import Clock
from deploy.service_layer.handlers import access, deployments, runs, services, sessions, tokens, users
from deploy.service_layer.ingest.running_deployments import RunningDeployments, StepIds
from deploy.service_layer.inputs import Inputs
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.run_secrets import StoredSecrets
from deploy.service_layer.unit_of_work import OpenUnitOfWork


def create_bus(
    open_unit_of_work: OpenUnitOfWork,
    folders: ServiceFolders,
    now: Clock,
    inputs: Inputs,
    open_autocommit: OpenUnitOfWork | None = None,
    limits: WaitingLimits | None = None,
) -> MessageBus:
    """Return a message bus with all handlers registered."""
    bus = MessageBus(open_unit_of_work, open_autocommit)
    bus.on_command(commands.CreateUser, partial(users.create_user, now=now))
    bus.on_command(commands.ChangeUser, partial(users.change_user, now=now))
    bus.on_command(commands.ChangeOwnPassword, partial(users.change_own_password, now=now))
    bus.on_command(commands.ChangeAccess, partial(access.change_access, now=now))
    bus.on_command(commands.CreateGroup, partial(access.create_group, now=now))
    bus.on_command(commands.RenameGroup, access.rename_group)
    bus.on_command(commands.DeleteGroup, access.delete_group)
    bus.on_command(commands.OpenSession, partial(sessions.open_session, now=now))
    bus.on_command(commands.EndSessions, partial(sessions.end_sessions, now=now))
    bus.on_command(commands.RegisterServiceToken, partial(tokens.register_service_token, now=now))
    bus.on_command(commands.RegisterConfigToken, partial(tokens.register_config_token, now=now))
    bus.on_command(commands.RevokeToken, partial(tokens.revoke_token, now=now))
    bus.on_command(commands.SyncServices, partial(services.sync_services, now=now))
    bus.on_command(commands.DeleteService, partial(services.delete_service, now=now))
    step_ids, run_secrets = StepIds(), StoredSecrets(inputs.vault)
    start = partial(
        deployments.start_deployment,
        now=now,
        playbook_steps=folders.playbook_steps,
        step_ids=step_ids,
        inputs=inputs,
        run_secrets=run_secrets,
        limits=limits or WaitingLimits(),
    )
    bus.on_command(commands.StartDeployment, start, prepare=inputs.prepare)
    bus.on_command(commands.ReleaseDeployment, deployments.release_deployment)
    bus.on_command(commands.CancelDeployment, partial(deployments.cancel_deployment, now=now))
    bus.on_command(commands.ReportStep, partial(deployments.report_step, now=now, run_secrets=run_secrets))
    bus.on_command(commands.FinishDeployment, partial(deployments.finish_deployment, now=now))
    running = RunningDeployments()
    claim = partial(runs.claim_deployments, now=now, running=running)
    bus.on_command(commands.ClaimDeployments, claim, autocommit=True)
    ingest_output = partial(runs.ingest_output, running=running, step_ids=step_ids)
    bus.on_command(commands.IngestOutput, ingest_output, autocommit=True)
    bus.on_command(commands.ShowOpenLine, runs.show_open_line, autocommit=True)
    bus.on_command(commands.PrepareRun, partial(runs.prepare_run, run_secrets=run_secrets), autocommit=True)
    bus.on_command(commands.KeepFiles, deployments.keep_files, autocommit=True)
    bus.on_command(commands.FailLostRun, partial(runs.fail_lost_run, now=now))
    bus.on_command(commands.RequeueDeployment, deployments.requeue_deployment)
    bus.on_command(commands.ExpireDeployments, runs.expire_deployments)
    bus.on_command(commands.Heartbeat, runs.heartbeat, autocommit=True)
    bus.on_event(events.AccessChanged, users.announce_access)
    return bus
