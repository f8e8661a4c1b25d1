//! A container's output, line by line.
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
};

use super::{Line, Stream};

/// A longer line is cut into several, so that a program without newlines cannot fill the memory.
const LINE_BYTES: usize = 64 << 10;

/// Sends every line of `reader` until its end.
pub(super) async fn forward(mut reader: impl AsyncRead + Unpin, stream: Stream, output: mpsc::Sender<Line>) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; 8 << 10];
    let mut whole = Vec::new();
    loop {
        let count = reader.read(&mut buffer).await.unwrap_or(0);
        match count {
            0 => std::mem::take(&mut lines).finish(&mut |text| whole.push(text)),
            count => lines.push(&buffer[..count], &mut |text| whole.push(text)),
        }
        for text in whole.drain(..) {
            // Nobody listening is no reason to let the program wait for a reader.
            let _ = output.send(Line { stream, text }).await;
        }
        if count == 0 {
            return;
        }
    }
}

/// Puts lines together from pieces.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8], emit: &mut impl FnMut(String)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (piece, ended) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            self.partial.extend_from_slice(piece);
            while self.partial.len() > LINE_BYTES {
                let rest = self.partial.split_off(boundary(&self.partial));
                emit(text(&std::mem::replace(&mut self.partial, rest)));
            }
            if ended {
                emit(text(&std::mem::take(&mut self.partial)));
            }
        }
    }

    pub(super) fn finish(self, emit: &mut impl FnMut(String)) {
        if !self.partial.is_empty() {
            emit(text(&self.partial));
        }
    }
}

/// Where to cut, so that no character of up to four bytes is cut in two.
fn boundary(bytes: &[u8]) -> usize {
    let continues = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (LINE_BYTES - 3..=LINE_BYTES).rev().find(|&at| !continues(at)).unwrap_or(LINE_BYTES)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, &mut |text| found.push(text));
        }
        lines.finish(&mut |text| found.push(text));
        found
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n\nla", b"st"]), ["one", "two", "", "last"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let long = "é".repeat(LINE_BYTES);
        let found = lines(&[b"x", long.as_bytes()]);
        assert!(found.iter().all(|line| line.len() <= LINE_BYTES && !line.contains('\u{fffd}')));
        assert_eq!(found.concat(), format!("x{long}"));
    }

    #[tokio::test]
    async fn every_line_arrives() {
        let (sender, mut receiver) = mpsc::channel(1024);
        forward(&b"one\ntwo"[..], Stream::Stderr, sender).await;
        let mut found = Vec::new();
        while let Some(line) = receiver.recv().await {
            assert_eq!(line.stream, Stream::Stderr);
            found.push(line.text);
        }
        assert_eq!(found, ["one", "two"]);
    }
}
