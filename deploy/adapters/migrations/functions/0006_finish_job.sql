-- Remove a finished job and wake the workers.
CREATE OR REPLACE FUNCTION fastdeploy_finish_job(finished bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM procrastinate_jobs WHERE id = finished) THEN
        PERFORM procrastinate_finish_job_v1(finished, 'succeeded', true);
        PERFORM pg_notify('procrastinate_any_queue_v1', '{"type": "job_inserted"}');
    END IF;
END $$;
