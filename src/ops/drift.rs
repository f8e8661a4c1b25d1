//! How the live service differs from the file, and what others changed since a deploy of ours.
use carrack_core::{
    Result,
    diff::{FieldChange, diff},
    observed::{Observed, Revision},
    plan::{Deploy, Intent, NewTraffic},
    provider::Provider,
    spec::{ImageRef, RevisionId, ServiceName, UNRESOLVED},
};
use serde::Serialize;

/// Both differences; `from` is what is live in the first, and what the deploy had set in the second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// What a deploy of the file would change. An image that is built, or named by a tag, is not looked at.
    pub file: Vec<FieldChange>,
    /// What others changed of the fields that a deploy of ours had set.
    pub others: Option<Others>,
}

/// Another client's change of what is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Others {
    /// The newest revision that Carrack made.
    pub since: RevisionId,
    /// The newest of all.
    pub revision: RevisionId,
    /// Who made that, as the cloud says.
    pub who: Option<String>,
    /// Field by field.
    pub fields: Vec<FieldChange>,
}

impl Drift {
    /// The live service is as the file says, and as Carrack made it.
    pub fn is_none(&self) -> bool {
        self.file.is_empty() && self.others.is_none()
    }
}

/// Compares; asks nobody. `deploy` is what the file says, `image` the one that it names.
pub fn drift(
    provider: &dyn Provider,
    name: &ServiceName,
    deploy: &Deploy,
    image: Option<&ImageRef>,
    observed: &Observed,
    revisions: &[Revision],
) -> Result<Drift> {
    Ok(Drift { file: file(provider, name, deploy, image, observed)?, others: others(observed, revisions) })
}

fn file(
    provider: &dyn Provider,
    name: &ServiceName,
    deploy: &Deploy,
    image: Option<&ImageRef>,
    observed: &Observed,
) -> Result<Vec<FieldChange>> {
    let Some(live) = &observed.service else { return Ok(Vec::new()) };
    // Who serves is told beside it; to keep that is refused where nobody does.
    let mut deploy = Deploy { traffic: NewTraffic::All, tag: None, ..deploy.clone() };
    deploy.spec.workload.main.image = image.filter(|image| image.digest().is_some()).cloned();
    let versions = live.spec.workload.live_secrets();
    let paths: Vec<String> = deploy.spec.workload.secrets().map(|(path, _)| path).collect();
    for (path, secret) in paths.into_iter().zip(deploy.spec.workload.secrets_mut()) {
        // That a newer version is there is told beside it too.
        if let Some(live) = versions.get(&path).filter(|live| live.name == secret.name && secret.version == UNRESOLVED)
        {
            secret.version.clone_from(&live.version);
        }
    }
    let plan = provider.plan(name, &Intent::Deploy(Box::new(deploy)), observed)?;
    let changes = plan.steps.into_iter().flat_map(|step| step.changes);
    Ok(changes.filter(|change| !is_traffic(&change.path) && change.path != "revision").collect())
}

fn is_traffic(path: &str) -> bool {
    path == "traffic" || path.starts_with("tags.")
}

fn others(observed: &Observed, revisions: &[Revision]) -> Option<Others> {
    let live = observed.service.as_ref()?;
    let ours = revisions.iter().find(|revision| revision.deployed().is_some())?;
    let newest = revisions.first().filter(|newest| newest.id != ours.id)?;
    let mut before = ours.spec.clone();
    // Nobody can tell what it was then.
    before.public = live.spec.public;
    let owned = &ours.receipt.as_ref()?.owned;
    let fields: Vec<_> = diff(&before, &live.spec).into_iter().filter(|change| owned.contains(&change.path)).collect();
    let made = (ours.id.clone(), newest.id.clone(), newest.creator.clone());
    (!fields.is_empty()).then_some(Others { since: made.0, revision: made.1, who: made.2, fields })
}

#[cfg(test)]
mod tests {
    use carrack_core::{
        event::Ctx,
        memory::Memory,
        run::run,
        spec::{EnvValue, SecretRef, ServiceSpec},
    };

    use super::*;

    fn deploy(env: &[(&str, EnvValue)]) -> Deploy {
        let mut spec = ServiceSpec { port: Some(8080), ..ServiceSpec::default() };
        spec.workload.main.image = Some(ImageRef(format!("memory/app@sha256:{}", "a".repeat(64))));
        spec.workload.main.env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Deploy::new(spec, vec!["env".into()], Vec::new())
    }

    fn text(text: &str) -> EnvValue {
        EnvValue::Plain(text.to_owned())
    }

    fn secret(version: &str) -> EnvValue {
        EnvValue::Secret(SecretRef { name: "key".into(), version: version.into() })
    }

    fn paths(changes: &[FieldChange]) -> Vec<&str> {
        changes.iter().map(|change| change.path.as_str()).collect()
    }

    #[tokio::test]
    async fn the_file_and_the_live_service() {
        let (memory, cx) = (Memory::default(), Ctx::silent());
        let name = ServiceName::try_from("shop".to_owned()).expect("a name");
        let first = deploy(&[("A", text("1")), ("B", text("1")), ("KEY", secret("3"))]);
        let observed = memory.observe(&cx, &name).await.expect("it is read");
        let plan = memory.plan(&name, &Intent::Deploy(Box::new(first)), &observed).expect("it is planned");
        run(&memory, &cx, &plan).await.expect("it is deployed");
        let observed = memory.observe(&cx, &name).await.expect("it is read");
        let revisions = memory.revisions(&cx, &name).await.expect("they are listed");
        let told = |deploy: &Deploy, image: Option<&str>| {
            let image = image.map(|image| ImageRef(image.to_owned()));
            drift(&memory, &name, deploy, image.as_ref(), &observed, &revisions).expect("it is compared")
        };
        // The newest version, whichever it is: that is another matter.
        let same = deploy(&[("A", text("1")), ("B", text("1")), ("KEY", secret(UNRESOLVED))]);
        assert!(told(&same, Some("memory/app:v2")).is_none(), "a tag is not looked up");
        let other = deploy(&[("A", text("2")), ("KEY", secret("4"))]);
        assert_eq!(paths(&told(&other, Some("i@sha256:1")).file), ["env.A", "env.B", "image", "secrets.KEY"]);
    }

    #[tokio::test]
    async fn what_others_changed_of_ours_is_named() {
        let (memory, cx) = (Memory::default(), Ctx::silent());
        let name = ServiceName::try_from("shop".to_owned()).expect("a name");
        for value in ["1", "2"] {
            let observed = memory.observe(&cx, &name).await.expect("it is read");
            let asked = deploy(&[("A", text(value)), ("B", text("1"))]);
            let plan = memory.plan(&name, &Intent::Deploy(Box::new(asked)), &observed).expect("it is planned");
            run(&memory, &cx, &plan).await.expect("it is deployed");
        }
        let observed = memory.observe(&cx, &name).await.expect("it is read");
        let mut revisions = memory.revisions(&cx, &name).await.expect("they are listed");
        assert_eq!(others(&observed, &revisions), None);
        // As another client would have made it, which copies the receipt.
        revisions[0].receipt = revisions[0].receipt.take().map(carrack_core::receipt::Receipt::copied);
        let found = others(&observed, &revisions).expect("it is found");
        assert_eq!((paths(&found.fields), &found.since), (vec!["env.A"], &revisions[1].id));
        revisions[1].receipt.as_mut().expect("a receipt").owned.retain(|path| path != "env.A");
        assert_eq!(others(&observed, &revisions), None, "what is not ours is theirs");
    }
}
