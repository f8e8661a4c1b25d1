//! Answers on $PORT with one line that says which service and revision it is.
use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// More header lines, or longer ones, come from no client of ours.
const MAX_HEAD_BYTES: u64 = 64 * 1024;

fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening on port {port}");
    for connection in listener.incoming() {
        // A client that breaks off is no fault of the server.
        thread::spawn(move || connection.and_then(serve));
    }
    Ok(())
}

/// Answers the requests of one connection, one after the other, until the client is done.
fn serve(connection: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    while let Some(request) = read_request(&mut reader)? {
        let (status, body) = answer(&request.method, &request.path);
        println!("{} {} {status}", request.method, request.path);
        let mut head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n",
            body.len()
        );
        if request.close {
            head += "connection: close\r\n";
        }
        let body = if request.method == "HEAD" { "" } else { &body };
        // In one piece: a second small packet would wait for the first one's acknowledgement.
        writer.write_all(format!("{head}\r\n{body}").as_bytes())?;
        if request.close {
            break;
        }
    }
    Ok(())
}

fn answer(method: &str, path: &str) -> (&'static str, String) {
    let variable = |name, default: &str| env::var(name).unwrap_or_else(|_| default.into());
    match (method, path.split('?').next()) {
        ("GET" | "HEAD", Some("/")) => {
            let greeting = variable("GREETING", "Hello");
            let service = variable("K_SERVICE", "nowhere");
            let revision = variable("K_REVISION", "no revision");
            ("200 OK", format!("{greeting} from {service} ({revision})\n"))
        }
        ("GET" | "HEAD", Some("/healthz")) => ("200 OK", "ok\n".into()),
        ("GET" | "HEAD", _) => ("404 Not Found", "not found\n".into()),
        _ => ("405 Method Not Allowed", "method not allowed\n".into()),
    }
}

struct Request {
    method: String,
    path: String,
    close: bool,
}

/// The next request's head, its body read past; `None` when the client is done.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = reader.by_ref().take(MAX_HEAD_BYTES);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (mut body, mut close) = (0_u64, version == "HTTP/1.0");
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let value = value.trim().to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body = value.parse().map_err(|_| io::ErrorKind::InvalidData)?,
            "connection" => close = close || value.contains("close"),
            // Its end is not worth finding out: answer, and hang up.
            "transfer-encoding" => close = true,
            _ => {}
        }
    }
    io::copy(&mut reader.take(body), &mut io::sink())?;
    Ok(Some(Request { method, path, close }))
}
