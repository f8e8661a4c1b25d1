//! The sidecar: says its word on port 9000, and counts in the folder that both see how often it was asked to.
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
};

fn main() -> io::Result<()> {
    let word = env::var("WORD").unwrap_or_else(|_| "hello".into());
    let listener = TcpListener::bind("0.0.0.0:9000")?;
    println!("listening on port 9000");
    let mut count = 0;
    for connection in listener.incoming() {
        // A check that only connects asks nothing.
        connection.and_then(|connection| serve(connection, &word, &mut count)).unwrap_or_default();
    }
    Ok(())
}

/// Answers one request, and hangs up.
fn serve(mut connection: TcpStream, word: &str, count: &mut u32) -> io::Result<()> {
    let head = BufReader::new(connection.try_clone()?).lines();
    let head: Vec<String> = head.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    if head.first().is_some_and(|line| line.starts_with("GET /say ")) {
        *count += 1;
        fs::write("/shared/said", format!("{word} was said {count} times"))?;
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n", word.len());
    connection.write_all(format!("{head}\r\n{word}").as_bytes())
}
