#!/usr/bin/env python3
"""Writes numbers.json: the numbers of the enum values in the trimmed schemas beside this script.

Google's JSON takes and gives enum values by name and by number; the discovery documents have only the names. The numbers
come from the protocol buffers in Google's Python packages of requirements.txt, so this runs where those are installed:

    pip install --requirement requirements.txt && python3 numbers.py

API -> schema -> property -> name -> number. A name that the packages do not have yet is left out.
"""
import importlib
import json
import pathlib
import pkgutil

from google.protobuf import descriptor_pool

# Whose import puts its messages into the pool.
PACKAGES = (
    "google.cloud.run_v2",
    "google.cloud.secretmanager_v1",
    "google.cloud.artifactregistry_v1",
    "google.iam.v1",
    "google.api",
    "google.logging.type",
)
# Where a document's messages have no package in their names, and are not in the packages above.
BY_VALUES = {
    "severity": "google.logging.type.LogSeverity",
    "launchStage": "google.api.LaunchStage",
    "completionStatus": "google.cloud.run.v2.ExecutionReference.CompletionStatus",
    "logType": "google.iam.v1.AuditLogConfig.LogType",
}
BARE = {
    "secretmanager.v1": "google.cloud.secretmanager.v1.",
    "artifactregistry.v1": "google.devtools.artifactregistry.v1.",
}


def modules(name):
    package = importlib.import_module(name)
    yield package
    for child in pkgutil.walk_packages(package.__path__, f"{name}."):
        if child.name.endswith("_pb2") or ".types." in child.name:
            yield importlib.import_module(child.name)


def messages(descriptor):
    yield descriptor
    for nested in descriptor.nested_types:
        yield from messages(nested)


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def known(pool):
    """(schema as a document names it, property) -> enum, for every message of the packages."""
    found = {}
    files = {}
    for name in PACKAGES:
        for module in modules(name):
            for value in vars(module).values():
                meta = getattr(value, "_meta", None) or getattr(value, "DESCRIPTOR", None)
                descriptor = getattr(meta, "pb", meta)
                descriptor = getattr(descriptor, "DESCRIPTOR", descriptor)
                file = getattr(descriptor, "file", descriptor)
                if hasattr(file, "message_types_by_name"):
                    files[file.name] = file
    for file in files.values():
        for top in file.message_types_by_name.values():
            for message in messages(top):
                whole = "".join(part[:1].upper() + part[1:] for part in message.full_name.split("."))
                bare = message.full_name[len(file.package) + 1 :].replace(".", "")
                for field in message.fields:
                    if field.enum_type:
                        found[(f"{file.package}.", bare, camel(field.name))] = field.enum_type
                        found[("", whole, camel(field.name))] = field.enum_type
    return found


def properties(schema):
    for name, field in schema.get("properties", {}).items():
        at = field
        while "items" in at or "additionalProperties" in at:
            at = at.get("items") or at["additionalProperties"]
        if "enum" in at:
            yield name, at["enum"]


def main():
    here = pathlib.Path(__file__).parent
    enums = known(descriptor_pool.Default())
    numbers = {}
    for path in sorted(here.glob("*.v*.json")):
        document = json.loads(path.read_text())
        api = f"{document['name']}.{document['version']}"
        for schema, definition in document["schemas"].items():
            for name, values in properties(definition):
                enum = enums.get((BARE.get(api, ""), schema, name))
                if enum is None and name in BY_VALUES:
                    enum = descriptor_pool.Default().FindEnumTypeByName(BY_VALUES[name])
                if enum is None:
                    continue
                ours = {value: enum.values_by_name[value].number for value in values if value in enum.values_by_name}
                if ours:
                    numbers.setdefault(api, {}).setdefault(schema, {})[name] = ours
    (here / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
