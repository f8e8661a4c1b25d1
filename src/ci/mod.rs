//! What `carrack ci` writes: pipelines, and what must be set up once so that they need no key. Texts alone: no I/O.
mod pipeline;
mod setup;
mod terraform;

use carrack_core::{Error, ErrorKind, Result};

pub use pipeline::{Kind, Pipeline, pipeline};
pub use setup::{Setup, gcloud, needs};
pub use terraform::terraform;

/// Who gives a pipeline its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
}

impl Host {
    /// The name of its provider in the pool.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
        }
    }
}

/// What pool and accounts are called, so that the set-up and the pipeline mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    base: String,
    project: String,
}

impl Names {
    /// A pool is named with 4 to 32 characters, an account with 6 to 30, of which `-deploy` takes 7.
    /// <https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools/create>
    /// <https://cloud.google.com/iam/docs/service-accounts-create>
    pub fn new(base: &str, project: &str) -> Result<Self> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = (4..=23).contains(&base.len())
            && base.starts_with(|c: char| c.is_ascii_lowercase())
            && base.chars().all(inner)
            && !base.ends_with('-')
            // Google keeps it for itself.
            && !base.starts_with("gcp-");
        if !good {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`{base}` cannot be the name of a pool and its accounts"),
            )
            .hint("use 4 to 23 of a-z, 0-9 and `-`, with a letter first, no `-` at the end, and no `gcp-`"));
        }
        Ok(Self { base: base.to_owned(), project: project.to_owned() })
    }

    /// The workload identity pool.
    pub fn pool(&self) -> &str {
        &self.base
    }

    /// The account that pushes images and makes plans, for any branch of the repository.
    pub fn plan_account(&self) -> String {
        self.account("plan")
    }

    /// The account that deploys, for the main branch alone.
    pub fn deploy_account(&self) -> String {
        self.account("deploy")
    }

    /// A project of a domain (`example.com:shop`) turns its name around.
    /// <https://cloud.google.com/iam/docs/service-account-types#user-managed>
    fn account(&self, what: &str) -> String {
        let project = match self.project.split_once(':') {
            Some((domain, project)) => format!("{project}.{domain}"),
            None => self.project.clone(),
        };
        format!("{}-{what}@{project}.iam.gserviceaccount.com", self.base)
    }
}

/// `NAME` of `https://HOST/NAME`: what a repository is called in tokens, in commands and in quotes.
pub fn repository(text: &str) -> Result<&str> {
    let part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !part.starts_with('-')
    };
    let parts: Vec<_> = text.split('/').collect();
    if parts.len() < 2 || !parts.iter().all(|one| part(one)) {
        return Err(Error::new(ErrorKind::Usage, format!("`{text}` is no repository"))
            .hint("write it as it is in its address: `--repository OWNER/NAME`"));
    }
    Ok(text)
}

/// Location, project and repository of an image in Artifact Registry; the old names of Container Registry are none.
/// <https://cloud.google.com/artifact-registry/docs/docker/names>
pub fn artifact_registry(image: &str) -> Option<[String; 3]> {
    let mut parts = image.split('/');
    let location = parts.next()?.strip_suffix("-docker.pkg.dev")?;
    let mut project = parts.next()?.to_owned();
    if project.contains('.') {
        project = format!("{project}:{}", parts.next()?);
    }
    let name = parts.next()?.split([':', '@']).next()?;
    Some([location.to_owned(), project, name.to_owned()])
}

/// A branch's name that means itself in YAML, a shell and a token.
pub fn branch(text: &str) -> Result<&str> {
    let good = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with('/');
    if good {
        Ok(text)
    } else {
        Err(Error::new(ErrorKind::Usage, format!("`{text}` is no name of a branch that a pipeline can have"))
            .hint("use letters, digits, `.`, `_`, `/` and `-`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_named_as_google_names_them() {
        let names = Names::new("carrack", "example.com:shop").expect("a good name");
        assert_eq!(names.deploy_account(), "carrack-deploy@shop.example.com.iam.gserviceaccount.com");
        for bad in ["abc", "a-name-of-twenty-four-cha", "1abc", "Shop", "shop-", "gcp-shop", "a b c", ""] {
            assert!(Names::new(bad, "p").is_err(), "{bad}");
        }
    }

    #[test]
    fn an_image_tells_where_its_repository_is() {
        let parts = |image| artifact_registry(image).map(|parts| parts.join(" "));
        assert_eq!(
            parts("europe-west1-docker.pkg.dev/p/apps/team/shop@sha256:1").as_deref(),
            Some("europe-west1 p apps")
        );
        assert_eq!(parts("us-docker.pkg.dev/example.com/p/apps/shop").as_deref(), Some("us example.com:p apps"));
        assert_eq!(parts("gcr.io/p/shop"), None);
        assert_eq!(parts("docker.io/library/nginx"), None);
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert!(repository("me/shop").is_ok() && repository("group/sub.group/shop").is_ok());
        for bad in ["shop", "me/", "/shop", "me/sh'op", "me/$x", "-me/shop", "me/sh op", ""] {
            assert!(repository(bad).is_err(), "{bad}");
        }
        assert!(branch("main").is_ok() && branch("release/1.x").is_ok());
        for bad in ["", "-x", "a b", "a\"b", "a'b", "$x", "*", "a/"] {
            assert!(branch(bad).is_err(), "{bad}");
        }
    }
}
