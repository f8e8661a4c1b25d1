//! The rules for names: variables, labels, images, paths, projects.
use carrack_core::spec::ImageRef;

use super::{interpolate::is_variable_name, read::Invalid};

/// Set by Cloud Run itself: <https://cloud.google.com/run/docs/container-contract#services-env-vars>.
const RESERVED_VARIABLES: [&str; 4] = ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"];

/// The name of a variable of the service.
pub(crate) fn service_variable(name: &str) -> Result<(), Invalid> {
    variable(name)?;
    if !RESERVED_VARIABLES.contains(&name) {
        return Ok(());
    }
    let invalid =
        Invalid::new(format!("`{name}` is set by the cloud")).label("remove this, the container gets it anyway");
    Err(if name == "PORT" { invalid.hint("to choose the port write `port = 8080` under [service]") } else { invalid })
}

/// The same of a sidecar's variable, which is told no port:
/// <https://cloud.google.com/run/docs/container-contract#env-vars>
pub(crate) fn sidecar_variable(name: &str) -> Result<(), Invalid> {
    if name == "PORT" { Ok(()) } else { service_variable(name) }
}

/// The name of any variable.
pub(crate) fn variable(name: &str) -> Result<(), Invalid> {
    if is_variable_name(name) {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid variable name `{name}`")).hint("use A-Z, a-z, 0-9 and `_`, with no digit first"))
}

/// <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets/create#query-parameters>
const LONGEST_SECRET: usize = 255;

/// A secret, by its name in the target's own project, or by its whole name.
pub(crate) fn secret(text: &str) -> Result<(), Invalid> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let (owner, name) = match text.strip_prefix("projects/").and_then(|rest| rest.split_once("/secrets/")) {
        Some((owner, name)) => (Some(owner), name),
        None => (None, text),
    };
    if text.starts_with("projects/") && text.contains("/locations/") {
        let invalid = Invalid::new(format!("invalid secret name `{text}`")).label("a regional secret");
        return Err(invalid.hint("Cloud Run takes secrets without a location: https://cloud.google.com/run/docs/configuring/services/secrets"));
    }
    if (1..=LONGEST_SECRET).contains(&name.len()) && name.chars().all(is_part) {
        return owner.map_or(Ok(()), project);
    }
    let invalid = Invalid::new(format!("invalid secret name `{text}`"));
    // As gcloud, and as Secret Manager itself, write a version.
    if let Some((name, version)) = text.split_once("/versions/").or_else(|| text.rsplit_once(':'))
        && secret(name).is_ok()
        && secret_version(version).is_ok()
    {
        return Err(invalid.hint(format!("write {{ secret = \"{name}\", version = \"{version}\" }}")));
    }
    Err(invalid.hint("use 1 to 255 letters, digits, `_` and `-`; for a secret of another project write \"projects/PROJECT/secrets/NAME\""))
}

/// <https://cloud.google.com/secret-manager/docs/assign-alias-to-secret-version>
const LONGEST_ALIAS: usize = 63;

/// A version of a secret: its number, an alias, or `latest`.
pub(crate) fn secret_version(text: &str) -> Result<(), Invalid> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let alias = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.len() <= LONGEST_ALIAS;
    if !text.is_empty() && (number || (alias && text.chars().all(is_part))) {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid version `{text}`"))
        .hint("write its number, such as \"3\", an alias, or \"latest\"")
        .hint("without `version` the newest one is looked up at each deploy"))
}

/// <https://cloud.google.com/run/docs/configuring/services/secrets#disallowed_paths_and_limitations>
const SYSTEM_FOLDERS: [&str; 3] = ["/dev", "/proc", "/sys"];
/// <https://man7.org/linux/man-pages/man7/path_resolution.7.html>
const LONGEST_FILE: usize = 255;

/// The file that a secret is mounted as: its folder is hidden by the mount.
pub(crate) fn mount(path: &str) -> Result<(), Invalid> {
    image_file(path)?;
    let invalid = Invalid::new(format!("invalid path `{path}`"));
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if file.is_empty() {
        return Err(invalid.label("this is a folder").hint(format!("name the file in it: \"{path}value\"")));
    }
    if folder.is_empty() {
        let invalid = invalid.label("the mount would hide every file of the image");
        return Err(invalid.hint(format!("use a folder of its own: \"/secrets{path}\"")));
    }
    if let Some(system) =
        SYSTEM_FOLDERS.iter().find(|system| path.strip_prefix(**system).is_some_and(|rest| rest.starts_with('/')))
    {
        let invalid = invalid.label(format!("`{system}` is the system's own"));
        return Err(invalid.hint(format!("use a folder of its own: \"/secrets/{file}\"")));
    }
    // https://cloud.google.com/run/docs/reference/rest/v2/Volume#versiontopath
    let good = |part: &str| part.len() <= LONGEST_FILE && !part.contains(':') && !part.chars().any(char::is_control);
    if file.starts_with("..") || !path.split('/').all(good) {
        return Err(invalid.hint(
            "use names without `:` and control characters, 255 bytes each at most; the file's does not start with `..`",
        ));
    }
    Ok(())
}

/// Where a container mounts a volume.
pub(crate) fn folder(path: &str) -> Result<(), Invalid> {
    let folder = path.trim_end_matches('/');
    if folder.is_empty() && path.starts_with('/') {
        let invalid = Invalid::new(format!("invalid path `{path}`"));
        return Err(invalid.label("the mount would hide every file of the image"));
    }
    // As for a file in it.
    mount(&format!("{folder}/a")).map_err(|invalid| {
        let hint = "use an absolute path such as \"/cache\", without `..`, `:` and control characters";
        let again = Invalid::new(format!("invalid path `{path}`")).hint(hint);
        match SYSTEM_FOLDERS.iter().find(|system| folder == **system || folder.starts_with(&format!("{system}/"))) {
            Some(_) => Invalid { hints: Vec::new(), message: again.message, ..invalid },
            None => again,
        }
    })
}

/// A DNS label: <https://cloud.google.com/run/docs/reference/rest/v2/Container>
pub(crate) const PART: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const LONGEST_PART: usize = 63;

/// The name of a container or volume.
pub(crate) fn part(what: &str, name: &str) -> Result<(), Invalid> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good = (1..=LONGEST_PART).contains(&name.len())
        && name.bytes().all(|byte| inner(byte) || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if good {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid {what} name `{name}`"))
        .hint("use 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end"))
}

/// <https://cloud.google.com/resource-manager/docs/labels-overview#requirements>
const LABEL_CHARACTERS: usize = 63;
const LABEL_BYTES: usize = 128;

/// The key of a label.
pub(crate) fn label_key(key: &str) -> Result<(), Invalid> {
    let starts = key.starts_with(|first: char| first.is_alphabetic() && !first.is_uppercase());
    if starts && label_text(key) {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid label key `{key}`"))
        .hint("use 1 to 63 lower-case letters, digits, `_` and `-`, with a letter first"))
}

/// The value of a label; it may be empty.
pub(crate) fn label_value(value: &str) -> Result<(), Invalid> {
    if label_text(value) {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid label value `{value}`"))
        .hint("use up to 63 lower-case letters, digits, `_` and `-`"))
}

fn label_text(text: &str) -> bool {
    let allowed = |c: char| c == '_' || c == '-' || c.is_numeric() || (c.is_alphabetic() && !c.is_uppercase());
    text.chars().count() <= LABEL_CHARACTERS && text.len() <= LABEL_BYTES && text.chars().all(allowed)
}

/// `HOST/PATH@sha256:…` or `HOST/PATH:TAG`.
pub(crate) fn image_reference(text: &str) -> Result<ImageRef, Invalid> {
    let image = ImageRef(text.to_owned());
    let invalid = Invalid::new(format!("invalid image reference `{text}`"));
    if let Err(reason) = repository_parts(image.repository()) {
        let hint = match text.contains('/') {
            true => "write HOST/PATH:TAG or HOST/PATH@sha256:…, such as \"docker.io/library/nginx:1.29\"".to_owned(),
            false => format!("for an image of Docker Hub write \"docker.io/library/{text}\""),
        };
        return Err(invalid.label(reason).hint(hint));
    }
    if image.tag().is_some_and(|tag| !is_tag(tag)) {
        return Err(invalid.label("this is not a tag"));
    }
    if image.digest().is_some_and(|digest| !is_digest(digest)) {
        return Err(invalid.label("this is not a digest").hint("a digest is `sha256:` and 64 of 0-9 and a-f"));
    }
    if image.tag().is_none() && image.digest().is_none() {
        return Err(invalid.label("there is neither a tag nor a digest"));
    }
    Ok(image)
}

/// An image to start from: `HOST/PATH`, with a tag or a digest where it has one.
pub(crate) fn base(text: &str) -> Result<ImageRef, Invalid> {
    let image = ImageRef(text.to_owned());
    if image.repository() == text && repository_parts(text).is_ok() {
        return Ok(image);
    }
    image_reference(text).map_err(|invalid| Invalid { message: format!("invalid base `{text}`"), ..invalid })
}

/// `HOST/PATH`: where images are pushed.
pub(crate) fn repository(text: &str) -> Result<(), Invalid> {
    repository_parts(text).map_err(|reason| {
        Invalid::new(format!("invalid repository `{text}`"))
            .label(reason)
            .hint("write HOST/PATH, such as \"us-central1-docker.pkg.dev/PROJECT/REPOSITORY\"")
    })
}

fn repository_parts(text: &str) -> Result<(), &'static str> {
    let (host, path) = text.split_once('/').ok_or("there is no registry host")?;
    // A first part without these is a path of Docker Hub, in every client.
    let (name, port) = host.split_once(':').unwrap_or((host, "1"));
    let is_host = host == "localhost" || host.contains(['.', ':']);
    let host_text = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if !is_host || name.is_empty() || !name.chars().all(host_text) || port.parse::<u16>().is_err() {
        return Err("there is no registry host");
    }
    if is_image_path(path) { Ok(()) } else { Err("the path is not valid") }
}

/// The name of an image that is built: a path below the repository.
pub(crate) fn image_name(name: &str) -> Result<(), Invalid> {
    if is_image_path(name) {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid image name `{name}`"))
        .hint("use a-z and 0-9, with `.`, `_`, `-` or `/` between them"))
}

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
fn is_image_path(path: &str) -> bool {
    path.split('/').all(|part| {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let separators: Vec<&str> = part.split(word).filter(|text| !text.is_empty()).collect();
        part.starts_with(word)
            && part.ends_with(word)
            && separators
                .iter()
                .all(|separator| matches!(*separator, "." | "_" | "__") || separator.chars().all(|c| c == '-'))
    })
}

/// The same page as for paths.
fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&tag.len()) && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

/// An absolute path inside the image.
pub(crate) fn image_file(path: &str) -> Result<(), Invalid> {
    let invalid = Invalid::new(format!("invalid path `{path}`"));
    if !path.starts_with('/') {
        return Err(invalid.label(format!("write \"/{path}\"")));
    }
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    // With a `/` at its end it is a folder.
    let inside = path.strip_suffix('/').unwrap_or(path);
    if !inside.is_empty() && !inside.split('/').skip(1).all(part) {
        return Err(invalid.hint("write it without `.`, `..` and empty parts"));
    }
    Ok(())
}

/// A file or folder of the build.
pub(crate) fn local_path(path: &str) -> Result<(), Invalid> {
    if path.is_empty() || path.contains('\0') {
        return Err(Invalid::new("the path of a file is empty"));
    }
    Ok(())
}

/// The path of a health check.
pub(crate) fn http_path(path: &str) -> Result<(), Invalid> {
    let plain = !path.chars().any(|c| c.is_whitespace() || c.is_control());
    if path.starts_with('/') && plain {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid path `{path}`")).hint("write a path such as \"/healthz\""))
}

/// A command for the shell; it may have several lines.
pub(crate) fn command(text: &str) -> Result<(), Invalid> {
    if text.trim().is_empty() || text.contains('\0') {
        return Err(Invalid::new("the command is empty"));
    }
    Ok(())
}

/// A user or a gRPC service: something, on one line.
pub(crate) fn some_text(text: &str) -> Result<(), Invalid> {
    if text.trim().is_empty() || text.contains(['\0', '\n', '\r']) {
        return Err(Invalid::new("the text is empty or has more than one line"));
    }
    Ok(())
}

/// The name of a target: what `--to` takes.
pub(crate) fn target(name: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid target name `{name}`"))
        .hint("use letters, digits, `-` and `_`, with a letter or digit first"))
}

/// A project's id or number: it becomes a part of URLs.
pub(crate) fn project(text: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
    let starts = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if starts && text.chars().all(allowed) && !text.ends_with('-') {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid project `{text}`"))
        .hint("write the project's id, such as \"my-project\", not its display name"))
}

/// A region: it becomes a part of URLs and host names.
pub(crate) fn region(text: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = text.starts_with(|first: char| first.is_ascii_lowercase());
    if starts && text.chars().all(allowed) && !text.ends_with('-') {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid region `{text}`")).hint("write a region such as \"us-central1\""))
}

/// The email address of an account.
pub(crate) fn service_account(text: &str) -> Result<(), Invalid> {
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if text.split_once('@').is_some_and(|(name, host)| plain(name) && plain(host)) {
        return Ok(());
    }
    Err(Invalid::new(format!("invalid service account `{text}`"))
        .hint("write its email address: \"NAME@PROJECT.iam.gserviceaccount.com\""))
}

/// `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`; its token service takes no project
/// by its id: <https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines>.
pub(crate) fn federation_provider(text: &str) -> Result<(), Invalid> {
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let invalid = Invalid::new(format!("invalid federation provider `{text}`"));
    match text.split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "locations", "global", "workloadIdentityPools", pool, "providers", provider]
            if plain(pool) && plain(provider) =>
        {
            if !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit()) {
                return Ok(());
            }
            Err(invalid
                .label("the project must be its number")
                .hint(format!("ask for it: `gcloud projects describe {project} --format='value(projectNumber)'`")))
        }
        _ => {
            Err(invalid
                .hint("write \"projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER\""))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::config) fn check(rule: fn(&str) -> Result<(), Invalid>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), Ok(()), "{text}");
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variables() {
        check(
            service_variable,
            &["A", "_", "a_1", "PORT_2", "K_OTHER"],
            &["", "1A", "A-B", "A.B", "Ä", "PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"],
        );
        check(variable, &["PORT"], &["1A"]);
    }

    #[test]
    fn labels() {
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        check(
            label_key,
            &["a", "a-b_1", "ä", "東", &longest],
            &["", "1a", "-a", "A", "aB", "a.b", &too_long, &"東".repeat(43)],
        );
        check(label_value, &["", "1", "-", "ä", &longest], &["A", "a b", "a.b", &too_long]);
    }

    #[test]
    fn secrets() {
        let (longest, too_long) = ("a".repeat(255), "a".repeat(256));
        check(
            secret,
            &[
                "db-url",
                "DB_URL",
                "1",
                "-",
                &longest,
                "projects/other/secrets/a",
                "projects/12/secrets/a",
                "projects/example.com:p/secrets/a",
            ],
            &[
                "",
                "a.b",
                "a b",
                "ä",
                &too_long,
                "a/b",
                "projects/p/secrets/",
                "projects//secrets/a",
                "projects/P/secrets/a",
                "a:3",
                "projects/p/secrets/a/versions/1",
                "projects/p/locations/l/secrets/a",
            ],
        );
        check(
            secret_version,
            &["1", "12", "latest", "prod", "a-1_B", &"a".repeat(63)],
            &["", "0", "01", "-1", "1a", "v1.2", "a b", "-a", "ä", &"a".repeat(64)],
        );
        check(
            mount,
            &["/a/b", "/etc/tls/key.pem", "/devices/a", "/a/.b"],
            &[
                "",
                "a/b",
                "/",
                "/a",
                "/a/",
                "/a//b",
                "/a/../b",
                "/a/..b",
                "/dev/a",
                "/proc/a/b",
                "/sys/a",
                "/a:b/c",
                "/a/b:c",
                "/a/b\nc",
                &format!("/a/{}", "b".repeat(256)),
            ],
        );
    }

    #[test]
    fn images() {
        let digest = format!("gcr.io/a/b@sha256:{}", "0a".repeat(32));
        for good in
            ["gcr.io/a/b:v1", "localhost/a:1", "localhost:5000/a/b:V_1.0-x", &digest, &digest.replace('@', ":v1@")]
        {
            assert!(image_reference(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "nginx",
            "nginx:latest",
            "library/nginx:1",
            "gcr.io/a/b",
            "gcr.io/a/B:1",
            "gcr.io/a/b:",
            "gcr.io/a/b:-1",
            "gcr.io/a/b@sha256:00",
            "gcr.io/a//b:1",
            "gcr.io/:1",
            "https://gcr.io/a:1",
            "host:x/a:1",
            &digest.to_uppercase(),
        ] {
            assert!(image_reference(bad).is_err(), "{bad}");
        }
        check(
            image_name,
            &["a", "a/b", "a-b.c_d__e---f", "0"],
            &["", "/a", "a/", "A", "a..b", "a___b", "-a", "a-", "a b"],
        );
        check(repository, &["us-docker.pkg.dev/p/r", "localhost:1/a"], &["", "a", "a/b", "us-docker.pkg.dev/p/r:1"]);
    }

    #[test]
    fn paths() {
        check(image_file, &["/", "/app", "/a/", "/a/b.c"], &["", "app", "./app", "/a//", "/a/../b", "//a", "/./a"]);
        check(http_path, &["/", "/healthz?full=1"], &["", "healthz", "/a b"]);
        check(local_path, &["a", "../a", "/a"], &[""]);
        check(command, &["make", "set -e\nmake"], &["", " \n", "a\0b"]);
        check(some_text, &["1000:1000"], &["", " ", "a\nb"]);
    }

    #[test]
    fn places() {
        check(target, &["prod", "prod-1", "1"], &["", "a.b", "-a", "ä"]);
        check(project, &["my-project", "example.com:p", "1234"], &["", "My Project", "a/b", "-a", "a-"]);
        check(region, &["us-central1"], &["", "US", "a/b", "1"]);
        let provider = "projects/12/locations/global/workloadIdentityPools/ci/providers/github";
        let others = ["", "github", &provider.replace("12", "my-project"), &provider.replace("ci", "")];
        check(federation_provider, &[provider], &others);
        check(service_account, &["a@b.iam.gserviceaccount.com"], &["", "a", "@b", "a@b@c", "a b@c"]);
    }
}
