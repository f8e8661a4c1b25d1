//! A small registry for tests: strict about what it is sent, and able to misbehave on request.
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use super::layout::digest_of;

/// One request's head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    /// Whose number this is among the requests of its method so far, from 1.
    pub(crate) number: usize,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
    fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.target.split_once('?')?.1.split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// What a hook does instead of the registry.
#[derive(Clone, Debug)]
pub(crate) enum Instead {
    /// Answers so, with the body read.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Reads a part of the body and drops the connection.
    Reset,
    /// Answers with so many bytes of what it would have answered, and drops the connection.
    Cut(usize),
    /// Answers with every byte, and drops the connection before it says that this is all.
    Unended,
    /// Reads no body, answers nothing, and keeps the connection.
    Hold,
    /// Does what it is asked for, and drops the connection instead of answering.
    Lose,
}

type Hook = Box<dyn Fn(&Head) -> Option<Instead> + Send + Sync>;

/// How the registry behaves.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// `Location` headers name the host.
    pub(crate) absolute_locations: bool,
    /// Blob uploads that must be under way together before any is answered.
    pub(crate) together: usize,
    /// A session outlives a connection that broke, and says how far it is.
    pub(crate) resumes: bool,
    /// Takes blobs from its other repositories.
    pub(crate) mounts: bool,
    /// Answers a part of a blob with the whole.
    pub(crate) ignores_ranges: bool,
    /// What it says it stored.
    pub(crate) stored_digest: Option<String>,
    /// Looked at before anything else.
    pub(crate) hook: Option<Hook>,
}

#[derive(Default)]
struct Stored {
    /// `REPOSITORY@DIGEST`.
    blobs: HashMap<String, Vec<u8>>,
    /// `REPOSITORY NAME`.
    manifests: HashMap<String, Vec<u8>>,
    /// Sessions that wait for their PUT, and what came of each.
    sessions: HashMap<String, Vec<u8>>,
    begun: usize,
    requests: Vec<Head>,
    /// From the beginning of a session to its answered PUT.
    uploading: usize,
    most_uploading: usize,
    gathered: usize,
}

struct Shared {
    address: SocketAddr,
    behaviour: Behaviour,
    stored: Mutex<Stored>,
    changed: Condvar,
}

/// The running registry; its threads end with the test process.
pub(crate) struct TestRegistry(Arc<Shared>);

impl TestRegistry {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let shared = Arc::new(Shared {
            address: listener.local_addr().expect("an address"),
            behaviour,
            stored: Mutex::default(),
            changed: Condvar::new(),
        });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                thread::spawn(move || shared.serve(connection));
            }
        });
        Self(shared)
    }

    pub(crate) fn host(&self) -> String {
        self.0.address.to_string()
    }

    /// The requests so far as `METHOD TARGET`, those of `method` alone when it is given.
    pub(crate) fn requests(&self, method: &str) -> Vec<String> {
        let stored = self.0.stored.lock().expect("lock");
        let chosen = stored.requests.iter().filter(|head| method.is_empty() || head.method == method);
        chosen.map(|head| format!("{} {}", head.method, head.target)).collect()
    }

    pub(crate) fn heads(&self) -> Vec<Head> {
        self.0.stored.lock().expect("lock").requests.clone()
    }

    pub(crate) fn forget_requests(&self) {
        self.0.stored.lock().expect("lock").requests.clear();
    }

    pub(crate) fn blobs(&self) -> usize {
        self.0.stored.lock().expect("lock").blobs.len()
    }

    /// Puts a blob into a repository.
    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        self.0.stored.lock().expect("lock").blobs.insert(format!("{repository}@{digest}"), bytes.to_owned());
        digest
    }

    /// Has these bytes where another digest is asked for.
    pub(crate) fn put_lie(&self, repository: &str, digest: &str, bytes: &[u8]) {
        self.0.stored.lock().expect("lock").blobs.insert(format!("{repository}@{digest}"), bytes.to_owned());
    }

    /// Puts a manifest under a name and its digest.
    pub(crate) fn put_manifest(&self, repository: &str, name: &str, manifest: &serde_json::Value) -> String {
        let bytes = serde_json::to_vec(manifest).expect("json");
        let digest = digest_of(&bytes);
        let mut stored = self.0.stored.lock().expect("lock");
        stored.manifests.insert(format!("{repository} {name}"), bytes.clone());
        stored.manifests.insert(format!("{repository} {digest}"), bytes);
        digest
    }

    /// Sessions that nobody ended.
    pub(crate) fn open_sessions(&self) -> usize {
        self.0.stored.lock().expect("lock").sessions.len()
    }

    pub(crate) fn manifest(&self, name: &str) -> Option<Vec<u8>> {
        let stored = self.0.stored.lock().expect("lock");
        stored.manifests.iter().find(|(key, _)| key.ends_with(&format!(" {name}"))).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn most_uploads_at_once(&self) -> usize {
        self.0.stored.lock().expect("lock").most_uploading
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn reply(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), body: Vec::new() }
}

fn problem(status: u16, code: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
    Reply { body: body.into(), ..reply(status) }
}

impl Shared {
    fn serve(&self, connection: TcpStream) {
        let Ok(mut writer) = connection.try_clone() else {
            return;
        };
        let mut reader = BufReader::new(connection);
        while let Some(mut head) = read_head(&mut reader) {
            {
                let mut stored = self.stored.lock().expect("lock");
                let earlier = stored.requests.iter().filter(|other| other.method == head.method);
                head.number = earlier.count() + 1;
                stored.requests.push(head.clone());
            }
            let length: usize = head.header("content-length").parse().unwrap_or(0);
            let instead = self.behaviour.hook.as_ref().and_then(|hook| hook(&head));
            if matches!(instead, Some(Instead::Hold)) {
                loop {
                    thread::park();
                }
            }
            let mut body = vec![0; if matches!(instead, Some(Instead::Reset)) { length / 2 } else { length }];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            let most = if let Some(Instead::Cut(most)) = &instead { *most } else { usize::MAX };
            let reply = match instead {
                Some(Instead::Reset) => {
                    let mut stored = self.stored.lock().expect("lock");
                    if !self.behaviour.resumes {
                        // The session knows a part of the blob now, and is of no use any more.
                        stored.sessions.remove(head.path());
                    } else if let Some(session) = stored.sessions.get_mut(head.path()) {
                        session.extend(body);
                    }
                    return;
                }
                Some(Instead::Answer(status, headers, body)) => Reply { status, headers, body: body.into() },
                Some(Instead::Lose) => {
                    self.answer(&head, body);
                    return;
                }
                Some(Instead::Unended) => {
                    write_unended(&mut writer, self.answer(&head, body));
                    return;
                }
                Some(Instead::Cut(_) | Instead::Hold) | None => self.answer(&head, body),
            };
            if write_reply(&mut writer, &head, reply, most).is_none() || most < usize::MAX {
                return;
            }
        }
    }

    fn answer(&self, head: &Head, body: Vec<u8>) -> Reply {
        let path = head.path();
        let Some((_, rest)) = path.split_once("/v2/") else {
            return reply(404);
        };
        if let Some((repository, digest)) = rest.split_once("/blobs/sha256:") {
            return self.blob(head, &format!("{repository}@sha256:{digest}"));
        }
        if let Some((repository, _)) = rest.split_once("/blobs/uploads/") {
            return match head.method.as_str() {
                "POST" => self.mount(head, repository).unwrap_or_else(|| self.begin(path)),
                "PUT" => self.end(head, repository, body),
                "PATCH" => self.append(head, body),
                "GET" => self.progress(head),
                "DELETE" => {
                    let known = self.stored.lock().expect("lock").sessions.remove(head.path()).is_some();
                    reply(if known { 204 } else { 404 })
                }
                _ => reply(405),
            };
        }
        match rest.split_once("/manifests/") {
            Some((repository, name)) => self.manifest(head, repository, name, body),
            None => problem(404, "UNSUPPORTED"),
        }
    }

    fn blob(&self, head: &Head, key: &str) -> Reply {
        let stored = self.stored.lock().expect("lock");
        let Some(bytes) = stored.blobs.get(key) else { return problem(404, "BLOB_UNKNOWN") };
        let from = head.header("range").trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>();
        match from {
            Ok(from) if from >= bytes.len() && !self.behaviour.ignores_ranges => reply(416),
            Ok(from) if !self.behaviour.ignores_ranges => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply { headers: vec![("Content-Range", range)], body: bytes[from..].to_owned(), ..reply(206) }
            }
            _ => Reply { body: bytes.clone(), ..reply(200) },
        }
    }

    /// `None` opens a session instead.
    fn mount(&self, head: &Head, repository: &str) -> Option<Reply> {
        let mut stored = self.stored.lock().expect("lock");
        let plain = |text: &str| text.replace("%3A", ":").replace("%2F", "/");
        let (digest, from) = (plain(head.query("mount")?), plain(head.query("from")?));
        let bytes = stored.blobs.get(&format!("{from}@{digest}")).filter(|_| self.behaviour.mounts)?.clone();
        stored.blobs.insert(format!("{repository}@{digest}"), bytes);
        let location = format!("/v2/{repository}/blobs/{digest}");
        Some(Reply { headers: vec![("Location", location), ("Docker-Content-Digest", digest)], ..reply(201) })
    }

    fn append(&self, head: &Head, body: Vec<u8>) -> Reply {
        let mut stored = self.stored.lock().expect("lock");
        let Some(session) = stored.sessions.get_mut(head.path()) else { return problem(404, "BLOB_UPLOAD_UNKNOWN") };
        let expected = format!("{}-{}", session.len(), (session.len() + body.len()).saturating_sub(1));
        if head.header("content-range") != expected {
            return problem(416, "BLOB_UPLOAD_INVALID");
        }
        session.extend(body);
        Reply { headers: vec![("Location", head.target.clone())], ..reply(202) }
    }

    fn progress(&self, head: &Head) -> Reply {
        let stored = self.stored.lock().expect("lock");
        let Some(session) = stored.sessions.get(head.path()) else { return problem(404, "BLOB_UPLOAD_UNKNOWN") };
        let range = format!("0-{}", session.len().saturating_sub(1));
        Reply { headers: vec![("Location", head.target.clone()), ("Range", range)], ..reply(204) }
    }

    fn begin(&self, path: &str) -> Reply {
        let mut stored = self.stored.lock().expect("lock");
        stored.uploading += 1;
        stored.most_uploading = stored.most_uploading.max(stored.uploading);
        stored.begun += 1;
        let session = format!("{path}session-{}", stored.begun);
        let host = if self.behaviour.absolute_locations { format!("http://{}", self.address) } else { String::new() };
        // A state that must come back to the letter.
        let location = format!("{host}{session}?_state=a%2Fb+c%3D");
        stored.sessions.insert(session, Vec::new());
        Reply { headers: vec![("Location", location)], ..reply(202) }
    }

    fn end(&self, head: &Head, repository: &str, body: Vec<u8>) -> Reply {
        let mut stored = self.stored.lock().expect("lock");
        let Some(mut whole) = stored.sessions.remove(head.path()) else {
            return problem(404, "BLOB_UPLOAD_UNKNOWN");
        };
        whole.extend(body);
        if head.query("_state") != Some("a%2Fb+c%3D") {
            return problem(400, "BLOB_UPLOAD_INVALID");
        }
        stored.gathered += 1;
        self.changed.notify_all();
        let wanted = self.behaviour.together;
        let (mut stored, late) = self
            .changed
            .wait_timeout_while(stored, Duration::from_secs(20), |stored| stored.gathered < wanted)
            .expect("lock");
        stored.uploading -= 1;
        let digest = digest_of(&whole);
        if late.timed_out() || head.query("digest").map(|text| text.replace("%3A", ":")) != Some(digest.clone()) {
            return problem(400, "DIGEST_INVALID");
        }
        stored.blobs.insert(format!("{repository}@{digest}"), whole);
        Reply { headers: vec![("Docker-Content-Digest", digest)], ..reply(201) }
    }

    fn manifest(&self, head: &Head, repository: &str, name: &str, body: Vec<u8>) -> Reply {
        let mut stored = self.stored.lock().expect("lock");
        if head.method == "PUT" {
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            if value["mediaType"].as_str() != Some(head.header("content-type")) {
                return problem(400, "MANIFEST_INVALID");
            }
            let layers = value["layers"].as_array().cloned().unwrap_or_default();
            let mut blobs = layers.iter().chain([&value["config"]]);
            let key =
                |blob: &serde_json::Value| format!("{repository}@{}", blob["digest"].as_str().unwrap_or_default());
            if !blobs.all(|blob| stored.blobs.contains_key(&key(blob))) {
                return problem(404, "MANIFEST_BLOB_UNKNOWN");
            }
            stored.manifests.insert(format!("{repository} {name}"), body.clone());
            stored.manifests.insert(format!("{repository} {}", digest_of(&body)), body.clone());
            let said = self.behaviour.stored_digest.clone();
            return Reply {
                headers: vec![("Docker-Content-Digest", said.unwrap_or_else(|| digest_of(&body)))],
                ..reply(201)
            };
        }
        match stored.manifests.get(&format!("{repository} {name}")) {
            Some(bytes) => {
                Reply { headers: vec![("Docker-Content-Digest", digest_of(bytes))], body: bytes.clone(), ..reply(200) }
            }
            None => problem(404, "MANIFEST_UNKNOWN"),
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<Head> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Head { method, target, headers, number: 0 })
}

/// A body whose length is not told before its end, without that end.
fn write_unended(writer: &mut TcpStream, reply: Reply) -> Option<()> {
    let head = format!("HTTP/1.1 {} Status\r\nTransfer-Encoding: chunked\r\n\r\n", reply.status);
    let length = format!("{:x}\r\n", reply.body.len());
    writer.write_all(&[head.as_bytes(), length.as_bytes(), &reply.body, b"\r\n"].concat()).ok()
}

fn write_reply(writer: &mut TcpStream, head: &Head, reply: Reply, most: usize) -> Option<()> {
    let mut text = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    if head.method != "HEAD" {
        bytes.extend(&reply.body[..reply.body.len().min(most)]);
    }
    writer.write_all(&bytes).ok()
}
