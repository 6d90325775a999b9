#!/bin/sh
# Installs Macula from a release: downloads the archive of this machine, checks its sum, and puts the program in
# place in one step. Whatever goes wrong before that step, nothing has changed.
#
#   sh install.sh [--from ADDRESS|FOLDER] [--to FOLDER]
#
# --from: where SHA256SUMS and the archives are; --to: where the program goes (/usr/local/bin for root, else
# ~/.local/bin). Needs curl or wget (for an address), tar, and sha256sum or shasum.
set -eu

# Filled in when a release is made.
from=''

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

archive_name() {
  case "$(uname -s) $(uname -m)" in
    "Linux x86_64" | "Linux amd64") echo macula-x86_64-linux.tar.gz ;;
    "Linux aarch64" | "Linux arm64") echo macula-aarch64-linux.tar.gz ;;
    *) fail "there is no release for $(uname -s) on $(uname -m); build it with cargo install --path . --profile dist" ;;
  esac
}

# get NAME FILE
get() {
  case "$from" in
    http://* | https://*)
      if command -v curl > /dev/null; then
        curl -fsSL --retry 3 --connect-timeout 20 -o "$2" "$from/$1"
      elif command -v wget > /dev/null; then
        wget -q -O "$2" "$from/$1"
      else
        fail "neither curl nor wget is installed"
      fi ;;
    *) cp "$from/$1" "$2" ;;
  esac || fail "cannot get $1 from $from"
}

sum_of() {
  if command -v sha256sum > /dev/null; then
    sha256sum "$1"
  elif command -v shasum > /dev/null; then
    shasum -a 256 "$1"
  else
    fail "neither sha256sum nor shasum is installed, so the download cannot be checked"
  fi | cut -d ' ' -f 1
}

main() {
  to=
  while [ $# -gt 0 ]; do
    case "$1" in
      --from) [ $# -ge 2 ] || fail "--from needs an address or a folder"; from=$2; shift 2 ;;
      --to) [ $# -ge 2 ] || fail "--to needs a folder"; to=$2; shift 2 ;;
      *) fail "unknown option: $1 (known: --from ADDRESS|FOLDER, --to FOLDER)" ;;
    esac
  done
  from=${from%/}
  [ -n "$from" ] || fail "say where the release is: --from ADDRESS|FOLDER"
  if [ -z "$to" ]; then
    if [ "$(id -u)" = 0 ]; then to=/usr/local/bin; else to=${HOME:?}/.local/bin; fi
  fi

  archive=$(archive_name)
  work=$(mktemp -d)
  new=
  trap 'rm -rf "$work" ${new:+"$new"}' EXIT
  trap 'exit 130' HUP INT TERM

  get SHA256SUMS "$work/SHA256SUMS"
  wanted=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$archive\$/\1/p" "$work/SHA256SUMS")
  [ -n "$wanted" ] || fail "SHA256SUMS of $from does not name $archive"
  get "$archive" "$work/$archive"
  [ "$(sum_of "$work/$archive")" = "$wanted" ] || fail "$archive is not what SHA256SUMS says: a damaged download, or not ours"
  tar -xzf "$work/$archive" -C "$work" || fail "cannot unpack $archive"
  program=$work/${archive%.tar.gz}/macula
  version=$("$program" --version) || fail "the program does not run on this machine"

  # beside the target, so that the last step is one rename
  mkdir -p "$to" || fail "cannot create $to"
  new=$to/.macula.new.$$
  cp "$program" "$new" && chmod 755 "$new" || fail "cannot write to $to"
  mv -f "$new" "$to/macula" || fail "cannot put the program into $to"
  new=

  echo "$version is installed as $to/macula."
  case ":$PATH:" in
    *":$to:"*) run=macula ;;
    *) run=$to/macula; echo "$to is not on your PATH." ;;
  esac
  echo "Next:"
  echo "  $run doctor    # what this machine has and lacks"
  echo "  $run up        # bring the platform up"
}

# everything is read before anything is done: a cut download of this file does nothing
main "$@"
