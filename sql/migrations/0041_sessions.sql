-- oldest: 26
-- Sessions of the dashboard: a code for one use becomes a token that acts for the account of the token that made it.

alter table ado.tokens add column opened_with text references ado.tokens;
create index tokens_opened_with_idx on ado.tokens (opened_with) where opened_with is not null;
comment on column ado.tokens.opened_with is 'The token that opened this session of the dashboard: it acts for the same account and ends with it; null: no session.';

create table ado.session_codes (
    digest     bytea primary key,
    token_id   text not null references ado.tokens on delete cascade,
    role       text not null check (role in ('viewer', 'developer', 'operator', 'admin')),
    expires_at timestamptz not null
);
comment on table ado.session_codes is 'Codes that open a session of the dashboard; each is deleted when it is used.';
comment on column ado.session_codes.digest is 'SHA-256 of the code.';
comment on column ado.session_codes.token_id is 'The token that made it.';
comment on column ado.session_codes.role is 'The role of the session.';
comment on column ado.session_codes.expires_at is 'When it can no longer be used.';

do $$
begin
    if exists (select from pg_roles where rolname = 'ado_api') then
        grant select, insert, delete on ado.session_codes to ado_api;
    end if;
end $$;
