"""A hub on this machine that behaves as the real one does, and misbehaves on demand.

Two hosts listen: the endpoint (127.0.0.1) and the store of large files (another port, another name: localhost is
not used, so that both are told apart by their port). Small files come from the endpoint, named as git names
them; large ones by a redirect to the store, whose ETag is its own.

    hub = FakeHub(); hub.add("org/model", folder); hub.start() … hub.stop()

`hub.faults` is what goes wrong, by file name; `hub.requests` is what was asked.
"""
import hashlib
import http.server
import json
import ssl
import sys
import threading
import time
import urllib.parse

LFS_FROM = 1_000_000  # bytes: larger files lie in the store
LAST_RESORT = 600  # seconds: ends what hangs, and measures nothing


def git_name(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repo:
    def __init__(self, files, commit, gated=False, private=False):
        self.files = files  # name -> bytes
        self.commit = commit
        self.gated = gated
        self.private = private
        self.tags = ["text-generation", "license:apache-2.0"]
        self.revisions = {"main": commit}
        self.listing = None   # bytes instead of the true list
        self.silent = False   # no sizes and hashes in the list, as small mirrors do
        self.lfs = set()      # names that are large files whatever their size

    def is_lfs(self, name):
        return name in self.lfs or len(self.files[name]) >= LFS_FROM

    def etag(self, name):
        data = self.files[name]
        return hashlib.sha256(data).hexdigest() if self.is_lfs(name) else git_name(data)

    def list(self):
        if self.listing is not None:
            return self.listing
        siblings = []
        for name, data in self.files.items():
            entry = {"rfilename": name}
            if not self.silent:
                entry |= {"size": len(data), "blobId": git_name(data)}
                if self.is_lfs(name):
                    entry["lfs"] = {"sha256": self.etag(name), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        return json.dumps({"id": "x", "sha": self.commit, "gated": "manual" if self.gated else False, "tags": self.tags, "siblings": siblings}).encode()

    def tree(self):
        """The list as the hub's own package asks for it."""
        return json.dumps([{"type": "file", "path": name, "size": len(data), "oid": git_name(data)} |
                           ({"lfs": {"oid": self.etag(name), "size": len(data), "pointerSize": 134}} if self.is_lfs(name) else {})
                           for name, data in self.files.items()]).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def refuse(self, status, code=None, message=None, headers=()):
        body = b"no"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        if message:
            self.send_header("X-Error-Message", message)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def give(self, data, headers, etag, fault):
        """The content or a range of it, with what goes wrong on the way."""
        first, last, status = 0, len(data) - 1, 200
        time.sleep(fault.get("far_away", 0))
        want = self.headers.get("Range")
        held = self.headers.get("If-Range")
        if want and not fault.get("no_ranges") and (held is None or held == f'"{etag}"'):
            a, b = want.removeprefix("bytes=").split("-")
            first = int(a)
            last = min(int(b), last) if b else last
            if first > last:
                return self.refuse(416, headers=[("Content-Range", f"bytes */{len(data)}")])
            status = 206
        part = data[first:last + 1]
        if fault.get("hints"):
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nETag: \"hint\"\r\nContent-Range: bytes 5-6/7\r\n\r\n")
        self.send_response(status)
        self.send_header("Content-Length", str(fault.get("says", len(part))))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("ETag", f'"{etag}"')
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.get("silent"):
            fault["silent"].wait(LAST_RESORT)  # until the test says so
            return
        if fault.get("together"):
            fault["together"].wait()  # until as many are asked for at once
        if fault.get("wrong_bytes"):
            part = part[:-1] + bytes([part[-1] ^ 1])
        if fault.get("endless"):
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        cuts = fault.get("cuts", [])
        cut = next((c for c in cuts if first <= c < first + len(part)), None)
        if cut is not None:
            cuts.remove(cut)
            self.wfile.write(part[:cut - first])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        speed = fault.get("speed")
        if speed:
            for i in range(0, len(part), speed // 20):
                self.wfile.write(part[i:i + speed // 20])
                time.sleep(0.05)
        else:
            self.wfile.write(part)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        with hub.lock:
            hub.requests.append({"host": self.server.role, "method": self.command, "path": self.path,
                                 "range": self.headers.get("Range"), "token": self.headers.get("Authorization"),
                                 "if_range": self.headers.get("If-Range"), "agent": self.headers.get("User-Agent")})
        try:
            (self.store if self.server.role == "store" else self.endpoint)(hub)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    # ---- the endpoint ----

    def endpoint(self, hub):
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        with hub.lock:
            busy = hub.busy.pop(0) if hub.busy else None
        if busy:
            return self.refuse(*busy)
        if path == "/api/models":
            text = urllib.parse.parse_qs(url.query)["search"][0].lower()
            found = [{"id": n, "downloads": 5, "likes": 2, "gated": "manual" if r.gated else False, "private": False, "tags": r.tags,
                      "lastModified": "2026-01-01T00:00:00.000Z", "pipeline_tag": "text-generation"}
                     for n, r in hub.repos.items() if text in n.lower()]
            return self.answer(json.dumps(found).encode())
        if path.startswith("/api/models/"):
            parts = path.removeprefix("/api/models/").split("/")
            repo = self.repo(hub, "/".join(parts[:2]), listing=True)
            if repo is None:
                return
            revision = "/".join(parts[3:]) if len(parts) > 3 else "main"
            if parts[2:3] == ["tree"]:
                return self.answer(repo.tree())
            if revision not in repo.revisions and revision != repo.commit:
                return self.refuse(404, "RevisionNotFound", "Invalid rev id: " + revision)
            return self.answer(repo.list(), hub.faults.get("LIST", {}))
        parts = path.lstrip("/").split("/")
        if len(parts) > 4 and parts[2] == "resolve":
            return self.resolve(hub, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        self.refuse(404, "RepoNotFound", "Repository not found")

    def answer(self, data, fault=None):
        fault = fault or {}
        self.give(data, [("Content-Type", "application/json")], "list", fault)

    def repo(self, hub, name, listing=False):
        if name in hub.renamed:
            target = self.path.replace(name, hub.renamed[name], 1)
            self.refuse(307, headers=[("Location", target)])
            return None
        repo = hub.repos.get(name)
        token = self.headers.get("Authorization")
        known = token == f"Bearer {hub.token}"
        if token and not known:
            self.refuse(401, None, "Invalid credentials in Authorization header")
            return None
        if repo is None or (repo.private and not known):
            self.refuse(404 if known else 401, "RepoNotFound", "Repository not found")
            return None
        if repo.gated and not listing and (not known or repo.gated == "refused"):
            self.refuse(403 if known else 401, "GatedRepo", "Access to model is restricted")
            return None
        return repo

    def resolve(self, hub, name, revision, file):
        repo = self.repo(hub, name)
        if repo is None:
            return
        if revision != repo.commit and repo.revisions.get(revision) != repo.commit:
            return self.refuse(404, "RevisionNotFound", "no")
        if file not in repo.files:
            return self.refuse(404, "EntryNotFound", "Entry not found", [("X-Repo-Commit", repo.commit)])
        fault = hub.faults.get(file, {})
        etag = fault.get("linked_etag", repo.etag(file))
        headers = [("X-Repo-Commit", repo.commit)]
        if repo.is_lfs(file) and not fault.get("pointer"):
            where = fault.get("redirect") or f"{hub.store_url}/{name}/{file}?signature={hub.signature}"
            headers += [("X-Linked-Etag", f'"{etag}"'), ("X-Linked-Size", str(len(repo.files[file]))),
                        ("ETag", f'"{etag}"'), ("Location", where), ("Accept-Ranges", "bytes")]
            return self.refuse(302, headers=headers)
        data = repo.files[file]
        if fault.get("pointer"):
            data = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12345\n" % 7
        self.give(data, headers, etag, fault)

    # ---- the store ----

    def store(self, hub):
        url = urllib.parse.urlsplit(self.path)
        parts = urllib.parse.unquote(url.path).lstrip("/").split("/")
        name, file = "/".join(parts[:2]), "/".join(parts[2:])
        if urllib.parse.parse_qs(url.query).get("signature", [""])[0] != hub.signature:
            return self.refuse(403)
        data = hub.repos[name].files[file]
        fault = hub.faults.get(file, {})
        with hub.lock:
            hub.served += 1
            if fault.get("expire_after") and hub.served % fault["expire_after"] == 0:
                hub.signature = str(int(hub.signature) + 1)
            etag = "store-%d" % (hub.served if fault.get("changing_etag") else 1)
        if fault.get("other_content"):
            data = bytes(len(data))
        if fault.get("longer"):
            data = data + b"x"
        self.give(data, [], etag, fault)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def get_request(self):
        connection = super().get_request()
        with self.hub.lock:
            self.hub.connections += 1
        return connection

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):  # clients that hang up are no fault of ours
            super().handle_error(request, client_address)


class FakeHub:
    def __init__(self, token="hf_right", address="127.0.0.1", certificate=None):
        self.repos, self.renamed, self.faults, self.busy, self.requests = {}, {}, {}, [], []
        self.token, self.signature, self.served, self.connections = token, "1", 0, 0
        self.lock = threading.Lock()
        self.servers = []
        for role in ("endpoint", "store"):
            server = Server((address, 0), Handler)
            server.hub, server.role = self, role
            if certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*certificate)
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            self.servers.append(server)
        self.url, self.store_url = (f"{'https' if certificate else 'http'}://{address}:{s.server_address[1]}" for s in self.servers)

    def add(self, name, files, commit=None, **more):
        commit = commit or hashlib.sha1(name.encode()).hexdigest()
        self.repos[name] = Repo(files, commit, **more)
        return self.repos[name]

    def reset(self):
        """No faults, and nothing asked yet."""
        with self.lock:
            self.faults, self.busy, self.requests, self.served, self.connections = {}, [], [], 0, 0

    def start(self):
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


def read_folder(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
