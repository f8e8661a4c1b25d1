#!/usr/bin/env python3
"""Google's own clients for Python walk whole lifecycles in the local cloud.

    clients.py IMAGE

with CARRACK_ENDPOINT, CARRACK_ENDPOINT_TOKEN and CARRACK_CONSOLE. What they send and how they read the answers is
Google's: google-cloud-run and google-cloud-secret-manager over REST, and google-api-python-client with the documents
that it brings along.
"""
import contextlib
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request

import google_auth_httplib2
import httplib2
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import run_v2, secretmanager_v1
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.longrunning import operations_pb2
from google.oauth2.credentials import Credentials
from google.protobuf.field_mask_pb2 import FieldMask
from googleapiclient import discovery
from googleapiclient.errors import HttpError

ENDPOINT, TOKEN, CONSOLE = (os.environ[f"CARRACK_{name}"] for name in ("ENDPOINT", "ENDPOINT_TOKEN", "CONSOLE"))
PROJECT, REGION = "local", "us-central1"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
PATIENCE = 60
passed = failed = 0


@contextlib.contextmanager
def check(name):
    """One line a check; what a later one needs of it is then missing, and it fails too."""
    global passed, failed
    try:
        yield
    except Exception:
        failed += 1
        print(f"FAILED  {name}")
        traceback.print_exc(file=sys.stdout)
    else:
        passed += 1
        print(f"ok      {name}")


def crc32c(data):
    """Castagnoli's: <https://cloud.google.com/secret-manager/docs/data-integrity>"""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = (rest >> 1) ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


@contextlib.contextmanager
def refused(kind, text=""):
    """The client's own exception, with Google's text."""
    try:
        yield
    except kind as error:
        assert text in str(error), f"no {text!r} in {error}"
    else:
        raise AssertionError(f"no {kind.__name__}")


class Fixed(Credentials):
    """A token and no way to another one."""

    def refresh(self, request):
        pass


def connect(client, token=TOKEN):
    options = ClientOptions(api_endpoint=ENDPOINT)
    return client(credentials=Fixed(token), transport="rest", client_options=options)


def principal(*permissions):
    """A token that may do this and nothing else."""
    body = json.dumps({"email": "judge@example.com", "permissions": permissions}).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{CONSOLE}/principals", body, headers), timeout=PATIENCE) as answer:
        return json.load(answer)["token"]


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# ---------------------------------------------------------------------------------------------------------- Cloud Run
def container(image, **env):
    return run_v2.Container(image=image, env=[run_v2.EnvVar(name=name, value=value) for name, value in env.items()])


def services(image):
    client, revisions = connect(run_v2.ServicesClient), connect(run_v2.RevisionsClient)
    name = f"{PARENT}/services/judged"
    latest = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
    by_name = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION

    with check("a service is created, and its operation ends with it"):
        service = run_v2.Service(
            labels={"by": "python"},
            ingress=run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL,
            template=run_v2.RevisionTemplate(
                containers=[container(image, SAY="one")],
                max_instance_request_concurrency=7,
                timeout={"seconds": 90},
                execution_environment=run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2,
            ),
        )
        operation = client.create_service(parent=PARENT, service_id="judged", service=service)
        assert not operation.done() or operation.result()
        made = operation.result(timeout=PATIENCE)
        same(made.name, name)
        same(operation.metadata.name, name)
        same(made.terminal_condition.state, run_v2.Condition.State.CONDITION_SUCCEEDED)
        same(made.ingress, run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL)
        same(made.template.timeout.total_seconds(), 90.0)
        same(made.template.containers[0].resources.limits["memory"], "512Mi")
        same([(one.type_, one.percent) for one in made.traffic_statuses], [(latest, 100)])
        same((made.generation, made.observed_generation, made.reconciling), (1, 1, False))
        assert made.create_time.timestamp() > 1.7e9 and made.etag and made.uid
    with check("it is there"):
        found = client.get_service(name=name)
        same((found.etag, found.uid), (made.etag, made.uid))
        same(dict(found.labels), {"by": "python"})
    with check("a policy lets everybody call it, and then it answers"):
        same(ask(found.uri)[0], 403)
        policy = client.get_iam_policy(request=iam_policy_pb2.GetIamPolicyRequest(resource=name))
        policy.bindings.append(policy_pb2.Binding(role="roles/run.invoker", members=["allUsers"]))
        policy = client.set_iam_policy(request=iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=policy))
        same([list(one.members) for one in policy.bindings], [["allUsers"]])
        asked = ["run.services.get", "run.services.delete"]
        tested = client.test_iam_permissions(request=iam_policy_pb2.TestIamPermissionsRequest(resource=name, permissions=asked))
        same(sorted(tested.permissions), sorted(asked))
        status, text = ask(found.uri)
        same(status, 200)
        assert text.startswith("one from judged-"), text
    with check("a policy of an earlier version is refused"):
        stale = policy_pb2.Policy(etag=b"older", bindings=policy.bindings)
        with refused(exceptions.Conflict):
            client.set_iam_policy(request=iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=stale))
    with check("a change of the template is another revision"):
        found = client.get_service(name=name)
        first = found.latest_ready_revision.rsplit("/", 1)[-1]
        found.template.containers[0].env[0].value = "two"
        updated = client.update_service(service=found).result(timeout=PATIENCE)
        second = updated.latest_ready_revision.rsplit("/", 1)[-1]
        assert first != second
        same(updated.generation, found.generation + 1)
        assert ask(updated.uri)[1].startswith(f"two from {second}")
    with check("a stale version is refused"):
        found.etag = made.etag
        with refused(exceptions.Conflict, "was specified but current version is"):
            client.update_service(service=found).result(timeout=PATIENCE)
    with check("traffic is split, and a tag has its own address"):
        change = run_v2.Service(
            name=name,
            traffic=[
                run_v2.TrafficTarget(type_=by_name, revision=first, percent=100),
                run_v2.TrafficTarget(type_=latest, percent=0, tag="next"),
            ],
        )
        split = client.update_service(service=change, update_mask=FieldMask(paths=["traffic"])).result(timeout=PATIENCE)
        same([(one.percent, one.tag) for one in split.traffic_statuses], [(100, ""), (0, "next")])
        assert ask(split.uri)[1].startswith(f"one from {first}")
        assert ask(split.traffic_statuses[1].uri)[1].startswith(f"two from {second}")
        same(split.template.containers[0].env[0].value, "two")
    with check("shares that are not 100 are refused"):
        change.traffic[0].percent = 99
        with refused(exceptions.BadRequest):
            client.update_service(service=change, update_mask=FieldMask(paths=["traffic"]))
    with check("revisions are listed page by page"):
        pages = list(revisions.list_revisions(request=run_v2.ListRevisionsRequest(parent=name, page_size=1)).pages)
        same([len(page.revisions) for page in pages], [1, 1])
        listed = [one.name.rsplit("/", 1)[-1] for one in revisions.list_revisions(parent=name)]
        same(listed, [second, first])
        one = revisions.get_revision(name=f"{name}/revisions/{first}")
        same((one.service, one.max_instance_request_concurrency), ("judged", 7))
    with check("services are listed page by page"):
        client.create_service(parent=PARENT, service_id="other", service=run_v2.Service(template=run_v2.RevisionTemplate(containers=[container(image)]))).result(timeout=PATIENCE)
        pages = list(client.list_services(request=run_v2.ListServicesRequest(parent=PARENT, page_size=1)).pages)
        same(sorted(one.name.rsplit("/", 1)[-1] for page in pages for one in page.services), ["judged", "other"])
    with check("operations are got, listed and waited for"):
        operation = client.delete_service(name=f"{PARENT}/services/other")
        got = client.get_operation(operations_pb2.GetOperationRequest(name=operation.operation.name))
        same(got.name, operation.operation.name)
        request = operations_pb2.WaitOperationRequest(name=operation.operation.name, timeout={"seconds": 30})
        assert client.wait_operation(request).done
        same(operation.result(timeout=PATIENCE).name, f"{PARENT}/services/other")
        listed = client.list_operations(operations_pb2.ListOperationsRequest(name=PARENT)).operations
        assert operation.operation.name in [one.name for one in listed]
    with check("a container that ends fails its operation, and the earlier revision goes on"):
        found = client.get_service(name=name)
        found.template.containers[0].env.append(run_v2.EnvVar(name="EXIT", value="3"))
        operation = client.update_service(service=found)
        with refused(exceptions.GoogleAPICallError, "failed to start and listen on the port"):
            operation.result(timeout=PATIENCE)
        same(operation.exception().grpc_status_code.value[0], 9)
        failed_one = client.get_service(name=name)
        same(failed_one.terminal_condition.state, run_v2.Condition.State.CONDITION_FAILED)
        assert ask(failed_one.uri)[1].startswith(f"one from {first}")
    with check("what is not there is not found"):
        with refused(exceptions.NotFound, "Resource 'none' of kind 'SERVICE' in region 'us-central1' in project 'local' does not exist."):
            client.get_service(name=f"{PARENT}/services/none")
        with refused(exceptions.NotFound):
            client.delete_service(name=f"{PARENT}/services/none")
        with refused(exceptions.NotFound):
            revisions.get_revision(name=f"{name}/revisions/none")
    with check("what is there already is not created"):
        with refused(exceptions.Conflict, "already exists"):
            client.create_service(parent=PARENT, service_id="judged", service=service)
    with check("an image that is not there fails its operation"):
        gone = run_v2.Service(template=run_v2.RevisionTemplate(containers=[container(image.split("@")[0] + ":none")]))
        with refused(exceptions.GoogleAPICallError, "not found"):
            client.create_service(parent=PARENT, service_id="gone", service=gone).result(timeout=PATIENCE)
        client.delete_service(name=f"{PARENT}/services/gone").result(timeout=PATIENCE)
    with check("a name that is none is refused"):
        with refused(exceptions.BadRequest):
            client.create_service(parent=PARENT, service_id="Judged", service=service)
    with check("without a permission, and without a token, it is refused"):
        reader = connect(run_v2.ServicesClient, principal("run.services.get"))
        same(reader.get_service(name=name).name, name)
        with refused(exceptions.Forbidden, "Permission 'run.services.delete' denied on resource"):
            reader.delete_service(name=name)
        with refused(exceptions.Unauthorized):
            connect(run_v2.ServicesClient, "nobody").get_service(name=name)
    with check("a check alone changes nothing"):
        client.delete_service(request=run_v2.DeleteServiceRequest(name=name, validate_only=True))
        same(client.get_service(name=name).name, name)
    with check("it is deleted"):
        gone = client.delete_service(name=name).result(timeout=PATIENCE)
        same(gone.name, name)
        assert gone.delete_time
        with refused(exceptions.NotFound):
            client.get_service(name=name)


def jobs(image):
    client, executions, tasks = (connect(one) for one in (run_v2.JobsClient, run_v2.ExecutionsClient, run_v2.TasksClient))
    name = f"{PARENT}/jobs/judged"
    State = run_v2.Condition.State

    def template(**env):
        task = run_v2.TaskTemplate(containers=[container(image, **env)], max_retries=0, timeout={"seconds": 60})
        return run_v2.ExecutionTemplate(task_count=2, parallelism=1, template=task)

    with check("a job is created"):
        operation = client.create_job(parent=PARENT, job_id="judged", job=run_v2.Job(template=template(EXIT="0"), labels={"by": "python"}))
        made = operation.result(timeout=PATIENCE)
        same((made.name, made.execution_count, made.terminal_condition.state), (name, 0, State.CONDITION_SUCCEEDED))
        same((made.template.task_count, made.template.template.timeout.total_seconds()), (2, 60.0))
        same(client.get_job(name=name).etag, made.etag)
    with check("it runs, and its operation ends with the execution"):
        done = client.run_job(name=name).result(timeout=PATIENCE)
        same((done.succeeded_count, done.failed_count, done.task_count), (2, 0, 2))
        assert done.completion_time >= done.start_time
        same(executions.get_execution(name=done.name).uid, done.uid)
        ran = client.get_job(name=name)
        same(ran.execution_count, 1)
        same(ran.latest_created_execution.name.rsplit("/", 1)[-1], done.name.rsplit("/", 1)[-1])
    with check("its tasks are listed page by page"):
        pages = list(tasks.list_tasks(request=run_v2.ListTasksRequest(parent=done.name, page_size=1)).pages)
        listed = [task for page in pages for task in page.tasks]
        same((len(pages), sorted(task.index for task in listed)), (2, [0, 1]))
        same([task.last_attempt_result.exit_code for task in listed], [0, 0])
        same(tasks.get_task(name=listed[0].name).uid, listed[0].uid)
    with check("a run with other values fails"):
        change = run_v2.RunJobRequest.Overrides
        overrides = change(
            task_count=1, container_overrides=[change.ContainerOverride(env=[run_v2.EnvVar(name="EXIT", value="4")])]
        )
        operation = client.run_job(request=run_v2.RunJobRequest(name=name, overrides=overrides))
        with refused(exceptions.GoogleAPICallError):
            operation.result(timeout=PATIENCE)
        newest = next(iter(executions.list_executions(parent=name)))
        same((newest.failed_count, newest.succeeded_count, newest.task_count), (1, 0, 1))
        task = next(iter(tasks.list_tasks(parent=newest.name)))
        same(task.last_attempt_result.exit_code, 4)
    with check("a run is cancelled"):
        client.update_job(job=run_v2.Job(name=name, template=template(SAY="on and on"))).result(timeout=PATIENCE)
        operation = client.run_job(name=name)
        running = operation.metadata.name
        cancelled = executions.cancel_execution(name=running).result(timeout=PATIENCE)
        same(cancelled.name, running)
        with contextlib.suppress(exceptions.GoogleAPICallError):
            operation.result(timeout=PATIENCE)
        same(executions.get_execution(name=running).cancelled_count, 2)
    with check("executions are listed page by page, the latest first"):
        pages = list(executions.list_executions(request=run_v2.ListExecutionsRequest(parent=name, page_size=2)).pages)
        same([len(page.executions) for page in pages], [2, 1])
        same(pages[0].executions[0].name, running)
        executions.delete_execution(name=running).result(timeout=PATIENCE)
        with refused(exceptions.NotFound):
            executions.get_execution(name=running)
    with check("a job's policy"):
        policy = client.get_iam_policy(request=iam_policy_pb2.GetIamPolicyRequest(resource=name))
        policy.bindings.append(policy_pb2.Binding(role="roles/run.invoker", members=["user:a@example.com"]))
        policy = client.set_iam_policy(request=iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=policy))
        same(policy.bindings[0].role, "roles/run.invoker")
    with check("jobs that are not there, or are there already"):
        with refused(exceptions.NotFound):
            client.get_job(name=f"{PARENT}/jobs/none")
        with refused(exceptions.NotFound):
            client.run_job(name=f"{PARENT}/jobs/none")
        with refused(exceptions.Conflict, "already exists"):
            client.create_job(parent=PARENT, job_id="judged", job=run_v2.Job(template=template()))
        same([one.name for one in client.list_jobs(parent=PARENT)], [name])
    with check("a job is deleted"):
        same(client.delete_job(name=name).result(timeout=PATIENCE).name, name)
        with refused(exceptions.NotFound):
            client.get_job(name=name)


# ----------------------------------------------------------------------------------------------------- Secret Manager
def secrets(image):
    client = connect(secretmanager_v1.SecretManagerServiceClient)
    State = secretmanager_v1.SecretVersion.State
    parent = f"projects/{PROJECT}"
    replication = {"automatic": {}}

    with check("a secret is created"):
        made = client.create_secret(parent=parent, secret_id="judged", secret={"replication": replication, "labels": {"a": "b"}})
        assert made.name.startswith("projects/") and made.name.endswith("/secrets/judged"), made.name
        name = made.name
        same(client.get_secret(name=f"{parent}/secrets/judged").name, name)
        assert "automatic" in client.get_secret(name=name).replication
    with check("values are added, and read with their checksum"):
        for number, value in enumerate((b"one", b"two \xff"), 1):
            payload = {"data": value, "data_crc32c": crc32c(value)}
            version = client.add_secret_version(parent=name, payload=payload)
            same((version.name, version.state), (f"{name}/versions/{number}", State.ENABLED))
            assert version.client_specified_payload_checksum
        for version, value in (("1", b"one"), ("2", b"two \xff"), ("latest", b"two \xff")):
            answer = client.access_secret_version(name=f"{name}/versions/{version}")
            same((answer.payload.data, answer.payload.data_crc32c), (value, crc32c(value)))
        same(client.get_secret_version(name=f"{name}/versions/latest").name, f"{name}/versions/2")
    with check("a wrong checksum is refused"):
        with refused(exceptions.BadRequest):
            client.add_secret_version(parent=name, payload={"data": b"x", "data_crc32c": 1})
    with check("versions are listed page by page, the latest first"):
        pages = list(client.list_secret_versions(request={"parent": name, "page_size": 1}).pages)
        same([one.name.rsplit("/", 1)[-1] for page in pages for one in page.versions], ["2", "1"])
        enabled = client.list_secret_versions(request={"parent": name, "filter": "state:ENABLED"})
        same(len(list(enabled)), 2)
    with check("labels and aliases are changed by a mask"):
        change = {"name": name, "labels": {"c": "d"}, "version_aliases": {"first": 1}}
        changed = client.update_secret(secret=change, update_mask={"paths": ["labels", "version_aliases"]})
        same((dict(changed.labels), dict(changed.version_aliases)), ({"c": "d"}, {"first": 1}))
        same(client.access_secret_version(name=f"{name}/versions/first").payload.data, b"one")
        assert changed.etag != made.etag
    with check("a stale version is refused"):
        with refused((exceptions.Conflict, exceptions.BadRequest)):
            client.delete_secret(request={"name": name, "etag": made.etag})
    with check("a service runs with its value"):
        account = client.get_iam_policy(request={"resource": name})
        account.bindings.append(policy_pb2.Binding(role="roles/secretmanager.secretAccessor", members=["serviceAccount:runner@local.iam.gserviceaccount.com"]))
        policy = client.set_iam_policy(request={"resource": name, "policy": account})
        same(policy.bindings[0].role, "roles/secretmanager.secretAccessor")
        runner = connect(run_v2.ServicesClient)
        selector = run_v2.SecretKeySelector(secret="judged", version="1")
        template = run_v2.RevisionTemplate(
            service_account="runner@local.iam.gserviceaccount.com",
            containers=[run_v2.Container(image=image, env=[run_v2.EnvVar(name="SAY", value_source=run_v2.EnvVarSource(secret_key_ref=selector))])],
        )
        service = run_v2.Service(template=template, invoker_iam_disabled=True)
        made_service = runner.create_service(parent=PARENT, service_id="with-secret", service=service).result(timeout=PATIENCE)
        assert ask(made_service.uri)[1].startswith("one from"), ask(made_service.uri)
        same(made_service.template.containers[0].env[0].value_source.secret_key_ref.version, "1")
        runner.delete_service(name=made_service.name).result(timeout=PATIENCE)
    with check("a disabled version is not read, and read again when it is enabled"):
        same(client.disable_secret_version(name=f"{name}/versions/2").state, State.DISABLED)
        with refused(exceptions.BadRequest, "is in DISABLED state"):
            client.access_secret_version(name=f"{name}/versions/2")
        with refused(exceptions.BadRequest, "is in DISABLED state"):
            client.access_secret_version(name=f"{name}/versions/latest")
        same(client.enable_secret_version(name=f"{name}/versions/2").state, State.ENABLED)
        same(client.access_secret_version(name=f"{name}/versions/2").payload.data, b"two \xff")
    with check("a destroyed version is gone for good"):
        gone = client.destroy_secret_version(name=f"{name}/versions/2")
        same(gone.state, State.DESTROYED)
        assert gone.destroy_time
        with refused(exceptions.BadRequest, "is in DESTROYED state"):
            client.access_secret_version(name=f"{name}/versions/2")
        with refused(exceptions.BadRequest):
            client.enable_secret_version(name=f"{name}/versions/2")
    with check("secrets are listed page by page, and by their labels"):
        for one in ("another", "third"):
            client.create_secret(parent=parent, secret_id=one, secret={"replication": replication})
        pages = list(client.list_secrets(request={"parent": parent, "page_size": 2}).pages)
        same([len(page.secrets) for page in pages], [2, 1])
        same([one.name for one in client.list_secrets(request={"parent": parent, "filter": "labels.c=d"})], [name])
    with check("what is not there, is there already, or may not be done"):
        with refused(exceptions.NotFound, "not found"):
            client.get_secret(name=f"{parent}/secrets/none")
        with refused(exceptions.NotFound):
            client.access_secret_version(name=f"{name}/versions/9")
        with refused(exceptions.Conflict, "already exists"):
            client.create_secret(parent=parent, secret_id="judged", secret={"replication": replication})
        with refused(exceptions.BadRequest):
            client.create_secret(parent=parent, secret_id="no.dots", secret={"replication": replication})
        reader = connect(secretmanager_v1.SecretManagerServiceClient, principal("secretmanager.secrets.get"))
        same(reader.get_secret(name=name).name, name)
        with refused(exceptions.Forbidden, "Permission 'secretmanager.versions.access' denied"):
            reader.access_secret_version(name=f"{name}/versions/1")
    with check("they are deleted"):
        for one in ("judged", "another", "third"):
            client.delete_secret(name=f"{parent}/secrets/{one}")
        with refused(exceptions.NotFound):
            client.get_secret(name=name)
        same(list(client.list_secrets(parent=parent)), [])


# ---------------------------------------------------------------------------------------- the client of all documents
class Named(httplib2.Http):
    def __init__(self, host):
        super().__init__(timeout=PATIENCE)
        self.host = host

    def request(self, uri, method="GET", body=None, headers=None, **rest):
        headers = dict(headers or {}, **({"host": self.host} if self.host else {}))
        return super().request(uri, method, body, headers, **rest)


def built(api, version, host=None):
    """By a host's own name, where one is given."""
    options = {"api_endpoint": ENDPOINT}
    http = google_auth_httplib2.AuthorizedHttp(Fixed(TOKEN), http=Named(host))
    return discovery.build(api, version, http=http, static_discovery=True, client_options=options)


def documents(image):
    with check("v2 of Cloud Run by its document"):
        run = built("run", "v2").projects().locations()
        body = {"template": {"containers": [{"image": image}]}, "invokerIamDisabled": True}
        operation = run.services().create(parent=PARENT, serviceId="by-document", body=body).execute()
        operation = run.operations().wait(name=operation["name"], body={"timeout": "30s"}).execute()
        same((operation["done"], operation["response"]["terminalCondition"]["state"]), (True, "CONDITION_SUCCEEDED"))
        same([one["name"] for one in run.services().list(parent=PARENT).execute()["services"]], [f"{PARENT}/services/by-document"])
        found = run.services().get(name=f"{PARENT}/services/by-document").execute()
        # What was answered is sent back: output-only fields are not heeded.
        found["description"] = "by its document"
        operation = run.services().patch(name=found["name"], body=found).execute()
        operation = run.operations().wait(name=operation["name"], body={}).execute()
        same(operation["response"]["description"], "by its document")
    with check("v1 of Cloud Run by its document, in the Knative shape"):
        regional = built("run", "v1", f"{REGION}-run.googleapis.com")
        knative, place = regional.namespaces(), f"namespaces/{PROJECT}"
        body = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": "by-knative", "namespace": PROJECT},
            "spec": {"template": {"spec": {"containers": [{"image": image, "env": [{"name": "SAY", "value": "v1"}]}]}}},
        }
        created = knative.services().create(parent=place, body=body).execute()
        same(created["metadata"]["name"], "by-knative")
        found = until_ready(lambda: knative.services().get(name=f"{place}/services/by-knative").execute())
        first = found["status"]["latestReadyRevisionName"]
        same(found["status"]["observedGeneration"], found["metadata"]["generation"])
        policy = {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}}
        resource = f"{PARENT}/services/by-knative"
        built("run", "v1").projects().locations().services().setIamPolicy(resource=resource, body=policy).execute()
        same(ask(found["status"]["url"])[0], 200)
        # v2 sees the same service.
        same(built("run", "v2").projects().locations().services().get(name=resource).execute()["uid"], found["metadata"]["uid"])
        found["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "again"
        found["spec"]["template"]["metadata"].pop("name", None)
        knative.services().replaceService(name=f"{place}/services/by-knative", body=found).execute()
        changed = until_ready(lambda: knative.services().get(name=f"{place}/services/by-knative").execute())
        assert changed["status"]["latestReadyRevisionName"] != first
        with conflict():
            knative.services().replaceService(name=f"{place}/services/by-knative", body=found).execute()
        selector = "serving.knative.dev/service=by-knative"
        same(len(knative.revisions().list(parent=place, labelSelector=selector).execute()["items"]), 2)
        same(knative.configurations().get(name=f"{place}/configurations/by-knative").execute()["kind"], "Configuration")
        same(knative.routes().get(name=f"{place}/routes/by-knative").execute()["kind"], "Route")
        knative.services().delete(name=f"{place}/services/by-knative").execute()
    with check("Secret Manager, Artifact Registry and Logging by their documents"):
        versions = built("secretmanager", "v1").projects().secrets()
        made = versions.create(parent=f"projects/{PROJECT}", secretId="by-document", body={"replication": {"automatic": {}}}).execute()
        versions.addVersion(parent=made["name"], body={"payload": {"data": "b25l"}}).execute()
        answer = versions.versions().access(name=f"{made['name']}/versions/latest").execute()
        same(answer["payload"]["data"], "b25l")
        same(int(answer["payload"]["dataCrc32c"]), crc32c(b"one"))
        versions.delete(name=made["name"]).execute()
        repositories = built("artifactregistry", "v1").projects().locations().repositories()
        assert repositories.list(parent=PARENT).execute()["repositories"]
        body = {"resourceNames": [f"projects/{PROJECT}"], "pageSize": 1}
        logging = built("logging", "v2").entries()
        request, pages = logging.list(body=body), 0
        while request is not None and pages < 3:
            answer = request.execute()
            pages += 1
            request = logging.list_next(request, answer)
        same(pages, 3)
    with check("what is not there is its error, by every document"):
        for request in (
            built("run", "v2").projects().locations().services().get(name=f"{PARENT}/services/none"),
            built("run", "v1", f"{REGION}-run.googleapis.com").namespaces().services().get(name=f"namespaces/{PROJECT}/services/none"),
            built("secretmanager", "v1").projects().secrets().get(name=f"projects/{PROJECT}/secrets/none"),
        ):
            try:
                request.execute()
                raise AssertionError("it is there")
            except HttpError as error:
                same(error.status_code, 404)
    with check("services that documents made are deleted"):
        run = built("run", "v2").projects().locations()
        operation = run.services().delete(name=f"{PARENT}/services/by-document").execute()
        assert run.operations().wait(name=operation["name"], body={}).execute()["done"]


@contextlib.contextmanager
def conflict():
    try:
        yield
    except HttpError as error:
        same(error.status_code, 409)
    else:
        raise AssertionError("no conflict")


def until_ready(get):
    """As gcloud does: until Ready is not Unknown."""
    for _ in range(600):
        found = get()
        ready = [one for one in found["status"].get("conditions", []) if one["type"] == "Ready"]
        if ready and ready[0]["status"] != "Unknown":
            same(ready[0]["status"], "True")
            return found
        time.sleep(0.1)
    raise AssertionError("not ready")


def main():
    image = sys.argv[1]
    services(image)
    jobs(image)
    secrets(image)
    documents(image)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
