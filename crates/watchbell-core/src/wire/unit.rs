//! CloudWatch's units. Whether a unit that is none of them is an error, and what was meant, is the config's matter.

/// Every value of CloudWatch's `StandardUnit`, in the order of its documentation
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>).
pub const UNITS: &[&str] = &[
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// Whether CloudWatch takes this unit. It minds capitals.
pub fn is_cloudwatch_unit(unit: &str) -> bool {
    UNITS.contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S1.6: every CloudWatch unit is accepted, anything else is not.
    #[test]
    fn all_units() {
        assert_eq!(UNITS.len(), 27);
        assert!(UNITS.iter().all(|unit| is_cloudwatch_unit(unit)));
        for wrong in ["count", "Counts", "", "B", "MB", "%", "Seconds ", "Bytes/Minute"] {
            assert!(!is_cloudwatch_unit(wrong), "{wrong}");
        }
    }
}
