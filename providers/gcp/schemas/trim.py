#!/usr/bin/env python3
"""Trims Google's discovery document of Cloud Run to the fields of services and jobs.

The document comes with the package `google-api-python-client`, in
`googleapiclient/discovery_cache/documents/`:

    python3 trim.py DOCUMENTS_FOLDER

writes `run.v2.json` beside this script: what a pass-through section is checked against, and what the page of all
fields is complete by. Messages that only the cloud fills in are left out.
"""
import json
import pathlib
import sys

ROOTS = ("GoogleCloudRunV2Service", "GoogleCloudRunV2Job")
KEPT = ("type", "format", "enum", "$ref")


def field(source):
    kept = {key: source[key] for key in KEPT if key in source}
    if source.get("readOnly") or source.get("description", "").startswith("Output only"):
        kept["readOnly"] = True
    for key in ("items", "additionalProperties"):
        if key in source:
            kept[key] = field(source[key])
    return kept


def references(node):
    """The messages that a field is made of, unless nobody can set it."""
    if node.get("readOnly"):
        return
    if "$ref" in node:
        yield node["$ref"]
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from references(node[key])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    document = json.loads((pathlib.Path(sys.argv[1]) / "run.v2.json").read_text())
    wanted, schemas = list(ROOTS), {}
    while wanted:
        name = wanted.pop()
        if name not in schemas:
            source = document["schemas"][name].get("properties", {})
            schemas[name] = {key: field(value) for key, value in sorted(source.items())}
            for value in schemas[name].values():
                wanted.extend(references(value))
    text = json.dumps({"revision": document["revision"], "schemas": dict(sorted(schemas.items()))}, indent=1)
    (pathlib.Path(__file__).parent / "run.v2.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
