//! A shop that is always open: it answers every request.
use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
};

fn main() -> std::io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening on port {port}");
    for stream in listener.incoming() {
        let mut stream = stream?;
        let head = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
        head.take_while(|line| !line.is_empty()).for_each(drop);
        let text = "open\n";
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
        // A client that has gone is no reason to stop.
        let _ = stream.write_all(answer.as_bytes());
    }
    Ok(())
}
