#!/bin/bash
# key -> flag -> rule -> evaluate, through the one name. flow.sh BASE_URL [curl options]
set -euo pipefail
base=$1; shift
c() { curl -sS -f "$@"; }
echo "admin key: ${TOGGLE_ADMIN_KEY:0:4}..."
key=$(c -X POST "$base/auth/admin/keys" -H "Authorization: Bearer $TOGGLE_ADMIN_KEY" -H 'Content-Type: application/json' -d '{"name":"platform"}' "$@" | sed 's/.*"key": "\([^"]*\)".*/\1/')
echo "key: ${key:0:12}..."
c "$base/auth/validate" -H "Authorization: Bearer $key" "$@"
c -X POST "$base/flags" -H "Authorization: Bearer $key" -d '{"name":"checkout_v2","is_enabled":true}' "$@"
c -X POST "$base/targeting/rules" -H "Authorization: Bearer $key" -d '{"flag_name":"checkout_v2","rules":{"type":"PERCENTAGE","value":30}}' "$@"
on=0; for i in $(seq 1 100); do c "$base/evaluate?user_id=user-$i&flag_name=checkout_v2" -H "Authorization: Bearer $key" "$@" | grep -q '"result": true' && on=$((on+1)); done; echo "on for $on of 100 users"
sleep 3
c "$base/analytics/count" "$@"
