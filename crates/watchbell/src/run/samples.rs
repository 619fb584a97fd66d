//! Numbers that checks measured, as log lines: CIMAA's metrics log. (The history and the other sinks take
//! them from the same place.)

use watchbell_core::model::Sample;

/// Where numbers are logged, if they are.
#[derive(Clone, Debug, Default)]
pub struct SampleLog {
    /// The logger's name, as CIMAA's config gives it; `None` logs nothing.
    pub logger: Option<String>,
}

impl SampleLog {
    /// Logs numbers, one JSON line each: `{"timestamp", "name", "value", "units"}`.
    pub fn write(&mut self, samples: &[Sample]) {
        let Some(logger) = &self.logger else { return };
        for sample in samples {
            let line = serde_json::json!({
                "timestamp": sample.at, "name": sample.name, "value": sample.value, "units": sample.unit,
            });
            tracing::info!(target: "metrics", logger, "{line}");
        }
    }
}
