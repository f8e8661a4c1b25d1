//! One suite, every backend: memory (which checks the suite itself) and the local cloud.
#[path = "../support/mod.rs"]
mod support;

mod cases;
mod faults;
mod jobs;
mod secrets;
mod traffic;

use std::sync::Arc;

use carrack_core::{
    event::Ctx,
    memory::Memory,
    provider::Provider,
    spec::{ImageRef, ServiceName},
};
use libtest_mimic::{Arguments, Failed, Trial};
use support::LocalCloud;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let memory: Arc<dyn Provider> = Arc::new(Memory::default());
    let digest = |letter: &str| ImageRef(format!("memory/app@sha256:{}", letter.repeat(64)));
    add(&mut trials, "memory", move || (Arc::clone(&memory), [digest("a"), digest("b")]));
    // Listing tests starts nothing.
    let cloud = (!arguments.list).then(|| Arc::new(LocalCloud::start()));
    if let Some(cloud) = &cloud {
        let images = [cloud.push_app("one"), cloud.push_app("two")];
        let cloud = Arc::clone(cloud);
        // A client belongs to the runtime that it was first used in, and each case has its own.
        add(&mut trials, "local", move || (cloud.provider(), images.clone()));
    }
    faults::add(&mut trials);
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(cloud);
    conclusion.exit();
}

fn add<F>(trials: &mut Vec<Trial>, backend: &str, parts: F)
where
    F: Fn() -> (Arc<dyn Provider>, [ImageRef; 2]) + Send + Sync + 'static,
{
    let parts = Arc::new(parts);
    for (number, (name, case)) in cases::CASES.iter().enumerate() {
        let parts = Arc::clone(&parts);
        trials.push(Trial::test(format!("{backend}::{name}"), move || {
            let (provider, images) = parts();
            let service = ServiceName::try_from(format!("case-{number}")).map_err(|e| Failed::from(e.to_string()))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let backend = cases::Backend { provider: &*provider, images, name: service, cx: Ctx::silent() };
            runtime.block_on(case(&backend)).map_err(|e| Failed::from(format!("{e:?}")))
        }));
    }
}
