//! `record`: facts from the kernel to a recording.
