//! When a server wants its client back: `Retry-After` (RFC 9110 section 10.2.3).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// How long the server asks to wait: a number of seconds, or the time until a date. A date is
/// compared with the `Date` of the same response, so that a clock that is wrong does no harm, and
/// with `now` if there is none. `None` if the header is missing or invalid; zero if the date has
/// passed.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let since_epoch =
        || now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let sent = headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(http_date);
    let sent = sent.unwrap_or_else(since_epoch);
    Some(Duration::from_secs(http_date(value)?.saturating_sub(sent)))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970 of a date as HTTP writes it (RFC 9110 section 5.6.7). A recipient must accept
/// all three formats:
///
/// - `Sun, 06 Nov 1994 08:49:37 GMT`
/// - `Sunday, 06-Nov-94 08:49:37 GMT`, obsolete
/// - `Sun Nov  6 08:49:37 1994`, obsolete
fn http_date(text: &str) -> Option<u64> {
    let mut words = text.split([' ', '-']).filter(|word| !word.is_empty());
    let mut next = || words.next();
    let first = next()?;
    let (day, month, year, time) = if first.ends_with(',') {
        let (day, month, year, time) = (next()?, next()?, next()?, next()?);
        if next()? != "GMT" {
            return None;
        }
        (day, month, year, time)
    } else {
        let (month, day, time, year) = (next()?, next()?, next()?, next()?);
        (day, month, year, time)
    };
    if next().is_some() {
        return None;
    }
    let month = 1 + MONTHS.iter().position(|name| *name == month)? as u64;
    let year = match (year.len(), number(year)?) {
        (4, year) if year >= 1970 => year,
        // Two digits are from 1970 to 2069.
        (2, year) if year >= 70 => 1900 + year,
        (2, year) => 2000 + year,
        _ => return None,
    };
    let day = number(day).filter(|day| (1..=31).contains(day))?;
    let mut parts = time.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    // 60 is a leap second.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((days_since_1970(year, month, day) * 24 + hour) * 3600 + minute * 60 + second)
}

/// A number of at most four digits.
fn number(text: &str) -> Option<u64> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// By the Gregorian calendar, for years from 1970 on.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Counted from March on, so that the day that leap years add is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // Five months from March or August on have 153 days.
    let days_of_months = (153 * month + 2) / 5;
    const FROM_YEAR_ZERO: u64 = 719_469;
    year * 365 + leap_days + days_of_months + day - FROM_YEAR_ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(lines: &[(&'static str, &'static str)], now: u64) -> Option<u64> {
        let lines =
            lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        retry_after(&lines.collect(), now).map(|time| time.as_secs())
    }

    #[test]
    fn dates_are_read_in_all_three_formats() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(http_date(text), Some(784_111_777), "{text}");
        }
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            ("Wednesday, 01-Jan-69 00:00:00 GMT", 3_124_224_000),
        ] {
            assert_eq!(http_date(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "Sun,",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT 1",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 194 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 99999 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37:1 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_and_dates_are_heeded_by_the_clock_of_the_server() {
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(asked(&[("retry-after", "120")], 0), Some(120));
        assert_eq!(asked(&[("retry-after", "99999999999999999999999")], 0), Some(u64::MAX));
        assert_eq!(asked(&[date], 784_111_700), Some(77));
        assert_eq!(asked(&[date], 784_111_778), Some(0), "it has passed");
        // Our clock is wrong by years.
        let sent = ("date", "Sun, 06 Nov 1994 08:49:00 GMT");
        assert_eq!(asked(&[date, sent], 0), Some(37));
        assert_eq!(asked(&[date, ("date", "today")], 784_111_700), Some(77));
        for value in ["", "-1", "1.5", "soon"] {
            assert_eq!(asked(&[("retry-after", value)], 0), None, "{value}");
        }
        assert_eq!(asked(&[], 0), None);
    }
}
