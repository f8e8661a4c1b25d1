//! Where a program says that it listens, read from its own log lines.
//!
//! Every server says it in its own words; these are the words of the common ones, and nothing is guessed from a line
//! that does not speak of listening.
use core::net::IpAddr;

/// One address that a program says it listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Where.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// Who can reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// 0.0.0.0, `[::]` or the container's own address: everybody.
    Open,
    /// 127.0.0.1: the container itself.
    Loopback,
    /// `localhost` in words that a person wrote: often said of a server that everybody reaches.
    Localhost,
    /// The line has a port only.
    Unsaid,
}

/// A line with one of these speaks of a server that is up.
const SAID: [&str; 20] = [
    "listen",
    "running on",
    "running at",
    "started on",
    "started at",
    "started server",
    "server started",
    "starting development server",
    "development server (",
    "server on",
    "serving",
    "launched from",
    "ready on",
    "available at",
    "available on",
    "bound to",
    "accepting connections",
    "local:",
    "network:",
    "start worker process on",
];

/// A line with one of these speaks of something else: another server's address, or one beside the service's own.
const NOT_SAID: [&str; 14] = [
    "debugger",
    "inspector",
    "metrics",
    "pprof",
    "connecting",
    "connected to",
    "connect to",
    "failed",
    "cannot",
    "could not",
    "unable",
    "refused",
    "already in use",
    "proxy",
];

/// Frameworks whose `localhost` is meant: they listen there and nowhere else.
/// <https://vite.dev/config/server-options.html#server-host>, <https://learn.microsoft.com/aspnet/core/fundamentals/servers/kestrel/endpoints>
const MEANS_LOCALHOST: [&str; 2] = ["local:", "now listening on:"];

/// What one line says; `None` when it does not speak of listening.
pub fn listening(line: &str) -> Option<Listening> {
    let line = plain(line).to_lowercase();
    if !SAID.iter().any(|words| line.contains(words)) || NOT_SAID.iter().any(|words| line.contains(words)) {
        return None;
    }
    let found: Vec<Listening> = addresses(&line).collect();
    let open = found.iter().find(|one| one.host == Host::Open);
    let mut one =
        open.or(found.first()).copied().or_else(|| Some(Listening { host: Host::Unsaid, port: port(&line)? }))?;
    if one.host == Host::Localhost && MEANS_LOCALHOST.iter().any(|words| line.contains(words)) {
        one.host = Host::Loopback;
    }
    Some(one)
}

/// Without colours: <https://vt100.net/docs/vt510-rm/SGR.html>
pub(crate) fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        text.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.strip_prefix(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest);
    }
    text + rest
}

/// Every `HOST:PORT` of the line.
fn addresses(line: &str) -> impl Iterator<Item = Listening> {
    line.split(|c: char| {
        c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '"' | '\'' | '`' | '<' | '>' | '=' | '{' | '}')
    })
    .filter_map(address)
}

fn address(word: &str) -> Option<Listening> {
    let (scheme, rest) = match word.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, word),
    };
    if scheme.is_some_and(|scheme| !scheme.ends_with("http") && !matches!(scheme, "https" | "tcp" | "h2c")) {
        return None;
    }
    let authority = rest.split('/').next().unwrap_or_default().trim_end_matches(['.', '!', ':', '…']);
    // `actix-web-service-127.0.0.1:8080` names a service, not an address.
    let (host, port) = authority.rsplit_once(':')?;
    let port = port.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok().filter(|port| *port != 0)?;
    Some(Listening { host: known(host, scheme.is_some())?, port })
}

/// A word before a colon is a host only when it cannot be anything else: `server.go:42` and `09:30` are none.
fn known(host: &str, has_scheme: bool) -> Option<Host> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare {
        "" | "*" => return Some(Host::Open),
        "localhost" => return Some(Host::Localhost),
        _ => {}
    }
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Some(Host::Loopback),
        // 0.0.0.0, or the container's own address, which is printed by who listens on all.
        Ok(_) => Some(Host::Open),
        Err(_) => has_scheme.then_some(Host::Unsaid),
    }
}

/// `port 3000`, `port: 3000`, `port(s): 8080`, `port=3000`.
fn port(line: &str) -> Option<u16> {
    line.match_indices("port").find_map(|(at, word)| {
        let rest = line[at + word.len()..].trim_start_matches("(s)").trim_start_matches('s');
        let digits = rest.trim_start_matches([' ', ':', '=', '"', '\'', '#']);
        let digits = &digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())];
        digits.parse().ok().filter(|port| *port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(line: &str, host: Host, port: u16) {
        assert_eq!(listening(line), Some(Listening { host, port }), "{line}");
    }

    #[test]
    fn servers_in_their_own_words() {
        use Host::{Localhost, Loopback, Open, Unsaid};
        for (line, host, port) in [
            ("listening on 127.0.0.1:8080", Loopback, 8080),
            ("Listening on port 3000", Unsaid, 3000),
            ("Example app listening on port 3000!", Unsaid, 3000),
            ("Server is running on port: 5000", Unsaid, 5000),
            ("App listening at http://localhost:3000", Localhost, 3000),
            ("Server running at http://127.0.0.1:3000/", Loopback, 3000),
            (" * Running on http://127.0.0.1:5000 (Press CTRL+C to quit)", Loopback, 5000),
            (" * Running on http://172.17.0.2:5000", Open, 5000),
            ("INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)", Loopback, 8000),
            ("[2026-11-24 09:00:12 +0000] [1] [INFO] Listening at: http://127.0.0.1:8000 (1)", Loopback, 8000),
            ("Starting development server at http://127.0.0.1:8000/", Loopback, 8000),
            ("ready - started server on 0.0.0.0:3000, url: http://localhost:3000", Open, 3000),
            ("   - Local:        http://localhost:3000", Loopback, 3000),
            ("   - Network:      http://0.0.0.0:3000", Open, 3000),
            (
                "\u{1b}[32m➜\u{1b}[39m  \u{1b}[1mLocal\u{1b}[22m:   \u{1b}[36mhttp://localhost:\u{1b}[1m5173\u{1b}[22m/\u{1b}[39m",
                Loopback,
                5173,
            ),
            ("Tomcat started on port(s): 8081 (http) with context path ''", Unsaid, 8081),
            ("Tomcat started on port 8081 (http) with context path '/'", Unsaid, 8081),
            ("Netty started on port 9000", Unsaid, 9000),
            ("2026/11/24 09:00:12 Listening on :3000", Open, 3000),
            ("2026/11/24 09:00:12 main.go:42: listening on [::]:3000", Open, 3000),
            ("[GIN-debug] Listening and serving HTTP on :9090", Open, 9090),
            ("⇨ http server started on [::]:1323", Open, 1323),
            ("{\"level\":\"info\",\"msg\":\"listening\",\"addr\":\"127.0.0.1:3000\"}", Loopback, 3000),
            ("level=info msg=\"server listening\" addr=127.0.0.1:3000", Loopback, 3000),
            ("* Listening on http://127.0.0.1:3000", Loopback, 3000),
            ("* Listening on tcp://0.0.0.0:9292", Open, 9292),
            ("      Now listening on: http://localhost:5000", Loopback, 5000),
            ("Now listening on: http://[::]:80", Open, 80),
            ("Rocket has launched from http://127.0.0.1:8000", Loopback, 8000),
            ("starting service: \"actix\", workers: 2, listening on: 127.0.0.1:8088", Loopback, 8088),
            ("PHP 8.4.1 Development Server (http://localhost:8000) started", Localhost, 8000),
            ("Serving HTTP on 0.0.0.0 port 8000 (http://0.0.0.0:8000/) ...", Open, 8000),
            ("listening on [::1]:3000", Loopback, 3000),
        ] {
            says(line, host, port);
        }
    }

    #[test]
    fn other_lines_say_nothing() {
        for line in [
            "",
            "connecting to redis at localhost:6379",
            "Debugger listening on ws://127.0.0.1:9229/6f8e",
            "metrics server listening on :9090",
            "Error: listen EADDRINUSE: address already in use 0.0.0.0:8080",
            "09:30:12 starting",
            "main.go:42: serving",
            "Running on all addresses (0.0.0.0)",
            "server started in 12:30",
            "loaded 3000 rows",
            "listening on port 99999",
            "listening on port 0",
            "pool listening to postgres://localhost:5432/db",
        ] {
            assert_eq!(listening(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC{0,80}") {
            let _ = listening(&line);
            let _ = listening(&format!("\u{1b}[1listening on {line}"));
        }
    }
}
