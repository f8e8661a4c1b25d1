//! `carrack emulator env`: the environment that makes a client use the local cloud.
use std::{
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use carrack_core::{Error, ErrorKind};
use carrack_emulator::background::{Paths, State};
use clap::{Args, ValueEnum};
use url::Url;

use super::running;
use crate::{
    cli::{
        error::Failure,
        local::{paths, unavailable},
        session::Session,
        settings::quoted,
    },
    registry::{LOCAL_PROJECT, LOCAL_REGION},
};

/// Options of `carrack emulator env`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  eval \"$(carrack emulator env)\"
  eval \"$(carrack emulator env --for gcloud)\"
  eval \"$(carrack emulator env --for proxy)\"
  eval \"$(carrack emulator env --for gcloud --project shop --region europe-west1)\"")]
pub(super) struct Options {
    /// Whom it is for
    #[arg(long = "for", value_enum, value_name = "CLIENT", default_value_t = Client::Carrack)]
    client: Client,
    /// The project that gcloud works in; else `local`
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// The region that gcloud works in; else `us-central1`
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Client {
    /// Carrack, without `--local`
    Carrack,
    /// Google's gcloud, as it is
    Gcloud,
    /// Any program that speaks TLS to the clouds' real names, by a proxy; Carrack with real credentials too
    Proxy,
}

/// What would lead gcloud elsewhere, or to somebody else's credentials:
/// <https://cloud.google.com/sdk/docs/properties#setting_properties_using_environment_variables>
const UNSET: [&str; 8] = [
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
    "CLOUDSDK_BILLING_QUOTA_PROJECT",
    "CLOUDSDK_CORE_UNIVERSE_DOMAIN",
    "CLOUDSDK_PROXY_PASSWORD",
    "CLOUDSDK_PROXY_USERNAME",
    "CLOUDSDK_RUN_PLATFORM",
];

/// The APIs that gcloud meets on its way. The scheme is what matters: gcloud puts `REGION-` before some of these hosts,
/// which no loopback address survives, so that the local cloud is its proxy, and a proxy reads only plain HTTP.
const APIS: [&str; 8] = [
    "artifactregistry",
    "cloudresourcemanager",
    "iam",
    "iamcredentials",
    "logging",
    "run",
    "secretmanager",
    "serviceusage",
];

/// What would lead past the proxy, or past everything to the local cloud without TLS.
const UNPROXIED: [&str; 7] =
    ["https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "CARRACK_ENDPOINT", "CARRACK_ENDPOINT_TOKEN"];

pub(super) fn run(session: &Session, options: &Options) -> Result<(), Failure> {
    if options.client != Client::Gcloud && (options.project.is_some() || options.region.is_some()) {
        return Err(Error::new(ErrorKind::Usage, "`--project` and `--region` are gcloud's: carrack.toml says both")
            .hint("add `--for gcloud`, or leave them out")
            .into());
    }
    let state = running(session)?;
    match options.client {
        Client::Carrack => {
            print(session, "CARRACK_ENDPOINT", &state.addresses.google);
            print(session, "CARRACK_ENDPOINT_TOKEN", &state.token);
        }
        Client::Proxy => {
            session.ui.print(&format!("unset {}", UNPROXIED.join(" ")));
            print(session, "HTTPS_PROXY", &state.addresses.google);
            let certificate = certificate(&paths(session)?).display().to_string();
            for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
                print(session, name, &certificate);
            }
        }
        Client::Gcloud => {
            let (address, port) = proxy(&state)?;
            let folder = gcloud_folder(&paths(session)?.dir, &state)?;
            session.ui.print(&format!("unset {}", UNSET.join(" ")));
            let project = options.project.as_deref().unwrap_or(LOCAL_PROJECT);
            let region = options.region.as_deref().unwrap_or(LOCAL_REGION);
            for (name, value) in gcloud(&folder, project, region, &address, port) {
                print(session, &name, &value);
            }
        }
    }
    Ok(())
}

fn print(session: &Session, name: &str, value: &str) {
    session.ui.print(&format!("export {name}={}", quoted(value)));
}

/// The certificate of the local cloud's own authority.
pub(super) fn certificate(paths: &Paths) -> PathBuf {
    paths.dir.join("ca.pem")
}

fn proxy(state: &State) -> Result<(String, u16), Error> {
    let address = Url::parse(&state.addresses.google).ok();
    address
        .and_then(|address| Some((address.host_str()?.to_owned(), address.port()?)))
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the local cloud's address cannot be read"))
}

/// gcloud's own settings and the token, for this user alone and apart from the user's own gcloud.
/// The token goes by a file: <https://cloud.google.com/sdk/gcloud/reference#--access-token-file>
fn gcloud_folder(dir: &Path, state: &State) -> Result<PathBuf, Error> {
    let folder = dir.join("gcloud");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| unusable(&folder, e))?;
    write_token(&folder, &state.token)?;
    Ok(folder)
}

/// A shell that gcloud was set up in keeps working when the local cloud is another one: the file has its token then.
pub(super) fn renew_token(dir: &Path, token: &str) -> Result<(), Error> {
    let folder = dir.join("gcloud");
    if folder.is_dir() { write_token(&folder, token) } else { Ok(()) }
}

/// The end of the local cloud that has this token is its end too. Another's stays.
pub(super) fn forget_token(dir: &Path, token: &str) {
    let file = token_file(&dir.join("gcloud"));
    if fs::read_to_string(&file).is_ok_and(|text| text == token) {
        // One that stays opens nothing any more.
        let _ = fs::remove_file(file);
    }
}

fn write_token(folder: &Path, token: &str) -> Result<(), Error> {
    // Its mode is 0600 from the start, and who reads it meanwhile sees the old one or the new one.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| unusable(folder, e))?;
    file.write_all(token.as_bytes()).map_err(|e| unusable(folder, e))?;
    file.persist(token_file(folder)).map_err(|e| unusable(folder, e.error))?;
    Ok(())
}

fn unusable(folder: &Path, source: io::Error) -> Error {
    unavailable(source).hint(format!("`{}` must be a folder that this user may write to", folder.display()))
}

fn token_file(folder: &Path) -> PathBuf {
    folder.join("token")
}

fn gcloud(folder: &Path, project: &str, region: &str, address: &str, port: u16) -> Vec<(String, String)> {
    let own = [
        ("CLOUDSDK_CONFIG", folder.display().to_string()),
        ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", token_file(folder).display().to_string()),
        // Once the token is left out and an account activated.
        ("CLOUDSDK_AUTH_TOKEN_HOST", "http://oauth2.googleapis.com/token".to_owned()),
        ("CLOUDSDK_CORE_PROJECT", project.to_owned()),
        ("CLOUDSDK_RUN_REGION", region.to_owned()),
        ("CLOUDSDK_ARTIFACTS_LOCATION", region.to_owned()),
        ("CLOUDSDK_PROXY_TYPE", "http".to_owned()),
        ("CLOUDSDK_PROXY_ADDRESS", address.to_owned()),
        ("CLOUDSDK_PROXY_PORT", port.to_string()),
        // Quiet, and no word to anybody else.
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "true".to_owned()),
        ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true".to_owned()),
        ("CLOUDSDK_CORE_DISABLE_FILE_LOGGING", "true".to_owned()),
        ("CLOUDSDK_CORE_CHECK_GCE_METADATA", "false".to_owned()),
        ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true".to_owned()),
        ("CLOUDSDK_SURVEY_DISABLE_PROMPTS", "true".to_owned()),
    ];
    let overrides = APIS.map(|api| {
        let name = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{}", api.to_ascii_uppercase());
        (name, format!("http://{api}.googleapis.com/"))
    });
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(overrides).collect()
}
