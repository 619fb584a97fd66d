//! What goes where: levels, data, errors; forms of lines.

use super::*;
use serde_json::Value;
use std::{
    io,
    sync::{Arc, Mutex},
};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Written {
    type Writer = Written;

    fn make_writer(&'w self) -> Written {
        self.clone()
    }
}

/// What a log of this format, level and wish writes of one line of each sort.
fn written(format: LogFormat, level: &str, asked: &str) -> String {
    let out = Written::default();
    let layer = to_stderr(format, out.clone()).with_filter(filter(level, asked));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::debug!(n = 1, "a detail");
        tracing::info!("a note");
        tracing::error!("an error");
        tracing::info!(target: TOLD, "told");
        tracing::info!(target: SAMPLES, "sample");
    });
    out.text()
}

/// S3.14: metrics and what is told by the log are data; the level of the agent's own lines does not hold them back.
#[test]
fn data_passes_every_level() {
    for (level, asked, expect) in [
        ("error", "", "an error, told, sample"),
        ("info", "", "a note, an error, told, sample"),
        ("info", "warn", "an error, told, sample"),
        ("info", "no level=[", "a note, an error, told, sample"),
        ("info", "debug", "a detail, a note, an error, told, sample"),
        ("info", "warn,metrics=off", "an error, told"),
    ] {
        let text = written(LogFormat::Json, level, asked);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages.join(", "), expect, "{level} {asked}");
    }
}

/// `log_format`: a line is JSON with its fields, or text.
#[test]
fn lines_are_json_or_text() {
    let json = written(LogFormat::Json, "debug", "");
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["level"], &first["message"], &first["n"]), (&"DEBUG".into(), &"a detail".into(), &1.into()));
    assert!(first["timestamp"].is_string() && first["target"].is_string(), "{first}");
    let text = written(LogFormat::Text, "debug", "");
    let first = text.lines().next().unwrap();
    assert!(first.contains("DEBUG") && first.contains("a detail") && first.contains("n=1"), "{first}");
    assert!(serde_json::from_str::<Value>(first).is_err() && text.lines().count() == 5, "{text}");
}

/// What can't be logged to is said, and keeps nothing from starting.
#[test]
fn missing_places_are_said() {
    let options = watchbell_core::config::LoadOptions {
        root: "/".into(),
        default_agent_name: "x".into(),
        local_zone: jiff::tz::TimeZone::UTC,
    };
    let kinds = crate::run::config::KINDS;
    let mut config = watchbell_core::config::Config::new(kinds, options, |notifier| notifier.targets());
    let missing = |text: &str, config: &mut watchbell_core::config::Config<_, _>| {
        config.update(vec![watchbell_core::config::InputFile {
            path: "watchbell.toml".into(),
            absolute: "/watchbell.toml".into(),
            text: Ok(text.into()),
        }]);
        preflight(&config.assemble().agent)
    };
    assert_eq!(missing("[agent]\n", &mut config), [""; 0]);
    let unset = missing("[agent]\nsentry_dsn = { env = \"WATCHBELL_NO_SUCH\" }\n", &mut config);
    assert_eq!(unset, ["`sentry_dsn`: the environment variable `WATCHBELL_NO_SUCH` is not set"]);
    let wrong = missing("[agent]\nsentry_dsn = { file = \"/proc/version\" }\n", &mut config);
    assert!(wrong[0].contains("is not an address of Sentry"), "{wrong:?}");
}

/// What comes from outside neither hides in a line nor begins another one.
#[test]
fn nothing_hides_in_a_line() {
    let odd = "a\u{200b}b\u{202e}c\u{2028}d\u{e0041}e\nf\x1b[31mg";
    let line = |format| {
        let out = Written::default();
        let layer = to_stderr(format, out.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || tracing::error!("{odd}"));
        out.text()
    };
    let (text, json) = (line(LogFormat::Text), line(LogFormat::Json));
    assert!(text.contains("a\\u{200b}b\\u{202e}c\\u{2028}d\\u{e0041}e\\nf"), "{text}");
    assert!(!text.contains("\x1b[31mg") && text.lines().count() == 1, "{text}");
    assert!(json.is_ascii() && json.lines().count() == 1, "{json}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["message"].as_str().unwrap().starts_with("a\u{200b}b\u{202e}c\u{2028}d\u{e0041}e\nf"));
}
