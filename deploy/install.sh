#!/bin/sh
# Installs Pharmedge from this folder on a computer without a network. Needs root, systemd for the services, and the Python named in the file PYTHON.
#   sh install.sh                      install or upgrade; configuration, journal and outbox are never touched
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
HERE=$(cd "$(dirname "$0")" && pwd)

fail() { echo "install.sh: $*" >&2; exit 1; }
say() { echo "pharmedge: $*"; }
current() { [ -L "$HOME_DIR/current" ] && basename "$(readlink "$HOME_DIR/current")" || true; }
with_systemd() { [ -d /run/systemd/system ]; }

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
  if with_systemd && ! systemctl --quiet is-enabled "edge-$1" 2>/dev/null && ! running "edge-$1"; then return 0; fi
  "$2/bin/edge-$1" check -c "$ETC/$1.yaml"
}

running() { with_systemd && systemctl --quiet is-active "$1" 2>/dev/null; }

switch() { # RELEASE: from now on it is what runs
  ln -sfn "$1" "$HOME_DIR/.current.new"
  mv -T "$HOME_DIR/.current.new" "$HOME_DIR/current"
  cp "$HOME_DIR/$1/install.sh" "$HOME_DIR/.install.new" && mv "$HOME_DIR/.install.new" "$HOME_DIR/install.sh"
  if with_systemd; then
    systemctl daemon-reload
    for kind in agent gateway; do
      if running "edge-$kind"; then systemctl restart "edge-$kind"; fi
    done
  fi
}

keep_configuration() { # RELEASE: what it ran with, for the way back
  [ -n "$1" ] || return 0
  rm -rf "$HOME_DIR/$1/etc.kept" && cp -a "$ETC" "$HOME_DIR/$1/etc.kept"
}

install_() {
  [ "$(id -u)" = 0 ] || fail "expected to run as root, found user id $(id -u)"
  (cd "$HERE" && sha256sum --quiet -c SHA256SUMS) || fail "the bundle is damaged or was changed: nothing was installed"
  find_python
  release=$(cat "$HERE/RELEASE")
  before=$(current)
  id pharmedge >/dev/null 2>&1 || useradd --system --home-dir "$DATA" --no-create-home --shell /usr/sbin/nologin pharmedge
  mkdir -p "$HOME_DIR" "$ETC"
  chown root:pharmedge "$ETC" && chmod 0750 "$ETC"
  [ -d "$ETC/credentials" ] || install -d -m 0700 "$ETC/credentials"
  install -d -m 0750 -o pharmedge -g pharmedge "$DATA"
  for kind in agent gateway; do install -d -m 0700 -o pharmedge -g pharmedge "$DATA/$kind"; done

  if [ ! -x "$HOME_DIR/$release/bin/edge-agent" ]; then
    rm -rf "${HOME_DIR:?}/$release"
    "$python" -m venv --without-pip "$HOME_DIR/$release"
    pip=$(echo "$HERE"/wheels/pip-*.whl)
    list=$(ls "$HERE"/wheels/*.whl | grep -v '/pip-')
    # shellcheck disable=SC2086 # names of wheels hold no spaces
    if ! PYTHONDONTWRITEBYTECODE=1 "$HOME_DIR/$release/bin/python" "$pip/pip" --quiet --disable-pip-version-check --no-cache-dir install --no-index --no-deps $list; then
      rm -rf "${HOME_DIR:?}/$release"; fail "the wheels could not be installed; what ran before still does"
    fi
    cp -r "$HERE/systemd" "$HERE/share" "$HERE/install.sh" "$HOME_DIR/$release/"
  fi
  for kind in agent gateway; do
    if [ ! -e "$ETC/$kind.yaml" ]; then install -m 0640 -o root -g pharmedge "$HERE/etc/$kind.yaml" "$ETC/$kind.yaml"; fi
    chgrp pharmedge "$ETC/$kind.yaml"
    checked "$kind" "$HOME_DIR/$release" || fail "release $release does not accept $ETC/$kind.yaml; ${before:-nothing} goes on"
  done
  [ "$before" = "$release" ] || keep_configuration "$before"
  if [ "${1:-}" != --packaged ]; then
    mkdir -p "$UNITS"
    for kind in agent gateway; do install -m 0644 "$HERE/systemd/edge-$kind.service" "$UNITS/edge-$kind.service"; done
  fi
  for name in edge-agent edge-gateway; do ln -sfn "$HOME_DIR/current/bin/$name" "/usr/local/bin/$name"; done
  switch "$release"
  [ -z "$before" ] || [ "$before" = "$release" ] || echo "$before" > "$HOME_DIR/$release/before"
  tidy "$release" "$before"
  say "release $release runs now${before:+, before it $before}"
  [ -n "$before" ] || say "next: edit $ETC/agent.yaml, then: edge-agent check -c $ETC/agent.yaml && systemctl enable --now edge-agent"
}

tidy() { # releases beyond the newest KEEP go, never these two
  for old in $(ls -1dt "$HOME_DIR"/*/bin/edge-agent 2>/dev/null | tail -n +$((KEEP + 1))); do
    name=$(basename "$(dirname "$(dirname "$old")")")
    case "$name" in "$1"|"$2"|current) ;; *) rm -rf "${HOME_DIR:?}/$name" ;; esac
  done
}

rollback() {
  [ "$(id -u)" = 0 ] || fail "expected to run as root, found user id $(id -u)"
  now=$(current)
  [ -n "$now" ] || fail "expected an installed release, found none"
  to=${1:-$(cat "$HOME_DIR/$now/before" 2>/dev/null || true)}
  [ -n "$to" ] || fail "expected a release before $now, found none; see: install.sh list"
  [ -x "$HOME_DIR/$to/bin/edge-agent" ] || fail "expected release $to in $HOME_DIR, found none"
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
    for kind in agent gateway; do install -m 0644 "$HOME_DIR/$to/systemd/edge-$kind.service" "$UNITS/edge-$kind.service"; done
  fi
  switch "$to"
  say "release $to runs again, before it $now"
}

list() {
  for program in "$HOME_DIR"/*/bin/edge-agent; do
    [ -e "$program" ] || continue
    name=$(basename "$(dirname "$(dirname "$program")")")
    [ "$name" = current ] && continue
    if [ "$name" = "$(current)" ]; then echo "* $name"; else echo "  $name"; fi
  done
}

remove() {
  [ "$(id -u)" = 0 ] || fail "expected to run as root, found user id $(id -u)"
  if with_systemd; then systemctl --quiet disable --now edge-agent edge-gateway 2>/dev/null || true; fi
  rm -f /usr/local/bin/edge-agent /usr/local/bin/edge-gateway
  [ "${1:-}" = --packaged ] || rm -f "$UNITS/edge-agent.service" "$UNITS/edge-gateway.service"
  rm -rf "$HOME_DIR"
  if [ "${1:-}" = --purge ]; then rm -rf "$ETC" "$DATA"; say "removed, with configuration and data"; else say "removed; $ETC and $DATA stay"; fi
}

command=${1:-install}
[ $# -eq 0 ] || shift
case "$command" in
  install) install_ "$@" ;;
  rollback) rollback "$@" ;;
  list) list ;;
  remove) remove "$@" ;;
  *) fail "expected install, rollback, list or remove, found $command" ;;
esac
