-- Claim up to `most` jobs, oldest first.
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
END $$;
