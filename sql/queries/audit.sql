-- name: list_audit :many
-- Newest first; the cursor is the last row of the previous page. ``account`` is the id of a user or of a token.
select a.at, a.audit_id, a.user_id, a.token_id, a.address, a.procedure, a.target, a.outcome, a.reason, a.request_id,
       a.count
from (
    -- each by an index that has its rows in order
    (select * from ado.audit a
     where :account::text is null
       and (:before_at::timestamptz is null or (a.at, a.audit_id) < (:before_at::timestamptz, :before_id::bigint))
       and (:since::timestamptz is null or a.at >= :since::timestamptz)
       and (:target::text is null or a.target = :target::text)
     order by a.at desc, a.audit_id desc limit :row_limit::integer)
    union all
    (select * from ado.audit a
     where a.user_id = :account::text
       and (:before_at::timestamptz is null or (a.at, a.audit_id) < (:before_at::timestamptz, :before_id::bigint))
       and (:since::timestamptz is null or a.at >= :since::timestamptz)
       and (:target::text is null or a.target = :target::text)
     order by a.at desc, a.audit_id desc limit :row_limit::integer)
    union all
    (select * from ado.audit a
     where a.token_id = :account::text and a.user_id is distinct from :account::text
       and (:before_at::timestamptz is null or (a.at, a.audit_id) < (:before_at::timestamptz, :before_id::bigint))
       and (:since::timestamptz is null or a.at >= :since::timestamptz)
       and (:target::text is null or a.target = :target::text)
     order by a.at desc, a.audit_id desc limit :row_limit::integer)
) a
order by a.at desc, a.audit_id desc limit :row_limit::integer;

-- name: prune_audit :one
select ado.prune_audit(:keep_days::double precision) as removed;

-- name: record_refusals :many
insert into ado.audit (user_id, token_id, address, procedure, target, outcome, reason, request_id, count)
select r.user_id, r.token_id, r.address, r.procedure, r.target, 'refused', r.reason, r.request_id, r.count
from json_to_recordset(:refusals::json) as r(user_id text, token_id text, address text, procedure text, target text,
    reason text, request_id text, count bigint)
returning audit_id;
