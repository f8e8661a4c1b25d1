//! Counts primes, each task in a part of its own. Cloud Run tells a task which one it is:
//! <https://cloud.google.com/run/docs/container-contract#jobs-env-vars>
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (index, count) = (number("CLOUD_RUN_TASK_INDEX").unwrap_or(0), number("CLOUD_RUN_TASK_COUNT").unwrap_or(1));
    let below = env::args().nth(1).unwrap_or_else(|| "1000000".to_owned());
    let Ok(below) = below.parse::<u64>() else {
        eprintln!("error: `{below}` is no number");
        return ExitCode::from(2);
    };
    let (from, to) = (below * index / count, below * (index + 1) / count);
    let primes = (from..to).filter(|number| is_prime(*number)).count();
    println!("{primes} primes from {from} to {to}");
    ExitCode::SUCCESS
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}
