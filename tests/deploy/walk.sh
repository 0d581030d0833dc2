#!/bin/sh
# Walked by tests.deploy.bare inside a bare system; /given holds the bundle.
set -eu
fail() { echo "FAILED: $*"; exit 1; }
ok() { echo "ok: $*"; }
ip=$(cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' ' | tr '\n' ' ')
[ "$ip" = "lo " ] || fail "expected no network, found $ip"

# --- install --------------------------------------------------------------------------------------------------------------------------------------
cp -r /given/bundle /tmp/first && cd /
echo "x" >> /tmp/first/etc/agent.yaml
if sh /tmp/first/install.sh 2>/tmp/said; then fail "a damaged bundle was installed"; fi
grep -q "damaged" /tmp/said || fail "what is wrong with a damaged bundle is not said"
[ ! -e /opt/pharmedge ] || fail "a damaged bundle left something"
ok "a damaged bundle is refused and leaves nothing"
cp /given/bundle/etc/agent.yaml /tmp/first/etc/agent.yaml
started=$(date +%s)
sh /tmp/first/install.sh
ok "installed without network in $(($(date +%s) - started)) s"
edge-agent version
edge-agent check -c /etc/pharmedge/agent.yaml
edge-gateway check -c /etc/pharmedge/gateway.yaml
/opt/pharmedge/current/bin/python -c "
import sys; from edge_agent.__main__ import app; import edge_agent.agent.agent
from models.compiled import _AHEAD
assert _AHEAD is not None, 'kernels are not those compiled ahead of time'
assert 'numba' not in sys.modules"
ok "kernels compiled ahead of time are in force, numba is not loaded"

# --- run ------------------------------------------------------------------------------------------------------------------------------------------
mkdir -p /srv/line
{ echo time,press1/force; for i in 0 1 2 3 4 5 6 7 8 9; do echo 2026-01-01T00:00:0$i\Z,1$i; done; } > /srv/line/values.csv
cat > /etc/pharmedge/agent.yaml <<Y
edge: {site: bare, id: e1, data_dir: /var/lib/pharmedge/agent}
sources: [{name: history, kind: csv, files: [/srv/line/values.csv], speed: 0}]
tags: [{name: press1/force, source: history, unit: kN}]
alarms: [{name: press1/force.high, kind: limit, tag: press1/force, limit: 16, on_delay_s: 0, priority: 2}]
uplinks: [{name: site, kind: gateway, host: 127.0.0.1, port: 1883, gateways: [gw1]}]
Y
lived() {
  setpriv --reuid pharmedge --regid pharmedge --clear-groups edge-agent run -c /etc/pharmedge/agent.yaml 2>/tmp/agent.log & pid=$!
  for _ in $(seq 300); do edge-agent status --json >/tmp/status.json 2>/dev/null || true; [ -s /tmp/status.json ] && grep -q '"ended"' /tmp/status.json && break; sleep 0.1; done
  sleep 1; kill $pid; wait $pid || { cat /tmp/agent.log; fail "the agent did not end well"; }
  [ -s /tmp/status.json ] || { cat /tmp/agent.log; fail "no status"; }
}
head_of() { setpriv --reuid pharmedge --regid pharmedge --clear-groups edge-agent log stat -c /etc/pharmedge/agent.yaml | tr -d ' \n' | sed 's/.*"outbox":{[^}]*"last":\([0-9]*\).*/\1/'; }
lived
before=$(head_of)
[ "$before" -gt 5 ] || { edge-agent log stat -c /etc/pharmedge/agent.yaml; fail "expected records in the outbox, found $before"; }
ok "ran as its own user and kept $before records for a gateway that is not there"

# --- upgrade --------------------------------------------------------------------------------------------------------------------------------------
cp -r /given/bundle /tmp/second && cd /tmp/second
rm -f SHA256SUMS.sig; first=$(cat RELEASE); echo "${first%.*}.second" > RELEASE
find . -type f ! -name SHA256SUMS | sed 's#^\./##' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS; cd /
cp /etc/pharmedge/agent.yaml /tmp/kept.yaml
echo "nonsense: 1" >> /etc/pharmedge/agent.yaml
if sh /tmp/second/install.sh >/tmp/said 2>&1; then fail "an upgrade over a configuration with mistakes went through"; fi
grep -q "nonsense" /tmp/said || fail "the mistake is not named"
[ "$(readlink /opt/pharmedge/current)" = "$first" ] || fail "what ran before does not go on"
ok "an upgrade that does not accept the configuration changes nothing and names the mistake"
cp /tmp/kept.yaml /etc/pharmedge/agent.yaml
sh /opt/pharmedge/install.sh upgrade /tmp/second
cmp /tmp/kept.yaml /etc/pharmedge/agent.yaml || fail "the upgrade changed the configuration"
[ "$(head_of)" = "$before" ] || fail "the upgrade changed the outbox"
lived
later=$(head_of)
[ "$later" -gt "$before" ] || fail "the new release adds nothing to the outbox"
ok "upgraded; configuration kept, outbox kept and continued at $later"

# --- rollback -------------------------------------------------------------------------------------------------------------------------------------
echo "only_new: 1" >> /etc/pharmedge/agent.yaml
sh /opt/pharmedge/install.sh rollback
[ "$(readlink /opt/pharmedge/current)" = "$first" ] || fail "rollback did not switch"
cmp /tmp/kept.yaml /etc/pharmedge/agent.yaml || fail "rollback did not give back what the release ran with"
ls /etc/pharmedge/agent.yaml.*second >/dev/null || fail "rollback threw the newer configuration away"
lived
[ "$(head_of)" -gt "$later" ] || fail "rollback lost records"
setpriv --reuid pharmedge --regid pharmedge --clear-groups edge-agent log verify -c /etc/pharmedge/agent.yaml
sh /opt/pharmedge/install.sh list
sh /opt/pharmedge/install.sh remove
[ -e /var/lib/pharmedge/agent/edge.sqlite ] && [ -e /etc/pharmedge/agent.yaml ] || fail "remove took data or configuration"
ok "rolled back and removed; outbox and configuration are still there"

# --- Debian package -------------------------------------------------------------------------------------------------------------------------------
if [ -e /given/pharmedge.deb ]; then
  rm -f /etc/pharmedge/agent.yaml
  dpkg -i /given/pharmedge.deb >/tmp/said 2>&1 || { cat /tmp/said; fail "dpkg -i"; }
  cp /tmp/kept.yaml /etc/pharmedge/agent.yaml
  dpkg -i --force-confold /given/pharmedge.deb >/tmp/said 2>&1 || { cat /tmp/said; fail "dpkg -i again"; }
  cmp /tmp/kept.yaml /etc/pharmedge/agent.yaml || fail "dpkg overwrote a conffile"
  lived
  dpkg -r pharmedge >/dev/null
  [ -e /var/lib/pharmedge/agent/edge.sqlite ] && [ -e /etc/pharmedge/agent.yaml ] || fail "dpkg -r took data or configuration"
  dpkg -P pharmedge >/dev/null
  [ ! -e /etc/pharmedge/agent.yaml ] && [ ! -e /opt/pharmedge ] || fail "dpkg -P left something"
  ok "Debian package: installed, configuration kept, removed, purged"
fi
echo "all well"
