//! Pushes over a line that breaks.
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    run::{ok, stderr},
    support::{LocalCloud, project},
};

/// Passes everything on to `to`, and breaks the connection under which it has passed on so many bytes in all; once.
fn breaking_line(to: String, after: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let passed = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&to).unwrap();
            let (from_client, to_client) = (client.try_clone().unwrap(), client);
            let (from_server, to_server) = (server.try_clone().unwrap(), server);
            let passed = Arc::clone(&passed);
            thread::spawn(move || pass(from_client, to_server, Some((passed, after))));
            thread::spawn(move || pass(from_server, to_client, None));
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream, breaks: Option<(Arc<AtomicU64>, u64)>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if let Some((passed, after)) = &breaks {
            let count = count as u64;
            let before = passed.fetch_add(count, Ordering::Relaxed);
            if before < *after && before + count >= *after {
                break;
            }
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn an_upload_to_the_local_cloud_goes_on_where_the_line_broke() {
    let cloud = LocalCloud::start();
    let line = breaking_line(cloud.registry(), 3 << 20);
    let dir = cloud.dir().join("app");
    let target = format!(
        "[targets.registry]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n\
         repository = \"{line}/local/apps\"\n"
    );
    let file = project(&dir, "shop", &target);
    // Noise, which does not become smaller.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(8 << 20)
    .collect();
    fs::write(dir.join("noise"), noise).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("files = [", "files = [{ from = \"noise\", to = \"/noise\" }, ")).unwrap();
    let output = ok(cloud.carrack().args(["push", "-f"]).arg(&file).output().unwrap());
    let text = stderr(&output);
    assert!(text.contains("Retrying upload of sha256:"), "{text}");
    let writes = cloud.writes();
    let count = |method: &str| writes.iter().filter(|write| write.starts_with(method)).count();
    // One session a blob, and the rest of one of them.
    assert_eq!((count("POST "), count("PATCH ")), (3, 1), "{writes:#?}");
}
