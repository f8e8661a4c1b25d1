//! `[volumes]`: what containers can mount beside secrets.
use carrack_core::{
    capability::VolumeKind,
    spec::{Mebibytes, Volume as Neutral},
};
use serde_json::{Value as Json, json};

use super::{
    diagnostics::Problem,
    document::Node,
    names,
    read::{Context, Entries, Invalid, KeyRule, Read, Table, section},
    suggest::{nearest, quoted},
    values::{SomeText, text, valid},
};

pub(crate) type Volumes = Entries<VolumeName, Volume>;

section! {
    /// `[volumes.NAME]`
    Volume checked_by rules {
        /// What it is made of: `memory`, `bucket` or `nfs`.
        kind: required Kind,
        /// The folder that shows it in the main container. Absent: only sidecars mount it.
        mount: optional Folder,
        /// Of memory: how much at the most. Default: the memory of all containers.
        size: optional Mebibytes,
        /// Of a bucket: its name.
        bucket: optional SomeText,
        /// Of a bucket: options of Cloud Storage FUSE, without `--` before them.
        options: optional Vec<super::read::At<SomeText>>,
        /// Of NFS: the server's name or address.
        server: optional SomeText,
        /// Of NFS: the folder that the server exports.
        path: optional ServerPath,
        /// Of a bucket or NFS: files can only be read. Default: false.
        read_only: optional bool,
    }
}

/// The keys that each kind takes beside `kind` and `mount`; the first ones it needs.
fn keys_of(kind: VolumeKind) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        VolumeKind::Memory => (&[], &["size"]),
        VolumeKind::Bucket => (&["bucket"], &["options", "read_only"]),
        VolumeKind::Nfs => (&["server", "path"], &["read_only"]),
    }
}

/// Each kind has its own keys.
fn rules(volume: &Volume, table: &Table<'_>, context: &mut Context) {
    let kind = volume.kind.value.0;
    let (needed, more) = keys_of(kind);
    for key in needed.iter().filter(|key| !table.has(key)) {
        let message = format!("missing key `{key}` in {}", context.section());
        let label = format!("a volume of kind `{}` needs `{key}`", kind.name());
        context.report(Problem::new(&table.node.span, message).label(label));
    }
    for entry in
        ["size", "bucket", "options", "server", "path", "read_only"].iter().filter_map(|key| table.node.get(key))
    {
        if needed.contains(&&*entry.key) || more.contains(&&*entry.key) {
            continue;
        }
        let takes = |kind: &&VolumeKind| {
            let (needed, more) = keys_of(**kind);
            needed.contains(&&*entry.key) || more.contains(&&*entry.key)
        };
        let kinds: Vec<&str> = VolumeKind::ALL.iter().filter(takes).map(|kind| kind.name()).collect();
        let message = format!("`{}` does not go with kind `{}`", entry.key, kind.name());
        context.report(Problem::new(&entry.key_span, message).label(format!("goes with {}", quoted(&kinds))));
    }
}

impl Volume {
    /// As the spec has it. What is missing was refused.
    pub(crate) fn neutral(&self) -> Neutral {
        let text =
            |text: &Option<super::read::At<SomeText>>| text.as_ref().map(|at| at.value.0.clone()).unwrap_or_default();
        let read_only = self.read_only.as_ref().is_some_and(|at| at.value);
        match self.kind.value.0 {
            VolumeKind::Memory => Neutral::Memory { size: self.size.as_ref().map(|at| at.value) },
            VolumeKind::Bucket => Neutral::Bucket {
                name: text(&self.bucket),
                read_only,
                options: self.options.iter().flat_map(|at| &at.value).map(|at| at.value.0.clone()).collect(),
            },
            VolumeKind::Nfs => Neutral::Nfs {
                server: text(&self.server),
                path: self.path.as_ref().map(|at| at.value.0.clone()).unwrap_or_default(),
                read_only,
            },
        }
    }
}

/// What a volume is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind(pub(crate) VolumeKind);

impl Read for Kind {
    fn read(node: &Node, context: &mut Context) -> Option<Self> {
        let word = text(node, context, |_| false)?;
        let names = VolumeKind::ALL.map(VolumeKind::name);
        if let Some(kind) = VolumeKind::ALL.into_iter().find(|kind| kind.name() == word) {
            return Some(Self(kind));
        }
        let invalid = Invalid::new(format!("unknown kind `{word}`"));
        let invalid = match (word, nearest(word, names.into_iter())) {
            ("secret", _) => {
                invalid.hint("write `NAME = { secret = \"…\", mount = \"/folder/file\" }` under [secrets]")
            }
            (_, Some(near)) => invalid.label(format!("did you mean \"{near}\"?")),
            (_, None) => invalid.hint(format!("the kinds are {}", quoted(&names))),
        };
        context.report(invalid.at(&node.span));
        None
    }
    fn schema() -> Json {
        json!({ "enum": VolumeKind::ALL.map(VolumeKind::name) })
    }
}

macro_rules! path_value {
    ($($(#[doc = $doc:literal])* $name:ident by $rule:path;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) String);

        impl Read for $name {
            fn read(node: &Node, context: &mut Context) -> Option<Self> {
                let text = text(node, context, |_| false)?;
                valid($rule(text), node, context)?;
                Some(Self(text.to_owned()))
            }
            fn schema() -> Json {
                json!({ "type": "string", "pattern": "^/" })
            }
        }
    )*};
}

path_value! {
    /// Where a container mounts a volume.
    Folder by names::folder;
    /// A folder of another machine.
    ServerPath by names::image_file;
}

/// The keys of `[volumes]`.
#[derive(Clone, Debug)]
pub(crate) struct VolumeName;

impl KeyRule for VolumeName {
    const PATTERN: &'static str = names::PART;
    fn check(key: &str) -> Result<(), Invalid> {
        names::part("volume", key)
    }
}
