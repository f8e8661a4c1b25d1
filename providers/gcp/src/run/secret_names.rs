//! One secret by each of its names: `db-url`, and with its own project's id or number before it.
use serde_json::Value;

/// The service's own project, as a secret's name may have it.
#[derive(Debug, Default)]
pub(super) struct Own<'a> {
    id: Option<&'a str>,
    number: Option<&'a str>,
}

impl<'a> Own<'a> {
    /// What a live service tells of its project; nothing before there is one.
    pub(super) fn of(service: &'a Value) -> Self {
        let name = service["name"].as_str().unwrap_or_default();
        let urls = service["urls"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let number = urls.filter_map(|url| in_url(url, name.rsplit('/').next()?)).next();
        // A server that stands in for Cloud Run may have other addresses.
        let account = || in_account(service["template"]["serviceAccount"].as_str()?);
        Self {
            id: name.strip_prefix("projects/").and_then(|rest| rest.split('/').next()),
            number: number.or_else(account),
        }
    }

    /// Whether this is the own project, by its id or number.
    pub(super) fn is(&self, project: &str) -> bool {
        self.id == Some(project) || self.number == Some(project)
    }

    /// A secret of the own project by its short name, another project's by its whole one.
    pub(super) fn shortest<'b>(&self, name: &'b str) -> &'b str {
        let parts = name.strip_prefix("projects/").and_then(|rest| rest.split_once("/secrets/"));
        match parts {
            Some((project, short)) if self.is(project) => short,
            _ => name,
        }
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// `https://SERVICE-NUMBER.REGION.run.app`: <https://cloud.google.com/run/docs/triggering/https-request#deterministic>
fn in_url<'a>(url: &'a str, service: &str) -> Option<&'a str> {
    let host = url.strip_prefix("https://")?.strip_suffix(".run.app")?;
    digits(host.split('.').next()?.strip_prefix(service)?.strip_prefix('-')?)
}

/// The account that a service has by default:
/// <https://cloud.google.com/run/docs/configuring/services/service-identity>
fn in_account(email: &str) -> Option<&str> {
    digits(email.strip_suffix("-compute@developer.gserviceaccount.com")?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_own_project_goes_by_id_and_number() {
        let service = json!({
            "name": "projects/shop-1/locations/l/services/web",
            "urls": ["https://web-123.us-central1.run.app", "https://web-abc-uc.a.run.app"],
        });
        let own = Own::of(&service);
        for (name, shortest) in [
            ("db-url", "db-url"),
            ("projects/shop-1/secrets/db-url", "db-url"),
            ("projects/123/secrets/db-url", "db-url"),
            ("projects/124/secrets/db-url", "projects/124/secrets/db-url"),
            ("projects/shop-1/other", "projects/shop-1/other"),
        ] {
            assert_eq!(own.shortest(name), shortest);
        }
        assert_eq!(Own::default().shortest("projects/123/secrets/a"), "projects/123/secrets/a");
    }

    #[test]
    fn an_address_of_another_form_tells_no_number() {
        for url in [
            "https://web-abc-uc.a.run.app",
            "http://127.0.0.1:1",
            "https://web-.x.run.app",
            "https://other-1.x.run.app",
        ] {
            assert_eq!(in_url(url, "web"), None, "{url}");
        }
        let service = json!({ "name": "projects/p/locations/l/services/web", "urls": ["http://127.0.0.1:1"],
            "template": { "serviceAccount": "55-compute@developer.gserviceaccount.com" } });
        assert_eq!(Own::of(&service).shortest("projects/55/secrets/a"), "a");
    }
}
