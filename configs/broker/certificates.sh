#!/bin/sh
# An authority of the site and a certificate for the broker and for each edge and gateway, by openssl. Run it on a computer that is kept apart: whoever
# has ca.key can make edges.
#   sh certificates.sh FOLDER BROKER_HOST NAME...
# Writes ca.pem, broker.pem, broker.key, and NAME.pem, NAME.key for each edge.id and gateway.id. What is there already stays.
set -eu
[ $# -ge 3 ] || { echo "expected FOLDER BROKER_HOST NAME..., found $# arguments" >&2; exit 2; }
folder=$1; host=$2; shift 2
umask 077
mkdir -p "$folder"; cd "$folder"

key() { [ -e "$1.key" ] || openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
signed() { # FILE NAME DAYS EXTENSIONS
  [ ! -e "$1.pem" ] || return 0
  key "$1"
  printf '%s\n' "$4" > .extensions
  openssl req -new -key "$1.key" -subj "/CN=$2" | openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days "$3" -sha256 -extfile .extensions -out "$1.pem" 2>/dev/null
  rm .extensions
}

if [ ! -e ca.pem ]; then
  key ca
  openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj "/CN=Pharmedge site authority" -out ca.pem \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign"
fi
case "$host" in *[!0-9.]*) at="DNS:$host" ;; *) at="IP:$host" ;; esac
signed broker "$host" 730 "subjectAltName=$at
extendedKeyUsage=serverAuth
authorityKeyIdentifier=keyid"
for name in "$@"; do
  case "$name" in *[!A-Za-z0-9._-]*|'') echo "expected the id of an edge or gateway, found '$name'" >&2; exit 2 ;; esac
  signed "$name" "$name" 730 "extendedKeyUsage=clientAuth
authorityKeyIdentifier=keyid"
done
chmod 644 ./*.pem
