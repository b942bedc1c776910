"""Who may start is decided when a job is taken, by how many run and what the service's config says then.

Revision: 0006
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Of each service as many waiting jobs as there is room for, those that have waited longest, stand in the queue that is taken
# from, each in a lane of its own that is free; all others wait. Two who do this at the same moment come to the same end, or
# give two jobs the same lane, which the unique index on the lanes of taken jobs notices. Locked in order, against deadlocks.
# A plan that was made while the queue was short is kept, and a nested loop would take seconds with thousands that wait.
_ADMIT = """
CREATE FUNCTION fastdeploy_admit_jobs() RETURNS void LANGUAGE plpgsql SET enable_nestloop = off AS $$
BEGIN
    WITH running AS (
        SELECT split_part(lock, ':', 2) AS service, count(*) AS runs, array_agg(lock) AS lanes
        FROM procrastinate_jobs WHERE status = 'doing' GROUP BY 1
    ), waiting AS (
        SELECT id, queue_name, split_part(lock, ':', 2) AS service,
            row_number() OVER (PARTITION BY split_part(lock, ':', 2) ORDER BY id) AS place
        FROM procrastinate_jobs WHERE status = 'todo'
    ), rooms AS MATERIALIZED (
        SELECT first.service, coalesce(running.lanes, '{}') AS taken,
            coalesce(services.concurrency, 1) - coalesce(running.runs, 0) AS room
        FROM waiting AS first
        LEFT JOIN running ON running.service = first.service
        LEFT JOIN services ON services.id = CAST(first.service AS bigint)
        WHERE first.place = 1
    ), placed AS MATERIALIZED (
        SELECT id, CASE WHEN place <= room THEN 'deployments' ELSE 'waiting' END AS queue, concat('service:', service, ':', (
            SELECT number FROM generate_series(0, room + cardinality(taken) - 1) AS number
            WHERE concat('service:', service, ':', number) <> ALL (taken) AND place <= room
            ORDER BY number OFFSET place - 1 LIMIT 1
        )) AS lane
        FROM waiting JOIN rooms USING (service) WHERE place <= room OR queue_name = 'deployments'
    ), moved AS (
        SELECT job.id, placed.queue, placed.lane FROM placed JOIN procrastinate_jobs AS job ON job.id = placed.id
        WHERE job.status = 'todo' AND (job.queue_name, job.lock) IS DISTINCT FROM (placed.queue, placed.lane)
        ORDER BY job.id FOR UPDATE OF job
    )
    UPDATE procrastinate_jobs AS job SET queue_name = moved.queue, lock = moved.lane FROM moved WHERE job.id = moved.id;
END $$
"""
_TAKE = """
CREATE FUNCTION fastdeploy_take_jobs(most integer) RETURNS TABLE (job_id bigint, deployment_id bigint)
LANGUAGE plpgsql AS $$
DECLARE
    job procrastinate_jobs;
BEGIN
    IF NOT EXISTS (SELECT FROM procrastinate_jobs WHERE status = 'todo') THEN
        RETURN;
    END IF;
    PERFORM fastdeploy_admit_jobs();
    FOR n IN 1..most LOOP
        job := procrastinate_fetch_job_v2(ARRAY['deployments']::varchar[], NULL);
        EXIT WHEN job.id IS NULL;
        job_id := job.id;
        deployment_id := CAST(job.args ->> 'deployment_id' AS bigint);
        RETURN NEXT;
    END LOOP;
END $$
"""
_FINISH = """
CREATE OR REPLACE FUNCTION fastdeploy_finish_job(finished bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM procrastinate_jobs WHERE id = finished) THEN
        PERFORM procrastinate_finish_job_v1(finished, 'succeeded', true);
        PERFORM pg_notify('procrastinate_any_queue_v1', '{"type": "job_inserted"}');
    END IF;
END $$
"""


def upgrade() -> None:
    op.add_column("services", sa.Column("concurrency", sa.Integer(), server_default=sa.text("1"), nullable=False))
    connection = op.get_bind()
    for service_id, data in connection.execute(sa.text("SELECT id, CAST(data AS text) FROM services")).all():
        connection.execute(
            sa.text("UPDATE services SET concurrency = :concurrency WHERE id = :id"),
            {"id": service_id, "concurrency": json.loads(data).get("concurrency", 1)},
        )
    for function in (_ADMIT, _TAKE, _FINISH):
        op.execute(function)


def downgrade() -> None:
    # Before, all jobs stood in one queue, and the end of one gave its lane to the next.
    op.execute(
        "UPDATE procrastinate_jobs SET queue_name = 'deployments', lock = lock || '0' "
        "WHERE queue_name = 'waiting' AND status = 'todo'"
    )
    op.execute("DROP FUNCTION fastdeploy_take_jobs")
    op.execute("DROP FUNCTION fastdeploy_admit_jobs")
    op.drop_column("services", "concurrency")
