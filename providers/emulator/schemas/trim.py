#!/usr/bin/env python3
"""Trims Google's discovery documents to what the local cloud checks requests against.

The documents come with the package `google-api-python-client`, in
`googleapiclient/discovery_cache/documents/`:

    python3 trim.py DOCUMENTS_FOLDER

writes one file for each API beside this script.
Each holds
  served    the methods that are answered: id -> HTTP method, path, query parameters, body, answer
  unserved  all other methods, so that a call of one is told apart from a wrong path
  schemas   the messages that a served method's body and answer are made of
"""
import json
import pathlib
import sys

SERVED = {
    "run.v2": (
        "run.projects.locations.services.",
        "run.projects.locations.jobs.",
        "run.projects.locations.operations.",
    ),
    "run.v1": (
        "run.namespaces.services.",
        "run.namespaces.revisions.",
        "run.namespaces.configurations.",
        "run.namespaces.routes.",
        "run.namespaces.jobs.",
        "run.namespaces.executions.",
        "run.namespaces.tasks.",
        "run.projects.locations.services.",
        "run.projects.locations.revisions.",
        "run.projects.locations.configurations.",
        "run.projects.locations.routes.",
        "run.projects.locations.jobs.",
        "run.projects.locations.operations.",
    ),
    "secretmanager.v1": ("secretmanager.projects.secrets.",),
    "serviceusage.v1": ("serviceusage.services.get", "serviceusage.services.batchEnable"),
    "artifactregistry.v1": (
        "artifactregistry.projects.locations.repositories.create",
        "artifactregistry.projects.locations.repositories.get",
        "artifactregistry.projects.locations.repositories.list",
        "artifactregistry.projects.locations.repositories.delete",
        "artifactregistry.projects.locations.repositories.setIamPolicy",
        "artifactregistry.projects.locations.repositories.testIamPermissions",
        "artifactregistry.projects.locations.repositories.dockerImages.",
        "artifactregistry.projects.locations.repositories.packages.",
        "artifactregistry.projects.locations.operations.get",
    ),
    "logging.v2": ("logging.entries.list",),
    "cloudresourcemanager.v1": (
        "cloudresourcemanager.projects.get",
        "cloudresourcemanager.projects.setIamPolicy",
        "cloudresourcemanager.projects.testIamPermissions",
    ),
    "cloudresourcemanager.v3": (
        "cloudresourcemanager.projects.get",
        "cloudresourcemanager.projects.setIamPolicy",
        "cloudresourcemanager.projects.testIamPermissions",
    ),
    "iam.v1": (
        "iam.projects.serviceAccounts.",
        "iam.projects.roles.",
        "iam.roles.get",
        "iam.roles.list",
        "iam.permissions.queryTestablePermissions",
        "iam.projects.locations.workloadIdentityPools.create",
        "iam.projects.locations.workloadIdentityPools.delete",
        "iam.projects.locations.workloadIdentityPools.get",
        "iam.projects.locations.workloadIdentityPools.list",
        "iam.projects.locations.workloadIdentityPools.patch",
        "iam.projects.locations.workloadIdentityPools.undelete",
        "iam.projects.locations.workloadIdentityPools.operations.",
        "iam.projects.locations.workloadIdentityPools.providers.",
    ),
    "iamcredentials.v1": ("iamcredentials.projects.serviceAccounts.",),
    "sts.v1": ("sts.token",),
}
# Served by prefix above, and not answered.
EXCEPT = {
    "run.projects.locations.services.revisions.exportStatus",
    "run.projects.locations.jobs.executions.exportStatus",
    "secretmanager.projects.secrets.enableManagedRotation",
    "secretmanager.projects.secrets.rotateSecret",
    "artifactregistry.projects.locations.repositories.packages.patch",
    "artifactregistry.projects.locations.repositories.packages.tags.create",
    "artifactregistry.projects.locations.repositories.packages.tags.patch",
    "artifactregistry.projects.locations.repositories.packages.versions.batchDelete",
    "artifactregistry.projects.locations.repositories.packages.versions.patch",
    "cloudresourcemanager.projects.getAncestry",
    "cloudresourcemanager.projects.getEffectiveOrgPolicy",
    "cloudresourcemanager.projects.getOrgPolicy",
    "iam.projects.serviceAccounts.signBlob",
    "iam.projects.serviceAccounts.signJwt",
    "iam.projects.serviceAccounts.undelete",
    "iam.projects.serviceAccounts.keys.upload",
    "iam.projects.locations.workloadIdentityPools.getIamPolicy",
    "iam.projects.locations.workloadIdentityPools.listAttestationRules",
    "iam.projects.locations.workloadIdentityPools.providers.keys.create",
    "iam.projects.locations.workloadIdentityPools.providers.keys.delete",
    "iam.projects.locations.workloadIdentityPools.providers.keys.get",
    "iam.projects.locations.workloadIdentityPools.providers.keys.list",
    "iam.projects.locations.workloadIdentityPools.providers.keys.undelete",
    "iam.projects.locations.workloadIdentityPools.providers.keys.operations.get",
    "iamcredentials.projects.serviceAccounts.getAllowedLocations",
}
KEPT = ("type", "format", "enum", "$ref", "readOnly")


def methods(node):
    yield from node.get("methods", {}).values()
    for child in node.get("resources", {}).values():
        yield from methods(child)


def field(source):
    kept = {key: source[key] for key in KEPT if key in source}
    if source.get("description", "").startswith("Output only"):
        kept["readOnly"] = True
    for key in ("items", "additionalProperties"):
        if key in source:
            kept[key] = field(source[key])
    if "properties" in source:
        kept["properties"] = {name: field(value) for name, value in source["properties"].items()}
    return kept


def references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)


def trim(document, served):
    answered, other = {}, []
    for method in methods(document):
        path = method.get("flatPath", method["path"])
        if not method["id"].startswith(served) or method["id"] in EXCEPT:
            other.append([method["httpMethod"], path, method["id"]])
            continue
        parameters = method.get("parameters", {}).items()
        entry = {
            "httpMethod": method["httpMethod"],
            "path": path,
            "query": {name: field(one) for name, one in parameters if one["location"] == "query"},
        }
        for part in ("request", "response"):
            if part in method:
                entry[part] = method[part]["$ref"]
        answered[method["id"]] = entry

    wanted = [entry[part] for entry in answered.values() for part in ("request", "response") if part in entry]
    schemas = {}
    while wanted:
        name = wanted.pop()
        if name not in schemas:
            schemas[name] = field(document["schemas"][name])
            wanted.extend(references(schemas[name]))
    return {
        "name": document["name"],
        "version": document["version"],
        "revision": document["revision"],
        "common": sorted(document["parameters"]),
        "served": dict(sorted(answered.items())),
        "unserved": sorted(other),
        "schemas": dict(sorted(schemas.items())),
    }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
    for name, served in SERVED.items():
        document = json.loads((source / f"{name}.json").read_text())
        text = json.dumps(trim(document, served), indent=1, ensure_ascii=False)
        (here / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
