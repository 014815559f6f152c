//! Start order and stop order.
