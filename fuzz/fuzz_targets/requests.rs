//! Requests to the registry, one after another.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| carrack_emulator::fuzzing::requests(bytes));
