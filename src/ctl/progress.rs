//! How far long work is, on a terminal only.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;

/// A bar over `total` things, or bytes; one of unknown length where that is `None`. It is hidden
/// where nobody looks, or nobody wants to be told.
pub(super) fn bar(output: &Output, what: &'static str, total: Option<u64>) -> ProgressBar {
    if output.talks() { on_terminal(what, total) } else { ProgressBar::hidden() }
}

/// The same for what prints no sentences beside its answer.
pub(super) fn on_terminal(what: &'static str, total: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let style = match (what, total) {
        (BYTES, Some(_)) => "{msg} [{bar:40}] {bytes} of {total_bytes}, {eta} left",
        (BYTES, None) => "{msg} {spinner} {bytes}",
        (_, Some(_)) => "{msg} [{bar:40}] {pos} of {len}, {eta} left",
        (_, None) => "{msg} {spinner} {pos}",
    };
    // A template that can't be read leaves the bar as it is by itself.
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what)
}

/// What a bar over bytes counts.
pub(super) const BYTES: &str = "bytes";

/// How often a bar of unknown length moves.
pub(super) const TICK: Duration = Duration::from_millis(100);
