//! A small registry for tests: strict about what it is sent, and able to misbehave on request.
use std::{
    collections::{HashMap, HashSet},
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
}

type Hook = Box<dyn Fn(&Head) -> Option<Instead> + Send + Sync>;

/// How the registry behaves.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// `Location` headers name the host.
    pub(crate) absolute_locations: bool,
    /// Blob uploads that must be under way together before any is answered.
    pub(crate) together: usize,
    /// What it says it stored.
    pub(crate) stored_digest: Option<String>,
    /// Looked at before anything else.
    pub(crate) hook: Option<Hook>,
}

#[derive(Default)]
struct Stored {
    blobs: HashMap<String, Vec<u8>>,
    manifests: HashMap<String, Vec<u8>>,
    /// Sessions that wait for their one PUT.
    sessions: HashSet<String>,
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

    pub(crate) fn manifest(&self, name: &str) -> Option<Vec<u8>> {
        self.0.stored.lock().expect("lock").manifests.get(name).cloned()
    }

    pub(crate) fn most_uploads_at_once(&self) -> usize {
        self.0.stored.lock().expect("lock").most_uploading
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn reply(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), body: String::new() }
}

fn problem(status: u16, code: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
    Reply { body, ..reply(status) }
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
            let mut body = vec![0; if matches!(instead, Some(Instead::Reset)) { length / 2 } else { length }];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            let reply = match instead {
                Some(Instead::Reset) => {
                    // The session knows a part of the blob now, and is of no use any more.
                    self.stored.lock().expect("lock").sessions.remove(head.path());
                    return;
                }
                Some(Instead::Answer(status, headers, body)) => Reply { status, headers, body },
                None => self.answer(&head, body),
            };
            if write_reply(&mut writer, &head, reply).is_none() {
                return;
            }
        }
    }

    fn answer(&self, head: &Head, body: Vec<u8>) -> Reply {
        let path = head.path();
        let Some((_, rest)) = path.split_once("/v2/") else {
            return reply(404);
        };
        if let Some((_, digest)) = rest.split_once("/blobs/sha256:") {
            let digest = format!("sha256:{digest}");
            let known = self.stored.lock().expect("lock").blobs.contains_key(&digest);
            return reply(if known { 200 } else { 404 });
        }
        if rest.ends_with("/blobs/uploads/") && head.method == "POST" {
            return self.begin(path);
        }
        if rest.contains("/blobs/uploads/") && head.method == "PUT" {
            return self.end(head, body);
        }
        match rest.split_once("/manifests/") {
            Some((_, name)) => self.manifest(head, name, body),
            None => problem(404, "UNSUPPORTED"),
        }
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
        stored.sessions.insert(session);
        Reply { headers: vec![("Location", location)], ..reply(202) }
    }

    fn end(&self, head: &Head, body: Vec<u8>) -> Reply {
        let mut stored = self.stored.lock().expect("lock");
        if !stored.sessions.remove(head.path()) {
            return problem(404, "BLOB_UPLOAD_UNKNOWN");
        }
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
        let digest = digest_of(&body);
        if late.timed_out() || head.query("digest").map(|text| text.replace("%3A", ":")) != Some(digest.clone()) {
            return problem(400, "DIGEST_INVALID");
        }
        stored.blobs.insert(digest.clone(), body);
        Reply { headers: vec![("Docker-Content-Digest", digest)], ..reply(201) }
    }

    fn manifest(&self, head: &Head, name: &str, body: Vec<u8>) -> Reply {
        let mut stored = self.stored.lock().expect("lock");
        if head.method == "PUT" {
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            if value["mediaType"].as_str() != Some(head.header("content-type")) {
                return problem(400, "MANIFEST_INVALID");
            }
            let layers = value["layers"].as_array().cloned().unwrap_or_default();
            let mut blobs = layers.iter().chain([&value["config"]]);
            if !blobs.all(|blob| stored.blobs.contains_key(blob["digest"].as_str().unwrap_or_default())) {
                return problem(404, "MANIFEST_BLOB_UNKNOWN");
            }
            stored.manifests.insert(name.to_owned(), body.clone());
            stored.manifests.insert(digest_of(&body), body.clone());
            let said = self.behaviour.stored_digest.clone();
            return Reply {
                headers: vec![("Docker-Content-Digest", said.unwrap_or_else(|| digest_of(&body)))],
                ..reply(201)
            };
        }
        match stored.manifests.get(name) {
            Some(bytes) => Reply { headers: vec![("Docker-Content-Digest", digest_of(bytes))], ..reply(200) },
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

fn write_reply(writer: &mut TcpStream, head: &Head, reply: Reply) -> Option<()> {
    let mut text = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    if head.method != "HEAD" {
        text += &reply.body;
    }
    writer.write_all(text.as_bytes()).ok()
}
