//! The language: AMQP 0-9-1 as bytes and as values. No sockets, no clock, no broker.
//!
//! ```text
//! frame:   type u8 | channel u16 | size u32 | payload (size bytes) | end 0xCE
//! method:  class u16 | method u16 | arguments
//! header:  class u16 | weight u16 | body size u64 | property flags u16.. | property list
//! body:    bytes
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod body;
pub mod error;
pub mod frame;
pub mod gather;
pub mod generated;
pub mod json;
pub mod message;
pub mod properties;
pub mod raw_table;
pub mod reply;
pub mod sasl;
pub mod table;
pub mod wire;
