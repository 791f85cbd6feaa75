//! Timestamps as SES, its look-alikes and its documentation write them.

use time::OffsetDateTime;
use time::UtcOffset;
use time::format_description::well_known::Rfc3339;

/// Reads RFC 3339 and what is seen besides: blanks inside (`2018-10-08T14:05:45 +0000`), an offset
/// without colon, a blank for the `T`, no offset at all (UTC). The result is in UTC and cut to the
/// microsecond, which is what PostgreSQL keeps, so that ids made from it agree with stored rows.
#[must_use]
pub(crate) fn parse(text: &str) -> Option<OffsetDateTime> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&rewritten(text)?, &Rfc3339).map_err(|_| NotATime))
        .ok()?;
    // Fails only for the last hours of year 9999 and the first of year 0.
    let utc = parsed.checked_to_offset(UtcOffset::UTC)?;
    utc.replace_nanosecond(utc.nanosecond() / 1_000 * 1_000).ok()
}

struct NotATime;

fn rewritten(text: &str) -> Result<String, NotATime> {
    let mut rewritten: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if !rewritten.is_ascii() || rewritten.len() < 15 {
        return Err(NotATime);
    }
    if rewritten.as_bytes()[10].is_ascii_digit() {
        rewritten.insert(10, 'T');
    }
    match rewritten[11..].find(['+', '-']) {
        Some(at) if rewritten.len() == 11 + at + 5 => rewritten.insert(11 + at + 3, ':'),
        Some(at) if rewritten.len() == 11 + at + 3 => rewritten.push_str(":00"),
        None if !rewritten.ends_with(['Z', 'z']) => rewritten.push('Z'),
        Some(_) | None => {}
    }
    Ok(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn reads_every_form_seen() {
        for (text, expected) in [
            ("2017-08-05T00:41:02.669Z", datetime!(2017-08-05 00:41:02.669 UTC)),
            ("2012-05-25T14:59:38.623-07:00", datetime!(2012-05-25 21:59:38.623 UTC)),
            ("2018-10-08T14:05:45 +0000", datetime!(2018-10-08 14:05:45 UTC)),
            ("2018-10-08T14:05:45+0530", datetime!(2018-10-08 08:35:45 UTC)),
            ("2018-10-08T14:05:45+02", datetime!(2018-10-08 12:05:45 UTC)),
            ("2024-10-17T18:24:51Z", datetime!(2024-10-17 18:24:51 UTC)),
            ("2020-08-04T13:16: 09.222Z", datetime!(2020-08-04 13:16:09.222 UTC)),
            ("2024-04-25T18:08:04.933666+00:00", datetime!(2024-04-25 18:08:04.933_666 UTC)),
            ("2024-04-25 18:08:04", datetime!(2024-04-25 18:08:04 UTC)),
            ("2024-04-25T18:08:04.123456789Z", datetime!(2024-04-25 18:08:04.123_456 UTC)),
        ] {
            assert_eq!(parse(text), Some(expected), "from {text:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in ["", "timestamp", "2024-04-25", "<date:1>", "2024-13-01T00:00:00Z", "ééééééééé"]
        {
            assert_eq!(parse(text), None, "from {text:?}");
        }
    }
}
