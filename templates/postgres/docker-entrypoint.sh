#!/bin/bash
# The entry point of the PostgreSQL that is built: the variables and folders of the official image. What was being created
# when it was stopped is created again, and never taken for a finished database.
set -euo pipefail
# as the first process of a container it gets no signal that it does not handle
trap 'exit 130' HUP INT TERM

fail() { echo "error: $*" >&2; exit 1; }
from_file() {
  local file="${1}_FILE"
  if [[ -n "${!file:-}" ]]; then
    [[ -z "${!1:-}" ]] || fail "both $1 and $file are set"
    export "$1=$(< "${!file}")"
  fi
  unset "$file"
}
run_scripts() {
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    [[ -e "$script" ]] || continue
    echo "$0: running $script"
    case "$script" in
      *.sh) if [[ -x "$script" ]]; then "$script"; else . "$script"; fi ;;
      *.sql) query -d "$POSTGRES_DB" -f "$script" ;;
      *.sql.gz) gunzip -c "$script" | query -d "$POSTGRES_DB" ;;
      *) echo "$0: ignoring $script" ;;
    esac
  done
}
query() { psql -X -q -v ON_ERROR_STOP=1 --no-password -U "$POSTGRES_USER" "$@"; }
create() {
  local final="$PGDATA" database
  [[ -n "${POSTGRES_PASSWORD:-}" || "${POSTGRES_HOST_AUTH_METHOD:-}" == trust ]] || fail "POSTGRES_PASSWORD is not set"
  export PGDATA="$final.new" PGPASSWORD="${POSTGRES_PASSWORD:-}"
  rm -rf "$PGDATA"
  mkdir -p "$(dirname "$final")"
  local options=()
  [[ -z "${POSTGRES_INITDB_WALDIR:-}" ]] || options+=(--waldir "$POSTGRES_INITDB_WALDIR")
  eval "options+=(${POSTGRES_INITDB_ARGS:-})"
  initdb --no-sync --data-checksums --username="$POSTGRES_USER" --auth-local=trust --auth-host=scram-sha-256 --pwfile=<(printf "%s\n" "${POSTGRES_PASSWORD:-unused}") "${options[@]}"
  printf "\nhost all all all %s\n" "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >> "$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -s -o "-c listen_addresses= -c fsync=off -p ${PGPORT:-5432}" start
  if [[ "$POSTGRES_DB" != postgres ]]; then
    query -d postgres -v db="$POSTGRES_DB" <<< "CREATE DATABASE :\"db\";"
  fi
  for database in $(printf "%s\n" postgres template1 "$POSTGRES_DB" | sort -u); do
    query -d "$database" -c "CREATE EXTENSION IF NOT EXISTS timescaledb CASCADE"
  done
  run_scripts
  pg_ctl -D "$PGDATA" -m fast -w -s stop
  initdb --sync-only -D "$PGDATA" > /dev/null
  mv -T "$PGDATA" "$final"
  sync -f "$(dirname "$final")"
  export PGDATA="$final"
  unset PGPASSWORD
}
main() {
  case "${1:-}" in -*) set -- postgres "$@" ;; esac
  [[ "${1:-}" == postgres ]] || exec "$@"
  if [[ "$(id -u)" == 0 ]]; then
    mkdir -p "$(dirname "$PGDATA")"
    find /var/lib/postgresql \! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --clear-groups "$BASH_SOURCE" "$@"
  fi
  local name
  for name in POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB POSTGRES_INITDB_ARGS; do from_file "$name"; done
  export POSTGRES_USER="${POSTGRES_USER:-postgres}"
  export POSTGRES_DB="${POSTGRES_DB:-$POSTGRES_USER}"
  [[ -s "$PGDATA/PG_VERSION" ]] || create
  exec "$@"
}
main "$@"
