//! Numbers with units, as Docker and compose files read them. Exact: what is printed is what was meant.

/// Bytes: `2g`, `100m`, `4k`, `1234`.
pub fn bytes(n: u64) -> String {
    for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
        if n > 0 && n.trailing_zeros() >= shift {
            return format!("{}{unit}", n >> shift);
        }
    }
    n.to_string()
}

/// Thousandths of a CPU, as CPUs: `2.0`, `0.25`.
pub fn cpus(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// A time: `30s`, `1m`, `1500ms`.
pub fn duration(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short_and_exact() {
        let shown = [0, 1, 1024, 1025, 100 << 20, 2 << 30, (2 << 30) + 1].map(bytes);
        assert_eq!(shown, ["0", "1", "1k", "1025", "100m", "2g", "2147483649"]);
        assert_eq!([0, 1, 250, 500, 2000, 12_340].map(cpus), ["0.0", "0.001", "0.25", "0.5", "2.0", "12.34"]);
        assert_eq!(
            [0, 1, 1500, 30_000, 90_000, 120_000].map(duration),
            ["0s", "1ms", "1500ms", "30s", "90s", "2m"]
        );
    }
}
