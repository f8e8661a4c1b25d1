//! What `carrack permissions` prints, and that it is precisely what each command needs.
mod check;
mod secrets;
mod show;
mod walk;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use carrack_core::event::Ctx;
use carrack_http::{Client, ClientOptions, Request};
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderValue},
};
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, app},
};

/// Of a principal of the local cloud that has precisely these permissions in the project.
pub(crate) fn token(cloud: &LocalCloud, permissions: &[String]) -> String {
    let (_, console, token) = cloud.parts();
    let body = json!({ "email": "ci@local.iam.gserviceaccount.com", "permissions": permissions });
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let request = Request::new(Method::POST, format!("{console}/principals")).header(AUTHORIZATION, bearer);
    let http = Client::new(ClientOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(http.send(&Ctx::silent(), request.json(&body).unwrap())).unwrap();
    answer.json::<Value>().unwrap()["token"].as_str().unwrap().to_owned()
}

/// `carrack` as whoever has this token.
pub(crate) fn carrack_as(cloud: &LocalCloud, token: &str) -> Command {
    let mut command = cloud.carrack();
    command.env("CARRACK_ENDPOINT", cloud.parts().0).env("CARRACK_ENDPOINT_TOKEN", token);
    command
}

/// As its owner, who may do all.
pub(crate) fn owner(cloud: &LocalCloud) -> Command {
    let token = cloud.parts().2.to_owned();
    carrack_as(cloud, &token)
}

/// A target of the local cloud's own project.
pub(crate) const TARGET: &str =
    "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n";

/// An account that a service runs as.
pub(crate) const ACCOUNT: &str = "service_account = \"run@local.iam.gserviceaccount.com\"\n";

/// A folder with this file in it, and with the test program.
pub(crate) fn folder(dir: &Path, text: &str) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    fs::copy(app(), dir.join("app")).unwrap();
    let file = dir.join("carrack.toml");
    fs::write(&file, text).unwrap();
    file
}

/// A service whose image is built.
pub(crate) fn built(name: &str, rest: &str) -> String {
    format!(
        "[service]\nname = \"{name}\"\nport = 8080\npublic = true\n[image]\nname = \"{name}\"\n[image.build]\n\
         base = \"scratch\"\nfiles = [{{ from = \"app\", to = \"/app\" }}]\nentrypoint = [\"/app\"]\n\
         env = {{ OF = \"the image\" }}\n{rest}"
    )
}

/// The same program in another image.
pub(crate) fn another_image(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replace("the image", "another image")).unwrap();
}

/// What `permissions show` prints for the deployer: what is always needed, or only at times.
pub(crate) fn printed(cloud: &LocalCloud, file: &Path, task: &str, at_times: bool) -> Vec<String> {
    let mut command = cloud.carrack();
    command.args(["permissions", "show", "--as", "json", "--for", task, "-f"]).arg(file);
    let shown: Value = serde_json::from_str(&stdout(&ok(command.output().unwrap()))).unwrap();
    let mut names: Vec<String> = shown["needs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|need| need["who"] == "deployer" && need.get("only").is_some() == at_times)
        .map(|need| need["permission"].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// All but one.
pub(crate) fn without(all: &[String], one: &str) -> Vec<String> {
    all.iter().filter(|name| *name != one).cloned().collect()
}

/// It is refused, and the text names the permission and how it is granted.
pub(crate) fn refused_for(output: &Output, permission: &str) {
    let text = shown(output, &[]);
    assert_eq!(output.status.code(), Some(21), "without {permission}: {text}");
    let said = stderr(output);
    assert!(said.contains(&format!("`{permission}` on ")), "without {permission}: {text}");
    assert!(said.contains("add-iam-policy-binding"), "without {permission}: {text}");
}
