//! A program for tests, compiled by them: it does what its environment says.
//! `EXIT=N` ends with N at once, `EAT=MIB` first takes so much memory; `LISTEN` and `LISTEN_PORT` are the address to
//! listen on, which `QUIET` leaves unsaid; `STATUS` and `SAY` are what it answers.
use std::{
    env,
    io::{Read, Write},
    net::TcpListener,
};

fn main() {
    let var = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
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
    let port: u16 = var("LISTEN_PORT", &var("PORT", "8080")).parse().expect("a port");
    let listener = TcpListener::bind((var("LISTEN", "0.0.0.0").as_str(), port)).expect("listen");
    match env::var("LISTEN") {
        _ if env::var_os("QUIET").is_some() => println!("starting"),
        Ok(address) => println!("listening on {address}:{port}"),
        Err(_) => println!("listening on port {port}"),
    }
    let status = var("STATUS", "200 OK");
    let answer = format!("{} from {}\n", var("SAY", "hello"), var("K_REVISION", "nowhere"));
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let (answer, status) = (answer.clone(), status.clone());
        std::thread::spawn(move || {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => request.extend_from_slice(&buffer[..count]),
                }
                // Requests have no body here; what follows the blank line is the next one.
                while let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
                    request.drain(..end + 4);
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", answer.len());
                    if stream.write_all((head + &answer).as_bytes()).is_err() {
                        return;
                    }
                }
            }
        });
    }
}
