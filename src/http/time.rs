//! Times as the API writes them.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// `2026-11-25T22:26:10.454+00:00`, as RabbitMQ writes it.
const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00");

/// A time in milliseconds since 1970. One that no calendar has is nothing.
pub fn utc(ms: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    time.format(FORMAT).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_its_milliseconds() {
        assert_eq!(utc(1_764_109_570_054).as_deref(), Some("2025-11-25T22:26:10.054+00:00"));
        assert_eq!(utc(u64::MAX), None);
    }
}
