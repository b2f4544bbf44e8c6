//! Amounts: `512m`, `1.5`, `1m30s`.

/// Bytes, as Docker reads them: `2g`, `512M`, `100mb`, `1.5GiB`, with 1,024 for each step. `None` is no such amount.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    scaled(number, 1_u64 << shift)
}

/// Thousandths of a CPU: `2`, `0.5`.
pub fn cpus(text: &str) -> Option<u64> {
    scaled(text.trim(), 1_000)
}

/// A decimal number times `unit`, without the detour of a float.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let out = u128::from(whole).checked_mul(u128::from(unit))?;
    // Nine digits are more than any unit tells apart.
    let digits = fraction.get(..fraction.len().min(9))?;
    let places = u32::try_from(digits.len()).ok()?;
    let part: u64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    if fraction.chars().any(|c| !c.is_ascii_digit()) {
        return None;
    }
    let out = out + u128::from(unit) * u128::from(part) / 10_u128.pow(places);
    u64::try_from(out).ok()
}

/// Milliseconds of a duration: `1m30s`, `500ms`, `40s`; a bare number is nanoseconds, as Docker's API has it.
pub fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if let Ok(nanoseconds) = rest.parse::<u64>() {
        return Some(nanoseconds / 1_000_000);
    }
    let mut out = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(letters)?;
        let unit = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            "us" | "µs" | "ns" => 0,
            _ => return None,
        };
        out = out.checked_add(scaled(number, unit)?)?;
        rest = next;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("2g", Some(2 << 30)),
            ("512M", Some(512 << 20)),
            ("100mb", Some(100 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("64", Some(64)),
            ("10 k", Some(10 << 10)),
            ("", None),
            ("g", None),
            ("-1", None),
            ("1x", None),
            ("99999999999p", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert_eq!((cpus("2.0"), cpus(".5"), cpus("0.25x")), (Some(2_000), Some(500), None));
        for (text, expected) in
            [("1m30s", Some(90_000)), ("500ms", Some(500)), ("40", Some(0)), ("1y", None), ("1", Some(0))]
        {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }
}
