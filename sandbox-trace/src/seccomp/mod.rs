//! seccomp as a format: the OCI JSON, the compiled filter, its interpreter.
