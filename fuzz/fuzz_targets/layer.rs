//! A layer of any entries: names, links, whiteouts, kinds.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| carrack_emulator::fuzzing::layer(bytes));
