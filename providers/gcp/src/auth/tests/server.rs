//! A small server that answers as it is told, and remembers what it was asked.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use carrack_core::retry::RetryPolicy;
use carrack_http::{Client, ClientOptions, Endpoint};
use url::form_urlencoded;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `METHOD HOST PATH`.
    pub(super) what: String,
    pub(super) query: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
    /// A field of a form.
    pub(super) fn form(&self, name: &str) -> String {
        field(&self.body, name)
    }
    pub(super) fn in_query(&self, name: &str) -> String {
        field(&self.query, name)
    }
}

fn field(pairs: &str, name: &str) -> String {
    form_urlencoded::parse(pairs.as_bytes())
        .find(|(own, _)| own == name)
        .map(|(_, value)| value.into())
        .unwrap_or_default()
}

/// Status, further headers, body.
pub(super) struct Answer(pub(super) u16, pub(super) Vec<(&'static str, String)>, pub(super) String);

pub(super) fn ok(body: impl ToString) -> Answer {
    Answer(200, Vec::new(), body.to_string())
}

pub(super) fn no(status: u16, body: impl ToString) -> Answer {
    Answer(status, Vec::new(), body.to_string())
}

/// Its threads end with the test process.
pub(super) struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (asked, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let kept = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                thread::spawn(move || serve(&stream, &kept, &*answer));
            }
        });
        Self { address, asked }
    }

    /// `HOST:PORT`.
    pub(super) fn host(&self) -> &str {
        &self.address
    }
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    /// The requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("lock").clone()
    }
    /// A client whose every request comes here, whatever its host.
    pub(super) fn client(&self) -> Client {
        client(Some(Endpoint::parse(&self.url("")).expect("loopback")))
    }
}

/// A client that does not wait long.
pub(super) fn client(endpoint: Option<Endpoint>) -> Client {
    let (first, most) = (std::time::Duration::from_millis(1), std::time::Duration::from_millis(5));
    let retry = RetryPolicy { attempts: 3, first, max: most, ..RetryPolicy::default() };
    Client::new(ClientOptions { endpoint, retry, ..ClientOptions::default() }).expect("a client")
}

fn serve(stream: &TcpStream, kept: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then_some(())?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let of = |name: &str| headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        let mut body = vec![0; of("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let what = format!("{method} {} {path}", of("host")?);
        let body = String::from_utf8(body).ok()?;
        let asked = Asked { what, query: query.to_owned(), headers, body };
        kept.lock().ok()?.push(asked.clone());
        let Answer(status, headers, body) = answer(&asked);
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!({ stream }, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).ok()?;
    }
}
