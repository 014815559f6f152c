//! One AMQP client.
