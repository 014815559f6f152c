//! Reply codes: what a close says of its cause. Soft ones end a channel, hard ones the connection.

pub use super::generated::ReplyCode;
