"""The signatures that AWS published are the ones that we make, step by step.

The S3 examples of its documentation stand here with their values. Its general test suite is not part of this
checkout: it is read from ../shared/sigv4-vectors, or from where SIGV4_VECTORS says.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest

from simpledrive.storage import sigv4
from simpledrive.storage.sigv4 import UNSIGNED, Credentials, Scope
from tests.needs import need, sigv4_vectors

EXAMPLES = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLES_TIME = datetime(2013, 5, 24, tzinfo=UTC)
EXAMPLES_SCOPE = Scope("us-east-1")
EXAMPLES_HOST = "examplebucket.s3.amazonaws.com"
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
WELCOME = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

SUITE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SUITE_TIME = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SUITE_SCOPE = Scope("us-east-1", "service")

APPLICABLE = [
    "get-header-key-duplicate",
    "get-header-value-multiline",
    "get-header-value-order",
    "get-header-value-trim",
    "get-unreserved",
    "get-utf8",
    "get-vanilla",
    "get-vanilla-empty-query-key",
    "get-vanilla-query",
    "get-vanilla-query-order-encoded",
    "get-vanilla-query-order-key",
    "get-vanilla-query-order-key-case",
    "get-vanilla-query-order-value",
    "get-vanilla-query-unreserved",
    "get-vanilla-utf8-query",
    "get-vanilla-with-session-token",
    "normalize-path/get-space",
    "normalize-path/get-special-character",
    "post-header-key-case",
    "post-header-key-sort",
    "post-header-value-case",
    "post-sts-token/post-sts-header-after",
    "post-sts-token/post-sts-header-before",
    "post-vanilla",
    "post-vanilla-empty-query-value",
    "post-vanilla-query",
    "post-x-www-form-urlencoded",
    "post-x-www-form-urlencoded-parameters",
]
FOLDED = [
    "get-relative",
    "get-relative-relative",
    "get-slash",
    "get-slash-dot-slash",
    "get-slash-pointless-dot",
    "get-slashes",
]
"""Those that fold `//`, `/./` and `/../` in a path: every service does, and S3 does not."""

Steps = Mapping[str, str]


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload", "canonical", "signature"),
    [
        pytest.param(
            "GET",
            "/test.txt",
            [],
            {"Range": "bytes=0-9"},
            NOTHING,
            "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            id="GET of a range",
        ),
        pytest.param(
            "PUT",
            "/test$file.text",
            [],
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            WELCOME,
            "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            id="PUT",
        ),
        pytest.param(
            "GET",
            "/",
            [("lifecycle", "")],
            {},
            NOTHING,
            "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            id="GET of a lifecycle",
        ),
        pytest.param(
            "GET",
            "/",
            [("prefix", "J"), ("max-keys", "2")],
            {},
            NOTHING,
            "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            id="list",
        ),
        # Its body is then signed chunk by chunk, each signature over the one before. Those are left out: no
        # body is ever sent so, as not every server knows it (docs/s3.md, "Bodies").
        pytest.param(
            "PUT",
            "/examplebucket/chunkObject.txt",
            [],
            {
                "Host": "s3.amazonaws.com",
                "Content-Encoding": "aws-chunked",
                "Content-Length": "66824",
                "x-amz-decoded-content-length": "66560",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "cee3fed04b70f867d036f722359b0b1f2f0e5dc0efadbc082b76c4c60e316455",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            id="PUT in chunks",
        ),
    ],
)
def test_the_documented_requests_have_the_documented_signatures(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    payload: str,
    canonical: str,
    signature: str,
) -> None:
    headers = {"Host": EXAMPLES_HOST, **headers}
    wire_path, wire_query = sigv4.encode_path(path), sigv4.canonical_query(query)
    signed = sigv4.authorize(
        method, wire_path, wire_query, headers, payload, EXAMPLES, EXAMPLES_SCOPE, EXAMPLES_TIME
    )
    without = {name: value for name, value in signed.items() if name != "Authorization"}
    assert without == headers | {"x-amz-date": "20130524T000000Z", "x-amz-content-sha256": payload}
    steps = made(
        method, wire_path, wire_query, list(without.items()), payload, EXAMPLES, EXAMPLES_SCOPE, EXAMPLES_TIME
    )
    assert sha256(steps["canonical request"]) == canonical, steps["canonical request"]
    assert steps["string to sign"] == (
        f"AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n{canonical}"
    )
    assert signed["Authorization"] == steps["authorization"]
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={';'.join(sorted(name.lower() for name in without))}, Signature={signature}"
    )


def test_the_documented_url_has_the_documented_signature() -> None:
    query = sigv4.presign(
        "GET", EXAMPLES_HOST, "/test.txt", [], 86400, EXAMPLES, EXAMPLES_SCOPE, EXAMPLES_TIME
    )
    assert query == (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_a_url_carries_the_session_token_under_its_signature() -> None:
    def query(token: str | None) -> str:
        credentials = Credentials(EXAMPLES.access_key_id, EXAMPLES.secret_access_key, token)
        return sigv4.presign(
            "GET", EXAMPLES_HOST, "/k", [("response-content-type", "a/b")], 60, credentials, EXAMPLES_SCOPE,
            EXAMPLES_TIME,
        )  # fmt: skip

    one, other = query("to/ken+="), query("to/ken+-")
    assert "&X-Amz-Security-Token=to%2Fken%2B%3D&" in one
    assert "&response-content-type=a%2Fb&X-Amz-Signature=" in one
    assert "Security-Token" not in query(None)
    assert one[-64:] != other[-64:]


@pytest.mark.parametrize("expires", [0, -1, 604801])
def test_a_url_that_no_server_would_take_is_not_made(expires: int) -> None:
    with pytest.raises(ValueError, match="1 to 604800 seconds"):
        sigv4.presign("GET", "h", "/k", [], expires, EXAMPLES, EXAMPLES_SCOPE, EXAMPLES_TIME)


@pytest.mark.parametrize(
    ("secret", "day", "key"),
    [
        (
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            datetime(2012, 2, 15, tzinfo=UTC),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d",
        ),
        (
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            datetime(2015, 8, 30, tzinfo=UTC),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9",
        ),
    ],
)
def test_the_documented_signing_keys_are_ours(secret: str, day: datetime, key: str) -> None:
    assert sigv4.signing_key(secret, day, Scope("us-east-1", "iam")).hex() == key


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a b", "/a%20b"),
        ("a+b", "/a%2Bb"),
        ("a%2Fb", "/a%252Fb"),
        ("ü/日本", "/%C3%BC/%E6%97%A5%E6%9C%AC"),
        ("a//b", "/a//b"),
        ("./x/../y", "/./x/../y"),
        ("~-_.", "/~-_."),
        ("*'()!", "/%2A%27%28%29%21"),
        ("=&?#:@$,;", "/%3D%26%3F%23%3A%40%24%2C%3B"),
        ("😀", "/%F0%9F%98%80"),
        ("e\u0301", "/e%CC%81"),
        ("/lead", "//lead"),
        ("tail/", "/tail/"),
    ],
)
def test_a_key_is_encoded_once_and_never_folded(key: str, path: str) -> None:
    assert sigv4.encode_path(f"/{key}") == path


def test_a_query_is_in_order_of_its_encoded_names_and_values() -> None:
    pairs = [("b", "2"), ("a=", "1"), ("a-", "3"), ("a", "z"), ("a", "ü"), ("A", ""), ("é", "")]
    assert sigv4.canonical_query(pairs) == "%C3%A9=&A=&a=%C3%BC&a=z&a%3D=1&a-=3&b=2"


def test_neither_secret_nor_token_is_in_what_is_printed() -> None:
    assert repr(Credentials("id", "secret", "token")) == "Credentials(access_key_id='id')"


@pytest.mark.parametrize("name", APPLICABLE)
def test_a_vector_of_the_suite_matches_in_every_step(name: str) -> None:
    vector = Vector(name)
    difference = first_difference(vector.expected(), vector.steps())
    assert difference is None, difference


@pytest.mark.parametrize("name", FOLDED)
def test_a_vector_that_folds_the_path_does_not_match(name: str) -> None:
    vector = Vector(f"normalize-path/{name}")
    assert (first_difference(vector.expected(), vector.steps()) or "").startswith("canonical request")


def test_every_vector_of_the_suite_is_used() -> None:
    need("sigv4-vectors")
    folder = sigv4_vectors()
    found = {str(path.parent.relative_to(folder)) for path in folder.rglob("*.req")}
    assert found == {*APPLICABLE, *(f"normalize-path/{name}" for name in FOLDED)}


class Vector:
    """One case of the suite: a request as text, and what each step is to make of it."""

    def __init__(self, name: str) -> None:
        need("sigv4-vectors")
        self._path = sigv4_vectors() / name / Path(name).name

    def expected(self) -> Steps:
        names = {"canonical request": "creq", "string to sign": "sts", "authorization": "authz"}
        return {step: self._read(suffix) for step, suffix in names.items()}

    def steps(self) -> Steps:
        head, _, body = self._read("req").partition("\n\n")
        first, *lines = re.sub(r"\n[ \t]+", " ", head.rstrip("\n")).split("\n")
        method, target = first.removesuffix(" HTTP/1.1").split(" ", 1)
        path, _, query = target.partition("?")
        pairs = [part.partition("=")[::2] for part in query.split("&") if part]
        headers = [(name, value) for name, _, value in (line.partition(":") for line in lines)]
        # The signer is to add the token itself; the request after signing shows which.
        token = re.search(r"(?m)^X-Amz-Security-Token:(.*)$", self._read("sreq"))
        signed = "x-amz-security-token:" in self._read("creq")
        if token and signed and "X-Amz-Security-Token" not in head:
            headers.append(("X-Amz-Security-Token", token[1]))
        return made(
            method,
            sigv4.encode_path(unquote(path)),
            sigv4.canonical_query((unquote(name), unquote(value)) for name, value in pairs),
            headers,
            sha256(body),
            SUITE,
            SUITE_SCOPE,
            SUITE_TIME,
        )

    def _read(self, suffix: str) -> str:
        return self._path.with_suffix(f".{suffix}").read_text(encoding="utf-8").replace("\r\n", "\n")


def made(
    method: str,
    path: str,
    query: str,
    headers: list[tuple[str, str]],
    payload: str,
    credentials: Credentials,
    scope: Scope,
    time: datetime,
) -> Steps:
    """What each step makes of the request."""
    request = sigv4.canonical_request(method, path, query, headers, payload)
    text = sigv4.string_to_sign(request, time, scope)
    key = sigv4.signing_key(credentials.secret_access_key, time, scope)
    signed = sigv4.signature(key, text)
    names = sigv4.canonical_headers(headers)
    value = sigv4.authorization(credentials, scope, time, names, signed)
    return {"canonical request": request, "string to sign": text, "authorization": value}


def first_difference(expected: Steps, found: Steps) -> str | None:
    """The first step that went wrong, and how. What comes after it cannot be right."""
    for step, value in expected.items():
        if found[step] != value:
            return f"{step}: expected\n{value}\nand found\n{found[step]}"
    return None


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_failure_names_the_first_step_that_differs() -> None:
    right = {"canonical request": "a", "string to sign": "b", "authorization": "c"}
    assert first_difference(right, right) is None
    wrong = right | {"string to sign": "x", "authorization": "y"}
    assert first_difference(right, wrong) == "string to sign: expected\nb\nand found\nx"


def test_a_body_may_go_unsigned() -> None:
    request = sigv4.canonical_request("PUT", "/k", "", [("Host", "h")], UNSIGNED)
    assert request == "PUT\n/k\n\nhost:h\n\nhost\nUNSIGNED-PAYLOAD"
