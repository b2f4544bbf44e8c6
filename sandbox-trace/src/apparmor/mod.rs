//! AppArmor as a format: escaping, the compiler, the compiled policy.
