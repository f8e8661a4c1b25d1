//! A program for tests, compiled by them: it does what its environment says.
//! `EXIT=N` ends with N at once, `EAT=MIB` first takes so much memory; `LISTEN` and `LISTEN_PORT` are the address to
//! listen on, which `QUIET` leaves unsaid; `STATUS` and `SAY` are what it answers, and `BAD` is a path with a 500. `READ`
//! is a file to answer with instead, `WRITE` one to write `SAY` to at the start, `BYTES` one whose bytes are answered in
//! hexadecimal digits, `ASK` the address of a neighbour, whose answer goes before. `NEED` is one without which it ends at
//! once, `DELAY` how many seconds it takes to listen, `SICK` after how many `/ready` fails; with `WHO` it answers when it
//! started. `/slow` takes three seconds, `/instance` answers who of several it is. HTTP/2 without TLS is answered too.
//!
//! As a job's task it says which one it is, works for `WORK` seconds, and fails at its first `FAIL` attempts; with `EXIT`
//! it ends with that, or only the task of the index `BAD` does.
mod http2;

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

static WHO: OnceLock<u128> = OnceLock::new();

fn main() {
    let var = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    if let Ok(index) = env::var("CLOUD_RUN_TASK_INDEX") {
        return task(&index);
    }
    if let Ok(code) = env::var("EXIT") {
        eprintln!("reading the configuration");
        eprintln!("fatal: no database at db.example:5432");
        std::process::exit(code.parse().unwrap_or(1));
    }
    if let Ok(mebibytes) = env::var("EAT") {
        println!("loading the model");
        let mut model = vec![0_u8; mebibytes.parse::<usize>().expect("a number") << 20];
        // The memory is there once it is written to.
        model.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        println!("loaded {} bytes", std::hint::black_box(model).len());
    }
    if let Ok(address) = env::var("NEED")
        && let Err(error) = TcpStream::connect(&address)
    {
        eprintln!("fatal: nobody at {address}: {error}");
        std::process::exit(1);
    }
    if let Ok(path) = env::var("WRITE") {
        std::fs::write(&path, var("SAY", "hello")).expect("write");
    }
    if let Ok(seconds) = env::var("DELAY") {
        std::thread::sleep(Duration::from_secs(seconds.parse().expect("a number")));
    }
    let started = Instant::now();
    if env::var_os("WHO").is_some() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time");
        WHO.set(now.as_nanos()).expect("once");
    }
    let sick: Option<u64> = env::var("SICK").ok().and_then(|seconds| seconds.parse().ok());
    let port: u16 = var("LISTEN_PORT", &var("PORT", "8080")).parse().expect("a port");
    let listener = TcpListener::bind((var("LISTEN", "0.0.0.0").as_str(), port)).expect("listen");
    match env::var("LISTEN") {
        _ if env::var_os("QUIET").is_some() => println!("starting"),
        Ok(address) => println!("listening on {address}:{port}"),
        Err(_) => println!("listening on port {port}"),
    }
    let status = var("STATUS", "200 OK");
    let bad = env::var("BAD").ok();
    let asks = env::var_os("READ").is_some() || env::var_os("BYTES").is_some() || env::var_os("ASK").is_some();
    let fixed = (!asks).then(answer);
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let (fixed, status, bad) = (fixed.clone(), status.clone(), bad.clone());
        std::thread::spawn(move || {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => request.extend_from_slice(&buffer[..count]),
                }
                if request.len() < http2::PREFACE.len() && http2::PREFACE.starts_with(&request) {
                    continue;
                }
                if let Some(rest) = request.strip_prefix(http2::PREFACE) {
                    return http2::serve(stream, rest.to_vec());
                }
                // Requests have no body here; what follows the blank line is the next one.
                while let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
                    let head: Vec<u8> = request.drain(..end + 4).collect();
                    let head = String::from_utf8_lossy(&head);
                    let path = head.split(' ').nth(1);
                    let is_bad = bad.is_some() && path == bad.as_deref();
                    let is_sick = path == Some("/ready")
                        && sick.is_some_and(|seconds| started.elapsed() > Duration::from_secs(seconds));
                    let status = match (is_bad, is_sick) {
                        (true, _) => "500 Oh",
                        (_, true) => "503 Service Unavailable",
                        _ => status.as_str(),
                    };
                    if path == Some("/slow") {
                        std::thread::sleep(Duration::from_secs(3));
                    }
                    let own = path.filter(|path| ["/slow", "/instance"].contains(path)).map(|_| instance());
                    let answer = own.unwrap_or_else(|| fixed.clone().unwrap_or_else(answer));
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", answer.len());
                    if stream.write_all((head + &answer).as_bytes()).is_err() {
                        return;
                    }
                }
            }
        });
    }
}

fn task(index: &str) {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (count, attempt) = (number("CLOUD_RUN_TASK_COUNT"), number("CLOUD_RUN_TASK_ATTEMPT"));
    let arguments: Vec<String> = env::args().skip(1).collect();
    let said = env::var("SAY").unwrap_or_else(|_| "hello".to_owned());
    println!("{said} from task {index} of {count}, attempt {attempt}, arguments {arguments:?}");
    for second in 0..number("WORK") {
        println!("working since {second} s");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    if attempt < number("FAIL") {
        eprintln!("error: not this time");
        std::process::exit(1);
    }
    let bad = env::var("BAD").map_or(true, |bad| bad == index);
    if let (true, Ok(code)) = (bad, env::var("EXIT")) {
        eprintln!("fatal: no database at db.example:5432");
        std::process::exit(code.parse().unwrap_or(1));
    }
    println!("task {index} is done");
}

/// Another one for each process.
fn instance() -> String {
    static STARTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let now = || format!("{:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH));
    STARTED.get_or_init(now).clone()
}

fn answer() -> String {
    let var = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    if let Ok(path) = env::var("BYTES") {
        return std::fs::read(&path).map_or_else(
            |error| format!("{path}: {error}"),
            |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        );
    }
    if let Some(who) = WHO.get() {
        return format!("{who}\n");
    }
    let said = match env::var("READ") {
        Ok(path) => std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{path}: {error}")),
        Err(_) => var("SAY", "hello"),
    };
    let before = env::var("ASK").map(|address| ask(&address).unwrap_or_else(|error| format!("{address}: {error}\n")));
    format!("{}{said} from {}\n", before.unwrap_or_default(), var("K_REVISION", "nowhere"))
}

/// The body of what answers there.
fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: neighbour\r\n\r\n")?;
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    // It says how long it is, and keeps the connection.
    loop {
        let count = stream.read(&mut buffer)?;
        answer += &String::from_utf8_lossy(&buffer[..count]);
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            if count == 0 { return Ok(answer) } else { continue }
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if count == 0 || body.len() >= length.unwrap_or(usize::MAX) {
            return Ok(body.to_owned());
        }
    }
}
