"""What goes wrong around the service must neither stop it nor make it lie: a log that nobody reads, probes without end,
wrong tokens, a disk, a folder or a database that is not what it was.

    HALFTONE=build/halftone python3 tests/server/test_trouble.py
"""
import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from service import EXAMPLE, PROGRAM, ROOT, Events, Service, until_limited

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
LONG = 600  # seconds: a last resort, not a measure


class Case(unittest.TestCase):
    longMessage = True

    def eventually(self, truth, text):
        end = time.monotonic() + LONG
        while not truth():
            self.assertLess(time.monotonic(), end, text)
            time.sleep(0.02)


def folder(case):
    path = tempfile.mkdtemp(prefix="halftone-test-")
    case.addCleanup(shutil.rmtree, path, ignore_errors=True)
    return path


class Deaf:
    """A service whose output is a small pipe that nobody reads."""

    def __init__(self, data, *arguments):
        read, write = os.pipe()
        fcntl.fcntl(write, 1031, 4096)  # F_SETPIPE_SZ
        self.process = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--data", data, *arguments], stdout=write,
                                        stderr=subprocess.DEVNULL)
        os.close(write)
        self.pipe = os.fdopen(read, "rb", buffering=0)
        first = b""
        while not first.endswith(b"\n"):
            first += self.pipe.read(1)
        self.port = json.loads(first)["port"]

    def many(self, n, path="/nothing"):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
        for _ in range(n):
            c.request("GET", path)
            r = c.getresponse()
            r.read()
        c.close()
        return r.status

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
        c.request("GET", path)
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, body


class Log(Case):
    def test_nobody_reads(self):
        s = Deaf(folder(self), "--log-level", "debug")
        self.assertEqual(s.many(9000), 404)
        self.assertEqual(s.get("/healthz")[0], 200)
        lost = next(l for l in s.get("/metrics")[1].decode().splitlines() if l.startswith("halftone_log_dropped_lines_total "))
        self.assertGreater(float(lost.split()[1]), 0)
        s.process.terminate()
        self.assertEqual(s.process.wait(LONG), 0, "SIGTERM ends it all the same")

    def test_reading_again(self):
        s = Deaf(folder(self), "--log-level", "debug")
        s.many(9000)
        lines = []

        def read():
            for line in s.pipe:
                lines.append(json.loads(line))

        thread = threading.Thread(target=read)
        thread.start()
        self.eventually(lambda: any(l["event"] == "log_dropped" for l in lines), "what was lost is told")
        told = next(l for l in lines if l["event"] == "log_dropped")
        self.assertGreater(told["lines"], 0)
        s.get("/afterwards")
        self.eventually(lambda: any(l.get("path") == "/afterwards" for l in lines), "it goes on")
        kept = sum(l["event"] == "request" and l["path"] == "/nothing" for l in lines)
        self.assertEqual(kept + sum(l["lines"] for l in lines if l["event"] == "log_dropped"), 9000)
        s.process.terminate()
        self.assertEqual(s.process.wait(LONG), 0)
        thread.join()
        self.assertEqual(lines[-1]["event"], "stopping", "what is read is written to the end")

    def test_nobody_there(self):
        s = Deaf(folder(self), "--log-level", "debug")
        s.pipe.close()
        self.assertEqual(s.many(200), 404)
        s.process.terminate()
        self.assertEqual(s.process.wait(LONG), 0)

    def test_refused_requests_are_limited(self):
        s = Service()
        c = s.connection()
        for path in ["/nothing"] * 500 + [V1 + "/quantize/jobs?x=1"] * 500:
            c.request("GET", path)
            c.getresponse().read()
        c.close()
        metrics = s.get("/metrics").body.decode()
        self.assertEqual(s.stop(), 0)
        self.eventually(lambda: s.lines and s.lines[-1]["event"] == "stopping", "the log ends")
        for status in (404, 422):
            n = sum(l["event"] == "request" and l["status"] == status for l in s.lines)
            self.assertGreaterEqual(n, 20)
            self.assertLess(n, 400, status)
        left_out = float(next(l for l in metrics.splitlines() if l.startswith("halftone_log_limited_lines_total ")).split()[1])
        self.assertEqual(left_out + sum(l["event"] == "request" and l["status"] in (404, 422) for l in s.lines), 1000)
        self.assertEqual(s.close(), 0)


class Tokens(Case):
    def service(self, *arguments):
        s = Service(*arguments)
        self.addCleanup(lambda: self.assertEqual(s.close(), 0))
        self.admin = s.post(V1 + "/tokens", {"name": "admin", "scope": "admin"}).json()
        return s

    def test_wrong_tokens_do_not_lock_out_valid_ones(self):
        s = self.service()
        guessed = until_limited(lambda n: s.get(JOBS, token=f"ht_{n:064x}"))
        self.assertEqual([a.status for a in guessed[:9]], [401] * 9)
        self.assertEqual(guessed[-1].status, 429, "failures are limited")
        self.assertEqual(s.get(JOBS, token=self.admin["token"]).status, 200, "a valid token is not")
        self.assertTrue(self.is_limited(lambda n: s.post(V1 + "/session", {"token": "ht_x"})))
        opened = s.post(V1 + "/session", {"token": self.admin["token"]})
        self.assertEqual(opened.status, 200)
        cookie = opened.headers["set-cookie"].split(";")[0]
        self.assertEqual(s.get(JOBS, headers={"Cookie": cookie}).status, 200)

    def is_limited(self, ask):
        """Whether the ten wrong attempts that an address has are used up, but for what has come back in the meantime."""
        return until_limited(ask, 9)[-1].status == 429

    def test_forwarded_addresses(self):
        s = self.service("--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "fd00::/8")
        wrong = lambda headers: lambda n: s.get(JOBS, token="ht_wrong", headers=headers)
        self.assertEqual(until_limited(wrong({"X-Forwarded-For": "192.0.2.1"}))[-1].status, 429)
        for others in ({"X-Forwarded-For": "192.0.2.2"}, {"X-Forwarded-For": "192.0.2.1, 192.0.2.3"}, {"X-Forwarded-For": "192.0.2.1,192.0.2.4:99 , 10.1.2.3"},
                       {"Forwarded": 'for=192.0.2.1, for="[2001:db8::5]:80";proto=https'}, {"Forwarded": "proto=http; For=192.0.2.6, for=\"[fd00::1]\""},
                       {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.7"}, {"X-Forwarded-For": "192.0.2.1, nonsense"}):
            self.assertEqual(wrong(others)(0).status, 401, others)
        for same in ({"X-Forwarded-For": "192.0.2.9, 192.0.2.1"}, {"X-Forwarded-For": "192.0.2.9, 192.0.2.1, 10.9.9.9"}, {"Forwarded": "for=192.0.2.1"},
                     {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}):
            self.assertTrue(self.is_limited(wrong(same)), same)
        self.eventually(lambda: any(l.get("peer") == "2001:db8::5" for l in s.lines), "the log names the client")

    def test_forwarded_addresses_of_others(self):
        s = self.service("--trusted-proxy", "10.0.0.0/8")
        last = until_limited(lambda n: s.get(JOBS, token="ht_wrong", headers={"X-Forwarded-For": f"192.0.2.{n}", "Forwarded": f"for=192.0.2.{n}"}))[-1]
        self.assertEqual(last.status, 429, "who is no proxy cannot choose an address")

    def test_bad_networks(self):
        for text in ("10.0.0.0/33", "fd00::/129", "example.org", "10.0.0/8", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/8x", "/8", "10.0.0.0/-1"):
            run = subprocess.run([PROGRAM, "serve", "--port", "0", "--trusted-proxy", text], capture_output=True, text=True, timeout=LONG)
            self.assertEqual(run.returncode, 2, text)
            self.assertIn("trusted-proxy", run.stderr)


    def test_the_last_token_stays(self):
        s = self.service()
        self.assertEqual(s.get(JOBS).status, 401)
        answer = s.delete(f"{V1}/tokens/{self.admin['id']}", token=self.admin["token"])
        self.assertEqual(answer.status, 409, answer)
        self.assertIn("last token", answer.json()["detail"])
        self.assertEqual(s.get(JOBS).status, 401, "still")
        self.assertEqual(s.get(JOBS, token=self.admin["token"]).status, 200)
        second = s.post(V1 + "/tokens", {"name": "second", "scope": "admin"}, token=self.admin["token"]).json()
        self.assertEqual(s.delete(f"{V1}/tokens/{self.admin['id']}", token=second["token"]).status, 204)
        self.assertEqual(s.delete(f"{V1}/tokens/{second['id']}", token=second["token"]).status, 409)
        self.assertEqual(s.stop(), 0)
        run = subprocess.run([PROGRAM, "serve", "--remove-token", "second", "--data", s.data], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0)
        self.assertIn("last token", run.stderr)
        said = [l for l in s.lines if l["event"] == "no_token"]
        self.assertEqual(len(said), 1, "at the first start, before there was a token")
        s.start()
        self.eventually(lambda: len([l for l in s.lines if l["event"] == "no_token"]) == 2, "the log says who may do what from now on")
        self.assertIn("everybody on this machine", [l for l in s.lines if l["event"] == "no_token"][-1]["text"])
        self.assertEqual(s.get(JOBS).status, 200)
        self.admin = s.post(V1 + "/tokens", {"name": "third", "scope": "admin"}).json()
        self.assertEqual(s.stop(), 0)
        s.lines.clear()
        s.start()
        self.assertEqual(s.get(JOBS).status, 401)
        self.assertEqual(s.stop(), 0)
        self.assertNotIn("no_token", [l["event"] for l in s.lines])

    def test_revoked_streams_end(self):
        s = self.service()
        made = s.post(V1 + "/tokens", {"name": "reader", "scope": "read"}, token=self.admin["token"]).json()
        opened = s.post(V1 + "/session", {"token": made["token"]}).headers["set-cookie"].split(";")[0]
        closed = s.post(V1 + "/session", {"token": self.admin["token"]}).headers["set-cookie"].split(";")[0]
        by_token = Events(s, headers={"Authorization": "Bearer " + made["token"]})
        by_cookie = Events(s, headers={"Cookie": opened})
        by_other = Events(s, headers={"Cookie": closed})
        stays = Events(s, headers={"Authorization": "Bearer " + self.admin["token"]})
        self.assertEqual(s.delete(f"{V1}/tokens/{made['id']}", token=self.admin["token"]).status, 204)
        self.assertTrue(by_token.ended.wait(LONG), "a token's stream ends with it")
        self.assertTrue(by_cookie.ended.wait(LONG), "so does the stream of a session that was opened with it")
        self.assertFalse(by_other.ended.is_set())
        self.assertEqual(s.request("DELETE", V1 + "/session", headers={"Cookie": closed}).status, 204)
        self.assertTrue(by_other.ended.wait(LONG), "a stream ends with its session")
        self.assertFalse(stays.ended.is_set())
        stays.close()

    def reading(self, s, path, headers):
        """A client that has begun to read a file, and does not go on."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(LONG)
        sock.connect(("127.0.0.1", s.port))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n\r\n".encode())
        self.addCleanup(sock.close)
        self.assertTrue(sock.recv(1000).startswith(b"HTTP/1.1 200"))
        return sock

    def rest(self, sock):
        n = 0
        try:
            while piece := sock.recv(1 << 20):
                n += len(piece)
        except ConnectionResetError:
            pass
        return n

    def test_transfers_end_with_their_token(self):
        s = self.service("--models", os.path.dirname(EXAMPLE))
        admin = self.admin["token"]
        made = s.post(V1 + "/tokens", {"name": "mover", "scope": "submit"}, token=admin).json()
        cookie = s.post(V1 + "/session", {"token": admin}).headers["set-cookie"].split(";")[0]
        job = s.post(JOBS, {"source_model": "model", "gguf_quant_types": ["F16"]}, token=admin).json()
        s.token = admin
        output = s.wait(job["id"])["outputs"][0]
        path = f"{JOBS}/{job['id']}/outputs/{output['name']}"
        size = output["file_size"]
        self.assertGreater(size, 15_000_000)  # more than sockets hold
        by_token = self.reading(s, path, "Authorization: Bearer " + made["token"])
        by_session = self.reading(s, path, "Cookie: " + cookie)
        stays = self.reading(s, path, "Authorization: Bearer " + admin)
        up = socket.create_connection(("127.0.0.1", s.port), LONG)
        self.addCleanup(up.close)
        up.sendall(f"PUT {V1}/uploads/late.gguf HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {made['token']}\r\n"
                   "Content-Length: 1000000\r\n\r\n".encode() + b"GGUF" + bytes(1000))
        self.eventually(lambda: os.listdir(os.path.join(s.data, "uploads")), "the upload has begun")
        self.assertEqual(s.delete(f"{V1}/tokens/{made['id']}").status, 204)
        self.assertEqual(s.request("DELETE", V1 + "/session", headers={"Cookie": cookie}).status, 204)
        up.sendall(bytes(100_000))
        answer = up.recv(1000)
        self.assertTrue(answer.startswith(b"HTTP/1.1 401"), f"an upload ends with its token: {answer}")
        self.assertLess(self.rest(by_token), size - 1000, "so does a download")
        self.assertLess(self.rest(by_session), size - 1000, "and with its session")
        self.assertGreaterEqual(self.rest(stays), size - 1000, "others go on")
        self.eventually(lambda: not os.listdir(os.path.join(s.data, "uploads")), "nothing is left of it")

    def test_many_sessions_of_one(self):
        s = self.service()
        reader = s.post(V1 + "/tokens", {"name": "reader", "scope": "read"}, token=self.admin["token"]).json()

        def session(token):
            return s.post(V1 + "/session", {"token": token}, judge=False).headers["set-cookie"].split(";")[0]

        mine, first = session(self.admin["token"]), session(reader["token"])
        others = [session(reader["token"]) for _ in range(1100)]
        self.assertEqual(s.get(JOBS, headers={"Cookie": mine}).status, 200, "the admin's session is still there")
        self.assertEqual(s.get(JOBS, headers={"Cookie": others[-1]}).status, 200)
        self.assertEqual(s.get(JOBS, headers={"Cookie": first}).status, 401, "a token's own oldest goes")


class Probes(Case):
    def test_probes_hold_up_no_change(self):
        s = Service(models=[os.path.dirname(EXAMPLE)])
        stop = threading.Event()

        def probe():
            c = s.connection(LONG)
            while not stop.is_set():
                c.request("GET", "/readyz")
                c.getresponse().read()
            c.close()

        threads = [threading.Thread(target=probe) for _ in range(100)]
        for t in threads:
            t.start()
        size = os.path.getsize(s.data + "/halftone.db-wal")
        time.sleep(0.5)
        self.assertEqual(os.path.getsize(s.data + "/halftone.db-wal"), size, "nothing is written")
        statuses = [s.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q8_0"], "name": f"{n}"}).status for n in range(20)]
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(statuses, [201] * 20)
        self.assertEqual(s.close(), 0)


class Queue(Case):
    def test_a_key_is_no_way_past_the_bound(self):
        s = Service("--max-queued", "2", "--jobs", "1", models=[os.path.dirname(EXAMPLE)])
        body = {"source_models": [EXAMPLE], "gguf_quant_types": ["Q8_0"]}
        three = {**body, "source_models": ["model", EXAMPLE, EXAMPLE + "/."]}
        answer = s.post(JOBS, three, headers={"Idempotency-Key": "three"})
        self.assertEqual((answer.status, answer.headers.get("retry-after")), (429, "60"), answer)
        first = s.post(JOBS, body, headers={"Idempotency-Key": "one"})
        self.assertEqual(first.status, 201, first)
        again = s.post(JOBS, body, headers={"Idempotency-Key": "one"})
        self.assertEqual((again.status, again.headers.get("idempotent-replayed")), (201, "true"))
        self.assertEqual(s.close(), 0)


def children_of(pid):
    found = []
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{other}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(other))
        except OSError:
            pass
    return found


class Estimates(Case):
    def test_end_with_their_clients(self):
        """The hub is one that never answers: whoever asks about its models waits, and takes a place while he does."""
        hub = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.addCleanup(hub.close)
        s = Service(models=[os.path.dirname(EXAMPLE)], environment={"HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}", "HF_HUB_DOWNLOAD_TIMEOUT": "100"})
        body = json.dumps({"source_model": "org/name", "gguf_quant_types": ["Q8_0"]})
        waiting = []
        for _ in range(12):
            c = s.connection(LONG)
            c.request("POST", V1 + "/quantize/estimate", body, {"Content-Type": "application/json"})
            waiting.append(c)
        self.eventually(lambda: len(children_of(s.process.pid)) == 4, "all places are taken")
        for c in waiting:
            c.close()
        self.eventually(lambda: not children_of(s.process.pid), "nobody waits: nothing runs")
        lines = [l for l in s.lines if l["event"] == "child_failed"]
        self.assertTrue(all(l["kind"] == "stopping" for l in lines), lines)
        answer = s.post(V1 + "/quantize/estimate", {"source_model": "model", "gguf_quant_types": ["Q8_0"]})
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(s.close(), 0)


class Names(Case):
    def test_environment_of_other_programs(self):
        data = os.path.join(folder(self), "out")
        models = os.path.dirname(EXAMPLE)
        environment = {"MODELS_DIR": models, "QUANTIZATION_OUTPUT_DIR": data}
        run = subprocess.Popen([PROGRAM, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        port = json.loads(run.stdout.readline())["port"]
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
        c.request("GET", V1 + "/system")
        self.assertEqual(json.loads(c.getresponse().read())["roots"], [os.path.realpath(models)])
        self.assertTrue(os.path.exists(data + "/halftone.db"))
        c.request("GET", "/quantization")
        answer = c.getresponse()
        answer.read()
        self.assertEqual((answer.status, answer.headers["Location"]), (308, "/"), "the guides' address leads to the page")
        c.close()
        run.terminate()
        run.communicate()
        self.assertEqual(run.returncode, 0)

    def test_compose_passes_both_names_of_the_token(self):
        with open(os.path.join(ROOT, "packaging/docker/compose.yaml")) as f:
            text = f.read()
        for name in ("HF_TOKEN", "HUGGINGFACE_TOKEN"):
            self.assertIn(f'{name}: "${{{name}:-}}"', text)


class Uploads(Case):
    def test_a_job_needs_it(self):
        s = Service("--jobs", "1")
        made = folder(self)
        subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", "F16", "-o", made, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(made, os.listdir(made)[0]), "rb") as f:
            self.assertEqual(s.request("PUT", V1 + "/uploads/mine.gguf", f.read()).status, 201)
        jobs = [s.post(JOBS, {"source_model": "mine.gguf", "source_type": "upload", "gguf_quant_types": ["Q4_K_M"], "options": {"threads": "1"}}).json()["id"]
                for _ in range(3)]
        answer = s.delete(V1 + "/uploads/mine.gguf")
        self.assertEqual(answer.status, 409, answer)
        self.assertTrue(any(id in answer.json()["detail"] for id in jobs), answer)
        for id in jobs:
            s.post(f"{JOBS}/{id}/cancel")
            s.wait(id)
        self.eventually(lambda: s.delete(V1 + "/uploads/mine.gguf").status == 204, "nobody needs it any more")
        self.assertEqual(s.post(JOBS, {"source_model": "mine.gguf", "source_type": "upload", "gguf_quant_types": ["Q4_K_M"]}).status, 422)
        self.assertEqual(s.close(), 0)


class Disk(Case):
    def test_folder_removed(self):
        s = Service(models=[os.path.dirname(EXAMPLE)])
        kept = s.data + ".kept"
        os.rename(s.data, kept)
        self.addCleanup(shutil.rmtree, kept, ignore_errors=True)
        answer = s.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q8_0"]})
        self.assertEqual(answer.status, 503, answer)
        self.assertIn("data folder", answer.json()["detail"])
        self.eventually(lambda: s.get("/readyz").status == 503, "readiness knows it")
        self.assertEqual(s.get("/readyz").json()["checks"], {"service": "ok", "database": "the data folder is gone", "disk": "ok"})
        self.eventually(lambda: any(l["event"] == "not_ready" for l in s.lines), "the log says it")
        os.mkdir(s.data)
        self.assertEqual(s.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q8_0"]}).status, 503, "another folder is not the one")
        self.assertEqual(s.get("/healthz").status, 200)
        self.assertEqual(s.close(), 0)

    def damaged(self, case):
        """A database of some jobs, of which pages were overwritten after an orderly end."""
        s = Service(models=[os.path.dirname(EXAMPLE)])
        for n in range(40):
            job = s.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q8_0"], "name": f"{n}", "description": "x" * 3000}).json()
            s.post(f"{JOBS}/{job['id']}/cancel")
        self.eventually(lambda: s.get(JOBS + "?status=queued,preparing,quantizing,verifying").json()["total"] == 0, "all ended")
        s.own = False
        self.assertEqual(s.close(), 0)
        self.addCleanup(shutil.rmtree, s.data, ignore_errors=True)
        with open(s.data + "/halftone.db", "r+b") as f:
            size = os.path.getsize(f.name)
            for page in range(size // 4096 // 2, size // 4096):
                f.seek(page * 4096)
                f.write(os.urandom(4096))
        return Service(data=s.data)

    def test_damaged_pages(self):
        s = self.damaged(self)
        self.eventually(lambda: s.get("/readyz").status == 503, "readiness knows it")
        self.assertEqual(s.get("/readyz").json()["checks"]["database"], "damaged")
        for answer in (s.get(JOBS + "?limit=200"), s.post(JOBS, {"source_model": "a/b", "gguf_quant_types": ["Q8_0"]})):
            self.assertEqual(answer.status, 503, answer)
            self.assertIn("damaged", answer.json()["detail"])
        self.assertEqual(s.get("/healthz").status, 200)
        self.assertEqual(s.close(), 0)
        again = subprocess.run([PROGRAM, "serve", "--port", "0", "--data", s.data], capture_output=True, text=True, timeout=LONG)
        self.assertEqual(again.returncode, 1)
        self.assertIn("damaged", again.stderr)

    def test_files_in_the_place_of_folders(self):
        file = os.path.join(folder(self), "file")
        open(file, "w").close()
        for arguments, status in ((("--models", file), 2), (("--data", file), 1), (("--data", file + "/x"), 1)):
            run = subprocess.run([PROGRAM, "serve", "--port", "0", *arguments], capture_output=True, text=True, timeout=LONG)
            self.assertEqual((run.returncode, run.stdout), (status, ""), arguments)
        for inside in ("models", "jobs", "uploads"):
            data = folder(self)
            open(os.path.join(data, inside), "w").close()
            run = subprocess.run([PROGRAM, "serve", "--port", "0", "--data", data], capture_output=True, text=True, timeout=LONG)
            self.assertEqual((run.returncode, run.stdout), (1, ""), inside)
            self.assertIn(inside + " is not a folder", run.stderr)

    def full_disk(self):
        """A service on a small file system; None where none may be mounted."""
        data = folder(self)
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", data], stderr=subprocess.DEVNULL).returncode:
            print("SKIPPED: no right to mount a file system")
            return None
        self.addCleanup(subprocess.run, ["umount", "-l", data])
        return Service("--jobs", "1", data=data, models=[os.path.dirname(EXAMPLE)])

    def fill(self, s):
        with open(s.data + "/filler", "ab", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass

    def test_cancel_on_a_full_disk(self):
        s = self.full_disk()
        if not s:
            return
        ids = [s.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q2_K", "Q3_K_M", "Q4_K_M"], "options": {"threads": "1"}, "name": f"{n}"}).json()["id"]
               for n in range(3)]
        s.wait(ids[0], "quantizing", "completed", "failed")
        self.fill(s)
        for id in reversed(ids):
            answer = s.post(f"{JOBS}/{id}/cancel")
            self.assertIn(answer.status, (200, 409), answer)  # 409: the full disk had ended it
        for id in ids[1:]:
            self.assertIn(s.wait(id)["status"], ("cancelled", "failed"))
        self.assertEqual(s.delete(f"{JOBS}/{ids[2]}").status, 204, "what frees room can be done")
        self.eventually(lambda: s.get("/readyz").status == 503, "readiness knows it")
        os.unlink(s.data + "/filler")
        self.eventually(lambda: s.get("/readyz").status == 200, "and that it is over")
        self.assertEqual(s.stop(), 0)


if __name__ == "__main__":
    unittest.main()
