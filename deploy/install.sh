#!/bin/sh
# Installs Pharmedge from this folder on a computer without a network. Needs root, systemd for the services, and the Python named in the file PYTHON.
#   sh install.sh [--key maker.pub]    install or upgrade; configuration, journal and outbox are never touched
#   sh install.sh verify [--key maker.pub]          only look at the bundle: complete, unchanged, signed by the maker
#   /opt/pharmedge/install.sh upgrade BUNDLE        the same from pharmedge-RELEASE.tar.gz, of which nothing runs before it was verified
#   /opt/pharmedge/install.sh rollback [RELEASE]    the release before, or this one
#   /opt/pharmedge/install.sh list     what is installed; * runs
#   /opt/pharmedge/install.sh remove [--purge]      programs and units; with --purge configuration and data too
set -eu
umask 022  # a release is run by somebody else; folders with secrets get their own modes

HOME_DIR=/opt/pharmedge
ETC=/etc/pharmedge
DATA=/var/lib/pharmedge
UNITS=/etc/systemd/system
KEEP=3
SERVICES="edge-broker edge-gateway edge-agent"
HERE=$(cd "$(dirname "$0")" && pwd)
KEY=
PACKAGED=
PURGE=

fail() { echo "install.sh: $*" >&2; exit 1; }
say() { echo "pharmedge: $*"; }
current() { [ -L "$HOME_DIR/current" ] && basename "$(readlink "$HOME_DIR/current")" || true; }
with_systemd() { [ -d /run/systemd/system ]; }
whole() { [ "$1" = "$(current)" ] || [ -e "$HOME_DIR/$1/complete" ] || [ -d "$HOME_DIR/$1/etc.kept" ]; } # RELEASE: installed to its end, or it has run
drop() { rm -rf "$HOME_DIR/$1/complete" "$HOME_DIR/$1/etc.kept"; rm -rf "${HOME_DIR:?}/$1"; } # RELEASE: its marks first, whatever ends this half way
untouched() { # what it means that a bundle is refused
  if [ -z "$PACKAGED" ]; then echo "nothing was installed"
  elif [ -n "$(current)" ]; then echo "the package is unpacked but not in force, and release $(current) goes on: dpkg -i the package of that one"
  else echo "the package is unpacked but not in force: dpkg -r pharmedge"; fi
}

as_root() { [ "$(id -u)" = 0 ] || fail "expected to run as root, found user id $(id -u)"; }

signed_by() { # KEY: whether SHA256SUMS.sig is its signature. Nothing of the bundle takes part: what is installed already decides, else openssl.
  verdict=none
  if [ -x "$HOME_DIR/current/bin/python" ]; then
    verdict=0
    "$HOME_DIR/current/bin/python" -I -c "
import sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
key, text, signature = (open(name, 'rb').read() for name in sys.argv[1:])
try:
    public = load_pem_public_key(key)
    assert isinstance(public, Ed25519PublicKey)
    public.verify(signature, text)
except (AssertionError, ValueError, InvalidSignature):
    sys.exit(3)" "$1" "$HERE/SHA256SUMS" "$HERE/SHA256SUMS.sig" 2>/dev/null || verdict=$?
  fi
  case $verdict in # anything else is a release that cannot load its library: it says nothing about the bundle
    0) return 0 ;;
    3) return 1 ;;
  esac
  if command -v openssl >/dev/null 2>&1; then
    openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$HERE/SHA256SUMS" -sigfile "$HERE/SHA256SUMS.sig" >/dev/null 2>&1
  else
    fail "expected openssl (3.0 or later) to look at the signature with, found none: $(untouched)"
  fi
}

authentic() { # whether the bundle is complete, unchanged and, where a key of the maker is known, the maker's
  [ ! -d "$ETC" ] || [ -x "$ETC" ] || fail "expected to run as root, because $ETC may hold a key of the maker and is closed to user id $(id -u)"
  if [ -e "$ETC/maker.pub" ]; then
    [ -z "$KEY" ] || cmp -s "$KEY" "$ETC/maker.pub" || fail "expected the key of the maker that is kept in $ETC/maker.pub, found another one in $KEY; where the maker changed it, remove the kept one first"
    KEY=$ETC/maker.pub
  fi
  if [ -n "$KEY" ]; then
    [ -r "$KEY" ] || fail "expected the public key of the maker in $KEY, found no file to read"
    [ -e "$HERE/SHA256SUMS.sig" ] || fail "the bundle is not signed, and $KEY says that it has to be: $(untouched)"
    signed_by "$KEY" || fail "the bundle is damaged or was changed: its signature is not that of $KEY: $(untouched)"
  fi
  # Neither a missing nor an added file passes: every wheel of the folder would be installed.
  [ -z "$(find "$HERE" ! -type f ! -type d)" ] || fail "the bundle was changed: expected plain files alone: $(untouched)"
  listed=$(sed 's/^[0-9a-f]*  //' "$HERE/SHA256SUMS" | LC_ALL=C sort)
  there=$(cd "$HERE" && find . -type f | sed 's#^\./##' | grep -vx -e SHA256SUMS -e SHA256SUMS.sig | LC_ALL=C sort)
  [ "$listed" = "$there" ] || fail "the bundle is damaged or was changed: it has other files than SHA256SUMS names: $(untouched)"
  (cd "$HERE" && sha256sum --quiet -c SHA256SUMS) || fail "the bundle is damaged or was changed: $(untouched)"
  if [ -n "$KEY" ]; then say "the bundle is complete and signed by the maker ($KEY)"
  elif [ -e "$HERE/SHA256SUMS.sig" ]; then say "the bundle is complete; it is signed, but no key of the maker is known here, so nothing says who made it (--key maker.pub)"
  else say "the bundle is complete; it is NOT SIGNED: nothing says who made it"; fi
}

find_python() {
  read -r version machine < "$HERE/PYTHON"
  [ "$(uname -m)" = "$machine" ] || fail "expected a computer of type $machine, found $(uname -m)"
  for python in "${PYTHON:-}" "python$version" python3; do
    [ -n "$python" ] && "$python" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null && return 0
  done
  fail "expected Python $version as python$version or python3, found $(python3 --version 2>&1 || echo none); set PYTHON=/path/to/python"
}

checked() { # KIND PROGRAMS: whether the release in PROGRAMS accepts the configuration; prints every mistake
  [ -e "$ETC/$1.yaml" ] || return 0
  if with_systemd && ! systemctl --quiet is-enabled "edge-$1" 2>/dev/null && ! wanted "edge-$1"; then return 0; fi
  "$2/bin/edge-$1" check -c "$ETC/$1.yaml"
}

wanted() { # SERVICE: whether it runs, or would if it could
  with_systemd || return 1
  case "$(systemctl is-active "$1" 2>/dev/null || true)" in active|activating|reloading|failed) return 0 ;; *) return 1 ;; esac
}

switch() { # RELEASE: from now on it is what runs; `down` names the services that did not start with it
  cp "$HOME_DIR/$1/install.sh" "$HOME_DIR/.install.new"
  sync "$HOME_DIR/.install.new"
  ln -sfn "$1" "$HOME_DIR/.current.new"
  mv -T "$HOME_DIR/.current.new" "$HOME_DIR/current"
  mv "$HOME_DIR/.install.new" "$HOME_DIR/install.sh"
  down=
  if with_systemd; then
    systemctl daemon-reload
    for service in $SERVICES; do
      wanted "$service" || continue
      systemctl restart "$service" || down="$down $service"
    done
  fi
}

keep_configuration() { # RELEASE: what it ran with, for the way back
  [ -n "$1" ] || return 0
  rm -rf "$HOME_DIR/$1/etc.kept" && cp -a "$ETC" "$HOME_DIR/$1/etc.kept"
}

install_() {
  as_root
  authentic
  find_python
  release=$(cat "$HERE/RELEASE")
  before=$(current)
  id pharmedge >/dev/null 2>&1 || useradd --system --home-dir "$DATA" --no-create-home --shell /usr/sbin/nologin pharmedge
  mkdir -p "$HOME_DIR" "$ETC"
  chown root:pharmedge "$ETC" && chmod 0750 "$ETC"
  [ -z "$KEY" ] || [ -e "$ETC/maker.pub" ] || install -m 0644 "$KEY" "$ETC/maker.pub"
  [ -d "$ETC/credentials" ] || install -d -m 0700 "$ETC/credentials"
  install -d -m 0750 -o pharmedge -g pharmedge "$DATA"
  for kind in agent gateway broker; do install -d -m 0700 -o pharmedge -g pharmedge "$DATA/$kind"; done

  if [ ! -e "$HOME_DIR/$release/complete" ]; then
    drop "$release"
    "$python" -m venv --without-pip "$HOME_DIR/$release"
    pip=$(echo "$HERE"/wheels/pip-*.whl)
    list=$(ls "$HERE"/wheels/*.whl | grep -v '/pip-')
    # shellcheck disable=SC2086 # names of wheels hold no spaces
    if ! PYTHONDONTWRITEBYTECODE=1 "$HOME_DIR/$release/bin/python" "$pip/pip" --quiet --disable-pip-version-check --no-cache-dir install --no-compile --no-index --no-deps $list \
      || ! tar -xzf "$HERE/bytecode.tar.gz" -C "$HOME_DIR/$release/lib/python$version/site-packages"; then
      drop "$release"; fail "the wheels could not be installed; what ran before still does"
    fi
    cp -r "$HERE/systemd" "$HERE/share" "$HERE/install.sh" "$HOME_DIR/$release/"
    sync -f "$HOME_DIR/$release" # its mark is on the disk behind its last file: an installation that power or a signal ended begins anew
    : > "$HOME_DIR/$release/complete"
  fi
  for name in agent.yaml gateway.yaml broker.conf; do
    if [ ! -e "$ETC/$name" ]; then install -m 0640 -o root -g pharmedge "$HERE/etc/$name" "$ETC/$name"; fi
    chgrp pharmedge "$ETC/$name"
  done
  for kind in agent gateway; do
    checked "$kind" "$HOME_DIR/$release" || fail "release $release does not accept $ETC/$kind.yaml; ${before:-nothing} goes on"
  done
  [ "$before" = "$release" ] || keep_configuration "$before"
  if [ -z "$PACKAGED" ]; then
    mkdir -p "$UNITS"
    for service in $SERVICES; do install -m 0644 "$HERE/systemd/$service.service" "$UNITS/$service.service"; done
  fi
  for name in edge-agent edge-gateway edge-sim; do ln -sfn "$HOME_DIR/current/bin/$name" "/usr/local/bin/$name"; done
  [ -z "$before" ] || [ "$before" = "$release" ] || echo "$before" > "$HOME_DIR/$release/before"
  switch "$release"
  if [ -n "$down" ]; then
    back=$(cat "$HOME_DIR/$release/before" 2>/dev/null || true)
    fail "release $release is in force, but did not start:$down; why: journalctl -u SERVICE${back:+; back to $back: sh $HOME_DIR/install.sh rollback}"
  fi
  tidy "$release" "$before"
  say "release $release runs now${before:+, before it $before}"
  [ -n "$before" ] || say "next: edge-agent browse opc.tcp://PLC:4840/ --init $ETC/agent.yaml, or edit that file; then as in $HOME_DIR/current/share/docs/first-hour.md"
}

upgrade() { # BUNDLE: an archive or a folder; a copy that only root can change is verified by this script, and then installs itself
  as_root
  [ -e "$1" ] || fail "expected upgrade BUNDLE, a pharmedge-RELEASE.tar.gz or a folder, found ${1:-nothing}"
  umask 077
  work=$(mktemp -d "$HOME_DIR/.upgrade.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if [ -d "$1" ]; then cp -r --no-preserve=all "$1" "$work/bundle"
  else tar -xzf "$1" --no-same-owner -C "$work" || fail "$1: expected an archive, found something else"; fi
  HERE=$(ls -1d "$work"/*)
  [ -e "$HERE/SHA256SUMS" ] || fail "$1: expected one folder with SHA256SUMS in it, found something else"
  authentic
  sh "$HERE/install.sh" install ${KEY:+--key "$KEY"}
}

tidy() { # RELEASE BEFORE: what an interruption left and releases beyond the newest KEEP go, never these two
  for left in "$HOME_DIR"/.upgrade.*; do
    case "$HERE/" in "$left"/*) ;; *) rm -rf "$left" ;; esac
  done
  kept=0
  for old in $(ls -1dt "$HOME_DIR"/*/ | grep -vxF "$HOME_DIR/current/"); do
    name=$(basename "$old")
    if whole "$name" && [ "$kept" -lt "$KEEP" ]; then kept=$((kept + 1)); continue; fi
    case "$name" in "$1"|"$2") ;; *) drop "$name" ;; esac
  done
}

rollback() {
  as_root
  now=$(current)
  [ -n "$now" ] || fail "expected an installed release, found none"
  to=${1:-$(cat "$HOME_DIR/$now/before" 2>/dev/null || true)}
  [ -n "$to" ] || fail "expected a release before $now, found none; see: install.sh list"
  [ -x "$HOME_DIR/$to/bin/edge-agent" ] && whole "$to" || fail "expected release $to in $HOME_DIR, found none"
  keep_configuration "$now"
  for kind in agent gateway; do
    # What the newer release migrated the older one may not know: then it gets back what it ran with, and the newer file is kept beside it.
    if ! checked "$kind" "$HOME_DIR/$to" && [ -e "$HOME_DIR/$to/etc.kept/$kind.yaml" ]; then
      cp -a "$ETC/$kind.yaml" "$ETC/$kind.yaml.$now"
      cp -a "$HOME_DIR/$to/etc.kept/$kind.yaml" "$ETC/$kind.yaml"
      say "$ETC/$kind.yaml is again as release $to ran with; that of $now is kept as $kind.yaml.$now"
    fi
  done
  if [ -e "$UNITS/edge-agent.service" ]; then
    for service in $SERVICES; do # an older release has no broker; its unit then stays as it is
      [ ! -e "$HOME_DIR/$to/systemd/$service.service" ] || install -m 0644 "$HOME_DIR/$to/systemd/$service.service" "$UNITS/$service.service"
    done
  fi
  switch "$to"
  [ -z "$down" ] || fail "release $to is in force again, but did not start:$down; why: journalctl -u SERVICE"
  say "release $to runs again, before it $now"
}

list() {
  for program in "$HOME_DIR"/*/bin/edge-agent; do
    [ -e "$program" ] || continue
    name=$(basename "$(dirname "$(dirname "$program")")")
    [ "$name" = current ] && continue
    whole "$name" || continue
    if [ "$name" = "$(current)" ]; then echo "* $name"; else echo "  $name"; fi
  done
}

remove() {
  as_root
  # shellcheck disable=SC2086 # names of services hold no spaces
  if with_systemd; then systemctl --quiet disable --now $SERVICES 2>/dev/null || true; fi
  rm -f /usr/local/bin/edge-agent /usr/local/bin/edge-gateway /usr/local/bin/edge-sim
  [ -n "$PACKAGED" ] || for service in $SERVICES; do rm -f "$UNITS/$service.service"; done
  rm -rf "$HOME_DIR"
  if [ -n "$PURGE" ]; then rm -rf "$ETC" "$DATA"; say "removed, with configuration and data"; else say "removed; $ETC and $DATA stay"; fi
}

command=install
case "${1:-}" in ""|--*) ;; *) command=$1; shift ;; esac
what=
while [ $# -gt 0 ]; do
  case "$1" in
    --key) [ $# -gt 1 ] || fail "expected --key FILE, found no file"; KEY=$2; shift ;;
    --packaged) PACKAGED=1 ;;
    --purge) PURGE=1 ;;
    --*) fail "expected --key FILE or --purge, found $1" ;;
    *) what=$1 ;;
  esac
  shift
done
case "$command" in
  install) install_ ;;
  verify) authentic ;;
  upgrade) upgrade "$what" ;;
  rollback) rollback "$what" ;;
  list) list ;;
  remove) remove ;;
  *) fail "expected install, verify, upgrade, rollback, list or remove, found $command" ;;
esac
