//! An operator: management API and health checks.
