//! Thresholds on metrics, with hysteresis.

/// One threshold line.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {}
