//! A day of the calendar: approvals end on one. What day it is today is the caller's to say.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

/// A day, as ISO 8601 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The day, where the calendar has it.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (1..=days).contains(&day).then_some(Self { year, month, day })
    }

    /// Three months later: how long an approval is suggested for. On a day that every month has.
    #[must_use]
    pub fn in_three_months(self) -> Self {
        let month = self.month + 3;
        let (year, month) =
            if month > 12 { (self.year.saturating_add(1), month - 12) } else { (self.year, month) };
        Self { year, month, day: self.day.min(28) }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no day: it is written as 2027-01-31");
        let shape = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !shape {
            return Err(fault());
        }
        let mut parts = text.split('-').map(|part| part.parse::<u16>().ok());
        let mut part = || parts.next().flatten().ok_or_else(fault);
        let (year, month, day) = (part()?, part()?, part()?);
        let small = |n: u16| u8::try_from(n).map_err(|_| fault());
        Self::new(year, small(month)?, small(day)?).ok_or_else(fault)
    }
}

/// As TOML's own local date, or as text.
impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Toml(toml::value::Datetime),
            Text(String),
        }
        let text = match Either::deserialize(deserializer)? {
            Either::Toml(date) => date.to_string(),
            Either::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn days_are_those_of_the_calendar() {
        for day in ["2024-02-29", "2027-01-31", "0001-12-01"] {
            assert_eq!(day.parse::<Date>().unwrap().to_string(), day);
        }
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-1-31",
            "2027-01-32",
            "",
            "today",
            "+027-01-01",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
        assert!("2026-12-31".parse::<Date>().unwrap() < "2027-01-01".parse().unwrap());
        assert_eq!("2026-11-30".parse::<Date>().unwrap().in_three_months().to_string(), "2027-02-28");
    }
}
