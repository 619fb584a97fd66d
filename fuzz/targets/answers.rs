//! See `answers` in `fuzz/src/targets.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| watchbell_fuzz::targets::run("answers", data));
