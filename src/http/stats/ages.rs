//! Which samples a request asks for.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::refusal::Refusal;

/// Samples in an answer for each number.
const SAMPLES_MAX: u64 = 1000;

/// How samples are asked for: for how many seconds back, and how many seconds apart. Without both
/// there are none.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AgesQuery {
    /// Of the numbers of messages in queues.
    pub lengths_age: Option<String>,
    pub lengths_incr: Option<String>,
    /// Of what happens to messages.
    pub msg_rates_age: Option<String>,
    pub msg_rates_incr: Option<String>,
    /// Of bytes from and to clients.
    pub data_rates_age: Option<String>,
    pub data_rates_incr: Option<String>,
}

/// A time back and a distance, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ages {
    age: u64,
    incr: u64,
}

/// The samples that are asked for of each kind of number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) lengths: Option<Ages>,
    pub(super) messages: Option<Ages>,
    pub(super) data: Option<Ages>,
}

impl AgesQuery {
    pub(super) fn wanted(&self) -> Result<Wanted, Refusal> {
        Ok(Wanted {
            lengths: Ages::of("lengths", self.lengths_age.as_ref(), self.lengths_incr.as_ref())?,
            messages: Ages::of(
                "msg_rates",
                self.msg_rates_age.as_ref(),
                self.msg_rates_incr.as_ref(),
            )?,
            data: Ages::of(
                "data_rates",
                self.data_rates_age.as_ref(),
                self.data_rates_incr.as_ref(),
            )?,
        })
    }
}

impl Wanted {
    pub(super) fn is_any(&self) -> bool {
        [self.lengths, self.messages, self.data].iter().any(Option::is_some)
    }
}

impl Ages {
    /// Of two numbers of a request, named by what both begin with.
    pub(super) fn of(
        what: &str,
        age: Option<&String>,
        incr: Option<&String>,
    ) -> Result<Option<Self>, Refusal> {
        let (Some(age), Some(incr)) = (age, incr) else { return Ok(None) };
        let seconds = |name, text: &str| {
            text.parse::<u64>().map_err(|_| {
                Refusal::bad_request(format!(
                    "{what}_{name}={text} can't be: a number of seconds is needed"
                ))
            })
        };
        let (age, incr) = (seconds("age", age)?, seconds("incr", incr)?);
        if incr == 0 || age / incr > SAMPLES_MAX {
            return Err(Refusal::bad_request(format!(
                "{what}_incr={incr} can't be: with {what}_age={age} it would be more than \
                 {SAMPLES_MAX} samples; take a longer distance or a shorter time"
            )));
        }
        Ok(Some(Self { age, incr }))
    }

    pub(super) fn age_ms(self) -> u64 {
        self.age.saturating_mul(1000)
    }

    /// The times to answer for, the newest first.
    pub(super) fn times_before(self, newest_ms: u64) -> impl Iterator<Item = u64> {
        let steps = 0..=self.age / self.incr;
        steps.map_while(move |step| newest_ms.checked_sub(step * self.incr.saturating_mul(1000)))
    }
}
