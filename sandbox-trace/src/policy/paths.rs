//! Requirements for paths, sockets and capabilities → the rules that an AppArmor profile prints.
