#!/usr/bin/env python3
"""Serves a directory over TLS on loopback. Prints the port, and runs until it is killed."""

import argparse
import http.server
import ssl

VERSIONS = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Files(http.server.SimpleHTTPRequestHandler):
    def guess_type(self, path):
        kind = "vnd.oci.image.manifest.v1+json" if "/manifests/" in path else "octet-stream"
        return f"application/{kind}"

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        # Clients end most connections in the handshake.
        pass


parser = argparse.ArgumentParser()
parser.add_argument("directory")
parser.add_argument("certificates", nargs="+", help="<name> of <name>.pem and <name>.key; the first is preferred")
parser.add_argument("--max", choices=VERSIONS, default="1.3", help="the highest version of TLS")
parser.add_argument("--verify", help="the certificates of authorities of clients")
arguments = parser.parse_args()

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
# Allows old versions, and short keys.
context.minimum_version = ssl.TLSVersion.TLSv1
context.set_ciphers("DEFAULT@SECLEVEL=0")
context.maximum_version = VERSIONS[arguments.max]
context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
for name in arguments.certificates:
    context.load_cert_chain(f"{name}.pem", f"{name}.key")
if arguments.verify:
    context.load_verify_locations(arguments.verify)
    context.verify_mode = ssl.CERT_REQUIRED

server = Server(("127.0.0.1", 0), lambda *request: Files(*request, directory=arguments.directory))
# The thread of the connection does the handshake.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_port, flush=True)
server.serve_forever()
