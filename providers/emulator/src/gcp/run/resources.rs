//! Which CPU, memory and concurrency go together.
use serde_json::Value;

use super::{
    rules::invalid,
    template::{self, DEFAULT_INSTANCES, cpu_millis, memory_bytes, parse_cpu, parse_memory},
};
use crate::gcp::status::Status;

const MAX_CONCURRENCY: i64 = 1000;
const MIN_CPU_MILLIS: u64 = 80;
const MEBIBYTE: u64 = 1 << 20;
/// In MiB.
const LEAST: u64 = 128;
/// In MiB, in the second generation.
pub(super) const SECOND_LEAST: u64 = 512;
/// Whole CPUs, and the memory that goes with them, in MiB.
/// <https://cloud.google.com/run/docs/configuring/memory-limits#cpu-minimum>
const CPU_MEMORY: [(u64, u64, u64); 5] =
    [(1000, 128, 4096), (2000, 128, 8192), (4000, 2048, 16_384), (6000, 4096, 24_576), (8000, 4096, 32_768)];

/// `at` = where the template is in its resource.
pub(super) fn check(at: &str, template: &Value) -> Result<(), Status> {
    let empty = Vec::new();
    let containers = template["containers"].as_array().unwrap_or(&empty);
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{at}.containers[{index}].resources.limits");
        for (name, limit) in container["resources"]["limits"].as_object().into_iter().flatten() {
            let limit = limit.as_str().unwrap_or_default();
            let readable = match name.as_str() {
                "cpu" => parse_cpu(limit).is_some(),
                "memory" => parse_memory(limit).is_some(),
                "nvidia.com/gpu" => limit == "1",
                _ => {
                    return Err(invalid(
                        &path,
                        &format!(
                            "Unsupported resource '{name}'. Only 'cpu', 'memory' and 'nvidia.com/gpu' are supported."
                        ),
                    ));
                }
            };
            if !readable {
                return Err(invalid(&format!("{path}.{name}"), &format!("Invalid value specified for {name}.")));
            }
        }
    }
    let (Some(cpu), Some(memory)) = (cpu_millis(template), memory_bytes(template)) else {
        return Err(invalid(&format!("{at}.containers.resources.limits"), "Invalid value specified for cpu."));
    };
    let concurrency = template["maxInstanceRequestConcurrency"].as_i64().unwrap_or(0);
    if !(0..=MAX_CONCURRENCY).contains(&concurrency) {
        return Err(invalid(&format!("{at}.max_instance_request_concurrency"), "must be between 0 and 1000."));
    }
    let path = format!("{at}.containers.resources.limits");
    if cpu < 1000 && concurrency > 1 {
        return Err(invalid(
            &format!("{path}.cpu"),
            "Invalid value specified for cpu. Total cpu < 1 is not supported with concurrency > 1.",
        ));
    }
    // Sidecars add up to pairs that no single container may have.
    if containers.len() > 1 {
        return Ok(());
    }
    // https://cloud.google.com/run/docs/about-execution-environments
    let second = template::shown(template.clone())["executionEnvironment"] == "EXECUTION_ENVIRONMENT_GEN2";
    let (least, most) = match CPU_MEMORY.iter().find(|(pair, _, _)| *pair == cpu) {
        Some((_, least, most)) => (*least, *most),
        None if (MIN_CPU_MILLIS..1000).contains(&cpu) => (LEAST, 4096),
        None => {
            return Err(invalid(
                &format!("{path}.cpu"),
                "Invalid value specified for cpu. The following values are supported: 1, 2, 4, 6, 8, and from 0.08 to less than 1.",
            ));
        }
    };
    let least = if second { least.max(SECOND_LEAST) } else { least };
    if (least * MEBIBYTE..=most * MEBIBYTE).contains(&memory) {
        return Ok(());
    }
    Err(invalid(
        &format!("{path}.memory"),
        &format!(
            "Invalid value specified for memory{}. For {} CPU, memory must be between {} and {} inclusive.",
            if second { " with gen2 execution environment" } else { "" },
            whole(cpu),
            size(least),
            size(most)
        ),
    ))
}

/// What all instances of a revision may have together; every project and region has its own figures, and these are
/// those of a larger one: <https://cloud.google.com/run/docs/configuring/max-instances-limits>
const REGION_CPU_MILLIS: u64 = 200_000;
const REGION_MEMORY: u64 = 400 << 30;

/// How many instances the quota of the region has room for.
pub(super) fn room(template: &Value) -> u64 {
    let cpu = cpu_millis(template).map_or(u64::MAX, |millis| REGION_CPU_MILLIS / millis.max(1));
    let memory = memory_bytes(template).map_or(u64::MAX, |bytes| REGION_MEMORY / bytes.max(1));
    cpu.min(memory)
}

/// The most instances that somebody asked for have to fit into the quota; what Google fills in is made to fit.
pub(super) fn quota(template: &Value) -> Result<(), Status> {
    let most = template["scaling"]["maxInstanceCount"].as_u64().unwrap_or(0);
    let room = room(template);
    if most <= room.max(DEFAULT_INSTANCES as u64) {
        return Ok(());
    }
    let all = |one: Option<u64>| one.unwrap_or(0).saturating_mul(most);
    let (cpu, memory) = (all(cpu_millis(template)), all(memory_bytes(template)));
    let mut text =
        format!("Max instances must be set to {room} or fewer to set the requested total CPU.\n\nQuota violated:");
    for (name, asked, allowed) in
        [("CpuAllocPerProjectRegion", cpu, REGION_CPU_MILLIS), ("MemAllocPerProjectRegion", memory, REGION_MEMORY)]
    {
        if asked > allowed {
            text += &format!("\n{name} requested: {asked} allowed: {allowed}");
        }
    }
    Err(invalid("template.scaling.max_instance_count", &text))
}

/// `1.0`, `0.5`.
fn whole(millis: u64) -> String {
    if millis.is_multiple_of(1000) {
        format!("{}.0", millis / 1000)
    } else {
        format!("0.{:03}", millis).trim_end_matches('0').to_owned()
    }
}

fn size(mebibytes: u64) -> String {
    if mebibytes.is_multiple_of(1024) { format!("{}Gi", mebibytes / 1024) } else { format!("{mebibytes}Mi") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::gcp::run::rules::tests::refusal;

    #[test]
    fn pairs_of_cpu_and_memory() {
        let limits = |cpu: &str, memory: &str| {
            let limits = json!({ "limits": { "cpu": cpu, "memory": memory }, "cpuIdle": true });
            refusal(|spec| spec["template"]["containers"][0]["resources"] = limits)
        };
        for (cpu, memory) in
            [("1", "512Mi"), ("500m", "512Mi"), ("4", "2Gi"), ("8", "32Gi"), ("0.08", "128Mi"), ("1", "256Mi")]
        {
            assert_eq!(limits(cpu, memory), None, "{cpu} {memory}");
        }
        for (cpu, memory, text) in [
            (
                "4",
                "1Gi",
                "template.containers.resources.limits.memory: Invalid value specified for memory with gen2 execution environment. For 4.0 CPU, memory must be between 2Gi and 16Gi inclusive.",
            ),
            (
                "1",
                "8Gi",
                "template.containers.resources.limits.memory: Invalid value specified for memory with gen2 execution environment. For 1.0 CPU, memory must be between 512Mi and 4Gi inclusive.",
            ),
            ("x", "1Gi", "template.containers[0].resources.limits.cpu: Invalid value specified for cpu."),
            (
                "3",
                "1Gi",
                "template.containers.resources.limits.cpu: Invalid value specified for cpu. The following values are supported: 1, 2, 4, 6, 8, and from 0.08 to less than 1.",
            ),
        ] {
            assert_eq!(limits(cpu, memory).as_deref(), Some(text), "{cpu} {memory}");
        }
    }

    #[test]
    fn half_a_cpu_takes_one_request() {
        let refused = refusal(|spec| {
            spec["template"]["maxInstanceRequestConcurrency"] = json!(80);
            spec["template"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "500m" } });
        });
        let text = "template.containers.resources.limits.cpu: Invalid value specified for cpu. Total cpu < 1 is not supported with concurrency > 1.";
        assert_eq!(refused.as_deref(), Some(text));
    }
}
