//! A manifest as it comes with a PUT.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| carrack_emulator::fuzzing::manifest(bytes));
