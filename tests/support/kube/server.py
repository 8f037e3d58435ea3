"""The API itself: HTTP on loopback, watches, rights, and the troubles a test can make."""

import base64
import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from support.kube.admission import admit
from support.kube.kubelet import Kubelet
from support.kube.store import ApiError, Store

TOKEN = "of-the-spawner"
SPAWNER_MAY = {
    ("pods", "create"), ("pods", "get"), ("pods", "list"), ("pods", "watch"), ("pods", "delete"), ("secrets", "create"),
}  # fmt: skip
BOOKMARK_SECONDS = 0.5


class FakeCluster:
    """A cluster with one node; ``kubeconfig`` leads to it as the spawner, ``admin_kubeconfig`` as anybody's master."""

    def __init__(self, directory, *, images=("ado:test",)):
        self.directory = directory
        self.store = Store()
        self.kubelet = Kubelet(self.store, images=set(images))
        self.quotas = {}
        self.limits = {}
        self.requests = []
        self.troubles = []
        self.deaf = False
        self.port = 0
        self.server = None
        self.start()
        self.kubeconfig = self._write("spawner", TOKEN)
        self.admin_kubeconfig = self._write("admin", "of-the-admin")

    def _write(self, name, token):
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": "ado-test"}}],
        }  # fmt: skip
        file = self.directory / f"kubeconfig-{name}"
        file.write_text(json.dumps(config))
        return file

    def start(self):
        """Serve, on the same port as before."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Bound", (Handler,), {"cluster": self}))
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.server.open = set()
        self.server.stopped = False
        self.port = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self):
        """Serve nothing more and cut what is open; objects and pods stay."""
        self.server.stopped = True
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
        self.cut()

    def close(self):
        self.troubles.clear()
        self.stop()
        self.kubelet.close()

    def cut(self):
        """Break every open connection off."""
        for connection in list(self.server.open):
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def trouble(self, verb, resource, answer, times=1):
        """Let the next calls of a kind be met by ``answer(proceed)``; ``proceed()`` does what was asked for."""
        self.troubles.append([verb, resource, answer, times])

    def met_by(self, verb, resource):
        """Return the trouble that waits for a call."""
        for item in self.troubles:
            if item[:2] == [verb, resource] and item[3] > 0:
                item[3] -= 1
                return item[2]
        return None

    def count(self, verb, resource):
        return sum((of, on) == (verb, resource) for _, of, on in self.requests)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    cluster = None
    protocol_version = "HTTP/1.1"
    timeout = 60

    def setup(self):
        super().setup()
        self.server.open.add(self.connection)

    def finish(self):
        self.server.open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        with contextlib.suppress(OSError):
            super().handle_one_request()
            return
        self.close_connection = True

    def _serve(self, method):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = url.path.strip("/").split("/")[2:]  # api/v1
        namespace, resource, *rest = parts[1:]
        name = rest[0] if rest else None
        verb = {"GET": "get" if name else "watch" if query.get("watch") == "true" else "list", "POST": "create",
                "DELETE": "delete", "PATCH": "patch"}[method]  # fmt: skip
        self.cluster.requests.append((time.monotonic(), verb, resource))
        try:
            self._allow(verb, resource)
            given = json.loads(body) if body else {}

            def proceed():
                return self._do(verb, resource, namespace, name, query, given)

            answer = self.cluster.met_by(verb, resource)
            found = proceed() if answer is None else answer(proceed)
        except ApiError as error:
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            plain = error.code == 429
            self._answer(error.code, str(error).encode() if plain else json.dumps(error.body).encode(), headers)
        else:
            if found is None:
                self.close_connection = True
            elif verb == "watch":
                self._watch(found, resource, namespace, query)
            else:
                self._answer(201 if verb == "create" else 200, json.dumps(found).encode(), {})

    def do_GET(self):
        self._serve("GET")

    def do_POST(self):
        self._serve("POST")

    def do_DELETE(self):
        self._serve("DELETE")

    def do_PATCH(self):
        self._serve("PATCH")

    def _allow(self, verb, resource):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token == TOKEN and (resource, verb) not in SPAWNER_MAY:
            raise ApiError(403, "Forbidden", f'{resource} is forbidden: User "spawner" cannot {verb} resource')

    def _do(self, verb, resource, namespace, name, query, given):
        store = self.cluster.store
        if verb == "create" and name:
            return self._evict(namespace, name)
        if verb == "create":
            admit(resource, given, store, namespace, self.cluster.quotas, self.cluster.limits)
            return store.create(resource, namespace, given)
        if verb == "get":
            return store.get(resource, namespace, name)
        if verb == "delete":
            if "gracePeriodSeconds" in query:
                given["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
            return store.delete(resource, namespace, name, given)
        if verb == "patch":
            store.update(resource, namespace, name, lambda item: item["status"].update(given["status"]))
            return store.get(resource, namespace, name)
        if verb == "watch":
            return int(query["resourceVersion"])
        return self._list(store, resource, namespace, query)

    def _evict(self, namespace, name):
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                     "message": "Eviction API: evicting"}  # fmt: skip
        store = self.cluster.store
        store.update("pods", namespace, name, lambda item: item["status"]["conditions"].append(condition))
        store.delete("pods", namespace, name, {})
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    @staticmethod
    def _list(store, resource, namespace, query):
        found, version = store.list(resource, namespace, query.get("labelSelector", ""))
        if after := query.get("continue"):
            start = base64.b64decode(after).decode()
            found = [item for item in found if item["metadata"]["name"] > start]
        meta = {"resourceVersion": str(version)}
        limit = int(query.get("limit") or 0)
        if limit and len(found) > limit:
            found = found[:limit]
            meta["continue"] = base64.b64encode(found[-1]["metadata"]["name"].encode()).decode()
        kind = {"pods": "PodList", "secrets": "SecretList"}[resource]
        return {"kind": kind, "apiVersion": "v1", "metadata": meta, "items": found}

    def _answer(self, code, body, headers):
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _watch(self, version, resource, namespace, query):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        store, selector = self.cluster.store, query.get("labelSelector", "")
        end = time.monotonic() + float(query.get("timeoutSeconds") or 300)
        bookmark_at = time.monotonic() + BOOKMARK_SECONDS
        while time.monotonic() < end and not self.server.stopped:
            with store.changed:
                try:
                    changes = store.after(version, resource, namespace, selector)
                except ApiError as error:
                    self._event("ERROR", error.body)
                    break
                newest = store.version  # before the wait, in which a change may come that was not sent yet
                if not changes:
                    store.changed.wait(0.1)
            for number, kind, item in changes:
                self._event(kind, item)
                version = number
            if not changes and time.monotonic() > bookmark_at:
                bookmark_at = time.monotonic() + BOOKMARK_SECONDS
                version = newest
                self._event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}})
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, kind, item):
        if self.cluster.deaf:
            return
        line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()
