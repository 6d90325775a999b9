#!/bin/bash
# The entry point of the MariaDB that is built: the variables and folders of the official image, as far as this platform
# and common Compose files use them. What was being created when it was stopped is created again.
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
# As a text of SQL: no backslash and no quote ends it.
quoted() { local text="${1//\\/\\\\}"; printf "'%s'" "${text//\'/\'\'}"; }
DATA=/var/lib/mysql
create() {
  [[ -n "${MARIADB_ROOT_PASSWORD:-}" ]] || fail "MARIADB_ROOT_PASSWORD is not set"
  local new="$DATA/.new"
  rm -rf "$new"
  mariadb-install-db --no-defaults --datadir="$new" --skip-test-db --auth-root-authentication-method=normal \
    --skip-log-bin --cross-bootstrap > /dev/null
  {
    printf 'FLUSH PRIVILEGES;\n'
    printf "DELETE FROM mysql.global_priv WHERE User = '';\n"
    printf "ALTER USER root@localhost IDENTIFIED BY %s;\n" "$(quoted "$MARIADB_ROOT_PASSWORD")"
    if [[ -n "${MARIADB_ROOT_HOST:-%}" ]]; then
      printf "CREATE USER root@%s IDENTIFIED BY %s;\n" "$(quoted "${MARIADB_ROOT_HOST:-%}")" "$(quoted "$MARIADB_ROOT_PASSWORD")"
      printf "GRANT ALL ON *.* TO root@%s WITH GRANT OPTION;\n" "$(quoted "${MARIADB_ROOT_HOST:-%}")"
    fi
    if [[ -n "${MARIADB_DATABASE:-}" ]]; then
      printf 'CREATE DATABASE `%s`;\n' "${MARIADB_DATABASE//\`/\`\`}"
    fi
    if [[ -n "${MARIADB_USER:-}" ]]; then
      printf "CREATE USER %s@'%%' IDENTIFIED BY %s;\n" "$(quoted "$MARIADB_USER")" "$(quoted "${MARIADB_PASSWORD:-}")"
      [[ -z "${MARIADB_DATABASE:-}" ]] ||
        printf "GRANT ALL ON \`%s\`.* TO %s@'%%';\n" "${MARIADB_DATABASE//\`/\`\`}" "$(quoted "$MARIADB_USER")"
    fi
  } | mariadbd --no-defaults --datadir="$new" --bootstrap --skip-networking --silent-startup
  sync -f "$new"
  # the system tables come last: a server finds them only when all the rest is there
  local entry
  for entry in "$new"/* "$new"/.[!.]*; do
    [[ -e "$entry" && "$entry" != "$new/mysql" ]] || continue
    rm -rf "${DATA:?}/${entry##*/}"
    mv -T "$entry" "$DATA/${entry##*/}"
  done
  mv -T "$new/mysql" "$DATA/mysql"
  rm -rf "$new"
  sync -f "$DATA"
}
main() {
  case "${1:-}" in -*) set -- mariadbd "$@" ;; esac
  [[ "${1:-}" == mariadbd || "${1:-}" == mysqld ]] || exec "$@"
  shift
  if [[ "$(id -u)" == 0 ]]; then
    find "$DATA" \! -user mysql -exec chown mysql:mysql {} +
    exec setpriv --reuid=mysql --regid=mysql --clear-groups "$BASH_SOURCE" mariadbd "$@"
  fi
  local name
  for name in MARIADB_ROOT_PASSWORD MARIADB_DATABASE MARIADB_USER MARIADB_PASSWORD; do from_file "$name"; done
  [[ -d "$DATA/mysql" ]] || create
  exec mariadbd --no-defaults --datadir="$DATA" --socket=/run/mysqld/mysqld.sock --bind-address=0.0.0.0 --skip-name-resolve "$@"
}
main "$@"
