//! Policy → OCI/Docker seccomp JSON.
