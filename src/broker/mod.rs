//! The rules of AMQP.
