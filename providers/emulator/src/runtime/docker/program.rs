//! Looks into a container that is not started yet and says why its program could not start, in the words of the
//! other runtimes. An engine's first process starts in any case, and would only end at once. What cannot be found
//! out is left to the engine.
use std::time::Duration;

use bollard::{
    Docker, body_full,
    query_parameters::{ContainerArchiveInfoOptions, DownloadFromContainerOptions, UploadToContainerOptions},
};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::engine::is_missing;
use crate::runtime::launcher::{
    message::Program,
    program::{HEAD_BYTES, candidates, check_mode, loader, missing, without_loader},
};

/// As many links as Linux follows.
const LINKS: usize = 40;
/// Headers of a tar archive before a file's first bytes.
const ARCHIVE_BYTES: usize = 16 << 10;

/// For all questions about one program.
const CHECK: Duration = Duration::from_secs(10);

/// Kinds of files as Go counts them. <https://pkg.go.dev/io/fs#FileMode>
const FOLDER: u32 = 1 << 31;
const LINK: u32 = 1 << 27;

enum Found {
    Missing,
    File {
        path: String,
        mode: u32,
    },
    Folder,
    /// The engine cannot tell.
    Unknown,
}

/// Makes the working directory when the image does not have it, as Docker does, and Podman does not.
pub(super) async fn make_working_dir(docker: &Docker, container: &str, path: &str) {
    if !matches!(look(docker, container, path).await, Found::Missing) {
        return;
    }
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    let relative = path.trim_matches('/');
    let archive = archive.append_data(&mut header, relative, std::io::empty()).and_then(|()| archive.into_inner());
    let Ok(archive) = archive else { return };
    let options = UploadToContainerOptions { path: "/".to_owned(), ..UploadToContainerOptions::default() };
    // The engine says what is wrong with a path that cannot be made.
    let _ = docker.upload_to_container(container, Some(options), body_full(archive.into())).await;
}

/// Why `program` cannot start. An image names as many folders in PATH as it likes, so what takes too long is left to
/// the engine as well.
pub(super) async fn check(docker: &Docker, container: &str, program: &Program) -> Result<(), String> {
    check_within(CHECK, docker, container, program).await
}

pub(super) async fn check_within(
    limit: Duration,
    docker: &Docker,
    container: &str,
    program: &Program,
) -> Result<(), String> {
    timeout(limit, try_check(docker, container, program)).await.unwrap_or(Ok(()))
}

async fn try_check(docker: &Docker, container: &str, program: &Program) -> Result<(), String> {
    let Some(name) = program.arguments.first() else { return Ok(()) };
    let path = program.environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let mut refusal = missing(name, path);
    for candidate in candidates(name, path, &program.working_dir) {
        match look(docker, container, &candidate).await {
            Found::Missing => {}
            Found::Unknown => return Ok(()),
            Found::Folder => refusal = format!("cannot start `{name}`: it is a folder"),
            Found::File { path, mode } => match startable(docker, container, &path, mode).await {
                Ok(()) => return Ok(()),
                Err(why) => refusal = format!("cannot start `{name}`: {why}"),
            },
        }
    }
    Err(refusal)
}

async fn startable(docker: &Docker, container: &str, path: &str, mode: u32) -> Result<(), String> {
    check_mode(mode)?;
    let Some(head) = head(docker, container, path).await else { return Ok(()) };
    match loader(&head)? {
        Some(loader) if matches!(look(docker, container, &loader).await, Found::Missing) => {
            Err(without_loader(&head, &loader))
        }
        _ => Ok(()),
    }
}

/// What is at `path`, links followed.
async fn look(docker: &Docker, container: &str, path: &str) -> Found {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let options = ContainerArchiveInfoOptions { path: path.clone() };
        let found = match docker.get_container_archive_info(container, Some(options)).await {
            Ok(found) => found,
            Err(error) if is_missing(&error) => return Found::Missing,
            Err(_) => return Found::Unknown,
        };
        if found.file_mode & LINK == 0 {
            return match found.file_mode & FOLDER {
                0 => Found::File { path, mode: found.file_mode },
                _ => Found::Folder,
            };
        }
        path = match found.link_target {
            target if target.starts_with('/') => target,
            target => format!("{}/{target}", path.rsplit_once('/').map_or("", |(parent, _)| parent)),
        };
    }
    Found::Unknown
}

/// The first bytes of a file; none when the engine does not give them.
async fn head(docker: &Docker, container: &str, path: &str) -> Option<Vec<u8>> {
    let options = DownloadFromContainerOptions { path: path.to_owned() };
    let mut pieces = docker.download_from_container(container, Some(options));
    let limit = usize::try_from(HEAD_BYTES).ok()? + ARCHIVE_BYTES;
    let mut archive = Vec::new();
    while archive.len() < limit
        && let Some(piece) = pieces.next().await
    {
        archive.extend_from_slice(&piece.ok()?);
    }
    first_file(&archive)
}

/// The first file's beginning in an archive that may be cut off.
fn first_file(archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    let size = usize::try_from(entry.size().min(HEAD_BYTES)).ok()?;
    let mut head = vec![0; size];
    std::io::Read::read_exact(&mut entry, &mut head).ok()?;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_file_is_in_the_head_of_its_archive() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut archive = tar::Builder::new(Vec::new());
        super::super::import::append(&mut archive, "app", 0o755, &bytes).unwrap();
        let archive = archive.into_inner().unwrap();
        let head = HEAD_BYTES as usize;
        assert_eq!(first_file(&archive[..head + ARCHIVE_BYTES]), Some(bytes[..head].to_vec()));
        assert_eq!(first_file(&archive[..1024]), None);
        assert_eq!(first_file(b""), None);
    }
}
