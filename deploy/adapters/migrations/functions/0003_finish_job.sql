-- Remove a finished job, pass its lane on to the next job, and wake the workers. Replaced in 0006.
-- The lane goes to the job that has waited longest behind others, whatever lane it waited in.
CREATE FUNCTION fastdeploy_finish_job(finished bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lane text;
BEGIN
    SELECT job.lock INTO lane FROM procrastinate_jobs AS job WHERE job.id = finished;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE procrastinate_jobs SET lock = lane WHERE procrastinate_jobs.id = (
        SELECT job.id FROM procrastinate_jobs AS job
        WHERE job.status = 'todo' AND job.lock <> lane AND job.lock LIKE regexp_replace(lane, '[0-9]+$', '%')
            AND EXISTS (
                SELECT FROM procrastinate_jobs AS other WHERE other.lock = job.lock
                AND (other.status = 'doing' OR other.status = 'todo' AND other.id < job.id)
            )
        ORDER BY job.id LIMIT 1 FOR UPDATE OF job SKIP LOCKED
    );
    PERFORM procrastinate_finish_job_v1(finished, 'succeeded', true);
    PERFORM pg_notify('procrastinate_any_queue_v1', '{"type": "job_inserted"}');
END $$;
