#!/usr/bin/env python3
"""Checks recorded exchanges against Google's published schemas.

    referee.py DOCUMENTS [--cut] [--expect CLIENT]... RECORDING...   check what `carrack emulator start --record FILE` wrote
    referee.py DOCUMENTS --prove RECORDING...                        check that deliberate violations are found

--cut lets a recording have no end: its local cloud still runs, or was killed. --expect wants a client among those
checked: carrack, gcloud, python, rust.

DOCUMENTS is `googleapiclient/discovery_cache/documents` of the package google-api-python-client.

What Carrack sends must be as the documents say, in the form that Google itself writes. What others send may have any
form that Google's JSON allows, and what is wrong in it the local cloud must have refused. What the local cloud answers
must be as the documents say, whoever asked. Who has no name is held to what Carrack is. Exchanges that met a fault on purpose are left out, and counted.
"""
import argparse
import base64
import binascii
import collections
import copy
import datetime
import functools
import json
import pathlib
import re
import sys
import urllib.parse

# Which APIs a loopback name stands for.
ANY = ("run", "artifactregistry", "logging", "secretmanager", "serviceusage", "iam", "iamcredentials", "cloudresourcemanager")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# https://cloud.google.com/apis/docs/system-parameters; the documents name them without the `$`.
SYSTEM = {"userProject": {"type": "string"}, "outputDefaults": {"type": "boolean"}, "unique": {"type": "string"}}
NUMBERED = "json;enum-encoding=int"
# Of Google's published packages; the documents have only names.
NUMBERS = json.loads((pathlib.Path(__file__).parents[3] / "providers/emulator/schemas/numbers.json").read_text())
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
CODES = {
    "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400,
    "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
# https://cloud.google.com/run/docs/reference/rest and the like: what a resource that is there always has. The documents
# do not say so.
RESOURCE = ("name", "uid", "generation", "createTime", "updateTime", "etag")
KNATIVE_RESOURCE = ("apiVersion", "kind", "metadata", "metadata.name", "metadata.uid", "metadata.creationTimestamp", "spec")
REQUIRED = {
    "run.v2": {
        "GoogleCloudRunV2Service": (*RESOURCE, "template", "terminalCondition"),
        "GoogleCloudRunV2Job": (*RESOURCE, "template", "terminalCondition"),
        "GoogleCloudRunV2Revision": (*RESOURCE, "service", "containers"),
        "GoogleCloudRunV2Execution": (*RESOURCE, "job", "template"),
        "GoogleCloudRunV2Task": (*RESOURCE, "job", "execution"),
        "GoogleIamV1Policy": ("etag",),
    },
    "run.v1": {
        **{kind: KNATIVE_RESOURCE for kind in ("Service", "Configuration", "Route", "Revision", "Job", "Execution", "Task")},
        **{f"List{kind}sResponse": ("apiVersion", "kind") for kind in ("Service", "Configuration", "Route", "Revision", "Job", "Execution", "Task")},
        "Policy": ("etag",),
        "Status": ("status",),
    },
    "secretmanager.v1": {
        "Secret": ("name", "createTime", "etag", "replication"),
        "SecretVersion": ("name", "createTime", "etag", "state"),
        "AccessSecretVersionResponse": ("name", "payload", "payload.data"),
        "Policy": ("etag",),
    },
    "artifactregistry.v1": {
        "Repository": ("name", "format", "createTime", "updateTime"),
        "DockerImage": ("name", "uri", "uploadTime"),
        "Version": ("name", "createTime"),
        "Tag": ("name", "version"),
        "Policy": ("etag",),
    },
    "cloudresourcemanager.v1": {"Project": ("projectId", "projectNumber", "lifecycleState")},
    "iam.v1": {
        "ServiceAccountKey": ("name", "validAfterTime", "validBeforeTime", "keyAlgorithm"),
        "WorkloadIdentityPool": ("name", "state"),
        "WorkloadIdentityPoolProvider": ("name", "state", "attributeMapping"),
    },
    "iamcredentials.v1": {
        "GenerateAccessTokenResponse": ("accessToken", "expireTime"),
        "GenerateIdTokenResponse": ("token",),
    },
    "serviceusage.v1": {"GoogleApiServiceusageV1Service": ("name", "state")},
    "logging.v2": {"LogEntry": ("logName", "timestamp", "insertId", "resource")},
}
OPERATIONS = ("GoogleLongrunningOperation", "Operation")
# What is made, or put in another's place, is sent.
NEEDS_BODY = re.compile(r".*\.(create|add|replace|set|testIam)[A-Za-z]*")
# Of the faults that the local cloud has.
FAULT = re.compile(r"[45][0-9]{2}|reset(-after)?|stall(-after)?|truncate|conflict|failed-operation|expired-token|corrupt(-request)?")
REGISTRIES = re.compile(r"([a-z0-9-]+\.)*(pkg\.dev|gcr\.io)")
# By a loopback name it has the paths of the distribution specification.
REGISTRY_PATH = re.compile(r"/v2/?|/v2/_catalog|/v2/.+/(manifests|blobs|tags|referrers)/.*")
# What gives and proves tokens has no schema but the specification of OAuth and of OpenID Connect.
TOKENS = re.compile(
    r"(oauth2|sts|www)\.googleapis\.com|accounts\.google\.com|metadata(\.google\.internal)?|169\.254\.169\.254"
    r"|(token|pipelines)\.actions\.githubusercontent\.com|gitlab\.com"
)
TOKEN_PATH = re.compile(r"/token|/v1/token|/oauth2/v3/certs|/\.well-known/jwks|/oauth/discovery/keys|/|/computeMetadata/.*|.*/_apis/.*/idtoken")
TEXT, TEXTS = {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}


def message(**properties):
    return {"type": "object", "properties": properties}


def many(**properties):
    return {"type": "array", "items": message(**properties)}


# https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto: no document has them.
DETAILS = {
    "google.rpc.ErrorInfo": message(reason=TEXT, domain=TEXT, metadata=TEXTS),
    "google.rpc.BadRequest": message(fieldViolations=many(field=TEXT, description=TEXT, reason=TEXT)),
    "google.rpc.PreconditionFailure": message(violations=many(type=TEXT, subject=TEXT, description=TEXT)),
    "google.rpc.QuotaFailure": message(violations=many(subject=TEXT, description=TEXT)),
    "google.rpc.ResourceInfo": message(resourceType=TEXT, resourceName=TEXT, owner=TEXT, description=TEXT),
    "google.rpc.RequestInfo": message(requestId=TEXT, servingData=TEXT),
    "google.rpc.RetryInfo": message(retryDelay={"type": "string", "format": "google-duration"}),
    "google.rpc.Help": message(links=many(description=TEXT, url=TEXT)),
    "google.rpc.LocalizedMessage": message(locale=TEXT, message=TEXT),
    "google.rpc.DebugInfo": message(stackEntries={"type": "array", "items": TEXT}, detail=TEXT),
    "google.protobuf.Empty": message(),
}
RANGES = {
    "int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1), "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1),
}
DIGITS = re.compile(r"-?(0|[1-9][0-9]*)")
# What Google writes has no, 3, 6 or 9 digits after the point: https://protobuf.dev/programming-guides/json/
FRACTION = r"(?:\.(?:[0-9]{3}){1,3})?"
TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})" + FRACTION + "Z")
ANY_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})")
DURATION = re.compile(r"-?[0-9]+" + FRACTION + "s")
ANY_DURATION = re.compile(r"-?[0-9]+(?:\.[0-9]{1,9})?s")
MASK = re.compile(r"(\*|[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_\-*]+)*)(,[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_\-*]+)*)*")


def camel(name):
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def says(field, word):
    return field.get("description", "").lstrip("[").lower().startswith(word)


def read_only(field):
    return field.get("readOnly", False) or says(field, "output only")


# ------------------------------------------------------------------------------------------------------- the documents
class Document:
    def __init__(self, path):
        self.source = json.loads(path.read_text())
        self.name = f"{self.source['name']}.{self.source['version']}"
        self.schemas = self.source.get("schemas", {})
        self.methods = [(method, self.pattern(method)) for method in methods(self.source)]
        roots = [self.source["rootUrl"], self.source.get("mtlsRootUrl", "")]
        roots += [endpoint["endpointUrl"] for endpoint in self.source.get("endpoints", [])]
        self.hosts = {urllib.parse.urlsplit(root).netloc for root in roots if root}

    def pattern(self, method):
        path = self.source.get("servicePath", "") + method.get("flatPath", method["path"])
        parts = re.split(r"(\{[^}]*\})", path)
        # A verb is a method's own, so what a last segment names has none.
        segment = ["[^/:]+" if "/" not in "".join(parts[index:]) else "[^/]+" for index in range(len(parts))]
        text = [
            (".+" if part.startswith("{+") else segment[index]) if part.startswith("{") else re.escape(part)
            for index, part in enumerate(parts)
        ]
        return re.compile("/" + "".join(text))

    def find(self, verb, path):
        for method, pattern in self.methods:
            if method["httpMethod"] == verb and pattern.fullmatch(path):
                return method
        return None


def methods(node):
    yield from node.get("methods", {}).values()
    for child in node.get("resources", {}).values():
        yield from methods(child)


class Documents:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        if not (self.folder / "run.v2.json").is_file():
            sys.exit(f"no discovery documents in {folder}")

    @functools.cache
    def of_service(self, name):
        return [Document(path) for path in sorted(self.folder.glob(f"{name}.v*.json"))]

    @functools.cache
    def of_host(self, host):
        name = re.sub(r":[0-9]+$", "", host)
        if name in LOOPBACK:
            return [document for service in ANY for document in self.of_service(service)]
        # `us-central1-run.googleapis.com`, `secretmanager.us-central1.rep.googleapis.com`
        first = name.split(".")[0]
        services = {first, first.rsplit("-", 1)[-1]}
        return [document for one in sorted(services) for document in self.of_service(one) if name in document.hosts]


# ------------------------------------------------------------------------------------------------------------- a check
class Check:
    """Collects what is wrong in one exchange."""

    # Only what was asked for is there.
    partial = False

    def __init__(self, documents, document, strict, numbered, request):
        self.documents, self.document = documents, document
        # As Google writes it, and not only as Google reads it.
        self.strict, self.numbered, self.request = strict, numbered, request
        self.violations, self.notes = [], []

    def wrong(self, path, why):
        self.violations.append((path, why))

    def loose(self, path, why):
        """What Google reads and does not write."""
        (self.violations if self.strict else self.notes).append((path, why))

    def value(self, field, value, path, document=None, owner=None):
        """`owner` is the schema and the property that the value is of."""
        document = document or self.document
        if "$ref" in field:
            return self.message(document.schemas[field["$ref"]], value, path, document, field["$ref"])
        if value is None:
            return self.loose(path, "null")
        kind = field.get("type")
        if kind == "any":
            return None
        if kind == "array":
            if not isinstance(value, list):
                return self.wrong(path, f"no array: {short(value)}")
            for index, item in enumerate(value):
                self.value(field["items"], item, f"{path}[{index}]", document, owner)
            return None
        if kind == "object":
            return self.message(field, value, path, document)
        numbers = NUMBERS.get(document.name, {}).get(owner[0], {}).get(owner[1]) if owner else None
        return self.scalar(field, value, path, numbers)

    def message(self, schema, value, path, document, name=None):
        if schema.get("type") == "any":
            return None
        if not isinstance(value, dict):
            return self.wrong(path, f"no object: {short(value)}")
        rest = schema.get("additionalProperties")
        if rest and "@type" in rest.get("description", "") and rest.get("type") == "any":
            return self.typed(value, path, document)
        properties = schema.get("properties", {})
        for key, inner in value.items():
            at = f"{path}.{key}"
            field = properties.get(key)
            if field is None and camel(key) in properties:
                field = properties[camel(key)]
                self.loose(at, "a name that is not in lower camel case")
            if field is None and rest:
                field = rest
            if field is None:
                self.wrong(at, "unknown field")
                continue
            if self.request and read_only(field):
                self.loose(at, "an output-only field is sent")
            if not self.request and says(field, "input only"):
                self.wrong(at, "an input-only field is answered")
            self.value(field, inner, at, document, (name, camel(key)) if name else None)
        if not self.request and not self.partial:
            self.required(value, path, document, name)
        return None

    def required(self, value, path, document, name):
        for field in REQUIRED.get(document.name, {}).get(name, ()):
            inner = value
            for part in field.split("."):
                inner = inner.get(part) if isinstance(inner, dict) else None
            if inner in (None, "", {}):
                self.wrong(f"{path}.{field}", "what is always there is missing")
        if name in OPERATIONS and "done" in document.schemas[name]["properties"]:
            if not value.get("name"):
                self.wrong(f"{path}.name", "what is always there is missing")
            ends = [end for end in ("response", "error") if end in value]
            if len(ends) != (1 if value.get("done") else 0):
                self.wrong(path, f"an operation that is {'' if value.get('done') else 'not '}done with {' and '.join(ends) or 'no result'}")

    def typed(self, value, path, document):
        """google.protobuf.Any"""
        url = value.get("@type")
        if not isinstance(url, str):
            return self.wrong(path, "no @type")
        prefix, _, name = url.rpartition("/")
        fields = {key: inner for key, inner in value.items() if key != "@type"}
        if name in DETAILS:
            schema, known = DETAILS[name], None
        else:
            whole = "".join(part[:1].upper() + part[1:] for part in name.split("."))
            known = next((one for one in (whole, name.rpartition(".")[2]) if one in document.schemas), None)
            schema = document.schemas.get(known)
            service = document.source["name"]
            if schema is None or service not in name:
                return self.wrong(f"{path}.@type", f"no such type: {short(url)}")
        if prefix != "type.googleapis.com":
            self.wrong(f"{path}.@type", f"no type URL: {short(url)}")
        return self.message(schema, fields, path, document, known)

    def scalar(self, field, value, path, numbers=None):
        kind, form = field.get("type"), field.get("format")
        if isinstance(value, (list, dict)):
            return self.wrong(path, f"no {kind}: {short(value)}")
        if "enum" in field:
            if isinstance(value, int) and not isinstance(value, bool):
                if self.request and not self.strict:
                    return self.notes.append((path, "an enum by number"))
                if not self.numbered:
                    self.wrong(path, f"an enum by number: {value}")
                elif value not in (numbers or {}).values():
                    self.wrong(path, f"no such enum number: {value}")
                elif not self.request and any(number == value and one.endswith("_UNSPECIFIED") for one, number in numbers.items()):
                    self.wrong(path, f"no value is answered: {value}")
                return None
            if value not in field["enum"]:
                self.wrong(path, f"no such enum value: {short(value)}")
            elif not self.request and value.endswith("_UNSPECIFIED"):
                self.wrong(path, f"no value is answered: {value}")
            elif self.numbered and not self.request and value in (numbers or {}):
                self.wrong(path, f"an enum by name where numbers were asked for: {short(value)}")
            return None
        if kind == "boolean":
            return None if isinstance(value, bool) else self.wrong(path, f"no boolean: {short(value)}")
        if kind == "integer":
            return self.integer(value, form or "int32", path, canonical=int)
        if kind == "number":
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number and value not in ("NaN", "Infinity", "-Infinity"):
                self.wrong(path, f"no number: {short(value)}")
            return None
        if form in ("int64", "uint64"):
            return self.integer(value, form, path, canonical=str)
        if not isinstance(value, str):
            return self.wrong(path, f"no string: {short(value)}")
        return self.text(form, value, path)

    def integer(self, value, form, path, canonical):
        if isinstance(value, bool) or not DIGITS.fullmatch(str(value)):
            return self.wrong(path, f"no {form}: {short(value)}")
        if not isinstance(value, canonical):
            self.loose(path, f"{form} as a {type(value).__name__}: {short(value)}")
        least, most = RANGES[form]
        if not least <= int(value) <= most:
            self.wrong(path, f"outside of {form}: {short(value)}")
        return None

    def text(self, form, value, path):
        if form == "google-datetime":
            found = ANY_TIME.fullmatch(value)
            try:
                datetime.datetime.fromisoformat(found[1] if found else "")
            except ValueError:
                return self.wrong(path, f"no timestamp: {short(value)}")
            if not TIME.fullmatch(value):
                self.loose(path, f"a timestamp with another fraction or zone: {short(value)}")
        elif form == "google-duration":
            if not ANY_DURATION.fullmatch(value):
                return self.wrong(path, f"no duration: {short(value)}")
            if not DURATION.fullmatch(value):
                self.loose(path, f"a duration with another fraction: {short(value)}")
        elif form == "google-fieldmask":
            if value and not MASK.fullmatch(value):
                self.wrong(path, f"no field mask: {short(value)}")
        elif form == "byte":
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                if not re.fullmatch(r"[A-Za-z0-9+/_-]*={0,2}", value):
                    return self.wrong(path, "no base64")
                self.loose(path, "base64 of another alphabet, or without padding")
        return None

    # ------------------------------------------------------------------------------------------------- the three parts
    def query(self, method, text):
        known = {name: field for name, field in method.get("parameters", {}).items() if field["location"] == "query"}
        common = {**self.document.source.get("parameters", {}), **SYSTEM}
        seen = collections.Counter()
        for name, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
            at = f"query.{name}"
            field = known.get(name)
            if field is None and camel(name) in known:
                name = camel(name)
                field = known[name]
                self.loose(at, "a name that is not in lower camel case")
            if field is None:
                field = common.get(name) or common.get(name.removeprefix("$"))
                if field is None:
                    self.wrong(at, "unknown parameter")
                    continue
                if name.removeprefix("$") == "alt" and value == NUMBERED:
                    continue
            seen[name] += 1
            if seen[name] > 1 and not field.get("repeated"):
                self.wrong(at, "given more than once")
            self.parameter(field, value, at)
            if name == "updateMask" and "request" in method:
                self.mask(self.document.schemas[method["request"]["$ref"]], value, at)
        for name, field in known.items():
            if field.get("required") and name not in seen:
                self.wrong(f"query.{name}", "a required parameter is missing")

    def parameter(self, field, text, path):
        kind = field.get("type")
        if kind == "boolean":
            if text in ("True", "False"):
                # gcloud does so.
                return self.loose(path, "a boolean as Python writes it")
            value = {"true": True, "false": False}.get(text, text)
        elif kind in ("integer", "number") and DIGITS.fullmatch(text):
            value = int(text)
        elif "enum" in field and DIGITS.fullmatch(text):
            value = int(text)
        else:
            value = text
        self.scalar(field, value, path)

    def mask(self, schema, text, path):
        """Each path of a mask is a field of the body."""
        for one in filter(None, text.split(",")):
            at = schema
            for name in one.split("."):
                properties = at.get("properties", {})
                field = properties.get(name) or properties.get(camel(name))
                if field is None:
                    if one != "*" and "additionalProperties" not in at:
                        self.wrong(path, f"no field of the body: {short(one)}")
                    break
                at = self.document.schemas[field["$ref"]] if "$ref" in field else field

    def refusal(self, status, body):
        """https://cloud.google.com/apis/design/errors#http_mapping"""
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            return self.wrong("response", "no error in Google's form")
        for name in sorted(set(body) - {"error"}):
            self.wrong(f"response.{name}", "unknown field")
        for name in sorted(set(error) - {"code", "message", "status", "details", "errors"}):
            self.wrong(f"response.error.{name}", "unknown field")
        if error.get("code") != status or isinstance(error.get("code"), bool):
            self.wrong("response.error.code", f"not the status: {short(error.get('code'))}")
        if not isinstance(error.get("message"), str) or not error["message"]:
            self.wrong("response.error.message", "no text")
        if CODES.get(error.get("status")) != status:
            self.wrong("response.error.status", f"not of status {status}: {short(error.get('status'))}")
        details = error.get("details", [])
        if not isinstance(details, list):
            return self.wrong("response.error.details", f"no array: {short(details)}")
        for index, detail in enumerate(details):
            at = f"response.error.details[{index}]"
            if isinstance(detail, dict):
                self.typed(detail, at, self.document or NoDocument())
            else:
                self.wrong(at, f"no object: {short(detail)}")
        return None


class NoDocument:
    schemas, source = {}, {"name": "?"}


def short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"


# --------------------------------------------------------------------------------------------------------- an exchange
def client(exchange):
    agent, library = exchange.get("client", ""), exchange.get("api_client", "")
    if "gcloud/" in agent:
        return "gcloud"
    for word, name in (
        ("gdcl/", "google-api-python-client"),
        ("gl-python/", "Google's Python clients"),
        ("gl-rust/", "Google's Rust clients"),
    ):
        if word in library:
            return name
    return re.split(r"[/ ]", agent)[0] or "unnamed"


def judge(documents, exchange):
    """What is wrong in one exchange, and what is only noteworthy: two lists of (JSON path, why)."""
    host, verb, path = exchange["host"], exchange["method"], exchange["path"]
    ours, status = client(exchange) in ("carrack", "unnamed"), exchange["status"]
    if "fault" in exchange:
        return [("fault", f"no such fault: {short(exchange['fault'])}")], []
    if exchange.get("registry"):
        return [("registry", f"{host} {path} is no registry's")], []
    if not isinstance(status, int):
        return [("status", "no answer, and no fault that says why")], []
    candidates = documents.of_host(host)
    found = [(document, method) for document in candidates if (method := document.find(verb, path))]
    if not found:
        check = Check(documents, candidates[0] if candidates else None, ours, False, False)
        why = f"{verb} {path}: no such method" if candidates else f"{host}: no such API"
        if ours or status < 400:
            check.wrong("path", why)
        else:
            check.notes.append(("path", why))
        if status >= 400:
            check.refusal(status, exchange.get("response"))
        return check.violations, check.notes
    # By a loopback name several APIs may have the path.
    results = [judge_method(documents, document, method, exchange, ours) for document, method in found]
    return min(results, key=lambda result: len(result[0]))


def judge_method(documents, document, method, exchange, ours):
    status, query = exchange["status"], exchange.get("query", "")
    numbered = any(value == NUMBERED for _, value in urllib.parse.parse_qsl(query))
    sent = Check(documents, document, ours, numbered, True)
    sent.query(method, query)
    body = exchange.get("request")
    if not body and "request" in method and "request_unread" not in exchange:
        if NEEDS_BODY.fullmatch(method["id"]) or (method["httpMethod"] in ("PATCH", "PUT") and body is None):
            sent.wrong("request", "no body where there must be one")
    if "request_unread" in exchange:
        sent.wrong("request", f"a body that is {exchange['request_unread']}")
    elif body is not None and "request" in method:
        sent.value(method["request"], body, "request")
        if "json" not in exchange.get("content_type", ""):
            sent.loose("request", "JSON of another content type")
    elif body not in (None, {}):
        sent.wrong("request", "a body where there is none")
    if not ours and status >= 400:
        # Whatever is wrong was refused, as it should be.
        sent.violations.clear()
    answer = Check(documents, document, True, numbered, False)
    answer.partial = any(name.removeprefix("$") == "fields" for name, _ in urllib.parse.parse_qsl(query))
    if status >= 400:
        answer.refusal(status, exchange.get("response"))
    elif status == 200 and "response_unread" not in exchange:
        response = exchange.get("response")
        if response is None:
            answer.wrong("response", "no body")
        elif "response" in method:
            answer.value(method["response"], response, "response")
    else:
        answer.wrong("response", exchange.get("response_unread", f"status {status}"))
    return sent.violations + answer.violations, sent.notes + answer.notes


# -------------------------------------------------------------------------------------------------------------- report
def read(file):
    """The exchanges, and the last line, if it is there."""
    lines = []
    for number, line in enumerate(pathlib.Path(file).read_text().splitlines(), 1):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            sys.exit(f"{file}:{number}: no JSON; was the local cloud killed?")
    return lines


def whole(lines, cut):
    """The exchanges of a recording, and what is wrong with it as a whole."""
    wrong, end = [], None
    if lines and "end" in lines[-1]:
        *lines, end = lines
    elif not cut:
        wrong.append("it has no end: cut, or its local cloud still runs")
    exchanges = [line for line in lines if "n" in line]
    if len(exchanges) != len(lines):
        wrong.append("a line that is no exchange")
    if sorted(exchange["n"] for exchange in exchanges) != list(range(1, len(exchanges) + 1)):
        wrong.append("a number is missing, or there twice")
    if end and end.get("exchanges") != len(exchanges):
        wrong.append(f"{len(exchanges)} exchanges, its end says {end.get('exchanges')}")
    return exchanges, wrong


def left_out(exchange):
    """Why an exchange is not judged."""
    name = re.sub(r":[0-9]+$", "", exchange["host"])
    if exchange.get("registry") and (REGISTRIES.fullmatch(name) or (name in LOOPBACK and REGISTRY_PATH.fullmatch(exchange["path"]))):
        return "left out: registry"
    if "fault" in exchange and FAULT.fullmatch(str(exchange["fault"])):
        return "left out: fault"
    if TOKENS.fullmatch(name) or (name in LOOPBACK and TOKEN_PATH.fullmatch(exchange["path"])):
        return "left out: tokens"
    return None


FAMILIES = {
    "carrack": ("carrack",), "gcloud": ("gcloud",), "rust": ("Google's Rust clients",),
    "python": ("google-api-python-client", "Google's Python clients"),
}


def absent(table, expected):
    """Clients that must have been checked, and were not."""
    return [name for family in expected for name in FAMILIES[family] if not table.get(name, {}).get("checked")]


COLUMNS = ("exchanges", "checked", "left out: fault", "left out: registry", "left out: tokens", "notes", "violations")


def check(documents, files, cut, expected):
    table = collections.defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    groups, notes, failed, broken, endless = collections.defaultdict(list), collections.defaultdict(list), 0, [], 0
    recorded = []
    for file in files:
        lines = read(file)
        exchanges, wrong = whole(lines, cut)
        endless += not (lines and "end" in lines[-1])
        broken += [f"{pathlib.Path(file).name}: {why}" for why in wrong]
        recorded += [(file, exchange) for exchange in exchanges]
    for file, exchange in recorded:
        row = table[client(exchange)]
        row["exchanges"] += 1
        if why := left_out(exchange):
            row[why] += 1
            continue
        violations, noted = judge(documents, exchange)
        row["checked"] += 1
        row["notes"] += len(noted)
        row["violations"] += len(violations)
        failed += bool(violations)
        for path, why in violations:
            shape = re.sub(r"\[[0-9]+\]", "[]", path)
            groups[(client(exchange), exchange["method"], shape, why.split(": ")[0])].append((file, exchange, path, why))
        for path, why in noted:
            notes[(client(exchange), why.split(": ")[0])].append(re.sub(r"\[[0-9]+\]", "[]", path))
    checked = sum(row["checked"] for row in table.values())
    width = max(map(len, table), default=0)
    print(f"{'client':{width}}  " + "  ".join(COLUMNS))
    for name, row in sorted(table.items()):
        print(f"{name:{width}}  " + "  ".join(f"{row[column]:{len(column)}}" for column in COLUMNS))
    for (name, why), paths in sorted(notes.items()):
        print(f"note: {name}: {why}, {len(paths)} times: {short(sorted(set(paths)))}")
    for (name, *_), hits in groups.items():
        file, exchange, path, why = hits[0]
        where = f"{pathlib.Path(file).name} #{exchange['n']} {exchange['method']} {exchange['path']} -> {exchange['status']}"
        print(f"VIOLATION {name}: {path}: {why}\n    {where}")
        if len(hits) > 1:
            also = ", ".join(f"{pathlib.Path(file).name} #{exchange['n']}" for file, exchange, *_ in hits[1:6])
            print(f"    and {len(hits) - 1} more: {also}{' …' if len(hits) > 6 else ''}")
    broken += [f"{name}: nothing of it was checked" for name in absent(table, expected)]
    for why in broken:
        print(f"VIOLATION {why}")
    print(f"recordings: {len(files)}, of which {endless} have no end")
    print(f"{checked - failed} passed, {failed + len(broken)} failed")
    return failed == 0 and checked > 0 and not broken


# --------------------------------------------------------------------------------------------------------------- proof
def at(value, *path):
    for step in path:
        value = value[step]
    return value


def put(*path, to):
    """A deliberate violation: a value at a place that the exchange has."""

    def apply(exchange):
        parent = at(exchange, *path[:-1])
        if path[-1] not in parent and not isinstance(parent, dict):
            raise KeyError(path[-1])
        parent[path[-1]] = to

    return apply


def replace(*path, to):
    def apply(exchange):
        parent = at(exchange, *path[:-1])
        parent[path[-1]]
        parent[path[-1]] = to

    return apply


SERVICE = ("response", "metadata")
CREATE, GET, PATCH, POLICY = (
    f"run.projects.locations.services.{verb}" for verb in ("create", "get", "patch", "getIamPolicy")
)
CONTAINER = ("request", "template", "containers", 0)
# Name, method, what is done, where and why it must be found.
PROOFS = (
    ("an unknown field is sent", CREATE, put(*CONTAINER, "immage", to="x"), ".immage: unknown field"),
    ("a wrong type is sent", CREATE, replace(*CONTAINER, "image", to=7), ".image: no string"),
    ("a text for a boolean is sent", CREATE, put("request", "invokerIamDisabled", to="yes"), "invokerIamDisabled: no boolean"),
    ("no list is sent", CREATE, replace("request", "template", "containers", to={}), "containers: no array"),
    ("a wrong enum is sent", CREATE, put("request", "ingress", to="INGRESS_TRAFFIC_SOME"), "ingress: no such enum"),
    ("an enum is sent by number", CREATE, put("request", "ingress", to=1), "ingress: an enum by number"),
    ("an output-only field is sent", CREATE, put("request", "uid", to="abc"), "uid: an output-only field"),
    ("an int32 out of range is sent", CREATE, put("request", "template", "maxInstanceRequestConcurrency", to=2**31), "outside of int32"),
    ("a wrong duration is sent", CREATE, put("request", "template", "timeout", to="5m"), "timeout: no duration"),
    ("a name in snake case is sent", CREATE, put("request", "launch_stage", to="GA"), "launch_stage: a name"),
    ("no JSON is sent", CREATE, put("request_unread", to="no JSON"), "request: a body that is no JSON"),
    ("JSON is sent as something else", CREATE, put("content_type", to="text/plain"), "another content type"),
    ("an unknown query parameter", CREATE, replace("query", to="serviceId=a&serviceid=b"), "query.serviceid: unknown"),
    ("a query parameter twice", CREATE, replace("query", to="serviceId=a&serviceId=b"), "given more than once"),
    ("a wrong boolean in the query", CREATE, replace("query", to="validateOnly=1"), "validateOnly: no boolean"),
    ("a wrong format of the answer", GET, put("query", to="alt=xml"), "query.alt: no such enum value"),
    ("an unknown path", GET, replace("path", to="/v2/projects/p/locations/l/servces/s"), "no such method"),
    ("an unknown verb", GET, replace("path", to="/v2/projects/p/locations/l/services/s:get"), "no such method"),
    ("a method of another path", GET, replace("method", to="PUT"), "no such method"),
    ("an unknown host", GET, replace("host", to="runs.googleapis.com"), "no such API"),
    ("a body where there is none", GET, put("request", to={"a": 1}), "a body where there is none"),
    ("an unknown field is answered", GET, put("response", "template", "foo", to=1), "response.template.foo: unknown"),
    ("a wrong enum is answered", GET, replace("response", "ingress", to="ALL"), "response.ingress: no such enum"),
    ("an enum by number is answered", GET, replace("response", "ingress", to=1), "response.ingress: an enum by number"),
    ("a number for an int64 is answered", GET, replace("response", "generation", to=1), "generation: int64 as a int"),
    ("no digits for an int64", GET, replace("response", "generation", to="one"), "generation: no int64"),
    ("a bad timestamp is answered", GET, replace("response", "createTime", to="2026-02-30T00:00:00Z"), "createTime: no timestamp"),
    ("a timestamp with a zone", GET, replace("response", "createTime", to="2026-02-03T00:00:00+09:00"), "createTime: a timestamp with"),
    ("a timestamp of 4 digits", GET, replace("response", "createTime", to="2026-02-03T00:00:00.1234Z"), "createTime: a timestamp with"),
    ("null is answered", GET, put("response", "description", to=None), "description: null"),
    ("no base64 is answered", POLICY, replace("response", "etag", to="***"), "response.etag: no base64"),
    ("no body is answered", GET, lambda exchange: exchange.pop("response"), "response: no body"),
    ("another status", GET, replace("status", to=202), "response: status 202"),
    ("an operation of an unknown type", CREATE, replace(*SERVICE, "@type", to="type.googleapis.com/google.cloud.run.v2.Thing"), "no such type"),
    ("an operation without a type", CREATE, lambda exchange: at(exchange, *SERVICE).pop("@type"), "metadata: no @type"),
    ("an unknown field in an operation", CREATE, put(*SERVICE, "foo", to=1), "metadata.foo: unknown field"),
    ("a wrong type in an operation", CREATE, replace(*SERVICE, "template", "containers", 0, "ports", 0, "containerPort", to="8080"), "containerPort: int32 as a str"),
    ("a refusal in another form", GET, lambda exchange: exchange.update(status=404, response={"message": "no"}), "no error in Google's form"),
    ("a refusal of another code", GET, lambda exchange: exchange.update(status=404, response={"error": {"code": 404, "message": "no", "status": "ABORTED"}}), "error.status: not of status 404"),
    ("a refusal of an unknown detail", GET, lambda exchange: exchange.update(status=404, response={"error": {"code": 404, "message": "no", "status": "NOT_FOUND", "details": [{"@type": "type.googleapis.com/google.rpc.Foo"}]}}), "no such type"),
    ("a mask of an unknown field", PATCH, put("query", to="updateMask=template.scale"), "no field of the body"),
)


PROOFS += (
    ("a create without a body", CREATE, lambda exchange: exchange.pop("request"), "no body where there must be one"),
    ("a create with an empty body", CREATE, replace("request", to={}), "no body where there must be one"),
    ("a patch without a body", PATCH, lambda exchange: exchange.pop("request"), "no body where there must be one"),
    ("an output-only field from nobody", CREATE, lambda exchange: exchange.pop("client") and put("request", "uid", to="abc")(exchange), "uid: an output-only field"),
    ("an enum by number from nobody", CREATE, lambda exchange: exchange.pop("client") and put("request", "ingress", to=1)(exchange), "ingress: an enum by number"),
    ("an empty service is answered", GET, replace("response", to={}), "response.name: what is always there"),
    ("a service without a name", GET, lambda exchange: exchange["response"].pop("name"), "response.name: what is always there"),
    ("a service without an etag", GET, lambda exchange: exchange["response"].pop("etag"), "response.etag: what is always there"),
    ("a service without its condition", GET, lambda exchange: exchange["response"].pop("terminalCondition"), "terminalCondition: what is always there"),
    ("an enum without a value is answered", GET, replace("response", "ingress", to="INGRESS_TRAFFIC_UNSPECIFIED"), "response.ingress: no value is answered"),
    ("an empty operation is answered", CREATE, replace("response", to={}), "response.name: what is always there"),
    ("an operation with both results", CREATE, lambda exchange: exchange["response"].update(done=True, response=exchange["response"]["metadata"], error={"code": 3, "message": "x"}), "done with response and error"),
    ("an operation that is done without a result", CREATE, lambda exchange: exchange["response"].update(done=True) or exchange["response"].pop("response", None), "done with no result"),
    ("no answer without a fault", GET, replace("status", to=None), "status: no answer"),
    ("a fault that there is not", CREATE, put("fault", to="latency"), "fault: no such fault"),
    ("a registry's mark on a service", CREATE, put("registry", to=True), "registry: "),
)
# Of a recording as a whole: what is done to its lines.
WHOLE = (
    ("its end is cut off", lambda lines: lines[:-1], "it has no end"),
    ("most of it is cut off", lambda lines: lines[: len(lines) * 4 // 10], "it has no end"),
    ("most of it is cut off but its end", lambda lines: [*lines[: len(lines) * 4 // 10], lines[-1]], "its end says"),
    ("a line is missing", lambda lines: lines[1:], "a number is missing"),
    ("a line is there twice", lambda lines: [lines[0], *lines], "there twice"),
    ("a line after the end", lambda lines: [*lines, {**lines[0], "n": len(lines)}], "it has no end"),
    ("a line that is something else", lambda lines: [{}, *lines], "a line that is no exchange"),
)


KNATIVE, JOB, LOGS = "run.namespaces.services.get", "run.projects.locations.jobs.get", "logging.entries.list"
VERSION, ACCESS = "secretmanager.projects.secrets.addVersion", "secretmanager.projects.secrets.versions.access"
# In answers to whoever asked, where the recordings have such a call.
ANSWERED = (
    ("an empty service in Knative's shape", KNATIVE, replace("response", to={}), "metadata.name: what is always there"),
    ("a service without a name in Knative's shape", KNATIVE, lambda exchange: exchange["response"]["metadata"].pop("name"), "metadata.name: what is always there"),
    ("a service without a kind in Knative's shape", KNATIVE, lambda exchange: exchange["response"].pop("kind"), "response.kind: what is always there"),
    ("an empty job", JOB, replace("response", to={}), "response.name: what is always there"),
    ("an empty version", VERSION, replace("response", to={}), "response.name: what is always there"),
    ("an empty payload", ACCESS, replace("response", to={}), "payload.data: what is always there"),
    ("an unknown field in Knative's shape", KNATIVE, put("response", "spec", "template", "foo", to=1), "template.foo: unknown field"),
    ("a wrong type in Knative's shape", KNATIVE, replace("response", "spec", "template", "spec", "containers", 0, "ports", 0, "containerPort", to="8080"), "containerPort: int32 as a str"),
    ("a wrong list in Knative's shape", KNATIVE, replace("response", "status", "conditions", to={}), "conditions: no array"),
    ("a field of v2 in Knative's shape", KNATIVE, put("response", "reconciling", to=True), "response.reconciling: unknown"),
    ("a bad timestamp in Knative's shape", KNATIVE, replace("response", "metadata", "creationTimestamp", to="now"), "creationTimestamp: no timestamp"),
    ("a number for an int32 as a text in a job", JOB, replace("response", "template", "taskCount", to="1"), "taskCount: int32 as a str"),
    ("a wrong count in a job", JOB, put("response", "executionCount", to=1.5), "executionCount: no int32"),
    ("a wrong state of a secret's version", VERSION, replace("response", "state", to="GONE"), "response.state: no such enum value"),
    ("a state by a number that is none", VERSION, lambda exchange: exchange.update(query="alt=json;enum-encoding=int") or replace("response", "state", to=77)(exchange), "no such enum number"),
    ("a state by name where numbers are wanted", VERSION, lambda exchange: exchange.update(query="alt=json;enum-encoding=int") or replace("response", "state", to="ENABLED")(exchange), "where numbers were asked for"),
    ("a secret that is no base64", ACCESS, replace("response", "payload", "data", to="a secret!"), "payload.data: no base64"),
    ("a checksum as a number", ACCESS, replace("response", "payload", "dataCrc32c", to=7), "dataCrc32c: int64 as a int"),
    ("an unknown field in a log line", LOGS, put("response", "entries", 0, "foo", to=1), "entries[0].foo: unknown field"),
    ("a wrong severity in a log line", LOGS, put("response", "entries", 0, "severity", to="BAD"), "severity: no such enum value"),
)


# Not every exchange has every field.
ENOUGH = 50


def prove(documents, files):
    """Each deliberate violation, in an exchange that has none, is found where it is and for what it is."""
    good, ours = collections.defaultdict(list), collections.defaultdict(list)
    recordings = [read(file) for file in files]
    for exchange in [exchange for lines in recordings for exchange in whole(lines, True)[0]]:
        if exchange["status"] != 200 or {"fault", "registry"} & set(exchange):
            continue
        document, method = next(
            ((document, method) for document in documents.of_host(exchange["host"]) if (method := document.find(exchange["method"], exchange["path"]))),
            (None, None),
        )
        kept = [good] + ([ours] if client(exchange) == "carrack" else [])
        if method and any(len(one[method["id"]]) < ENOUGH for one in kept) and not judge(documents, exchange)[0]:
            for one in kept:
                one[method["id"]].append(exchange)
    passed = failed = 0
    answered = [proof for proof in ANSWERED if good[proof[1]]]
    untried = [name for name, method, *_ in ANSWERED if not good[method]]
    for exchanges, name, violate, expected in [
        *((ours[method], name, *rest) for name, method, *rest in PROOFS),
        *((good[method], name, *rest) for name, method, *rest in answered),
    ]:
        verdict = "no exchange to try it on"
        for exchange in exchanges:
            changed = copy.deepcopy(exchange)
            try:
                violate(changed)
            except (KeyError, IndexError, TypeError):
                continue
            found = [f"{path}: {why}" for path, why in judge(documents, changed)[0]]
            verdict = None if any(expected in one for one in found) else f"not found, but {found}"
            break
        passed, failed = passed + (verdict is None), failed + (verdict is not None)
        if verdict:
            print(f"NOT CAUGHT {name}: {verdict}")
    sound = next((lines for lines in recordings if len(lines) > 5 and not whole(lines, False)[1]), None)
    for name, violate, expected in WHOLE:
        found = whole(violate(list(sound)), False)[1] if sound else ["no whole recording to try it on"]
        caught = any(expected in one for one in found)
        passed, failed = passed + caught, failed + (not caught)
        if not caught:
            print(f"NOT CAUGHT {name}: {found}")
    if absent({"carrack": {"checked": 0}, "gcloud": {"checked": 1}}, ["carrack", "gcloud", "rust"]) == ["carrack", "Google's Rust clients"]:
        passed += 1
    else:
        failed += 1
        print("NOT CAUGHT a client that is absent")
    print(f"deliberate violations: {passed} passed, {failed} failed, {len(untried)} without such a call to try them on{': ' if untried else ''}{', '.join(untried)}")
    return failed == 0 and passed > 0


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--prove", action="store_true")
    arguments.add_argument("--cut", action="store_true")
    arguments.add_argument("--expect", action="append", default=[], choices=sorted(FAMILIES), metavar="CLIENT")
    arguments.add_argument("documents", metavar="DOCUMENTS")
    arguments.add_argument("recordings", nargs="+", metavar="RECORDING")
    given = arguments.parse_args()
    documents = Documents(given.documents)
    good = prove(documents, given.recordings) if given.prove else check(documents, given.recordings, given.cut, given.expect)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
