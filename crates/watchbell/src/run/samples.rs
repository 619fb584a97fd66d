//! Numbers that checks measured, as log lines: CIMAA's metrics log. (The history and the other sinks take
//! them from the same place.)

use watchbell_core::model::Sample;

/// Where numbers are logged, if they are; whatever the log's level is, they are data.
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
                "timestamp": sample.at, "name": sample.name, "value": sample.value,
                // CIMAA's record has the field in any case.
                "units": sample.unit.as_deref().unwrap_or_default(),
            });
            tracing::info!(target: crate::logs::SAMPLES, logger, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{Event, Subscriber, field::Visit};
    use tracing_subscriber::{
        Layer,
        layer::{Context, SubscriberExt},
    };
    use watchbell_core::model::{Name, Timestamp};

    /// Keeps the target, logger and text of each line.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<(String, String)>>>);

    #[derive(Default)]
    struct Fields(String, String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            match field.name() {
                "message" => self.1 = format!("{value:?}"),
                name => self.0 += &format!("{name}={value:?}"),
            }
        }
    }

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push((format!("{} {}", event.metadata().target(), fields.0), fields.1));
        }
    }

    /// S3.14: samples are logged by the logger's name as CIMAA's records; by nobody's if the config does not ask.
    #[test]
    fn samples_are_lines() {
        let lines = Lines::default();
        let sample = Sample {
            name: Name::new("//h/web/disk#used"),
            value: 91.5,
            unit: Some("Percent".into()),
            at: Timestamp::from_secs(1_800),
            labels: std::collections::BTreeMap::new(),
        };
        let bare = Sample { unit: None, ..sample.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), || {
            SampleLog::default().write(std::slice::from_ref(&sample));
            SampleLog { logger: Some("numbers".into()) }.write(&[sample, bare]);
        });
        let lines = lines.0.lock().unwrap();
        let [(head, text), (_, without)] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(head, "metrics logger=\"numbers\"");
        let expect = serde_json::json!({
            "timestamp": "1970-01-01T00:30:00Z", "name": "//h/web/disk#used", "value": 91.5, "units": "Percent",
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap(), expect);
        assert_eq!(serde_json::from_str::<serde_json::Value>(without).unwrap()["units"], "");
    }
}
