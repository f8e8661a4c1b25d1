//! `[secrets]`: variables and files whose values are in the cloud's store.
use std::collections::BTreeMap;

use carrack_core::spec::{SecretRef, UNRESOLVED};
use serde_json::{Value as Json, json};

use super::{
    diagnostics::Problem,
    document::{Node, Value},
    names,
    read::{At, Context, Entries, Invalid, Read, Table, section},
    schema::File,
    values::{EnvText, ServiceVariable, text, valid},
};

pub(crate) type Secrets = Entries<ServiceVariable, SecretEntry>;

/// `"NAME"`, or a table.
#[derive(Clone, Debug)]
pub(crate) struct SecretEntry(pub(crate) SecretUse);

section! {
    /// A secret with its version, or as a file.
    SecretUse {
        /// The secret's name; of another project's `projects/PROJECT/secrets/NAME`.
        secret: required SecretName,
        /// A number, an alias, or `latest`, which goes on moving. Default: the newest one, whose number is looked up.
        version: optional SecretVersion,
        /// The file that holds it, in a folder that shows nothing else. Absent: it is a variable.
        mount: optional MountPath,
    }
}

impl Read for SecretEntry {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        match &node.value {
            Value::Text(_) => {
                let secret = At { value: SecretName::read(node, context)?, span: node.span.clone() };
                Some(Self(SecretUse { secret, version: None, mount: None }))
            }
            Value::Table(_) => SecretUse::read(node, context).map(Self),
            _ => {
                context.wrong_type(node, "the name of a secret or a table", None);
                None
            }
        }
    }
    fn schema() -> Json {
        // What is said of an object's keys is not asked of a string, and the other way round.
        let mut schema = SecretUse::schema();
        schema["type"] = json!(["string", "object"]);
        schema["pattern"] = SecretName::schema()["pattern"].clone();
        schema
    }
}

/// The name of a secret.
#[derive(Clone, Debug)]
pub(crate) struct SecretName(pub(crate) String);

impl Read for SecretName {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let text = text(node, context, |text| names::secret(text).is_ok())?;
        valid(names::secret(text), node, context)?;
        Some(Self(text.to_owned()))
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(projects/[^/]+/secrets/)?[A-Za-z0-9_-]{1,255}$" })
    }
}

/// A version of a secret.
#[derive(Clone, Debug)]
pub(crate) struct SecretVersion(pub(crate) String);

impl Read for SecretVersion {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let text = text(node, context, |text| names::secret_version(text).is_ok())?;
        valid(names::secret_version(text), node, context)?;
        Some(Self(text.to_owned()))
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([1-9][0-9]*|[A-Za-z][A-Za-z0-9_-]{0,62})$" })
    }
}

/// The file that a secret is mounted as.
#[derive(Clone, Debug)]
pub(crate) struct MountPath(pub(crate) String);

impl Read for MountPath {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let text = text(node, context, |_| false)?;
        valid(names::mount(text), node, context)?;
        Some(Self(text.to_owned()))
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/.+/[^/]+$" })
    }
}

impl MountPath {
    /// Its folder and its name.
    fn parts(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }

    /// The folder that shows it.
    pub(crate) fn folder(&self) -> &str {
        self.parts().0
    }
}

impl SecretUse {
    /// As the spec has it.
    pub(crate) fn reference(&self) -> SecretRef {
        let version = self.version.as_ref().map_or(UNRESOLVED, |version| &version.value.0);
        SecretRef { name: self.secret.value.0.clone(), version: version.to_owned() }
    }
}

/// A variable is a text or a secret, and a folder shows one secret.
pub(crate) fn rules(file: &File, table: &Table<'_>, context: &mut Context) {
    one_kind(file.env.as_ref(), file.secrets.as_ref(), table.node, "", context);
    let neutral = file.secrets.as_ref().map(|secrets| &secrets.value.map);
    let neutral: Vec<_> = neutral.into_iter().flatten().collect();
    folders(&neutral, |_| true, context);
    let targets = table.node.get("targets").map_or(&[][..], |entry| entry.node.entries());
    for (name, At { value: target, .. }) in file.targets.iter().flat_map(|targets| &targets.value.map) {
        if let Some(entry) = targets.iter().find(|entry| entry.key == *name) {
            let section = format!("targets.{name}.");
            one_kind(target.env.as_ref(), target.secrets.as_ref(), &entry.node, &section, context);
        }
        let own = target.secrets.as_ref().map(|secrets| &secrets.value.map);
        let mut all: BTreeMap<_, _> = neutral.iter().copied().collect();
        all.extend(own.into_iter().flatten());
        let all: Vec<_> = all.into_iter().collect();
        // What is wrong without the target was told.
        folders(&all, |name| own.is_some_and(|own| own.contains_key(name)), context);
    }
}

/// The same for one container alone; `section` is where its tables stand.
pub(crate) fn rules_of<K>(
    env: Option<&At<Entries<K, EnvText>>>,
    secrets: Option<&At<Secrets>>,
    node: &Node,
    section: &str,
    context: &mut Context,
) {
    one_kind(env, secrets, node, &format!("{section}."), context);
    let all: Vec<_> = secrets.map(|secrets| &secrets.value.map).into_iter().flatten().collect();
    folders(&all, |_| true, context);
}

/// Reports both places of a variable that is a text and a secret.
fn one_kind<K>(
    env: Option<&At<Entries<K, EnvText>>>,
    secrets: Option<&At<Secrets>>,
    node: &Node,
    section: &str,
    context: &mut Context,
) {
    let (Some(env), Some(secrets)) = (env, secrets) else { return };
    let variables = secrets.value.map.iter().filter(|(_, entry)| entry.value.0.mount.is_none());
    for (name, _) in variables.filter(|(name, _)| env.value.map.contains_key(*name)) {
        let message = format!("`{name}` is in both [{section}env] and [{section}secrets]");
        for (table, label) in [("env", "a text here"), ("secrets", "a secret here")] {
            if let Some(entry) = node.get(table).and_then(|entry| entry.node.get(name)) {
                let problem = Problem::new(&entry.key_span, &message).label(label);
                context.report(problem.hint("remove one of them: a deploy turns the one into the other"));
            }
        }
    }
}

/// Reports mounts that are in each other's way, where one of the two is `told` of.
fn folders(entries: &[(&String, &At<SecretEntry>)], told: impl Fn(&str) -> bool, context: &mut Context) {
    let mut mounts: Vec<_> =
        entries.iter().filter_map(|(name, entry)| Some((name.as_str(), entry.value.0.mount.as_ref()?))).collect();
    mounts.sort_by_key(|(_, mount)| mount.span.start);
    for (index, (name, mount)) in mounts.iter().enumerate() {
        let (folder, file) = mount.value.parts();
        let inside = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
        let clashes = |taken: &str| folder == taken || inside(folder, taken) || inside(taken, folder);
        let mut others = mounts.iter().take(index).filter(|(other, _)| told(name) || told(other));
        let Some((other, before)) = others.find(|(_, before)| clashes(before.value.parts().0)) else { continue };
        let (taken, _) = before.value.parts();
        let invalid = if folder == taken {
            Invalid::new(format!("`{other}` and `{name}` are both mounted in `{folder}`"))
                .hint(format!("give it a folder of its own: \"{folder}-{}/{file}\"", name.to_lowercase()))
        } else {
            Invalid::new(format!("`{folder}` and `{taken}`, where `{other}` is mounted, are one below the other"))
                .hint("use folders that are beside each other")
        };
        context.report(invalid.label("a folder shows one secret, and nothing else").at(&mount.span));
    }
}
