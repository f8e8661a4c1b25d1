//! A carrack.toml from what is there already.
pub mod live;
pub mod terraform;
