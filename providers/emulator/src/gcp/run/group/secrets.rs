//! The values that a template's variables and volumes refer to.
//! <https://cloud.google.com/run/docs/configuring/services/secrets>
use serde_json::Value;
use zeroize::Zeroizing;

use crate::gcp::secret_manager::{SecretBytes, SecretName, Secrets};

const LATEST: &str = "latest";

/// Who reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) secrets: &'a Secrets,
    /// Of secrets that are named without one.
    pub(super) project: &'a str,
    /// The service account's e-mail.
    pub(super) account: &'a str,
}

impl Reader<'_> {
    fn read(self, path: &str, secret: &Value, version: &Value) -> Result<SecretBytes, String> {
        let version = version.as_str().filter(|version| !version.is_empty()).unwrap_or(LATEST);
        let secret = secret.as_str().unwrap_or_default();
        let name = SecretName::parse(secret, self.project)
            .ok_or_else(|| format!("{path}: '{secret}' is not the name of a secret."))?;
        self.secrets.read(&name, version, self.account).map_err(|why| format!("{path}: {why}"))
    }

    /// What a variable refers to; none when it has a value of its own.
    pub(super) fn variable(
        self,
        container: usize,
        index: usize,
        variable: &Value,
    ) -> Result<Option<Zeroizing<String>>, String> {
        let Some(reference) = variable["valueSource"].get("secretKeyRef") else { return Ok(None) };
        let path = format!("spec.template.spec.containers[{container}].env[{index}].value_from.secret_key_ref.name");
        let bytes = self.read(&path, &reference["secret"], &reference["version"])?;
        if bytes.expose().contains(&0) {
            return Err(format!("{path}: the secret's value has a zero byte, which a variable cannot hold."));
        }
        match std::str::from_utf8(bytes.expose()) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(format!("{path}: the secret's value is not UTF-8 text, which a variable has to be.")),
        }
    }

    /// A secret volume's files: path, mode as given, bytes.
    pub(super) fn files(self, index: usize, volume: &Value) -> Result<Vec<File>, String> {
        let source = &volume["secret"];
        let path = format!("spec.template.spec.volumes[{index}].secret");
        let default = mode(&source["defaultMode"]).unwrap_or(DEFAULT_MODE);
        let one = |path: &str, version: &Value| self.read(path, &source["secret"], version);
        let items = source["items"].as_array().filter(|items| !items.is_empty());
        let Some(items) = items else {
            // A file that is called as the secret is.
            let name = source["secret"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            let bytes = one(&format!("{path}.secret_name"), &Value::Null)?;
            return Ok(vec![File { path: name.to_owned(), mode: default, bytes }]);
        };
        let file = |(index, item): (usize, &Value)| {
            let bytes = one(&format!("{path}.items[{index}].key"), &item["version"])?;
            let path = item["path"].as_str().unwrap_or_default().to_owned();
            Ok(File { path, mode: mode(&item["mode"]).unwrap_or(default), bytes })
        };
        items.iter().enumerate().map(file).collect()
    }
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) bytes: SecretBytes,
}

const DEFAULT_MODE: u32 = 0o444;
/// A mask that Cloud Run lays over all but zero:
/// <https://cloud.google.com/run/docs/reference/rest/v2/Volume#secretvolumesource>
const MASK: u32 = 0o222;

fn mode(value: &Value) -> Option<u32> {
    let mode = u32::try_from(value.as_i64()?).ok()?;
    (mode != 0).then_some(mode & 0o777 & !MASK)
}

/// Whether the service account may read all that the template refers to: Cloud Run asks at each deploy.
pub(crate) fn check(secrets: &Secrets, project: &str, template: &Value) -> Result<(), String> {
    let reader = reader(secrets, project, template);
    for (index, container) in template["containers"].as_array().into_iter().flatten().enumerate() {
        for (place, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
            reader.variable(index, place, variable)?;
        }
    }
    for (index, volume) in template["volumes"].as_array().into_iter().flatten().enumerate() {
        if volume.get("secret").is_some() {
            reader.files(index, volume)?;
        }
    }
    Ok(())
}

pub(super) fn reader<'a>(secrets: &'a Secrets, project: &'a str, template: &'a Value) -> Reader<'a> {
    Reader { secrets, project, account: template["serviceAccount"].as_str().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_named_by_its_field() {
        let secrets = Secrets::default();
        let refused = |template: &Value| check(&secrets, "1", template).unwrap_err();
        let variable = |secret: &str| json!({ "name": "A", "valueSource": { "secretKeyRef": { "secret": secret } } });
        let template = json!({ "containers": [{}, { "env": [{ "name": "B" }, variable("db-url")] }] });
        assert_eq!(
            refused(&template),
            "spec.template.spec.containers[1].env[1].value_from.secret_key_ref.name: Secret projects/1/secrets/db-url/versions/latest was not found"
        );
        let items = json!([{ "version": "3", "path": "a" }]);
        let template =
            json!({ "volumes": [{ "name": "v", "secret": { "secret": "projects/2/secrets/s", "items": items } }] });
        assert_eq!(
            refused(&template),
            "spec.template.spec.volumes[0].secret.items[0].key: Secret projects/2/secrets/s/versions/3 was not found"
        );
        assert!(
            refused(&json!({ "containers": [{ "env": [variable("a b")] }] })).contains("is not the name of a secret")
        );
        assert_eq!(check(&secrets, "1", &json!({ "volumes": [{ "name": "v", "emptyDir": {} }] })), Ok(()));
    }

    #[test]
    fn no_file_is_writable() {
        assert_eq!(mode(&json!(0o777)), Some(0o555));
        assert_eq!(mode(&json!(0o640)), Some(0o440));
        assert_eq!(mode(&json!(0)), None);
        assert_eq!(mode(&Value::Null), None);
    }
}
