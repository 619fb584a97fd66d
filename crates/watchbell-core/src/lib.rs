//! The deterministic core of Watchbell: one function, [`engine::step`], and the pure parts it is made of.
//!
//! Nothing here reads a clock, a file, a socket or a random source, and nothing here can fail: a fact that
//! is needed arrives as an input, and what should happen leaves as data. Live running, catching up after an
//! outage, rehearsing a scenario and every test are this same code with another clock behind it.
//!
//! Dependencies point one way: `model ← wire, schedule, state, route ← config ← engine ← scenario`.

pub mod config;
pub mod engine;
pub mod model;
pub mod route;
pub mod scenario;
pub mod schedule;
pub mod state;
pub mod wire;
