//! Longer reading: the departures from Django, and the order of layers.

#[doc = include_str!("departures.md")]
pub mod departures {}

#[doc = include_str!("layers.md")]
pub mod layers {}
