-- Return the jobs that can run now, up to `most` of each lane, each with the number of a free slot in its lane.
--
-- A lane is a service and an environment, and has as many slots as the service's config currently allows. The lock of a job
-- is 'service:<id>:<slot>', or 'service:<id>:<slot>:<environment>'. Jobs of a lane run in order. Jobs without an environment
-- exclude all lanes of their service, and also run in order with them: such a service has just been given environments.
--
-- The cost depends on the number of lanes with waiting jobs, not on the number of waiting jobs. The recursive part visits one
-- index entry per lane (a loose index scan). Sequential scans are off because PostgreSQL keeps the plans it made while the
-- queue was short. `among` limits the result to these services.
CREATE FUNCTION fastdeploy_runnable_jobs(most integer, among bigint[] DEFAULT NULL)
RETURNS TABLE (job_id bigint, service bigint, environment text, slot bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE lanes AS (
        (
            SELECT CAST(split_part(job.lock, ':', 2) AS bigint) AS service, split_part(job.lock, ':', 4) AS environment,
                job.id AS head
            FROM procrastinate_jobs AS job
            WHERE job.status = 'todo' AND job.task_name = 'deploy'
            ORDER BY CAST(split_part(job.lock, ':', 2) AS bigint), split_part(job.lock, ':', 4), job.id LIMIT 1
        )
        UNION ALL
        SELECT following.* FROM lanes CROSS JOIN LATERAL (
            SELECT CAST(split_part(job.lock, ':', 2) AS bigint), split_part(job.lock, ':', 4), job.id
            FROM procrastinate_jobs AS job
            WHERE job.status = 'todo' AND job.task_name = 'deploy'
                AND (CAST(split_part(job.lock, ':', 2) AS bigint), split_part(job.lock, ':', 4))
                    > (lanes.service, lanes.environment)
            ORDER BY CAST(split_part(job.lock, ':', 2) AS bigint), split_part(job.lock, ':', 4), job.id LIMIT 1
        ) AS following
    ), running AS (
        SELECT CAST(split_part(job.lock, ':', 2) AS bigint) AS service, split_part(job.lock, ':', 4) AS environment,
            count(*) AS runs, array_agg(split_part(job.lock, ':', 3)) AS slots
        FROM procrastinate_jobs AS job WHERE job.status = 'doing' AND job.task_name = 'deploy' GROUP BY 1, 2
    ), heads AS (
        SELECT lanes.service, min(lanes.head) FILTER (WHERE lanes.environment = '') AS without_environment,
            min(lanes.head) FILTER (WHERE lanes.environment <> '') AS with_environment
        FROM lanes GROUP BY lanes.service
    ), wanted AS (
        SELECT lanes.service, lanes.environment,
            coalesce(services.concurrency, 1) - coalesce(running.runs, 0) AS room,
            coalesce(running.slots, '{}') AS taken,
            -- The oldest waiting job that excludes this lane. Only jobs before it can run.
            CASE WHEN lanes.environment = '' THEN heads.with_environment ELSE heads.without_environment END AS barrier
        FROM lanes
        JOIN heads ON heads.service = lanes.service
        LEFT JOIN services ON services.id = lanes.service
        LEFT JOIN running ON running.service = lanes.service AND running.environment = lanes.environment
        WHERE (among IS NULL OR lanes.service = ANY (among))
            AND NOT EXISTS (
                SELECT FROM running AS other WHERE other.service = lanes.service
                AND (other.environment = '') <> (lanes.environment = '')
            )
    )
    SELECT next.id, wanted.service, wanted.environment, (
            SELECT number FROM generate_series(0, wanted.room + cardinality(wanted.taken) - 1) AS number
            WHERE CAST(number AS text) <> ALL (wanted.taken) ORDER BY number OFFSET next.place - 1 LIMIT 1
        )
    FROM wanted CROSS JOIN LATERAL (
        SELECT job.id, row_number() OVER (ORDER BY job.id) AS place
        FROM procrastinate_jobs AS job
        WHERE job.status = 'todo' AND job.task_name = 'deploy'
            AND CAST(split_part(job.lock, ':', 2) AS bigint) = wanted.service
            AND split_part(job.lock, ':', 4) = wanted.environment
            AND (wanted.barrier IS NULL OR job.id < wanted.barrier)
        ORDER BY job.id LIMIT least(most, wanted.room)
    ) AS next
    WHERE wanted.room > 0;
END $$;
