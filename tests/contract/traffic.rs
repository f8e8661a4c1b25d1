//! What every provider's traffic must hold to.
use carrack_core::{
    Error, ErrorKind, Result,
    plan::{Intent, NewTraffic, Plan, Share, TrafficChange, Verb, Who},
    run::{RunReport, run},
    spec::RevisionId,
};

use crate::cases::{Backend, paths};

pub(crate) async fn rollback_restores_the_spec(backend: &Backend<'_>) -> Result<()> {
    backend.deploy(&backend.spec(&[("A", "1"), ("B", "1")])).await?;
    let before = backend.live().await?;
    let mut second = backend.spec(&[("A", "2"), ("C", "1")]);
    second.spec.workload.main.image = Some(backend.images[1].clone());
    second.spec.scaling.max = Some(5);
    second.spec.workload.labels = [("team".to_owned(), "a".to_owned())].into();
    second.tables.push("labels".into());
    backend.deploy(&second).await?;
    let changed = backend.live().await?;
    let revision = backend.provider.revisions(&backend.cx, &backend.name).await?.pop().expect("the first one");
    let restore = Intent::Restore(Box::new(revision.clone()));
    let plan = backend.provider.plan(&backend.name, &restore, &backend.observe().await?)?;
    assert_eq!(paths(&plan), ["env.A", "env.B", "env.C", "image", "scaling.max"]);
    let report = run(backend.provider, &backend.cx, &plan).await?;
    let after = backend.live().await?;
    let mut expected = before.spec.clone();
    expected.workload.labels.clone_from(&changed.spec.workload.labels);
    assert_eq!(after.spec, expected, "and what is the service's own stays");
    assert_eq!(after.traffic.0.into_iter().collect::<Vec<_>>(), [(report.revision.expect("a new one"), 100)]);
    let receipt = after.receipt.expect("a receipt");
    assert_eq!((receipt.restored, receipt.previous), (Some(revision.id), changed.latest_ready));
    assert_eq!(Some(receipt.digest.as_str()), backend.images[0].digest());
    let env: Vec<_> = receipt.owned.iter().filter(|path| path.starts_with("env.")).collect();
    assert_eq!(env, ["env.A", "env.B"], "what was owned then is owned again");
    assert!(backend.provider.plan(&backend.name, &restore, &backend.observe().await?)?.is_noop());
    assert!(backend.plan(&backend.spec(&[("A", "1"), ("B", "1")])).await?.is_noop());
    Ok(())
}

pub(crate) async fn traffic_sums_to_100(backend: &Backend<'_>) -> Result<()> {
    for value in ["1", "2"] {
        backend.deploy(&backend.spec(&[("A", value)])).await?;
        let sum: u32 = backend.live().await?.traffic.0.values().map(|percent| u32::from(*percent)).sum();
        assert_eq!(sum, 100);
    }
    Ok(())
}

impl Backend<'_> {
    async fn route(&self, shares: &[(Who, u8)], tags: &[(&str, Option<Who>)]) -> Result<RunReport> {
        run(self.provider, &self.cx, &self.routing(shares, tags).await?).await
    }

    async fn routing(&self, shares: &[(Who, u8)], tags: &[(&str, Option<Who>)]) -> Result<Plan> {
        let change = TrafficChange {
            shares: shares.iter().map(|(who, percent)| Share { who: who.clone(), percent: *percent }).collect(),
            tags: tags.iter().map(|(tag, who)| ((*tag).to_owned(), who.clone())).collect(),
        };
        self.provider.plan(&self.name, &Intent::Traffic(change), &self.observe().await?)
    }

    /// Two revisions; the later one serves.
    async fn two(&self) -> Result<[RevisionId; 2]> {
        let first = self.deploy(&self.spec(&[("A", "1")])).await?.revision.expect("a revision");
        let second = self.deploy(&self.spec(&[("A", "2")])).await?.revision.expect("a revision");
        Ok([first, second])
    }

    /// Who gets how much; and each tag, with the revision or `None` for the newest.
    async fn routed(&self) -> Result<(Vec<(RevisionId, u8)>, Vec<(String, Option<RevisionId>)>)> {
        let live = self.live().await?;
        assert_eq!(live.targets.iter().map(|target| u32::from(target.percent)).sum::<u32>(), 100);
        let tags = live.targets.iter().filter_map(|target| Some((target.tag.clone()?, target.revision.clone())));
        let mut tags: Vec<_> = tags.collect();
        tags.sort();
        Ok((live.traffic.0.into_iter().collect(), tags))
    }
}

pub(crate) async fn traffic_goes_where_it_is_sent(backend: &Backend<'_>) -> Result<()> {
    let [first, second] = backend.two().await?;
    let by_name = |revision: &RevisionId| Who::Revision(revision.clone());
    backend.route(&[(by_name(&first), 90), (Who::Latest, 10)], &[("blue", Some(by_name(&first)))]).await?;
    let blue = ("blue".to_owned(), Some(first.clone()));
    assert_eq!(backend.routed().await?, (vec![(first.clone(), 90), (second.clone(), 10)], vec![blue.clone()]));
    assert!(backend.live().await?.pinned());
    let again = backend.routing(&[(Who::Latest, 10), (Who::Tag("blue".into()), 90)], &[]).await?;
    assert!(again.is_noop(), "{:?}", paths(&again));
    let plan = backend.routing(&[(Who::Tag("blue".into()), 100)], &[("green", Some(Who::Latest))]).await?;
    assert_eq!((plan.steps[0].verb, paths(&plan)), (Verb::Route, vec!["traffic", "tags.green"]));
    let report = run(backend.provider, &backend.cx, &plan).await?;
    assert_eq!(report.revision, None, "it makes none");
    assert_eq!(backend.routed().await?, (vec![(first, 100)], vec![blue, ("green".to_owned(), None)]));
    backend.route(&[(Who::Latest, 100)], &[("blue", None), ("green", None)]).await?;
    assert_eq!(backend.routed().await?, (vec![(second, 100)], Vec::new()));
    assert!(!backend.live().await?.pinned());
    // No setting was touched.
    assert!(backend.plan(&backend.spec(&[("A", "2")])).await?.is_noop());
    Ok(())
}

pub(crate) async fn traffic_that_cannot_be_is_refused(backend: &Backend<'_>) -> Result<()> {
    let nobody = backend.routing(&[(Who::Latest, 100)], &[]).await.expect_err("there is no service");
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
    let [_, second] = backend.two().await?;
    let before = backend.observe().await?.fingerprint;
    let of = async |shares: &[(Who, u8)], tags: &[(&str, Option<Who>)]| {
        Ok::<_, Error>(backend.routing(shares, tags).await.expect_err("it is refused").kind())
    };
    for shares in [&[(Who::Latest, 99)][..], &[(Who::Latest, 100), (Who::Revision(second.clone()), 1)]] {
        assert_eq!(of(shares, &[]).await?, ErrorKind::Usage);
    }
    assert_eq!(of(&[(Who::Tag("blue".into()), 100)], &[]).await?, ErrorKind::NotFound);
    assert_eq!(of(&[], &[("blue", None)]).await?, ErrorKind::NotFound);
    assert_eq!(backend.observe().await?.fingerprint, before);
    let nowhere = Who::Revision(RevisionId(format!("{}-99999-zzz", backend.name)));
    let error = backend.route(&[(nowhere, 100)], &[]).await.expect_err("there is no such revision");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(backend.live().await?.traffic.0.into_iter().collect::<Vec<_>>(), [(second, 100)]);
    Ok(())
}

pub(crate) async fn a_deploy_without_traffic_leaves_who_serves(backend: &Backend<'_>) -> Result<()> {
    let first = backend.deploy(&backend.spec(&[("A", "1")])).await?.revision.expect("a revision");
    let mut quiet = backend.spec(&[("A", "2")]);
    quiet.traffic = NewTraffic::None;
    let plan = backend.plan(&quiet).await?;
    assert_eq!(paths(&plan), ["env.A", "traffic"]);
    let second = run(backend.provider, &backend.cx, &plan).await?.revision.expect("a revision");
    assert_eq!(backend.routed().await?, (vec![(first.clone(), 100)], Vec::new()));
    let live = backend.live().await?;
    assert_eq!((live.latest_ready.as_ref(), live.pinned()), (Some(&second), true));
    assert!(backend.plan(&quiet).await?.is_noop());
    // And then all of it, to the next one or without any.
    let plan = backend.plan(&backend.spec(&[("A", "2")])).await?;
    assert_eq!(paths(&plan), ["traffic"]);
    run(backend.provider, &backend.cx, &plan).await?;
    assert_eq!(backend.routed().await?.0, [(second, 100)]);
    backend.route(&[(Who::Revision(first), 100)], &[]).await?;
    let third = backend.deploy(&backend.spec(&[("A", "3")])).await?.revision.expect("a revision");
    assert_eq!(backend.routed().await?.0, [(third, 100)]);
    assert!(!backend.live().await?.pinned());
    Ok(())
}

pub(crate) async fn a_first_deploy_without_traffic_is_refused(backend: &Backend<'_>) -> Result<()> {
    let mut quiet = backend.spec(&[]);
    quiet.traffic = NewTraffic::None;
    assert_eq!(backend.plan(&quiet).await.expect_err("nobody serves").kind(), ErrorKind::Usage);
    assert!(backend.observe().await?.service.is_none());
    Ok(())
}

pub(crate) async fn a_tag_is_the_revisions_that_it_was_made_for(backend: &Backend<'_>) -> Result<()> {
    let tagged = |value: &str, tag: &str| {
        let mut deploy = backend.spec(&[("A", value)]);
        (deploy.traffic, deploy.tag) = (NewTraffic::None, Some(tag.to_owned()));
        deploy
    };
    let first = tagged("1", "one");
    let mut with_traffic = first.clone();
    with_traffic.traffic = NewTraffic::All;
    let one = backend.deploy(&with_traffic).await?.revision.expect("a revision");
    let at = |tag: &str, revision: &RevisionId| (tag.to_owned(), Some(revision.clone()));
    assert_eq!(backend.routed().await?, (vec![(one.clone(), 100)], vec![at("one", &one)]));
    assert!(backend.plan(&first).await?.is_noop());
    let two = backend.deploy(&tagged("2", "two")).await?.revision.expect("a revision");
    let expected = (vec![(one.clone(), 100)], vec![at("one", &one), at("two", &two)]);
    assert_eq!(backend.routed().await?, expected, "a tag does not move on with the next deploy");
    assert!(backend.plan(&tagged("2", "two")).await?.is_noop());
    // The same one for the next.
    let three = backend.deploy(&tagged("3", "two")).await?.revision.expect("a revision");
    assert_eq!(backend.routed().await?.1, [at("one", &one), at("two", &three)]);
    Ok(())
}

pub(crate) async fn tags_of_others_survive_a_deploy_and_ours_do_not(backend: &Backend<'_>) -> Result<()> {
    let [first, second] = backend.two().await?;
    let by_name = |revision: &RevisionId| Some(Who::Revision(revision.clone()));
    let tags = [
        ("blue", by_name(&first)),
        ("green", by_name(&first)),
        ("next", Some(Who::Latest)),
        ("carrack-old", by_name(&first)),
    ];
    backend.route(&[(Who::Revision(first.clone()), 60), (Who::Latest, 40)], &tags).await?;
    let mut quiet = backend.spec(&[("A", "3")]);
    quiet.traffic = NewTraffic::None;
    backend.deploy(&quiet).await?;
    let at = |tag: &str, revision: Option<&RevisionId>| (tag.to_owned(), revision.cloned());
    let theirs = [at("blue", Some(&first)), at("green", Some(&first)), at("next", None)];
    let (traffic, seen) = backend.routed().await?;
    assert_eq!(traffic, [(first.clone(), 60), (second, 40)]);
    assert_eq!(seen, [&theirs[..1], &[at("carrack-old", Some(&first))], &theirs[1..]].concat(), "it has traffic");
    let writes = backend.plan(&backend.spec(&[("A", "4")])).await?;
    assert_eq!((writes.steps.len(), paths(&writes)), (1, vec!["env.A", "traffic", "tags.carrack-old"]));
    run(backend.provider, &backend.cx, &writes).await?;
    assert_eq!(backend.routed().await?.1, theirs);
    Ok(())
}

pub(crate) async fn a_stale_plan_of_traffic_is_a_conflict(backend: &Backend<'_>) -> Result<()> {
    let [first, second] = backend.two().await?;
    let stale = backend.routing(&[(Who::Revision(first.clone()), 100)], &[]).await?;
    backend.route(&[(Who::Revision(first.clone()), 50), (Who::Latest, 50)], &[]).await?;
    let error = run(backend.provider, &backend.cx, &stale).await.expect_err("a conflict");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(backend.routed().await?.0, [(first, 50), (second, 50)]);
    Ok(())
}
