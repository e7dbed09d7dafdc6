# An HTTPS server on loopback, and two clients of it: one that knows who issued its certificate, one that does not.
set -eu
PATH=/smoke/usr/bin
LD_LIBRARY_PATH=$(echo /smoke/usr/lib/*-linux-gnu*)
export PATH LD_LIBRARY_PATH
cd /dev/shm
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out ca.pem -days 2 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost -config /dev/null 2>/dev/null
openssl s_server -accept 4433 -key key.pem -cert ca.pem -www -quiet >/dev/null 2>&1 &
client() {
    busybox printf 'GET / HTTP/1.0\r\n\r\n' |
        openssl s_client -connect localhost:4433 -verify_hostname localhost -verify_return_error -quiet "$@" 2>&1
}
until client -CAfile ca.pem | busybox grep -q '^HTTP/1.0 200'; do busybox sleep 0.1; done
echo trusted
if client -CAfile /etc/ssl/certs/ca-certificates.crt | busybox grep -q 'self-signed certificate'; then echo refused; fi
kill %1
