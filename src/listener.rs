//! Accepts AMQP connections.
