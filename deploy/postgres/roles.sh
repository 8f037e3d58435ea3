#!/bin/sh
# Makes the roles beside the owner, once, when the database is new: compose.yaml has Postgres' image run this.
set -eu
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --set=password="$(cat /run/secrets/app-password)" \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'END'
create role ado_api nologin;
create role ado_readonly nologin;
create role ado_app login password :'password' in role ado_api;
alter role ado_app set log_parameter_max_length = 0;
END
