//! A layer as it comes from a registry: any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| carrack_emulator::fuzzing::archive(bytes));
