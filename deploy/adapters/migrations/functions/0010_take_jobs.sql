-- Claim up to `most` jobs, oldest first.
--
-- A claim locks the services whose jobs it takes and skips services that another claim has locked, so that claims neither
-- conflict nor wait for each other. The number in the lock's key is "fdclaims" as bytes. If there are other workers, wake them
-- afterwards: they may have skipped a service that can run more jobs than this claim has taken.
CREATE OR REPLACE FUNCTION fastdeploy_take_jobs(most integer) RETURNS TABLE (job_id bigint, deployment_id bigint)
LANGUAGE plpgsql AS $$
DECLARE
    locked bigint[];
    job record;
BEGIN
    SELECT array_agg(runnable.service) INTO locked
    FROM (
        SELECT oldest.service FROM (
            SELECT found.service, min(found.job_id) AS id FROM fastdeploy_runnable_jobs(1) AS found GROUP BY found.service
            ORDER BY 2
        ) AS oldest
        WHERE pg_try_advisory_xact_lock(x'6664636c61696d73'::bigint # oldest.service) LIMIT most
    ) AS runnable;
    IF locked IS NULL THEN
        RETURN;
    END IF;
    -- Look again: another claim may have taken some of these jobs just before.
    FOR job IN SELECT found.* FROM fastdeploy_runnable_jobs(most, locked) AS found ORDER BY found.job_id LIMIT most LOOP
        UPDATE procrastinate_jobs AS claimed
        SET status = 'doing', lock = concat('service:', job.service, ':', job.slot)
            || CASE WHEN job.environment = '' THEN '' ELSE ':' || job.environment END
        WHERE claimed.id = job.job_id AND claimed.status = 'todo'
        RETURNING CAST(claimed.args ->> 'deployment_id' AS bigint) INTO deployment_id;
        IF FOUND THEN
            job_id := job.job_id;
            RETURN NEXT;
        END IF;
    END LOOP;
    IF job_id IS NOT NULL
        AND (SELECT count(*) FROM workers WHERE workers.last_seen > now() - interval '1 minute') > 1 THEN
        PERFORM pg_notify('procrastinate_any_queue_v1', '{"type": "job_inserted"}');
    END IF;
END $$;
