//! As much of HTTP/2 as an answer to a request without a body takes: <https://www.rfc-editor.org/rfc/rfc9113>
use std::{
    io::{Read, Write},
    net::TcpStream,
};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status 200` in HPACK's static table.
const STATUS_200: [u8; 1] = [0x88];

/// Answers all that is asked over the connection; `read` is what came after the preface.
pub fn serve(mut stream: TcpStream, mut read: Vec<u8>) {
    let _ = send(&mut stream, SETTINGS, 0, 0, &[]);
    let mut buffer = [0; 4096];
    loop {
        while read.len() >= 9 {
            let length = u32::from_be_bytes([0, read[0], read[1], read[2]]) as usize;
            if read.len() < 9 + length {
                break;
            }
            let frame: Vec<u8> = read.drain(..9 + length).collect();
            let stream_id = u32::from_be_bytes([frame[5], frame[6], frame[7], frame[8]]);
            let done = match (frame[3], frame[4] & ACK) {
                (SETTINGS, 0) => send(&mut stream, SETTINGS, ACK, 0, &[]),
                (PING, 0) => send(&mut stream, PING, ACK, 0, &frame[9..]),
                (HEADERS, _) => send(&mut stream, HEADERS, END_HEADERS, stream_id, &STATUS_200)
                    .and_then(|()| send(&mut stream, DATA, END_STREAM, stream_id, b"over HTTP/2\n")),
                _ => Ok(()),
            };
            if done.is_err() {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
}

fn send(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(id.to_be_bytes());
    frame.extend_from_slice(payload);
    stream.write_all(&frame)
}
