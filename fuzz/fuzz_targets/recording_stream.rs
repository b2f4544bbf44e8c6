#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sandbox_trace_fuzz::recording_stream(data));
