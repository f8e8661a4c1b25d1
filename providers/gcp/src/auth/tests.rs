//! The ways against small servers of their own.
