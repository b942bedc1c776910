-- Admit jobs: of each service, move as many of the jobs that have waited longest as may run into the queue that workers take
-- from, each with a free lane of its own; all others wait. Two transactions that do this at once come to the same result, or
-- give two jobs the same lane, which the unique index on the lanes of running jobs rejects. Rows are locked in order, to
-- prevent deadlocks. Nested loops are off because a plan that was made while the queue was short is kept, and would take
-- seconds with thousands of waiting jobs.
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
END $$;
