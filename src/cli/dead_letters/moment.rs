//! A time, as people write it.

use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::config::Wrong;

/// A time, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// A date, with or without a time of day.
    At(OffsetDateTime),
    /// A span before now.
    Ago(Duration),
}

impl Moment {
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let day = || Date::parse(text, format_description!("[year]-[month]-[day]"));
        OffsetDateTime::parse(text, &Rfc3339)
            .map(Self::At)
            .or_else(|_error| day().map(|day| Self::At(day.midnight().assume_utc())))
            .or_else(|_error| humantime::parse_duration(text).map(Self::Ago))
            .map_err(|_error| {
                "it is not a time; write 2026-11-20T10:00:00Z, 2026-11-20, or 2h or 7d for a time ago"
            })
    }

    /// The time that it is.
    pub(super) fn before(self, now: OffsetDateTime) -> Result<OffsetDateTime, Wrong> {
        match self {
            Self::At(time) => Ok(time),
            Self::Ago(span) => time::Duration::try_from(span)
                .ok()
                .and_then(|span| now.checked_sub(span))
                .ok_or_else(|| Wrong::new("--since or --until is too long ago")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = datetime!(2026-11-21 12:00 UTC);
        for (text, time) in [
            ("2026-11-20T10:00:00+01:00", datetime!(2026-11-20 09:00 UTC)),
            ("2026-11-20", datetime!(2026-11-20 00:00 UTC)),
            ("2h", datetime!(2026-11-21 10:00 UTC)),
            ("7d", datetime!(2026-11-14 12:00 UTC)),
            ("1h 30m", datetime!(2026-11-21 10:30 UTC)),
        ] {
            let read = Moment::read(text).expect(text).before(now).expect(text);
            assert_eq!(read, time, "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "-2h"] {
            assert!(Moment::read(text).is_err(), "{text}");
        }
        assert!(Moment::read("9999999y").expect("a span").before(now).is_err());
    }
}
