#!/bin/sh
# Makes the certificates of the tests of TLS, for a hundred years; the keys guard nothing.
set -e
cd "$(dirname "$0")"
for name in authority stranger; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 \
    -addext keyUsage=critical,keyCertSign,cRLSign -subj "/CN=tests $name" -keyout "$name.key" -out "$name.pem"
done
for name in server server2 client; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" \
    -keyout "$name.key" -out "$name.csr"
  # What Python 3.13 asks for (VERIFY_X509_STRICT).
  printf '%s\n' subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 authorityKeyIdentifier=keyid \
    subjectKeyIdentifier=hash > extensions
  openssl x509 -req -in "$name.csr" -CA authority.pem -CAkey authority.key -CAcreateserial \
    -days 36500 -extfile extensions -out "$name.pem"
done
rm -f ./*.csr ./*.srl extensions authority.key stranger.key
openssl ec -in server.key -aes256 -passout pass:secret -out encrypted.key
