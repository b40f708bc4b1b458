"""A key confined to a prefix, against every route there is: of what lies elsewhere it learns nothing at all.

Two drives hold the same below the prefix. Beside it one holds nothing, and the other blobs, versions, trash,
keys and machines' files. The same requests go to both: whatever is asked, status, headers and body are equal,
so nothing in them can come from elsewhere. Only ids that are made up and times may differ. Afterwards nothing
elsewhere has changed. A route that is new has no requests here, and fails the walk.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlencode
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from simpledrive.drive import Drive, NewBlob
from simpledrive.keys import NewKey
from simpledrive.keyset import behind, cursor_at
from simpledrive.machines import Announcement
from simpledrive.models import ApiKey, Blob, BlobHistory, MachineFile, Migration, Replica
from simpledrive.parts import Parts
from simpledrive.rights import SCOPES, SERVER, Caller
from simpledrive.streams.staging import Incoming
from simpledrive.usage import Counters
from tests.drives import digest_of, keep
from tests.drives import replace as replaced
from tests.moves import begin
from tests.postgres import fresh_database
from tests.visitors import Visitor

PREFIX = "in/side/"
SAME, THEIRS, OLD = b"bytes that both have", b"bytes of somebody else", b"earlier bytes of somebody else"

ELSEWHERE = [
    "out/secret.txt",
    "out/deep/er/secret.txt",
    "out/replaced.txt",
    "out/trashed.txt",
    "out/same.txt",
    "in/secret.txt",
    "in/other/secret.txt",
    "in/side",
    "in/sid",
    "in/sideways/secret.txt",
    "IN/SIDE/secret.txt",
    "/in/side/secret.txt",
    "secret",
    "host/etc/secret",
]
"""Ids beside the prefix, most of them as near to it as can be. In one of the drives all of them are taken."""

INSIDE = [
    "in/side/mine.txt",
    "in/side/deep/mine.txt",
    "in/side/same.txt",
    "in/side/replaced.txt",
    "in/side/none",
]

NUMBERS = {"file_mode": 33188, "file_uid": 0, "file_gid": 0}
TIMES = {"file_mtime": 1.5, "file_atime": 2.5, "file_ctime": 3.5}


@dataclass
class World:
    """A drive with a confined key. `ids` are those of its things that have random ones, by what they are."""

    app: Flask
    ids: dict[str, str] = field(default_factory=dict)
    key: str = ""

    @property
    def parts(self) -> Parts:
        found: Parts = self.app.extensions["simpledrive"]
        return found

    def inhabit(self) -> None:
        """What the confined key may see."""
        keep(self.parts, "in/side/mine.txt", b"mine")
        keep(self.parts, "in/side/deep/mine.txt", b"mine, too")
        keep(self.parts, "in/side/same.txt", SAME)
        keep(self.parts, "in/side/replaced.txt", b"earlier")
        replaced(self.parts, "in/side/replaced.txt", b"later")
        keep(self.parts, "in/side/trashed.txt", b"trash")
        self.parts.drive.delete(SERVER, "in/side/trashed.txt")
        self._announce("in", "/side/etc/mine", b"of a machine")
        keep(self.parts, "in/side/etc/mine", b"of a machine")
        made, _ = self.parts.keys.issue(SERVER, NewKey("theirs within", prefix=PREFIX + "deep/"))
        self.ids["key within"] = made.id

    def surround(self) -> None:
        """What it may not: under every id of ELSEWHERE there is, or was, something. It was there first."""
        for id in ELSEWHERE:
            keep(self.parts, id, THEIRS + id.encode(), "database")
        replaced(self.parts, "out/replaced.txt", OLD)
        replaced(self.parts, "out/replaced.txt", THEIRS, "local")
        keep(self.parts, "out/same too.txt", SAME, "database")
        self.parts.drive.delete(SERVER, "out/trashed.txt")
        self._announce("host", "/etc/secret", THEIRS + b"host/etc/secret")
        self._announce("host", "/etc/awaited", OLD)
        file = Incoming(io.BytesIO(THEIRS), len(THEIRS))
        blob, _ = self.parts.drive.store(SERVER, file, NewBlob(filename="secret.txt"))
        self.ids["file"] = blob.id
        for name, more in (("strong key", {}), ("key beside", {"prefix": "out/", "scopes": ["read"]})):
            self.ids[name] = self.parts.keys.issue(SERVER, NewKey(name, **more))[0].id
        self.parts.keys.revoke(SERVER, self.ids["key beside"])
        self.ids["migration"] = begin(self.parts, "database", "local", prefix="out/secret").id

    def confine(self) -> None:
        """The key itself: it may do everything, below its prefix."""
        made, self.key = self.parts.keys.issue(SERVER, NewKey("confined", scopes=SCOPES, prefix=PREFIX))
        self.ids["own key"] = made.id

    def id(self, name: str) -> str:
        """The id of a thing; where there is no such thing, one that is nobody's."""
        return self.ids.setdefault(name, str(uuid4()))

    def elsewhere(self) -> list[object]:
        """All that is recorded beside the prefix."""

        def work(session: object) -> list[object]:
            found: list[object] = []
            for table, column in (
                (Blob, Blob.id),
                (BlobHistory, BlobHistory.id),
                (MachineFile, MachineFile.blob_id),
            ):
                rows = session.scalars(select(table).order_by(column)).all()  # type: ignore[attr-defined]
                found += [
                    _values(row) for row in rows if not (getattr(row, column.key) or "").startswith(PREFIX)
                ]
            keys = session.scalars(select(ApiKey).order_by(ApiKey.id)).all()  # type: ignore[attr-defined]
            found += [_values(key) for key in keys if not key.prefix.startswith(PREFIX)]
            migrations = session.scalars(select(Migration)).all()  # type: ignore[attr-defined]
            return sorted([*found, *map(_values, migrations)], key=repr)

        return self.parts.database.read(work)

    def _announce(self, hostname: str, filepath: str, data: bytes) -> None:
        said = Announcement(filepath, hostname, "10.0.0.1", digest_of(data), len(data), **NUMBERS, **TIMES)
        self.parts.machines.announce(SERVER, said)


def _values(row: object) -> dict[str, object]:
    return {name: value for name, value in vars(row).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Ask:
    """A request to a route: the values in its path, and the rest of it. `{strong key}` stands for that id."""

    args: dict[str, str] = field(default_factory=dict)
    query: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    json: object = None
    data: object = None


def every(name: str, values: list[str], *asks: Ask) -> list[Ask]:
    """Each of these requests for each of these values in the path."""
    return [replace(ask, args={name: value}) for value in values for ask in asks or (Ask(),)]


def queries(**each: list[object]) -> list[Ask]:
    return [Ask(query={name: value}) for name, values in each.items() for value in values]


def form(**fields: object) -> Ask:
    return Ask(data=fields)


def file(data: bytes, name: str = "a.txt") -> Callable[[], tuple[io.BytesIO, str]]:
    """A file for a form, made anew for each request."""
    return lambda: (io.BytesIO(data), name)


def known(data: bytes, **more: object) -> Ask:
    return Ask(json={"sha256": digest_of(data), "size": len(data)} | more)


def announced(hostname: str, filepath: str, data: bytes) -> Ask:
    host = {"hostname": hostname, "filepath": filepath, "ip_address": "10.0.0.2"}
    return Ask(json=host | {"sha256": digest_of(data), "file_size": len(data)} | NUMBERS | TIMES)


def new_key(**asked: object) -> list[Ask]:
    return [Ask(json={"name": "new"} | asked)]


NOTHING = [Ask()]
"""What is the same for everybody."""

IDS = [*ELSEWHERE, "{file}", "out/nothing", "out/", "in/", "in/side/", *INSIDE]
MATCHES = [{"If-Match": "*"}, {"If-None-Match": "*"}, {"If-Match": f'"{digest_of(THEIRS)}"'}]
CURSORS: list[object] = [cursor_at(id) for id in ("out/secret.txt", "in/side", "in/side/mine.txt", "secret")]
PREFIXES: list[object] = [
    "",
    "i",
    "in",
    "in/",
    "in/s",
    "in/side",
    "in/side/",
    "in/side/d",
    "in/other/",
    "out/",
    "/",
]
DIGESTS = [digest_of(data) for data in (THEIRS, OLD, SAME, b"mine", b"nobody's", THEIRS + b"host/etc/secret")]
KEY_IDS = ["{strong key}", "{key beside}", "{key within}", "{nobody}", "no id"]
MIGRATIONS = ["{migration}", "{nobody}", "no id"]
WIDER: list[dict[str, object]] = [{"prefix": prefix} for prefix in ("", "out/", "in/", "in/sid", "IN/SIDE/")]

LISTING = [
    *queries(
        prefix=PREFIXES,
        cursor=CURSORS,
        q=["secret", "same", "mine", "etc"],
        sha256=list(DIGESTS),
        storage_backend=["local", "database", "nowhere"],
        content_type=["text/plain", "text/"],
        min_size=[1],
        max_size=[100],
        created_after=["2020-01-01T00:00:00Z"],
        created_before=["2020-01-01T00:00:00Z"],
        limit=[1, 2, 1000],
    ),
    *(Ask(query={"prefix": prefix, "delimiter": "/"}) for prefix in PREFIXES),
    *(Ask(query={"delimiter": "/", "cursor": cursor}) for cursor in CURSORS),
]

ROUTES: dict[tuple[str, str], list[Ask]] = {
    ("GET", "/"): NOTHING,
    ("GET", "/livez"): NOTHING,
    ("GET", "/readyz"): [Ask(), Ask(query={"verbose": ""})],
    ("GET", "/healthz"): NOTHING,
    ("GET", "/health"): NOTHING,
    ("GET", "/metrics"): NOTHING,
    ("GET", "/openapi.json"): NOTHING,
    ("GET", "/docs"): NOTHING,
    ("GET", "/problems"): NOTHING,
    ("GET", "/problems/<kind>"): every("kind", ["blob-not-found"]),
    ("GET", "/static/<path:filename>"): every("filename", ["app.js"]),
    # --- Part 1 and 4
    ("GET", "/v1/blobs"): [Ask(), *LISTING],
    ("POST", "/v1/blobs"): [
        *(Ask(json={"id": id, "data": "YQ=="}) for id in IDS),
        *(
            Ask(json={"id": f"in/side/copy of {at}", "data": data})
            for at, data in enumerate(["", "bWluZQ=="])
        ),
        Ask(json={"data": "YQ=="}),
        Ask(json={"id": "in/side/x", "data": "YQ==", "storage_backend": "nowhere"}),
        *(known(data, id=id) for data in (THEIRS, OLD, SAME, b"nobody's") for id in ("in/side/known", *IDS)),
        *(
            known(data, id="in/side/known", storage_backend=at)
            for data in (SAME, THEIRS)
            for at in ("local", "database")
        ),
        *(Ask(json={"data": "YQ=="}, headers={"Idempotency-Key": "once"}) for _ in range(2)),
    ],
    ("GET", "/v1/blobs/<id:id>"): every(
        "id", IDS, Ask(), Ask(query={"data": "false"}), *(Ask(headers=match) for match in MATCHES)
    ),
    ("PATCH", "/v1/blobs/<id:id>"): every(
        "id",
        IDS,
        Ask(json={"filename": "new"}),
        Ask(json={"version": 1}),
        Ask(json={"storage_backend": "database"}),
        Ask(json={"storage_backend": "nowhere"}),
        *(Ask(json={"metadata": {}}, headers=match) for match in MATCHES),
    ),
    ("DELETE", "/v1/blobs/<id:id>"): every(
        "id",
        [id for id in IDS if id not in INSIDE],
        *(Ask(headers=match) for match in MATCHES),
        Ask(),
        Ask(query={"permanent": "true"}),
    ),
    ("GET", "/v1/content/<id:id>"): every(
        "id",
        IDS,
        Ask(),
        Ask(query={"version": "1"}),
        Ask(query={"version": "99"}),
        Ask(headers={"Range": "bytes=0-3"}),
        Ask(headers={"Range": "bytes=999999-"}),
        *(Ask(headers=match) for match in MATCHES),
    ),
    ("PUT", "/v1/content/<id:id>"): every(
        "id", [*IDS, "in/side/put"], Ask(data=THEIRS), *(Ask(data=SAME, headers=match) for match in MATCHES)
    ),
    ("GET", "/v1/versions/<id:id>"): every("id", IDS, Ask(), Ask(query={"cursor": "2"})),
    ("GET", "/v1/trash"): [Ask(), *queries(prefix=PREFIXES, cursor=CURSORS, limit=[1])],
    ("GET", "/v1/backends"): NOTHING,
    ("POST", "/v1/backends/<name>/check"): every("name", ["local", "nowhere"]),
    ("GET", "/v1/migrations"): [Ask(), *queries(cursor=CURSORS, limit=[1])],
    ("POST", "/v1/migrations"): [
        Ask(json={"source": source, "target": target} | more)
        for source, target in (("database", "local"), ("database", "nowhere"))
        for more in ({}, {"dry_run": True}, {"prefix": "in/side/"})
    ],
    ("GET", "/v1/migrations/<migration_id>"): every("migration_id", MIGRATIONS),
    ("GET", "/v1/migrations/<migration_id>/items"): every("migration_id", MIGRATIONS),
    ("GET", "/v1/migrations/<migration_id>/receipt"): every("migration_id", MIGRATIONS),
    **{
        ("POST", f"/v1/migrations/<migration_id>/{act}"): every("migration_id", MIGRATIONS)
        for act in ("pause", "resume", "roll-back", "finalize")
    },
    ("GET", "/v1/keys"): NOTHING,
    ("GET", "/v1/keys/<key_id>"): every("key_id", KEY_IDS),
    ("DELETE", "/v1/keys/<key_id>"): every("key_id", [id for id in KEY_IDS if id != "{key within}"]),
    ("POST", "/v1/keys"): [
        *new_key(),
        *new_key(prefix=PREFIX + "x/"),
        *(ask for more in WIDER for ask in new_key(**more)),
    ],
    # --- Part 2
    ("GET", "/files"): [Ask(), *queries(cursor=CURSORS, limit=[1])],
    ("POST", "/files"): [form(file=file(data)) for data in (THEIRS, SAME, b"")],
    ("GET", "/files/<id:id>"): every("id", [*IDS, "{nobody}"]),
    # --- Part 3
    ("POST", "/put_file"): [
        *(announced("host", path, data) for path in ("/etc/secret", "/etc/none") for data in (THEIRS, SAME)),
        *(
            announced("in", path, data)
            for path in ("/side/new", "/other/secret.txt")
            for data in (THEIRS, SAME)
        ),
    ],
    ("POST", "/upload_file/<sha256>"): [
        replace(
            form(file=file(data)),
            args={"sha256": digest_of(data)},
            query={"hostname": host, "filepath": path},
        )
        for data in (OLD, THEIRS, SAME)
        for host, path in (
            ("host", "/etc/awaited"),
            ("host", "/etc/secret"),
            ("host", "/none"),
            ("in", "/side/new"),
        )
    ],
    ("GET", "/get_file/<sha256>"): every("sha256", [*DIGESTS, digest_of(b"of a machine")]),
    ("GET", "/api_keys"): NOTHING,
    ("POST", "/api_keys"): new_key(),
    ("PUT", "/api_keys/<key_id>/revoke"): every("key_id", [id for id in KEY_IDS if id != "{key within}"]),
    ("DELETE", "/api_keys/<key_id>"): every("key_id", [id for id in KEY_IDS if id != "{key within}"]),
    # --- The HTML face
    ("GET", "/drive"): NOTHING,
    ("GET", "/drive/<path:rest>"): every("rest", ["nowhere", "out/secret.txt"]),
    ("GET", "/drive/sign-in"): [Ask(), Ask(query={"next": "/drive/blob/out/secret.txt"})],
    ("POST", "/drive/sign-in"): [form(key="wrong")],
    ("POST", "/drive/sign-out"): NOTHING,
    ("GET", "/drive/files"): [Ask(), *queries(cursor=CURSORS)],
    ("GET", "/drive/files/<folder:path>"): every(
        "path",
        [
            "out/",
            "out/deep/",
            "out/nothing/",
            "in/",
            "in/other/",
            "in/side/",
            "in/side/deep/",
            "in/sideways/",
            "IN/",
            "/",
        ],
        Ask(),
        *queries(cursor=CURSORS),
    ),
    ("GET", "/drive/files/<id:path>"): every("path", ["out", "in", "out/secret.txt"]),
    ("GET", "/drive/blob/<id:id>"): every("id", IDS),
    ("GET", "/drive/content/<id:id>"): every("id", IDS, Ask(), Ask(query={"download": "1"})),
    ("POST", "/drive/upload"): [
        form(folder=folder, file=file(data, name))
        for folder in ("", "out/", "in/", "in/side/")
        for name in ("secret.txt", "mine.txt", "new.txt", "../secret.txt")
        for data in (THEIRS, SAME)
    ],
    ("POST", "/drive/delete"): [
        form(id=id, **more) for id in IDS if id not in INSIDE for more in ({}, {"confirmed": "1"})
    ],
    ("POST", "/drive/move"): [
        form(id=id, storage_backend=at) for id in IDS if id not in INSIDE for at in ("database", "nowhere")
    ],
    ("POST", "/drive/restore"): [form(id=id) for id in IDS],
    ("GET", "/drive/backends"): NOTHING,
    ("POST", "/drive/backends"): [form(), form(name="local"), form(name="nowhere")],
    ("GET", "/drive/keys"): NOTHING,
    ("POST", "/drive/keys"): [
        form(name="new", scope="read", prefix=prefix, asking="forged") for prefix in PREFIXES
    ],
    ("POST", "/drive/keys/revoke"): [
        form(id=id, **more) for id in KEY_IDS if id != "{key within}" for more in ({}, {"confirmed": "1"})
    ],
    ("POST", "/drive/settings/theme"): [form(theme="dark")],
}
"""For each route and method what is asked of it: of what lies elsewhere as much as can be thought of."""


# --- Walking


def routes(app: Flask) -> list[tuple[str, Rule]]:
    """Each method of each route there is. HEAD goes with its GET; OPTIONS asks for nothing of the drive's."""
    return [
        (method, rule)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def named(method: str, path: str) -> tuple[str, str]:
    """The name of a route above: without its last slash, which makes no difference."""
    return method, path.rstrip("/") or "/"


def unknown(app: Flask) -> list[tuple[str, str]]:
    """Routes of which nothing is asked."""
    return [route for method, rule in routes(app) if (route := named(method, rule.rule)) not in ROUTES]


def walk(world: World, only: tuple[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Each request in words, and what is answered, with nothing in it that may differ."""
    for method, rule in routes(world.app):
        route = named(method, rule.rule)
        if only not in (None, route):
            continue
        visitor = _visitor(world) if rule.endpoint.startswith("ui.") else None
        # Both spellings of a path are one view: of the second it is enough to see that.
        asks = ROUTES[route][:1] if rule.endpoint.endswith("_slash") else ROUTES[route]
        for ask in asks:
            is_plain = not (ask.query or ask.headers)
            for way in ["GET", "HEAD"] if method == "GET" and is_plain else [method]:
                yield f"{way} {rule.rule} {ask}", _plain(world, _sent(world, visitor, way, rule, ask))
    assert world.parts.keys.get(SERVER, world.ids["own key"]).revoked_at is None


def _visitor(world: World) -> Visitor:
    visitor = Visitor(world.app)
    assert visitor.sign_in(world.key).status_code == 303
    visitor.get("/drive/files/in/side/")
    return visitor


def _sent(world: World, visitor: Visitor | None, method: str, rule: Rule, ask: Ask) -> TestResponse:
    def filled(text: object) -> object:
        return (
            re.sub(r"\{([a-z ]+)\}", lambda found: world.id(found[1]), text)
            if isinstance(text, str)
            else text
        )

    path = re.sub(
        r"<(?:\w+:)?(\w+)>", lambda found: quote(str(filled(ask.args[found[1]])), safe="/"), rule.rule
    )
    url = f"{path}?{urlencode(ask.query)}" if ask.query else path
    options: dict[str, object] = {"headers": dict(ask.headers), "method": method}
    if ask.json is not None:
        options["json"] = ask.json
    data = ask.data
    if isinstance(data, dict):
        data = {name: value() if callable(value) else filled(value) for name, value in data.items()}
    if visitor is not None:
        fields = {"csrf_token": visitor.token} | (data if isinstance(data, dict) else {})
        options["data"] = fields if method == "POST" else None
        response = Context().run(visitor.client.open, url, **options)
    else:
        options["headers"] = {**ask.headers, "Authorization": f"Bearer {world.key}"}
        options |= {} if data is None else {"data": data}
        response = Context().run(world.app.test_client().open, url, **options)
    assert response.status_code < 500 or rule.rule == "/readyz", (url, response.text)
    return response


_MADE_UP = [
    ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("uuid", r"[0-9a-f-]{22}</span><span>[0-9a-f-]{14}(?=<)"),
    ("key", r"sd_[A-Za-z0-9_-]{43}"),
    ("moment", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"),
    ("date", r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"),
    ("day", r"\d{1,2} [A-Z][a-z]{2}(?: \d{4})?, \d\d:\d\d"),
    ("today", r"Today, \d\d:\d\d"),
    ("token", r'(?<=name="csrf_token" value=")[^"]*'),
    ("asking", r'(?<=name="asking" value=")[^"]*'),
    ("cookie", r"(?<=simpledrive=)[^;]*"),
    ("milliseconds", r'(?<="probe_ms":)[^,}]*'),
]
"""What is made up anew each time. Ids of others are nobody's where there are no others."""


def _plain(world: World, response: TestResponse) -> list[str]:
    headers = sorted(f"{name}: {value}" for name, value in response.headers.items())
    text = "\n".join([str(response.status_code), *headers, response.get_data().decode("latin-1")])
    response.close()
    for name, id in world.ids.items():
        text = text.replace(id, f"<{name}>")
    text = re.sub(r"(?<=cursor=)[A-Za-z0-9_-]+(?:%3D)*", _opened, text)
    text = re.sub(r'(?<="next_cursor": ")[A-Za-z0-9_-]+=*', _opened, text)
    for name, pattern in _MADE_UP:
        text = re.sub(pattern, f"<{name}>", text)
    return text.splitlines()


def _opened(cursor: re.Match[str]) -> str:
    """What a cursor names: an id may be in it that was made up."""
    return behind(unquote(cursor[0])) or ""


# --- The proof


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Iterator[list[dict[str, object]]]:
    """Settings of two drives that keep their records on the database that the test is for."""
    if request.param == "sqlite":
        yield [{}, {}]
        return
    server = request.getfixturevalue("postgres_url")
    with fresh_database(server) as one, fresh_database(server) as other:
        yield [{"database_url": one}, {"database_url": other}]


@pytest.fixture
def worlds(make_app: Callable[..., Flask]) -> Callable[..., tuple[World, World]]:
    """Two drives that look the same to a confined key: with nothing beside its prefix, and with plenty."""

    def make(inhabited: bool, databases: list[dict[str, object]]) -> tuple[World, World]:
        bare, full = (
            World(make_app(instance_path=name, **settings))
            for name, settings in zip(("bare", "full"), databases, strict=True)
        )
        full.surround()
        for world in (bare, full):
            if inhabited:
                world.inhabit()
            world.confine()
        return bare, full

    return make


def differences(bare: World, full: World, only: tuple[str, str] | None = None) -> list[str]:
    """Requests that are answered differently where there is something elsewhere."""
    found = []
    for (said, here), (_, there) in zip(walk(bare, only), walk(full, only), strict=True):
        if here != there:
            lines = [f"  {a!r}\n  {b!r}" for a, b in zip(here, there, strict=False) if a != b]
            found.append("\n".join([said, *lines[:6]]))
    return found


def test_every_route_is_walked(app: Flask) -> None:
    assert unknown(app) == []
    there = {named(method, rule.rule) for method, rule in routes(app)}
    assert ROUTES.keys() - there == set(), "routes that are gone"


def test_every_operation_of_the_specification_is_walked(app: Flask) -> None:
    document = json.loads(app.test_client().get("/openapi.json").data)
    walked = {(method, re.sub(r"<[^>]+>", "{}", path)) for method, path in ROUTES}
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"get", "put", "post", "patch", "delete"}:
            assert named(method.upper(), re.sub(r"\{[^}]+\}", "{}", path)) in walked


@pytest.mark.parametrize(
    ("databases", "inhabited"),
    [("sqlite", True), ("sqlite", False), ("postgres", True)],
    indirect=["databases"],
    ids=["sqlite", "sqlite, with nothing inside", "postgres"],
)
def test_a_confined_key_learns_and_changes_nothing_elsewhere(
    worlds: Callable[..., tuple[World, World]], databases: list[dict[str, object]], inhabited: bool
) -> None:
    bare, full = worlds(inhabited, databases)
    before = full.elsewhere()
    assert len(before) > len(ELSEWHERE)
    found = differences(bare, full)
    assert not found, "\n".join(found[:10])
    assert full.elsewhere() == before
    assert bare.elsewhere() == []


# --- The walk itself is tested


def test_the_walk_would_notice_a_new_route(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/v1/new/<id:id>", "new", lambda id: "", methods=["GET", "DELETE"])
    assert unknown(app) == [("DELETE", "/v1/new/<id:id>"), ("GET", "/v1/new/<id:id>")]


def _unconfined(self: Caller, scope: str, id: str = "") -> None:
    assert scope in self.scopes


def _all_copies(self: Drive, caller: Caller, blobs: list[Blob]) -> dict[str, list[Replica]]:
    return _copies_of(self, replace(caller, prefix=""), blobs)


def _all_usage(self: Counters, caller: Caller) -> object:
    return _usage(self, replace(caller, prefix=""))


def _all_homes(self: Drive, caller: Caller, *more: object) -> list[str]:
    return _homes_of(self, replace(caller, prefix=""), *more)  # type: ignore[arg-type]


_copies_of, _usage, _homes_of = Drive.copies_of, Counters.usage, Drive._homes_of


@pytest.mark.parametrize(
    ("owner", "name", "leak", "route"),
    [
        (Caller, "require", _unconfined, ("GET", "/v1/blobs/<id:id>")),
        (Caller, "covers", lambda self, other: True, ("GET", "/v1/keys")),
        (Drive, "copies_of", _all_copies, ("GET", "/drive/blob/<id:id>")),
        (Drive, "_homes_of", _all_homes, ("POST", "/v1/blobs")),
        (Counters, "usage", _all_usage, ("GET", "/drive/files")),
    ],
    ids=["ids", "keys", "copies", "digests", "amounts"],
)
def test_the_walk_would_notice_a_leak(
    worlds: Callable[..., tuple[World, World]],
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    leak: Callable[..., object],
    route: tuple[str, str],
) -> None:
    bare, full = worlds(True, [{}, {}])
    monkeypatch.setattr(owner, name, leak)
    assert differences(bare, full, route) != []


# --- What the walk cannot vary


@pytest.mark.parametrize("prefix", ["a/b/x", "a/b/xy/"])
def test_folders_lead_down_to_the_prefix_and_nowhere_else(any_parts: Parts, prefix: str) -> None:
    confined = any_parts.keys.verify(any_parts.keys.issue(SERVER, NewKey("c", prefix=prefix))[1])
    backends = ["local", "database"]

    def lying(path: str, cursor: str | None = None) -> tuple[list[tuple[str, list[str]]], list[str]]:
        found = any_parts.listing.folder(confined, path, backends, cursor)
        return [(folder.path, folder.backends) for folder in found.folders], [blob.id for blob in found.blobs]

    for id in ("a/1", "a/b/2", "a/b/other/3", "a/c/4", "b/5", "a/b/w/6"):
        keep(any_parts, id, b"theirs", "database")
    for path in ("", "a/", "a/b/", "a/c/"):
        assert lying(path) == ([], []), "nothing below the prefix, so no way leads there"
    keep(any_parts, "a/b/xy/deep/7", b"mine", "local")
    keep(any_parts, "a/b/xy/8", b"mine", "local")
    assert lying("") == ([("a/", ["local"])], [])
    assert lying("", cursor_at("a/")) == ([], [])
    assert lying("a/") == ([("a/b/", ["local"])], [])
    assert lying("a/b/") == ([("a/b/xy/", ["local"])], [])
    assert lying("a/b/xy/") == ([("a/b/xy/deep/", ["local"])], ["a/b/xy/8"])
    assert lying("a/c/") == lying("b/") == ([], [])
