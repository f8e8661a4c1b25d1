//! A neutral job written into a live one: only the fields named, everything else as it was.
use std::collections::BTreeSet;

use carrack_core::{
    Result,
    fields::FieldPath,
    job::{JobSpec, as_service, service_path},
};
use serde_json::{Value, json};

use super::{shape, wire::from_wire};
use crate::run::edit::{edit as edit_service, object, set};

/// What a first deploy starts from.
pub(super) fn empty() -> Value {
    json!({ "template": { "template": { "containers": [{}] } } })
}

/// `raw` with the fields of `write` as `spec` has them, by the rules of a service's.
pub(super) fn edit(raw: &Value, spec: &JobSpec, write: &BTreeSet<FieldPath>) -> Result<Value> {
    let (own, shared): (BTreeSet<&FieldPath>, BTreeSet<&FieldPath>) =
        write.iter().partition(|path| OWN.contains(&path.as_str()));
    let shared = shared.into_iter().map(|path| service_path(path)).collect();
    let mut after = shape::job(raw, &edit_service(&shape::service(raw), &as_service(spec), &shared)?);
    let mut meaning = from_wire(&after)?;
    for path in own {
        let mut next = after.clone();
        write_own(&mut next, spec, path);
        // What means the same already is left as it is written.
        let next_meaning = from_wire(&next)?;
        if next_meaning != meaning {
            (after, meaning) = (next, next_meaning);
        }
    }
    Ok(after)
}

/// What a service does not have.
const OWN: [&str; 4] = ["job.tasks", "job.parallelism", "job.retries", "job.timeout"];

fn write_own(raw: &mut Value, spec: &JobSpec, path: &str) {
    let execution = object(raw, "template");
    match path {
        "job.tasks" => set(execution, "taskCount", spec.tasks.map(Value::from)),
        "job.parallelism" => set(execution, "parallelism", spec.parallelism.map(Value::from)),
        "job.retries" => set(object(execution, "template"), "maxRetries", spec.retries.map(Value::from)),
        _ => {
            let timeout = spec.timeout.map(|timeout| json!(format!("{}s", timeout.as_secs())));
            set(object(execution, "template"), "timeout", timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use carrack_core::{
        job::job_fields,
        spec::{EnvValue, ImageRef, MilliCpu, SecretRef},
    };
    use proptest::{collection::btree_map, option::of, prelude::*};

    use super::*;

    fn spec() -> impl Strategy<Value = JobSpec> {
        let env = btree_map("[A-C]", "[a-z]{0,4}", 0..3);
        let files = btree_map("/[a-c]/key", "[1-9]", 0..2);
        let numbers = (of(1_u32..99), of(0_u32..99), of(0_u32..10), of(1_u64..9999));
        let main = (of("[a-z]{1,9}"), of(prop::collection::vec("[a-z]{1,4}", 1..3)), env, files, of(1_u32..9));
        (main, numbers, btree_map("[a-c]", "[a-z]{0,3}", 0..3)).prop_map(|(main, numbers, labels)| {
            let (image, args, env, files, cpu) = main;
            let (tasks, parallelism, retries, timeout) = numbers;
            let timeout = timeout.map(Duration::from_secs);
            let mut spec = JobSpec { tasks, parallelism, retries, timeout, ..JobSpec::default() };
            let main = &mut spec.workload.main;
            (main.image, main.args, main.cpu) = (image.map(ImageRef), args, cpu.map(|cpu| MilliCpu(cpu * 1000)));
            main.env = env.into_iter().map(|(name, text)| (name, EnvValue::Plain(text))).collect();
            main.mounts =
                files.into_iter().map(|(path, version)| (path, SecretRef { name: "s".to_owned(), version })).collect();
            spec.workload.labels = labels;
            spec
        })
    }

    fn everything(spec: &JobSpec) -> BTreeSet<FieldPath> {
        job_fields(spec).into_keys().collect()
    }

    proptest! {
        /// What is owned becomes as the file says; every other known field, and every unknown one, stays.
        #[test]
        fn an_edit_changes_what_is_owned_and_nothing_else(live in spec(), wanted in spec()) {
            let mut raw = edit(&empty(), &live, &everything(&live)).unwrap();
            raw["unknown"] = json!({ "deep": [1, 2] });
            raw["template"]["unknown"] = json!("kept");
            raw["template"]["template"]["unknown"] = json!(7);
            raw["template"]["template"]["containers"][0]["unknown"] = json!(8);
            let before = job_fields(&from_wire(&raw).unwrap());
            let (asked, write) = (job_fields(&wanted), everything(&wanted));
            let after = edit(&raw, &wanted, &write).unwrap();
            let seen = job_fields(&from_wire(&after).unwrap());
            for (path, value) in &asked {
                prop_assert_eq!(seen.get(path), Some(value), "{}", path);
            }
            for (path, value) in before.iter().filter(|(path, _)| !write.contains(*path)) {
                prop_assert_eq!(seen.get(path), Some(value), "{}", path);
            }
            prop_assert_eq!(&after["unknown"], &raw["unknown"]);
            prop_assert_eq!(&after["template"]["unknown"], "kept");
            prop_assert_eq!(&after["template"]["template"]["unknown"], 7);
            prop_assert_eq!(&after["template"]["template"]["containers"][0]["unknown"], 8);
            prop_assert_eq!(&edit(&after, &wanted, &write).unwrap(), &after, "a second edit changes nothing");
        }
    }
}
