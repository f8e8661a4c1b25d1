//! The program that the tests run in containers. Compiled by the tests, static, without any crate.
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
};

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn fork() -> i32;
    fn setsid() -> i32;
    fn pause() -> i32;
    fn getuid() -> u32;
    fn kill(pid: i32, signal: i32) -> i32;
    fn _exit(code: i32) -> !;
}

const TERM: i32 = 15;
const IGNORE: usize = 1;

extern "C" fn leave_with_3(_: i32) {
    unsafe { _exit(3) }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    for argument in &arguments[1..] {
        match argument.as_str() {
            "serve" => serve("0.0.0.0", &told_port()),
            "serve-loopback" => serve("127.0.0.1", &told_port()),
            "late" => std::thread::sleep(std::time::Duration::from_millis(700)),
            "wait" => loop {
                unsafe { pause() };
            },
            "graceful" => drop(unsafe { signal(TERM, leave_with_3 as *const () as usize) }),
            "stubborn" => drop(unsafe { signal(TERM, IGNORE) }),
            "crash" => std::process::abort(),
            "lines" => {
                println!("to stdout\nwithout newline:");
                eprintln!("to stderr");
                print!("the end");
            }
            "eat" => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            // A process that leaves its parent, its group and its session, and does not end by SIGTERM.
            "daemon" => {
                if unsafe { fork() } == 0 {
                    unsafe { setsid() };
                    if unsafe { fork() } == 0 {
                        unsafe { signal(TERM, IGNORE) };
                        loop {
                            unsafe { pause() };
                        }
                    }
                    unsafe { _exit(0) };
                }
            }
            // A child and a grandchild, which only the end of its parent hands on.
            "family" => {
                if unsafe { fork() } == 0 {
                    unsafe { fork() };
                    loop {
                        unsafe { pause() };
                    }
                }
            }
            // Puts new folders in the place of `/shared/x`, and keeps what somebody wrote into one.
            "replace" => drop(std::thread::spawn(replace)),
            word if word.starts_with("serve-at-") => serve("0.0.0.0", &word["serve-at-".len()..]),
            number => std::process::exit(number.parse().expect("a known word or an exit code")),
        }
    }
}

fn replace() {
    loop {
        let _ = std::fs::create_dir("/shared/x");
        if std::fs::rename("/shared/x", "/shared/old").is_err() {
            continue;
        }
        let _ = std::fs::create_dir("/shared/x");
        // What was on its way is there a moment later.
        std::thread::sleep(std::time::Duration::from_micros(200));
        if std::fs::remove_dir("/shared/old").is_err() {
            let _ = std::fs::rename("/shared/old", format!("/shared/caught-{}", std::process::id()));
        }
    }
}

fn told_port() -> String {
    std::env::var("PORT").expect("PORT")
}

fn serve(address: &str, port: &str) {
    let port: u16 = port.parse().expect("a port");
    for stream in TcpListener::bind((address, port))
        .expect("the port is free")
        .incoming()
    {
        let stream = stream.expect("a connection");
        std::thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
    reader.read_line(&mut line).expect("a line");
    // Over HTTP the words are the path, with `+` between them.
    let Some(path) = line.strip_prefix("GET /").and_then(|rest| rest.split(' ').next()) else {
        stream.write_all(text(&line).as_bytes()).expect("the answer");
        return;
    };
    let answer = text(&path.replace('+', " "));
    let mut header = String::new();
    while reader.read_line(&mut header).expect("a header") > 2 {
        header.clear();
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    stream.write_all(head.as_bytes()).expect("the head");
    stream.write_all(answer.as_bytes()).expect("the answer");
}

fn text(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["hello"] => "hello".to_owned(),
        ["env"] => std::env::vars()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect(),
        ["directory"] => std::env::current_dir()
            .map_or_else(|error| error.to_string(), |path| path.display().to_string()),
        ["pid"] => std::process::id().to_string(),
        ["uid"] => unsafe { getuid() }.to_string(),
        ["kill", pid] => unsafe { kill(pid.parse().expect("a pid"), 9) }.to_string(),
        ["read", path] => {
            std::fs::read_to_string(path).unwrap_or_else(|error| format!("error: {error}"))
        }
        ["write", path, text] => std::fs::write(path, text)
            .map_or_else(|error| format!("error: {error}"), |()| "ok".to_owned()),
        ["list", path] => match std::fs::read_dir(path) {
            Ok(entries) => {
                let mut names: Vec<_> = entries
                    .map(|entry| {
                        entry
                            .expect("an entry")
                            .file_name()
                            .into_string()
                            .expect("text")
                    })
                    .collect();
                names.sort();
                names.join(" ")
            }
            Err(error) => format!("error: {error}"),
        },
        ["links", path] => {
            let mut links: Vec<_> = std::fs::read_dir(path)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            links.sort_by_key(|path| {
                path.file_name()
                    .and_then(|name| name.to_str()?.parse::<u32>().ok())
            });
            let targets = links
                .iter()
                .filter_map(|path| Some(std::fs::read_link(path).ok()?.display().to_string()));
            targets.collect::<Vec<_>>().join(" ")
        }
        ["connect", address] => TcpStream::connect_timeout(
            &address.parse().expect("an address"),
            std::time::Duration::from_secs(2),
        )
        .map_or_else(|error| format!("error: {error}"), |_| "ok".to_owned()),
        ["relay", address, ..] => {
            let rest = words[2..].join(" ");
            relay(address, &rest).unwrap_or_else(|error| format!("error: {error}"))
        }
        ["mode", path] => std::fs::metadata(path).map_or_else(
            |error| format!("error: {error}"),
            |found| format!("{:04o}", std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o7777),
        ),
        ["exit", code] => std::process::exit(code.parse().expect("a code")),
        _ => "what?".to_owned(),
    }
}

/// Another one's answer.
fn relay(address: &str, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer)?;
    Ok(answer)
}
