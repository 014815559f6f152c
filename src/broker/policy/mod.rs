//! What the arguments of a queue and the policies that match it add up to.
//!
//! ```text
//! arguments ──────────────┐
//! policy ──────────┐      ├─▶ Settings ─▶ QueueOptions
//! operator policy ─┴──────┘
//! ```
//!
//! All of it is driven by one table, [`options::OPTIONS`].

mod draft;
pub mod matching;
pub mod options;
pub mod settings;
pub mod value;
