//! The file that `carrack init` writes.
use super::names;

/// What `carrack init` found out or was told.
#[derive(Clone, Copy, Debug, Default)]
pub struct TemplateOptions<'a> {
    /// The name of the Rust binary to build; absent = an image made elsewhere.
    pub binary: Option<&'a str>,
    /// The Google Cloud project of the first target.
    pub project: Option<&'a str>,
    /// Its region.
    pub region: Option<&'a str>,
}

/// Cloud Run runs linux/amd64: <https://cloud.google.com/run/docs/container-contract#languages>.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// As [`ServiceName`](carrack_core::spec::ServiceName) has it.
const LONGEST_NAME: usize = 49;

/// A commented file with the least that works. It loads without an error whatever the arguments are.
pub fn template(name: &str, options: &TemplateOptions<'_>) -> String {
    format!(
        "\
# What runs. `carrack schema` prints every key, for editors too.
[service]
name = \"{name}\"
port = 8080            # the container finds it in PORT
# public = true        # anyone may call it; absent keeps what is live, and a new service is private

{image}
# Entries that are not here stay as they are live.
# [env]
# LOG_LEVEL = \"info\"

# Values of the cloud's store of secrets: `carrack secrets set db-url`
# [secrets]
# DATABASE_URL = \"db-url\"

# [resources]
# cpu = 1
# memory = \"512MiB\"

{target}",
        name = service_name(name),
        image = image(options.binary),
        target = target(options),
    )
}

fn image(binary: Option<&str>) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let Some(binary) = binary.filter(|name| !name.is_empty() && name.chars().all(word)) else {
        return "\
# Without [image] a deploy takes `--image REF`.
# [image]
# ref = \"HOST/PATH:TAG\"
"
        .to_owned();
    };
    // The image is empty, so that the program must need no loader.
    format!(
        "\
[image.build]
run = \"RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target {TRIPLE}\"
files = [{{ from = \"target/{TRIPLE}/release/{binary}\", to = \"/{binary}\" }}]
entrypoint = [\"/{binary}\"]
"
    )
}

fn target(options: &TemplateOptions<'_>) -> String {
    let project = options.project.filter(|name| names::project(name).is_ok());
    let region = options.region.filter(|name| names::region(name).is_ok());
    // Without a project the target would be a promise that the first deploy breaks.
    let comment = if project.is_some() { "" } else { "# " };
    format!(
        "\
# Where. `carrack deploy --local` needs none.
{comment}[targets.prod]
{comment}provider = \"cloud-run\"
{comment}project = \"{project}\"
{comment}region = \"{region}\"
",
        project = project.unwrap_or("my-project"),
        region = region.unwrap_or("us-central1"),
    )
}

/// The nearest valid name: a folder's name may hold anything.
fn service_name(name: &str) -> String {
    let mut result = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            result.push(c.to_ascii_lowercase());
        } else if !result.is_empty() && !result.ends_with('-') {
            result.push('-');
        }
    }
    if result.is_empty() {
        result.push_str("service");
    } else if result.starts_with(|first: char| first.is_ascii_digit()) {
        result.insert_str(0, "service-");
    }
    result.truncate(LONGEST_NAME);
    result.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ImageSource, Loaded, Source, load};
    use proptest::prelude::*;

    fn loaded(text: &str) -> Loaded {
        let (path, text) = ("carrack.toml".into(), text.to_owned());
        load(Source { path, text }, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn names() {
        for (name, expected) in [
            ("hello", "hello"),
            ("My App_2", "my-app-2"),
            ("--a--b--", "a-b"),
            ("1st", "service-1st"),
            ("日本", "service"),
            ("", "service"),
        ] {
            assert_eq!(service_name(name), expected, "{name}");
        }
    }

    #[test]
    fn a_binary_and_a_project_are_filled_in() {
        let options =
            TemplateOptions { binary: Some("hello"), project: Some("my-project"), region: Some("europe-west1") };
        let resolved = loaded(&template("hello", &options)).resolve(Some("prod")).expect("the target stands in it");
        let target = resolved.target.expect("it was asked for");
        assert_eq!((&*target.project, &*target.region), ("my-project", "europe-west1"));
        let Some(ImageSource::Build(build)) = resolved.image else { panic!("{:?}", resolved.image) };
        assert_eq!(build.entrypoint, ["/hello"]);
    }

    #[test]
    fn what_is_commented_out_is_valid_too() {
        let text = template("hello", &TemplateOptions::default());
        let text: Vec<_> = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.starts_with('[') || rest.contains(" = ") => rest,
                _ => line,
            })
            .collect();
        let text = text.join("\n").replace("HOST/PATH:TAG", "gcr.io/a/b:1");
        let resolved = loaded(&text).resolve(Some("prod"));
        assert_eq!(resolved.expect("it is valid").deploy.tables, ["env", "secrets"]);
    }

    proptest! {
        #[test]
        fn any_arguments_give_a_valid_file(
            name: String, binary: Option<String>, project: Option<String>, region: Option<String>,
        ) {
            let options = TemplateOptions {
                binary: binary.as_deref(), project: project.as_deref(), region: region.as_deref(),
            };
            loaded(&template(&name, &options));
        }
    }
}
