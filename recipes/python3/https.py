"""An HTTPS server on loopback, and two clients of it: one that knows who issued its certificate, one that does not."""

import glob
import http.server
import ssl
import subprocess
import threading
import urllib.request

PEM = "/dev/shm/localhost.pem"  # the key and its certificate
NEW = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config /dev/null -subj /CN=localhost"
libraries = {"LD_LIBRARY_PATH": glob.glob("/smoke/usr/lib/*-linux-gnu*")[0]}
command = ["/smoke/usr/bin/openssl", *NEW.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", PEM]
certificate = subprocess.run(command, env=libraries, capture_output=True, text=True, check=True).stdout
with open(PEM, "a") as file:
    file.write(certificate)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(PEM)
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
server.RequestHandlerClass.log_message = lambda *_: None
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"https://localhost:{server.server_port}/"

knowing, usual = ssl.create_default_context(cafile=PEM), ssl.create_default_context()
assert len(usual.get_ca_certs()) > 100, "the CA certificates of the image are not found"
assert urllib.request.urlopen(address, context=knowing).status == 200
print("trusted")
try:
    urllib.request.urlopen(address, context=usual)
except urllib.error.URLError as error:
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    print("refused")
