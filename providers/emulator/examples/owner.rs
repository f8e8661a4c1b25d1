//! Two containers of one instance and their owner, as a process of its own: the tests kill it, run it as another
//! user, and take its rights away. `owner KIND FOLDER LAUNCHER INSTANCE LAYER DIGEST ARGUMENT…`, where KIND is `any` or
//! a runtime, and LAYER is a tar archive with `/app`. Says what it reaches line by line, and stops them at the end of
//! its stdin.
#[expect(dead_code, reason = "the modules are the library's own, and this program uses a part of them")]
#[path = "../src/image.rs"]
mod image;
#[expect(dead_code, unreachable_pub, unused_imports, reason = "as above")]
#[path = "../src/runtime/mod.rs"]
mod runtime;

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::sleep,
};

use image::{Blob, Image, ImageConfig, Layer};
use runtime::{Company, EngineSockets, Launch, RuntimeKind, choose};

fn say(text: &str) {
    // A test that no longer reads has failed already.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, kind, folder, launcher, instance, layer, digest, rest @ ..] = &arguments[..] else {
        return ExitCode::FAILURE;
    };
    let kind = match kind.as_str() {
        "namespace" => Some(RuntimeKind::Namespace),
        "process" => Some(RuntimeKind::Process),
        _ => None,
    };
    let image = Image {
        reference: "test".to_owned(),
        digest: digest.clone(),
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        config: ImageConfig { entrypoint: vec!["/app".to_owned()], ..ImageConfig::default() },
        // Only an engine needs it.
        configuration: Blob { digest: String::new(), path: PathBuf::new() },
        layers: vec![Layer {
            digest: digest.clone(),
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
            path: PathBuf::from(layer),
        }],
    };
    let Ok(tokio) = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() else {
        return ExitCode::FAILURE;
    };
    match tokio.block_on(own(kind, Path::new(folder), Path::new(launcher), instance, image, rest)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            say(&format!("failed: {text}"));
            ExitCode::FAILURE
        }
    }
}

async fn own(
    kind: Option<RuntimeKind>,
    folder: &Path,
    launcher: &Path,
    instance: &str,
    image: Image,
    arguments: &[String],
) -> Result<(), String> {
    let runtime =
        choose(kind, folder, launcher, instance, &EngineSockets::default()).await.map_err(|error| error.to_string())?;
    say(&format!("runtime: {}", runtime.kind()));
    let launch = |id: &str, args: Vec<String>, company: Company| Launch {
        id: id.to_owned(),
        image: image.clone(),
        command: Vec::new(),
        args,
        env: Vec::new(),
        working_dir: None,
        port: matches!(company, Company::First(_)).then_some(80),
        reached: Vec::new(),
        memory: None,
        mounts: Vec::new(),
        company,
        output: mpsc::channel(1).0,
    };
    let failed = |error| format!("{error:?}");
    let container =
        runtime.launch(launch("one", arguments.to_vec(), Company::First(Vec::new()))).await.map_err(failed)?;
    let words = ["stubborn", "daemon", "wait"].map(str::to_owned).to_vec();
    let beside = runtime.launch(launch("two", words, Company::Joins(container.clone()))).await.map_err(failed)?;
    let mut stream = loop {
        match container.connect(80).await {
            Ok(stream) => break stream,
            // There is no other sign that a program listens than that it does.
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    };
    stream.write_all(b"hello\n").await.map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
    say(&format!("answer: {answer}"));
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    beside.stop(Duration::ZERO).await;
    say(&format!("exit: {:?}", container.stop(Duration::from_secs(10)).await));
    Ok(())
}
