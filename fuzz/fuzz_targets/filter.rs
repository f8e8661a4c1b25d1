//! A filter of the Logging query language.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| carrack_emulator::fuzzing::filter(bytes));
