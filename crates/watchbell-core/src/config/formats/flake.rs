//! Flakes: SpecialSnowflake's `*.flake.json`, one check each, with the credentials file beside the folder of flakes.
//!
//! The check runs and its number is kept. What a flake says about CloudWatch (namespace, region, alarms) is
//! checked for its type and read past, with one warning a file, until that part is there.

use crate::{
    config::{
        Problems,
        agent::join,
        reader::nearest,
        tree::{Entry, FileId, Node, Span, Table, Value},
    },
    wire::unit::{UNITS, is_cloudwatch_unit},
};

/// The credentials file that flakes have when the config names none: in their working directory, if it is there.
const CREDENTIALS_FILE: &str = "creds.json";

/// The name of the folder that makes the one above it the working directory.
const FLAKES_FOLDER: &str = "flakes";

/// Stands for a name or a command that is missing or wrong.
const STAND_IN: &str = "-";

/// Fields that mean something; every other is a comment.
const FIELDS: &[&str] = &[
    "flakeName",
    "flakeCronstring",
    "flakeConstring",
    "flakeCommand",
    "flakeType",
    "flakeUnit",
    "flakeMetricNamespace",
    "flakeRegion",
    "flakeAlarms",
    "flakeImage",
];

/// What CloudWatch must know of a number.
const CLOUDWATCH_FIELDS: &[&str] = &["flakeUnit", "flakeMetricNamespace", "flakeRegion"];

/// The folder that a flake's command runs in: the one that holds the outermost folder named `flakes` on the
/// file's path below the config's root, else the root. How the folders above are called, nobody who writes a config
/// chooses.
pub fn working_dir(path: &str, root: &str) -> String {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let root_slash = if root.ends_with('/') { root.to_owned() } else { format!("{root}/") };
    // Folders that the config names stand elsewhere.
    let mut start = if path.starts_with(&root_slash) { root_slash.len().min(folders.len()) } else { 0 };
    for part in folders[start..].split('/') {
        if part == FLAKES_FOLDER {
            return match &path[..start] {
                "" => ".".to_owned(),
                "/" => "/".to_owned(),
                above => above.trim_end_matches('/').to_owned(),
            };
        }
        start += part.len() + 1;
    }
    root.to_owned()
}

/// Turns a flake into a native file with one check, which runs in its [`working_dir`].
///
/// # Errors
/// Errors were reported; what is right of the flake, with stand-ins for the rest, so that the loader can say what else
/// is wrong.
pub fn translate(node: &Node, file: FileId, working_dir: &str, problems: &mut Problems) -> Result<Table, Table> {
    let Value::Table(table) = &node.value else {
        let found = node.value.type_name();
        problems
            .error(node.span, format!("a flake is one JSON object, this is {found}"))
            .hint("begin with `{` and end with `}`; each flake has a file of its own");
        return Err(Table::default());
    };
    let before = problems.errors();
    let mut flake = Flake { table, problems };
    let name = flake.required("flakeName");
    let cron = flake.cron();
    let command = flake.required("flakeCommand");
    let kind = flake.kind();
    let unit = flake.unit();
    let image = flake.text("flakeImage");
    flake.cloudwatch(kind.map(|(kind, _)| kind));
    let whole = Span { file, ..node.span };
    let stand_in = || (STAND_IN.to_owned(), whole);
    let (name, command) = (name.unwrap_or_else(stand_in), command.unwrap_or_else(stand_in));
    let mut check = Table { span: whole, entries: Vec::new() };
    put(&mut check, "command", Some(command));
    put(&mut check, "cron", cron);
    check.put("style", whole, Value::String("flake".to_owned()));
    if let Some((kind, span)) = kind {
        check.put("type", span, Value::String(kind.word().to_owned()));
    }
    put(&mut check, "unit", unit);
    put(&mut check, "image", image);
    check.put("shell", whole, Value::Boolean(true));
    check.put("cwd", whole, Value::String(working_dir.to_owned()));
    check.put("default_env_file", whole, Value::String(join(working_dir, CREDENTIALS_FILE)));
    let root = super::one_check(name.0, name.1, check);
    if problems.errors() > before { Err(root) } else { Ok(root) }
}

/// Text and where it stands.
type Text = (String, Span);

fn put(table: &mut Table, key: &str, text: Option<Text>) {
    if let Some((text, span)) = text {
        table.put(key, span, Value::String(text));
    }
}

/// What a flake gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Metric,
    Job,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Metric => "metric",
            Kind::Job => "job",
        }
    }
}

struct Flake<'a> {
    table: &'a Table,
    problems: &'a mut Problems,
}

impl Flake<'_> {
    /// A field's text, if it is there; empty or of another type is an error.
    fn text(&mut self, field: &str) -> Option<Text> {
        let entry = self.table.get(field)?;
        match &entry.value.value {
            Value::String(text) if !text.trim().is_empty() => Some((text.clone(), entry.value.span)),
            Value::String(_) => {
                self.problems.error(entry.value.span, format!("`{field}` is empty"));
                None
            }
            other => {
                let hint = match other {
                    Value::Array(_) | Value::Table(_) => "write one text in double quotes",
                    _ => "put it in double quotes",
                };
                let message = format!("`{field}` must be a string, this is {}", other.type_name());
                self.problems.error(entry.value.span, message).hint(hint);
                None
            }
        }
    }

    /// The text of a field that must be there.
    fn required(&mut self, field: &'static str) -> Option<Text> {
        if self.table.get(field).is_none() {
            self.missing(field);
        }
        self.text(field)
    }

    fn missing(&mut self, field: &str) {
        let start = self.table.span;
        let brace = Span { end: start.start + 1, ..start };
        // Unknown fields are comments, unless one looks like what is missing.
        let others = self.table.entries.iter().map(|e| e.key.as_str()).filter(|key| !FIELDS.contains(key));
        let near = nearest(field, others).and_then(|key| self.table.get(key));
        let problem = self.problems.error(brace, format!("the flake has no `{field}`"));
        match near {
            Some(Entry { key, key_span, .. }) => {
                problem.hint(format!("is `{key}` meant?")).related(*key_span, "this field is read as a comment");
            }
            None => {
                problem.hint(format!("add \"{field}\": \"…\""));
            }
        }
    }

    /// The schedule, under its name or under the misspelling that the documentation of flakes has.
    fn cron(&mut self) -> Option<Text> {
        let other = self.table.get("flakeConstring");
        match (self.table.get("flakeCronstring"), other) {
            (None, Some(_)) => self.text("flakeConstring"),
            (Some(known), Some(other)) if known.value.value != other.value.value => {
                self.problems
                    .warning(other.key_span, "`flakeConstring` is read past, because `flakeCronstring` is there too")
                    .hint("remove one of them")
                    .related(known.key_span, "this one counts");
                self.text("flakeCronstring")
            }
            _ => self.required("flakeCronstring"),
        }
    }

    fn kind(&mut self) -> Option<(Kind, Span)> {
        let (text, span) = self.required("flakeType")?;
        match text.trim() {
            "metric" => Some((Kind::Metric, span)),
            "job" => Some((Kind::Job, span)),
            other => {
                self.problems
                    .error(span, format!("`flakeType` can't be {other:?}"))
                    .hint("it is \"metric\" (prints one number) or \"job\" (prints anything)");
                None
            }
        }
    }

    /// The unit; what is no unit of CloudWatch's is an error with the list.
    fn unit(&mut self) -> Option<Text> {
        let (text, span) = self.text("flakeUnit")?;
        if is_cloudwatch_unit(&text) {
            return Some((text, span));
        }
        let near = UNITS.iter().find(|unit| unit.eq_ignore_ascii_case(text.trim())).copied();
        let near = near.or_else(|| nearest(&text, UNITS.iter().copied()));
        let mean = near.map_or(String::new(), |unit| format!("did you mean `{unit}`? "));
        self.problems
            .error(span, format!("`{text}` is no unit of CloudWatch's"))
            .hint(format!("{mean}it is one of {}", UNITS.join(", ")));
        None
    }

    /// Warns of a metric that says some of what CloudWatch needs, but not all. Without any of it, it is not
    /// meant to be sent.
    fn unsendable(&mut self) {
        let missing = |field: &&&str| self.table.get(field).is_none();
        let fields: Vec<_> = CLOUDWATCH_FIELDS.iter().filter(missing).map(|field| format!("no `{field}`")).collect();
        if fields.is_empty() || fields.len() == CLOUDWATCH_FIELDS.len() {
            return;
        }
        let brace = Span { end: self.table.span.start + 1, ..self.table.span };
        let message = format!("the flake has {}, so its number can't be sent to CloudWatch", fields.join(" and "));
        self.problems.warning(brace, message);
    }

    /// What is for CloudWatch alone: right in its types, then read past with one warning.
    fn cloudwatch(&mut self, kind: Option<Kind>) {
        self.text("flakeMetricNamespace");
        self.text("flakeRegion");
        if kind == Some(Kind::Metric) {
            self.unsendable();
        }
        let alarms = self.table.get("flakeAlarms");
        let wanted = match alarms.map(|entry| (&entry.value.value, entry.value.span)) {
            Some((Value::Array(alarms), _)) => !alarms.is_empty(),
            Some((Value::Null, _)) | None => false,
            Some((other, span)) => {
                let found = other.type_name();
                self.problems
                    .error(span, format!("`flakeAlarms` must be a list of alarms, this is {found}"))
                    .hint("write \"flakeAlarms\": [ … ]");
                return;
            }
        };
        let sent = self.table.get("flakeMetricNamespace").filter(|_| kind == Some(Kind::Metric));
        if let Some(entry) = alarms.filter(|_| wanted).or(sent) {
            self.problems.warning(
                entry.key_span,
                "CloudWatch metrics and alarms come with a later version; the check runs and its number is kept",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{json, testing},
        *,
    };

    /// The flake that SpecialSnowflake's documentation gives as its example.
    const EXAMPLE: &str = r#"{
      "flakeName": "example-perminute",
      "flakeCronstring": "* * * * *",
      "flakeCommand": "./res/test3/test3.sh",
      "flakeType": "metric",
      "flakeUnit": "Count",
      "flakeMetricNamespace": "test3/KPIs",
      "flakeRegion": "us-east-1",
      "flakeAlarms": [
        {
          "alarmName": "TestHighThreshold",
          "alarmDescription": "Alarm if the metric is too high",
          "alarmThreshold": "3",
          "alarmOperator": "GreaterThanThreshold",
          "alarmPeriodLength": "60",
          "alarmPeriods": "1",
          "alarmStatistic": "Average",
          "alarmEndpoints": {
            "ok": "arn:aws:sns:us-east-1:123456789012:PagerDuty-IT-Only",
            "alarm": "arn:aws:sns:us-east-1:123456789012:PagerDuty-IT-Only"
          }
        },
        {
          "alarmName": "TestLowThreshold",
          "alarmDescription": "Alarm if the metric is too low",
          "alarmThreshold": "3",
          "alarmOperator": "LessThanThreshold",
          "alarmPeriodLength": "60",
          "alarmPeriods": "1",
          "alarmStatistic": "Average",
          "alarmEndpoints": {
            "ok": "arn:aws:sns:us-east-1:123456789012:PagerDuty-IT-Only",
            "alarm": "arn:aws:sns:us-east-1:123456789012:PagerDuty-IT-Only"
          }
        }
      ]
    }"#;

    /// Tree and problems of a flake.
    fn translated(text: &str) -> (String, String) {
        let (file, mut problems) = testing::file("flakes/a.flake.json", text);
        let node = json::parse(file, &mut problems).unwrap();
        let table = translate(&node, file, "/srv/flake", &mut problems);
        let tree = table.map_or_else(|_| "-".to_owned(), |table| testing::shown(&Value::Table(table)));
        (tree, testing::told(&problems))
    }

    /// S1.1, S1.2: the documentation's own example is a check; what it says for CloudWatch is read past, once.
    #[test]
    fn example() {
        let (tree, told) = translated(EXAMPLE);
        assert_eq!(
            tree,
            "{check: {example-perminute: {command: \"./res/test3/test3.sh\", cron: \"* * * * *\", style: \"flake\", \
             type: \"metric\", unit: \"Count\", shell: true, cwd: \"/srv/flake\", default_env_file: \"/srv/flake/creds.json\"}}}"
        );
        assert_eq!(
            told,
            "9:7 \"\\\"flakeAlarms\\\"\" warning: CloudWatch metrics and alarms come with a later version; \
             the check runs and its number is kept"
        );
    }

    /// What every flake has besides.
    const COMMON: &str = r#", shell: true, cwd: "/srv/flake", default_env_file: "/srv/flake/creds.json""#;

    #[rustfmt::skip]
    const FIELD_CASES: &[(&str, &str, &str)] = &[
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "_comment1": 5, "flakeCommand_comment": "it runs", "flakeAlarms": []}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "job"}}}"#,
                "",
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "flakeAlarms": [{"alarmName": "x"}]}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "job"}}}"#,
                r#"1:96 "\"flakeAlarms\"" warning: CloudWatch metrics and alarms come with a later version; the check runs and its number is kept"#,
            ),
            (
                r#"{"flakeName": "a", "flakeConstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job"}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "job"}}}"#,
                "",
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "flakeConstring": "@daily"}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "job"}}}"#,
                r#"1:96 "\"flakeConstring\"" warning: `flakeConstring` is read past, because `flakeCronstring` is there too; hint: remove one of them; see 1:20 this one counts"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "flakeConstring": "@hourly"}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "job"}}}"#,
                "",
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "flakeImage": "debian:13"}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "job", image: "debian:13"}}}"#,
                "",
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "flakeImage": ["debian"]}"#,
                "-",
                r#"1:110 "[\"debian\"]" error: `flakeImage` must be a string, this is an array; hint: write one text in double quotes"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "metric", "flakeUnit": "Count", "flakeMetricNamespace": "n", "flakeRegion": "r"}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "metric", unit: "Count"}}}"#,
                r#"1:121 "\"flakeMetricNamespace\"" warning: CloudWatch metrics and alarms come with a later version; the check runs and its number is kept"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "metric", "flakeUnit": "count", "flakeMetricNamespace": "n", "flakeRegion": "r"}"#,
                "-",
                r#"1:112 "\"count\"" error: `count` is no unit of CloudWatch's; hint: did you mean `Count`? it is one of UNITS
1:121 "\"flakeMetricNamespace\"" warning: CloudWatch metrics and alarms come with a later version; the check runs and its number is kept"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "metric", "flakeUnit": "KB/s", "flakeMetricNamespace": "n", "flakeRegion": "r"}"#,
                "-",
                r#"1:112 "\"KB/s\"" error: `KB/s` is no unit of CloudWatch's; hint: it is one of UNITS
1:120 "\"flakeMetricNamespace\"" warning: CloudWatch metrics and alarms come with a later version; the check runs and its number is kept"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "metric", "flakeUnit": 5, "flakeMetricNamespace": "n", "flakeRegion": "r"}"#,
                "-",
                r#"1:112 "5" error: `flakeUnit` must be a string, this is an integer; hint: put it in double quotes
1:115 "\"flakeMetricNamespace\"" warning: CloudWatch metrics and alarms come with a later version; the check runs and its number is kept"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "metric", "flakeMetricNamespace": "n", "flakeRegion": "r"}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "metric"}}}"#,
                r#"1:1 "{" warning: the flake has no `flakeUnit`, so its number can't be sent to CloudWatch
1:99 "\"flakeMetricNamespace\"" warning: CloudWatch metrics and alarms come with a later version; the check runs and its number is kept"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "metric", "flakeUnit": "Count"}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "metric", unit: "Count"}}}"#,
                r#"1:1 "{" warning: the flake has no `flakeMetricNamespace` and no `flakeRegion`, so its number can't be sent to CloudWatch"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "metric"}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "metric"}}}"#,
                "",
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "jobb"}"#,
                "-",
                r#"1:89 "\"jobb\"" error: `flakeType` can't be "jobb"; hint: it is "metric" (prints one number) or "job" (prints anything)"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": 1}"#,
                "-",
                r#"1:89 "1" error: `flakeType` must be a string, this is an integer; hint: put it in double quotes"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": " ", "flakeType": "job"}"#,
                "-",
                r#"1:66 "\" \"" error: `flakeCommand` is empty"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": ["echo", "1"], "flakeType": "job"}"#,
                "-",
                r#"1:66 "[\"echo\", \"1\"]" error: `flakeCommand` must be a string, this is an array; hint: write one text in double quotes"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeComand": "echo 1", "flakeType": "job"}"#,
                "-",
                r#"1:1 "{" error: the flake has no `flakeCommand`; hint: is `flakeComand` meant?; see 1:50 this field is read as a comment"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": null, "flakeCommand": "echo 1", "flakeType": "job"}"#,
                "-",
                r#"1:39 "null" error: `flakeCronstring` must be a string, this is null; hint: put it in double quotes"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "flakeAlarms": {"alarmName": "x"}}"#,
                "-",
                r#"1:111 "{\"alarmName\": \"x\"}" error: `flakeAlarms` must be a list of alarms, this is a table; hint: write "flakeAlarms": [ … ]"#,
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "flakeAlarms": null}"#,
                r#"{check: {a: {command: "echo 1", cron: "@hourly", style: "flake", type: "job"}}}"#,
                "",
            ),
            (
                r#"{"flakeName": "a", "flakeCronstring": "@hourly", "flakeCommand": "echo 1", "flakeType": "job", "flakeRegion": 5}"#,
                "-",
                r#"1:111 "5" error: `flakeRegion` must be a string, this is an integer; hint: put it in double quotes"#,
            ),
            (
                "{}",
                "-",
                r#"1:1 "{" error: the flake has no `flakeName`; hint: add "flakeName": "…"
1:1 "{" error: the flake has no `flakeCronstring`; hint: add "flakeCronstring": "…"
1:1 "{" error: the flake has no `flakeCommand`; hint: add "flakeCommand": "…"
1:1 "{" error: the flake has no `flakeType`; hint: add "flakeType": "…""#,
            ),
            (
                "[]",
                "-",
                r#"1:1 "[]" error: a flake is one JSON object, this is an array; hint: begin with `{` and end with `}`; each flake has a file of its own"#,
            ),
            (
                r#""flake""#,
                "-",
                r#"1:1 "\"flake\"" error: a flake is one JSON object, this is a string; hint: begin with `{` and end with `}`; each flake has a file of its own"#,
            ),
    ];

    /// S1.1, S1.2, S1.5, S1.11: which fields a flake has, under which names, and what is told where one is wrong.
    #[test]
    fn fields() {
        for (text, tree, told) in FIELD_CASES {
            let (found, problems) = translated(text);
            let found = found.replace(COMMON, "");
            assert_eq!((found.as_str(), problems), (*tree, told.replace("UNITS", &UNITS.join(", "))), "{text}");
        }
    }

    /// S1.6: every unit of CloudWatch's is accepted.
    #[test]
    fn units() {
        for unit in UNITS {
            let text = EXAMPLE.replace("\"Count\"", &format!("{unit:?}"));
            assert!(translated(&text).0.contains(&format!("unit: {unit:?}")), "{unit}");
        }
    }

    /// S1.3: the folder that holds the outermost folder named `flakes`, else the config's root.
    #[test]
    fn working_dirs() {
        for (path, root, expected) in [
            ("/srv/app/flakes/a.flake.json", "/srv/app", "/srv/app"),
            ("/srv/app/flakes/sub/flakes/a.flake.json", "/srv/app", "/srv/app"),
            ("/srv/app/conf/flakes/sub/a.flake.json", "/srv/app", "/srv/app/conf"),
            ("/srv/flakes/conf/a.flake.json", "/srv/flakes/conf", "/srv/flakes/conf"),
            ("/srv/flakes/app/flakes/a.flake.json", "/srv/flakes/app", "/srv/flakes/app"),
            ("/srv/flakes/a.flake.json", "/srv/flakes", "/srv/flakes"),
            ("/srv/flakes/flakes/a.flake.json", "/srv/flakes", "/srv/flakes"),
            ("/srv/appflakes/flakes/a.flake.json", "/srv/app", "/srv/appflakes"),
            ("/other/flakes/a.flake.json", "/srv/app", "/other"),
            ("/flakes/a.flake.json", "/", "/"),
            ("/srv/app/a.flake.json", "/srv/app", "/srv/app"),
            ("/srv/app/my-flakes/a.flake.json", "/srv/app", "/srv/app"),
            ("/srv/app/flakes", "/srv/app", "/srv/app"),
            ("flakes/a.flake.json", "/srv/app", "."),
            ("conf/flakes/a.flake.json", "/srv/app", "conf"),
            ("a.flake.json", "/srv/app", "/srv/app"),
        ] {
            assert_eq!(working_dir(path, root), expected, "{path}");
        }
    }
}
