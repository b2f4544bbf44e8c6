//! Policy → AppArmor profile text.
