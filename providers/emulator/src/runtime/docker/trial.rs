//! Whether an engine that answers also runs containers: a program of a few bytes that only exits.
use std::time::Duration;

use bollard::Docker;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::{
    container::ended,
    engine::{self, Abilities, Plan, explain},
    import::{self, Found},
};

/// Best first.
const COMBINATIONS: [Abilities; 6] = [
    Abilities { init: true, memory: true, processes: true },
    Abilities { init: false, memory: true, processes: true },
    Abilities { init: true, memory: true, processes: false },
    Abilities { init: false, memory: true, processes: false },
    Abilities { init: true, memory: false, processes: false },
    Abilities { init: false, memory: false, processes: false },
];
const MEMORY: u64 = 64 << 20;
/// The program exits at once; an engine may be busy.
const END: Duration = Duration::from_secs(30);

/// What this engine can do, or why it runs nothing. In either case nothing of the trial is left in it; a caller that
/// does not wait so long lets it run on, for only then is that so.
pub(super) async fn run(docker: &Docker, instance: &str) -> Result<Abilities, String> {
    let trial = uuid::Uuid::new_v4().simple().to_string();
    let image = format!("{}:trial-{trial}", engine::repository(instance));
    let result = find(docker, instance, &trial, &image).await;
    // One whose creation was not answered in time has only its label.
    if let Err(error) = engine::remove_labelled(docker, &engine::trial_label(&trial)).await {
        tracing::debug!(error, "a trial container stays in the engine");
    }
    import::remove_if_possible(docker, &image).await;
    result
}

async fn find(docker: &Docker, instance: &str, trial: &str, image: &str) -> Result<Abilities, String> {
    let version = docker.version().await.map_err(|error| explain(&error))?;
    let architecture = version.arch.unwrap_or_default();
    let program = program(&architecture)
        .ok_or_else(|| format!("its machine is `{architecture}`, and images here are for amd64 or arm64"))?;
    import::load_bytes(docker, archive(&program, &architecture, image).map_err(|error| error.to_string())?)
        .await
        .map_err(|error| explain(&error))?;
    let mut first = None;
    for abilities in COMBINATIONS {
        match attempt(docker, instance, trial, image, abilities).await {
            Ok(()) => return Ok(abilities),
            Err(text) => {
                tracing::debug!(?abilities, text, "a trial container does not run");
                first.get_or_insert(text);
            }
        }
    }
    Err(format!("it answers, and runs no container: {}", first.unwrap_or_default()))
}

async fn attempt(
    docker: &Docker,
    instance: &str,
    trial: &str,
    image: &str,
    abilities: Abilities,
) -> Result<(), String> {
    let plan = Plan {
        name: format!("carrack-trial-{}", uuid::Uuid::new_v4().simple()),
        instance: instance.to_owned(),
        image: Found { name: image.to_owned(), has_healthcheck: false },
        arguments: vec!["/trial".to_owned()],
        environment: Vec::new(),
        working_dir: "/".to_owned(),
        ports: vec![8080],
        mounts: Vec::new(),
        binds: Vec::new(),
        joins: None,
        memory: Some(MEMORY),
        abilities,
        trial: Some(trial.to_owned()),
    };
    let id = engine::create(docker, plan).await.map_err(|error| explain(&error))?;
    let result = match docker.start_container(&id, None).await {
        Ok(()) => match timeout(END, ended(docker, &id)).await.map(|exit| exit.code) {
            Ok(Some(0)) => Ok(()),
            Ok(code) => Err(format!("a program that only exits ended with {code:?}")),
            Err(_) => Err(format!("a program that only exits did not end within {} s", END.as_secs())),
        },
        Err(error) => Err(explain(&error)),
    };
    // What does not go now is found by its label.
    let _ = engine::remove(docker, &id).await;
    result
}

/// `exit(0)`, as a static program. <https://man7.org/linux/man-pages/man5/elf.5.html>
fn program(architecture: &str) -> Option<Vec<u8>> {
    let (machine, code): (u16, &[u8]) = match architecture {
        // xor edi, edi; mov eax, 60; syscall
        "amd64" | "x86_64" => (62, &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]),
        // mov x0, 0; mov x8, 93; svc 0
        "arm64" | "aarch64" => (183, &[0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4]),
        _ => return None,
    };
    const HEADERS: u64 = 64 + 56;
    const ADDRESS: u64 = 0x40_0000;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let put = |file: &mut Vec<u8>, bytes: &[u8]| file.extend_from_slice(bytes);
    put(&mut file, &2_u16.to_le_bytes());
    put(&mut file, &machine.to_le_bytes());
    put(&mut file, &1_u32.to_le_bytes());
    // Entry, program headers, no section headers, no flags.
    for number in [ADDRESS + HEADERS, 64, 0] {
        put(&mut file, &number.to_le_bytes());
    }
    put(&mut file, &0_u32.to_le_bytes());
    for number in [64_u16, 56, 1, 64, 0, 0] {
        put(&mut file, &number.to_le_bytes());
    }
    // One segment to load, readable and executable: all of the file.
    for number in [1_u32, 5] {
        put(&mut file, &number.to_le_bytes());
    }
    let size = HEADERS + code.len() as u64;
    for number in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        put(&mut file, &number.to_le_bytes());
    }
    put(&mut file, code);
    Some(file)
}

/// An image of that program alone.
fn archive(program: &[u8], architecture: &str, name: &str) -> std::io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    import::append(&mut layer, "trial", 0o755, program)?;
    // No other trial has this layer: Podman loses one that two images have, when one of them goes.
    import::append(&mut layer, "name", 0o644, name.as_bytes())?;
    let layer = layer.into_inner()?;
    let architecture = if architecture == "x86_64" { "amd64" } else { architecture };
    let configuration = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let manifest = import::manifest("config.json", name, vec!["layer.tar".to_owned()]);
    let mut archive = tar::Builder::new(Vec::new());
    import::append(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
    import::append(&mut archive, "config.json", 0o644, configuration.to_string().as_bytes())?;
    import::append(&mut archive, "layer.tar", 0o644, &layer)?;
    archive.into_inner()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    #[test]
    fn the_program_exits_with_zero() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trial");
        std::fs::write(&path, program(std::env::consts::ARCH).unwrap()).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        // Another test that forks just now may hold the file open for writing.
        let status = loop {
            match Command::new(&path).status() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                status => break status.unwrap(),
            }
        };
        assert!(status.success(), "{status}");
        assert_eq!(program("s390x"), None);
    }
}
