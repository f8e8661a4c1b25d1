//! One container's part of a template.
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    plan::{Plan, Wanted},
    secrets, volumes,
};
use crate::{
    gcp::{
        logging::{Logs, Source},
        run::{probe::Probe, template::parse_memory},
    },
    runtime::{Company, Launch, Line, Stream},
};

/// Lines on their way into the log; a container that writes faster waits.
const PENDING_LINES: usize = 1024;

/// In bytes.
pub(super) fn memory(container: &Value) -> Option<u64> {
    container["resources"]["limits"]["memory"].as_str().and_then(parse_memory)
}

/// An unnamed container is called after its service, and its place.
pub(super) fn name(container: &Value, owner: &str, index: usize) -> String {
    container["name"].as_str().map_or_else(|| format!("{owner}-{}", index + 1), str::to_owned)
}

/// Of the first container, everything is connected to by its network.
pub(super) fn reached(plan: &Plan) -> Vec<u16> {
    let probes = |container| {
        let of = move |field: &&str| Probe::parse(Value::get(container, *field)?);
        ["startupProbe", "livenessProbe", "readinessProbe"].iter().filter_map(of)
    };
    plan.containers().iter().flat_map(probes).map(|probe| probe.port()).collect()
}

/// Reads its secrets; the error names the one that cannot be had.
pub(super) fn launch(
    plan: &Plan,
    wanted: &Wanted,
    index: usize,
    company: Company,
    output: mpsc::Sender<Line>,
) -> Result<Launch, String> {
    let container = &plan.containers()[index];
    let reader = secrets::reader(&plan.secrets, &plan.project, &plan.template);
    let texts = |field: &str| -> Vec<String> {
        let values = container[field].as_array().into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let mut env = Vec::new();
    for (place, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        let Some(name) = variable["name"].as_str() else { continue };
        let value = match reader.variable(index, place, variable)? {
            Some(secret) => (*secret).clone(),
            None => variable["value"].as_str().unwrap_or_default().to_owned(),
        };
        env.push((name.to_owned(), value));
    }
    env.extend(wanted.env.iter().cloned());
    let is_main = index == wanted.main;
    let mut reached = reached(plan);
    reached.extend(wanted.port);
    let id = match plan.containers().len() {
        1 => wanted.id.clone(),
        _ => format!("{}-{}", wanted.id, index + 1),
    };
    Ok(Launch {
        id,
        image: plan.images[index].clone(),
        command: texts("command"),
        args: texts("args"),
        env,
        working_dir: container["workingDir"].as_str().map(str::to_owned),
        port: wanted.port.filter(|_| is_main),
        reached,
        memory: memory(container),
        mounts: volumes::mounts(&plan.template, container, reader, &plan.shares)?,
        company,
        output,
    })
}

/// Every line into the log; the task ends with the last one.
pub(super) fn log_lines(logs: &std::sync::Arc<Logs>, source: &Source) -> (mpsc::Sender<Line>, JoinHandle<()>) {
    let (sender, mut lines) = mpsc::channel::<Line>(PENDING_LINES);
    let (logs, source) = (logs.clone(), source.clone());
    let task = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            logs.line(&source, line.stream == Stream::Stderr, &line.text);
        }
    });
    (sender, task)
}
