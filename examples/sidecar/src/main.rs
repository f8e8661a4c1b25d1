//! Answers on $PORT with what its neighbour says, and what it left in the folder that both see.
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
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
    let head = BufReader::new(connection.try_clone()?).lines();
    head.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
    let told = ask("127.0.0.1:9000", "/say").unwrap_or_else(|error| error.to_string());
    let left = fs::read_to_string("/shared/said").unwrap_or_else(|error| error.to_string());
    let body = format!("over localhost: {told}\nfrom the shared memory: {left}\n");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    connection.write_all(format!("{head}\r\n{body}").as_bytes())
}

/// The body of what the neighbour answers.
fn ask(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}
