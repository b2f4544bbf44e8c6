//! Requirements for system calls → the rules that a seccomp profile prints.
