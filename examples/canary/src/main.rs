//! Greets on $PORT. With BROKEN set it fails everybody but the health check, which a rollout finds out.
use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};

fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening on port {port}");
    for connection in listener.incoming() {
        thread::spawn(move || connection.and_then(serve));
    }
    Ok(())
}

/// Answers one request, and hangs up.
fn serve(mut connection: TcpStream) -> io::Result<()> {
    let mut head = BufReader::new(connection.try_clone()?).lines().map_while(Result::ok);
    let line = head.next().unwrap_or_default();
    head.take_while(|line| !line.is_empty()).for_each(drop);
    let variable = |name, default: &str| env::var(name).unwrap_or_else(|_| default.into());
    let (status, body) = match line.split(' ').nth(1) {
        Some("/healthz") => ("200 OK", "ok\n".to_owned()),
        _ if env::var_os("BROKEN").is_some() => ("500 Internal Server Error", "broken\n".to_owned()),
        _ => ("200 OK", format!("{} from {}\n", variable("GREETING", "Hello"), variable("K_REVISION", "no revision"))),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n");
    connection.write_all(format!("{head}\r\n{body}").as_bytes())
}
