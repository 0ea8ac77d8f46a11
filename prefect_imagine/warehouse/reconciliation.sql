-- What the providers' lists of jobs show, held against the attempts of our batches: a row for each difference.
-- For DuckDB and PostgreSQL. The tables are those of the dataset that is in use.
with ours as (
    select provider, job_id, batch_id, item, attempt, outcome, credits, refund, asked_at
    from attempts
    where job_id is not null
),
lists as (
    -- Of several accounts of a provider, which one has made a job is not told: all of their lists have to be read.
    select provider, min(read_at) as read_at, max(reaches_to) as reaches_to
    from provider_lists
    group by provider
),
shown as (
    -- A job that the list did not show any more when it was read again is not there any more.
    select jobs.*
    from provider_jobs as jobs
    inner join provider_lists as seen on seen.provider = jobs.provider and seen.account = jobs.account
    where jobs.read_at >= seen.read_at
        or (seen.read_from is not null and coalesce(jobs.created_at < seen.read_from, true))
),
both_sides as (
    select
        coalesce(theirs.provider, ours.provider) as provider,
        coalesce(theirs.job_id, ours.job_id) as job_id,
        ours.batch_id,
        ours.item,
        ours.attempt,
        ours.outcome as our_outcome,
        theirs.status as their_status,
        ours.credits as our_credits,
        theirs.credits as their_credits,
        ours.refund,
        ours.asked_at,
        theirs.created_at,
        theirs.account
    from ours
    full outer join shown as theirs
        on theirs.provider = ours.provider and theirs.job_id = ours.job_id
),
judged as (
    select
        case
            when both_sides.batch_id is null and exists (
                select 1
                from attempts as unanswered
                where unanswered.provider = both_sides.provider
                    and unanswered.outcome in ('open', 'unknown')
                    and unanswered.asked_at between both_sides.created_at - interval '10 minutes'
                        and both_sides.created_at + interval '10 minutes'
            ) then 'may be that of a lost create'
            when both_sides.batch_id is null then 'no batch knows it'
            when both_sides.account is null then 'the provider does not show it'
            when both_sides.our_outcome = 'running'
                and both_sides.their_status in ('succeeded', 'failed', 'cancelled') then 'not collected yet'
            when both_sides.our_outcome in ('succeeded', 'failed')
                and both_sides.our_outcome
                    <> case both_sides.their_status when 'cancelled' then 'failed' else both_sides.their_status end
                then 'another end'
            when both_sides.their_credits is not null
                and both_sides.their_credits <> coalesce(both_sides.our_credits, -1) then 'other credits'
        end as difference,
        both_sides.*
    from both_sides
    inner join lists on lists.provider = both_sides.provider
    -- Only what the list would have shown when it was read.
    where both_sides.account is not null
        or (
            both_sides.asked_at < lists.read_at
            and (lists.reaches_to is null or both_sides.asked_at >= lists.reaches_to)
        )
)
select
    difference, provider, job_id, batch_id, item, attempt, our_outcome, their_status, our_credits, their_credits,
    refund, asked_at, created_at
from judged
where difference is not null
order by difference, provider, job_id
