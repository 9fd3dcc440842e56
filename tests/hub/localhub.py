"""A hub on loopback that speaks the protocols of Hugging Face and ModelScope, from memory, and can be
made slow, broken or a liar.  The real Python clients download from it, too.

    hub = Hub(); hub.add("Qwen/Tiny", {"config.json": b"…", …}); hub.url
    hub.fault(truncate=1000)
"""
import hashlib
import http.server
import json
import re
import socket
import threading
import time
import urllib.parse


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Faults:
    """What goes wrong; all off.  Counts are used up as they happen."""

    truncate = 0        # bodies of large files break off after so many bytes
    truncate_times = 1 << 30
    rate = 0            # bytes a second of large files, each connection; 0 = all at once
    lie = False         # large files have one wrong byte
    lie_times = 1 << 30
    no_ranges = False   # Range is ignored
    no_length = False   # bodies end with the connection
    status = 0          # answered instead of what was asked …
    status_times = 0    # … so many times
    status_on = ""      # … where the path matches this
    retry_after = None
    error_code = None
    error_body = b'{"error":"as the test wants it"}'
    cdn_403_times = 0   # signed addresses have lapsed
    redirect_to = None  # where large files are said to lie
    other_commit = False
    wrong_range = False
    page = 1000         # files on a page of the list
    page_host = None    # host of the next page's address
    extra_entries = ()  # more entries of the list, whatever they are
    moved = None        # files that the revision has after the list was read (ModelScope)


class Hub:
    """endpoint `url`; large files come by redirect from `cdn`, which is another host name."""

    def __init__(self):
        self.repos, self.private, self.gated = {}, {}, set()
        self.faults, self.log, self.lock = Faults(), [], threading.Lock()
        hub = self

        class Front(Handler):
            def hub(self):
                return hub

        self.front = Server(("127.0.0.1", 0), Front)
        self.port = self.front.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.cdn = f"http://localhost:{self.port}"
        threading.Thread(target=self.front.serve_forever, daemon=True).start()

    def close(self):
        self.front.shutdown()
        self.front.server_close()

    def add(self, repo, files, revision=None):
        """A commit with these files, on the branches main and master (or revision)."""
        commit = hashlib.sha1(repr(sorted((k, sha256(v)) for k, v in files.items())).encode()).hexdigest()
        one = self.repos.setdefault(repo, {"commits": {}, "refs": {}})
        one["commits"][commit] = dict(files)
        for ref in [revision] if revision else ["main", "master"]:
            one["refs"][ref] = commit
        return commit

    def fault(self, **what):
        self.faults = Faults()
        for key, value in what.items():
            assert hasattr(Faults, key), key
            setattr(self.faults, key, value)

    def requests(self, part):
        """Logged requests whose path holds part: (method, path, headers)."""
        return [r for r in self.log if part in r[1]]

    def files(self, repo, revision):
        one = self.repos[repo]
        commit = one["refs"].get(revision, revision)
        return commit, one["commits"].get(commit)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass    # clients that were killed


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.route(False)

    def do_GET(self):
        self.route(True)

    def route(self, with_body):
        hub = self.hub()
        self.with_body = with_body
        with hub.lock:
            hub.log.append((self.command, self.path, dict(self.headers)))
            f = hub.faults
            wrong = f.status_times > 0 and re.search(f.status_on, self.path)
            f.status_times -= bool(wrong)
        if wrong:
            return self.fail(f.status, f.error_code, f.error_body, f.retry_after)
        url = urllib.parse.urlsplit(self.path)
        query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
        for pattern, method in ROUTES:
            match = re.fullmatch(pattern, url.path)
            if match:
                return method(self, query, *map(urllib.parse.unquote, match.groups()))
        self.fail(404, "EntryNotFound")

    # ---- answers ----

    def answer(self, status, body, headers=(), kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.with_body:
            self.wfile.write(body)

    def json(self, value, headers=()):
        self.answer(200, json.dumps(value).encode(), headers)

    def fail(self, status, code=None, body=b'{"error":"no"}', retry_after=None):
        headers = [("X-Error-Code", code), ("X-Error-Message", "no")] if code else []
        if retry_after is not None:
            headers.append(("Retry-After", str(retry_after)))
        self.answer(status, body, headers)

    def allowed(self, repo):
        """Knows the repository, and the caller may see it; else the answer is given."""
        hub = self.hub()
        token = hub.private.get(repo)
        said = self.headers.get("Authorization") == f"Bearer {token}"
        if repo not in hub.repos or (token and not said):
            self.fail(401 if "Authorization" not in self.headers else 404, "RepoNotFound")
            return False
        return True

    # ---- Hugging Face ----

    def hf_info(self, query, repo, revision="main"):
        if not self.allowed(repo):
            return
        commit, files = self.hub().files(repo, revision)
        if files is None:
            return self.fail(404, "RevisionNotFound")
        self.json({"_id": "x", "id": repo, "modelId": repo, "sha": commit, "private": False,
                   "gated": "auto" if repo in self.hub().gated else False, "disabled": False,
                   "downloads": 0, "likes": 0, "tags": [], "siblings": [{"rfilename": p} for p in files]})

    def hf_tree(self, query, repo, revision):
        if not self.allowed(repo):
            return
        hub = self.hub()
        commit, files = hub.files(repo, revision)
        if files is None:
            return self.fail(404, "RevisionNotFound")
        entries = [hf_entry(path, data) for path, data in sorted(files.items())]
        entries += [{"type": "directory", "path": p, "size": 0, "oid": "0" * 40}
                    for p in sorted({p.rsplit("/", 1)[0] for p in files if "/" in p})]
        entries += hub.faults.extra_entries
        at, n = int(query.get("cursor", 0)), hub.faults.page
        headers = []
        if at + n < len(entries):
            base = hub.faults.page_host or hub.url
            headers = [("Link", f'<{base}{self.path.split("&cursor")[0]}&cursor={at + n}>; rel="next"')]
        self.json(entries[at:at + n], headers)

    def hf_resolve(self, query, repo, revision, path):
        if not self.allowed(repo):
            return
        hub = self.hub()
        commit, files = hub.files(repo, revision)
        if files is None or path not in files:
            return self.fail(404, "RevisionNotFound" if files is None else "EntryNotFound")
        if repo in hub.gated and self.headers.get("Authorization") != "Bearer good":
            return self.fail(403, "GatedRepo")
        data = files[path]
        headers = [("X-Repo-Commit", "f" * 40 if hub.faults.other_commit else commit)]
        if not is_lfs(path):
            return self.send_file(data, headers + [("ETag", f'"{git_sha1(data)}"')])
        headers += [("X-Linked-Etag", f'"{sha256(data)}"'), ("X-Linked-Size", str(len(data))),
                    ("ETag", f'"{git_sha1(data)}"')]
        to = hub.faults.redirect_to or hub.cdn
        where = f"{to}/cdn/{repo}/{commit}/{urllib.parse.quote(path)}?signature=x"
        self.answer(302, b"Found", headers + [("Location", where)], "text/plain")

    def cdn(self, query, repo, commit, path):
        hub = self.hub()
        if "Authorization" in self.headers or "Cookie" in self.headers:
            return self.fail(400, None, b'{"error":"only one way of signing"}')
        if hub.faults.cdn_403_times > 0:
            hub.faults.cdn_403_times -= 1
            return self.fail(403, None, b"<Error>Request has expired</Error>")
        self.send_file(hub.files(repo, commit)[1][path], [("ETag", '"multi-part-7"')])

    # ---- ModelScope ----

    def ms_info(self, query, repo):
        if repo not in self.hub().repos:
            return self.ms_fail(404, "model not found")
        self.json({"Code": 200, "Success": True, "Message": "", "Data": {"Id": 1, "Name": repo.split("/")[1], "Path": repo.split("/")[0]}})

    def ms_fail(self, code, words, status=None):
        body = json.dumps({"Code": 10010205001, "Message": words, "Success": False, "RequestId": "x"}).encode()
        self.answer(status or code, body)

    def ms_files(self, query, repo):
        hub = self.hub()
        token = hub.private.get(repo)
        if repo not in hub.repos or (token and f"m_session_id={token}" not in self.headers.get("Cookie", "")):
            return self.ms_fail(404, "the model is not there, or not for you", 200)
        commit, files = hub.files(repo, query.get("Revision", "master"))
        if files is None:
            return self.ms_fail(404, "no such revision", 200)
        entries = [ms_entry(path, data) for path, data in sorted(files.items())]
        self.json({"Code": 200, "Success": True, "Message": "success", "RequestId": "x",
                   "Data": {"Files": entries + list(hub.faults.extra_entries), "LatestCommitter": None}})
        if hub.faults.moved:
            hub.add(repo, hub.faults.moved)
            hub.faults.moved = None

    def ms_revisions(self, query, repo):
        if repo not in self.hub().repos:
            return self.ms_fail(404, "model not found")
        refs = self.hub().repos[repo]["refs"]
        self.json({"Code": 200, "Success": True, "Message": "", "Data": {"RevisionMap": {
            "Branches": [{"Revision": r, "CreatedAt": 1} for r in refs], "Tags": []}}})

    def ms_file(self, query, repo):
        hub = self.hub()
        commit, files = hub.files(repo, query["Revision"])
        if not files or query["FilePath"] not in files:
            return self.ms_fail(404, "file not found")
        path = query["FilePath"]
        if is_lfs(path):
            where = f"{hub.faults.redirect_to or hub.cdn}/cdn/{repo}/{commit}/{urllib.parse.quote(path)}?Expires=1"
            return self.answer(302, b"", [("Location", where)], "text/plain")
        self.send_file(files[path], [])

    # ---- bodies ----

    def send_file(self, data, headers):
        f = self.hub().faults
        large = len(data) > 4096
        whole, status = data, 200
        if large and f.lie and f.lie_times > 0:
            f.lie_times -= 1
            whole = data = data[:-1] + bytes([data[-1] ^ 1])
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and not f.no_ranges:
            first, last = int(wanted[1]), int(wanted[2] or len(whole) - 1)
            if first >= len(whole):
                return self.answer(416, b"", [("Content-Range", f"bytes */{len(whole)}")])
            data, status = whole[first:last + 1], 206
            first += f.wrong_range
            headers = [*headers, ("Content-Range", f"bytes {first}-{first + len(data) - 1}/{len(whole)}")]
        self.send_response(status)
        self.send_header("Accept-Ranges", "none" if f.no_ranges else "bytes")
        for name, value in headers:
            self.send_header(name, value)
        if f.no_length:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.with_body:
            self.send_slowly(data, f, large)

    def send_slowly(self, data, f, large):
        if large and f.truncate and f.truncate_times > 0 and len(data) > f.truncate:
            f.truncate_times -= 1
            self.wfile.write(data[:f.truncate])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if not (large and f.rate):
            self.wfile.write(data)
            return
        step = max(1, f.rate // 50)
        for at in range(0, len(data), step):
            self.wfile.write(data[at:at + step])
            time.sleep(0.02)


def is_lfs(path):
    return path.endswith((".safetensors", ".bin", ".gguf")) or path == "tokenizer.json"


def hf_entry(path, data):
    entry = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
    if is_lfs(path):
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
            sha256(data).encode(), len(data))
        entry["oid"] = git_sha1(pointer)
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer)}
    return entry


def ms_entry(path, data):
    return {"Name": path.rsplit("/", 1)[-1], "Path": path, "Type": "blob", "Size": len(data),
            "Sha256": sha256(data), "Revision": "0" * 40, "IsLFS": is_lfs(path), "Mode": "33188"}


REPO = r"([^/]+/[^/]+)"
ROUTES = [
    (rf"/api/models/{REPO}/revision/([^/]+)", Handler.hf_info),
    (rf"/api/models/{REPO}/tree/([^/]+)", Handler.hf_tree),
    (rf"/api/models/{REPO}", Handler.hf_info),
    (rf"/cdn/{REPO}/([0-9a-f]+)/(.+)", Handler.cdn),
    (rf"/api/v1/models/{REPO}/repo/files", Handler.ms_files),
    (rf"/api/v1/models/{REPO}/revisions", Handler.ms_revisions),
    (rf"/api/v1/models/{REPO}/repo", Handler.ms_file),
    (rf"/api/v1/models/{REPO}", Handler.ms_info),
    (rf"/{REPO}/resolve/([^/]+)/(.+)", Handler.hf_resolve),
]
