//! Tells on $PORT that it has its secrets, and not what they are.
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// Where `carrack.toml` mounts it.
const SIGNING_KEY: &str = "/secrets/signing-key/key.pem";

fn main() -> io::Result<()> {
    // A variable is read when the instance starts: without it there is nothing to serve.
    let Ok(database) = env::var("DATABASE_URL") else {
        eprintln!("fatal: the variable DATABASE_URL is not set");
        std::process::exit(1);
    };
    let host = database.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("nowhere").to_owned();
    let port = env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening on port {port}");
    for connection in listener.incoming() {
        let host = host.clone();
        thread::spawn(move || connection.and_then(|connection| serve(connection, &host)));
    }
    Ok(())
}

/// Answers one request, and hangs up.
fn serve(mut connection: TcpStream, host: &str) -> io::Result<()> {
    let head = BufReader::new(connection.try_clone()?).lines();
    head.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
    // A file is read when it is needed, so that it may change while the service runs.
    let (status, key) = match fs::read(SIGNING_KEY) {
        Ok(key) => ("200 OK", format!("{} bytes", key.len())),
        Err(error) => ("500 Internal Server Error", error.to_string()),
    };
    let body = format!("database at {host}, signing key of {key}\n");
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n");
    connection.write_all(format!("{head}\r\n{body}").as_bytes())
}
