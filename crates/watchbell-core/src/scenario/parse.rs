//! From a scenario's text to its lines. Every mistake is reported, with its place.

use super::{
    Behaves, Command, Expect, Faulty, Finds, Happened, LINES_MAX, Line, SPAN_MAX, START_DEFAULT, Says, Scenario,
    ScenarioError, Told, When,
};
use crate::{
    config::{nearest, parse_duration},
    model::{Action, EventState, Hardness, Severity, Timestamp},
};
use std::time::Duration;

/// What begins a line that is not about what a check reports.
const COMMANDS: &[&str] = &[
    "start",
    "at",
    "after",
    "within",
    "report",
    "squelch",
    "unsquelch",
    "ack",
    "unack",
    "run",
    "send",
    "notifier",
    "restart",
    "crash",
    "stop",
    "begin",
    "away",
    "clock",
    "reload",
    "config",
    "expect",
];
const STATES: &[&str] =
    &["ok", "info", "warning", "error", "critical", "metric", "hangs", "can't", "runs", "alternates", "rows"];
/// So many rows appear by one line at most.
const ROWS_AT_ONCE_MAX: f64 = 100_000.0;
/// Rows come no more often.
const ROWS_EVERY_MIN: Duration = Duration::from_secs(1);
const BEHAVIOURS: &[&str] = &["works", "fails", "refuses", "hangs", "resets", "answers", "takes"];
const EXPECTATIONS: &[&str] =
    &["deliver", "quiet", "fault", "held", "run", "event", "queued", "running", "refused", "warned", "no", "not"];
const RULES: &[&str] = &["squelch", "parent", "acknowledged", "flapping", "severity", "hours"];
/// Who does things, if the line does not say.
const SOMEBODY: &str = "somebody";

type Parsed<T> = Result<T, ScenarioError>;

pub(super) fn scenario(text: &str) -> Result<Scenario, Vec<ScenarioError>> {
    let mut scenario = Scenario { start: START_DEFAULT, configs: Vec::new(), has_own_config: false, steps: Vec::new() };
    let mut errors = Vec::new();
    let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    while let Some((number, line)) = lines.next() {
        if number > LINES_MAX {
            errors.push(plain_error(number, 1, format!("a scenario has at most {LINES_MAX} lines")));
            break;
        }
        if line.trim() == "config" {
            config_block(number, &mut lines, &mut scenario, &mut errors);
            continue;
        }
        match Words::split(number, line).and_then(|words| one_line(words, line, &mut scenario)) {
            Ok(Some(step)) => scenario.steps.push(step),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(scenario) } else { Err(errors) }
}

fn config_block<'t>(
    number: usize,
    lines: &mut impl Iterator<Item = (usize, &'t str)>,
    scenario: &mut Scenario,
    errors: &mut Vec<ScenarioError>,
) {
    let mut text = String::new();
    for (_, line) in lines {
        if line.trim() == "end" {
            if scenario.steps.is_empty() && scenario.configs.is_empty() {
                scenario.has_own_config = true;
            } else {
                let command = Command::Config(scenario.configs.len());
                scenario.steps.push(Line { number, text: "config".into(), when: When::Now, command });
            }
            scenario.configs.push((number, text));
            return;
        }
        text.push_str(line);
        text.push('\n');
    }
    let error = plain_error(number, 1, "the `config` block has no end");
    errors.push(ScenarioError { hint: Some("write `end` on a line of its own behind it".into()), ..error });
}

/// One line; `None` where there is nothing on it to do.
fn one_line(mut words: Words, line: &str, scenario: &mut Scenario) -> Parsed<Option<Line>> {
    if words.is_empty() {
        return Ok(None);
    }
    if words.take("start") {
        let at = words.next("a time such as 2026-01-05T08:00:00Z")?;
        if !scenario.steps.is_empty() {
            return Err(words.wrong(&at, "`start` stands before everything else", None));
        }
        scenario.start = timestamp(&words, &at)?;
        words.end()?;
        return Ok(None);
    }
    let when = when(&mut words)?;
    let command = if words.is_empty() && when != When::Now { Command::Wait } else { command(&mut words)? };
    if matches!(when, When::Within(_)) && !matches!(command, Command::Expect(_)) {
        let message = "`within` waits for something: it stands before `expect`";
        return Err(plain_error(words.number, 1, message));
    }
    words.end()?;
    Ok(Some(Line { number: words.number, text: line.trim().to_owned(), when, command }))
}

fn when(words: &mut Words) -> Parsed<When> {
    if words.take("at") {
        let at = words.next("a time, as `90s` behind the start or `2026-01-05T09:00:00Z`")?;
        if at.text.contains('T') {
            return Ok(When::Clock(timestamp(words, &at)?));
        }
        return Ok(When::At(duration_of(words, &at)?));
    }
    if words.take("after") {
        return Ok(When::After(words.duration()?));
    }
    if words.take("within") {
        return Ok(When::Within(words.duration()?));
    }
    Ok(When::Now)
}

fn command(words: &mut Words) -> Parsed<Command> {
    let first = words.next("what happens")?;
    if first.quoted {
        return says(&first.text, words);
    }
    Ok(match first.text.as_str() {
        "report" => report(words)?,
        "squelch" => squelch(words)?,
        "unsquelch" => Command::Unsquelch { regex: words.text("a regular expression")?, by: by(words)? },
        "ack" => ack(words)?,
        "unack" => Command::Unack { fault: words.text("a fault's name")?, by: by(words)? },
        "run" => Command::Run { check: words.text("a check's name")? },
        "send" => send(words)?,
        "source" => source(words)?,
        "notifier" => notifier(words)?,
        "restart" => Command::Restart { kindly: true },
        "crash" => Command::Restart { kindly: false },
        "stop" => Command::Stop { kindly: true },
        "begin" => Command::Begin,
        "away" => Command::Away(words.duration()?),
        "clock" => clock(words)?,
        "reload" => reload(words)?,
        "expect" => Command::Expect(expect(words)?),
        name => says(name, words)?,
    })
}

fn says(name: &str, words: &mut Words) -> Parsed<Command> {
    let state = match words.peek() {
        Some(_) => words.next("")?,
        None => {
            let near = nearest(name, COMMANDS.iter().copied());
            let hint = near.map_or("write what a check reports: `disk critical \"91%\"`".into(), |near| {
                format!("did you mean `{near}`?")
            });
            return Err(ScenarioError { hint: Some(hint), ..words.error_at_end(format!("`{name}` does what?")) });
        }
    };
    let (check, part) = match name.split_once('#') {
        Some((check, part)) => (check.to_owned(), Some(part.to_owned())),
        None => (name.to_owned(), None),
    };
    let says = match state.text.as_str() {
        "ok" => Says::Ok(words.take_quoted()),
        "hangs" | "silent" => Says::Hangs,
        "can't" => {
            words.expect_word("start")?;
            Says::CannotStart
        }
        "runs" => {
            words.expect_word("for")?;
            Says::RunsFor(words.duration()?)
        }
        "rows" => rows(words)?,
        "metric" => Says::Metric(words.text("the metric's name")?, words.number()?),
        "alternates" => {
            let state = words.next("`critical`, `error` or `warning`")?;
            Says::Alternates(finds(&state, words)?)
        }
        _ => Says::Finds(finds(&state, words)?),
    };
    Ok(Command::Say { check, part, says })
}

fn rows(words: &mut Words) -> Parsed<Says> {
    if words.take("none") {
        return Ok(Says::RowsEvery(None));
    }
    if words.take("every") {
        return Ok(Says::RowsEvery(Some(words.duration()?.max(ROWS_EVERY_MIN))));
    }
    let count = words.number()?.clamp(0.0, ROWS_AT_ONCE_MAX) as u32;
    let ago = if words.take("ago") { words.duration()? } else { Duration::ZERO };
    Ok(Says::Rows { count, ago })
}

fn source(words: &mut Words) -> Parsed<Command> {
    let name = words.text("a source's name")?;
    let state = words.next("`away` or `answers`")?;
    let problem = match state.text.as_str() {
        "answers" => None,
        "away" => Some(words.take_quoted().unwrap_or_else(|| "it is away".to_owned())),
        other => {
            return Err(words.wrong(
                &state,
                format!("a source can't be `{other}`"),
                Some("it is `away`, or it `answers`".into()),
            ));
        }
    };
    Ok(Command::Source { name, problem })
}

fn finds(state: &Word, words: &mut Words) -> Parsed<Finds> {
    let Some(severity) = Severity::from_word(&state.text).filter(|_| !state.quoted) else {
        let hint = nearest(&state.text, STATES.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let hint = hint.or_else(|| Some(format!("a check can be {}", list(STATES))));
        return Err(words.wrong(state, format!("a check can't be `{}`", state.text), hint));
    };
    let message = words.take_quoted().unwrap_or_else(|| severity.word().to_owned());
    Ok(Finds { severity, message, escalates: !words.take("steady") })
}

fn report(words: &mut Words) -> Parsed<Command> {
    let check = words.text("a passive check's name")?;
    let state = words.next("`start`, `ok`, `warning`, `error` or `critical`")?;
    if state.text == "start" {
        return Ok(Command::ReportStart { check });
    }
    let finding = if state.text == "ok" { Ok(words.take_quoted()) } else { Err(finds(&state, words)?) };
    Ok(Command::Report { check, finding })
}

fn by(words: &mut Words) -> Parsed<String> {
    if words.take("by") { words.text("who") } else { Ok(SOMEBODY.to_owned()) }
}

fn squelch(words: &mut Words) -> Parsed<Command> {
    let regex = words.text("a regular expression")?;
    let (mut reason, mut who, mut lasts) = (String::new(), SOMEBODY.to_owned(), None);
    let (mut permanent, mut every) = (false, None);
    while let Some(word) = words.peek() {
        match word {
            "because" => {
                words.take("because");
                reason = words.text("a reason")?;
            }
            "for" => {
                words.take("for");
                lasts = Some(words.duration()?);
            }
            "by" => who = by(words)?,
            "every" => {
                words.take("every");
                every = Some(words.text("hours such as `sat 02:00-04:00`")?);
            }
            "permanently" => permanent = words.take("permanently"),
            _ => break,
        }
    }
    Ok(Command::Squelch { regex, reason, by: who, lasts, permanent, every })
}

fn ack(words: &mut Words) -> Parsed<Command> {
    let fault = words.text("a fault's name")?;
    let comment = words.take_quoted().unwrap_or_default();
    let lasts = if words.take("for") { Some(words.duration()?) } else { None };
    Ok(Command::Ack { fault, comment, by: by(words)?, lasts })
}

fn send(words: &mut Words) -> Parsed<Command> {
    let text = words.text("the text")?;
    let (mut to, mut severity, mut id) = (Vec::new(), Severity::Info, None);
    let mut about = "message".to_owned();
    loop {
        if words.take("to") {
            to.extend(words.text("a notifier's name")?.split(',').map(|n| n.trim().to_owned()));
        } else if words.take("as") {
            let word = words.next("a severity")?;
            severity = Severity::from_word(&word.text)
                .ok_or_else(|| words.wrong(&word, format!("there is no severity `{}`", word.text), None))?;
        } else if words.take("id") {
            id = Some(words.text("the id")?);
        } else if words.take("about") {
            about = words.text("what it is about")?;
        } else {
            return Ok(Command::Send { text, severity, to, id, about });
        }
    }
}

fn notifier(words: &mut Words) -> Parsed<Command> {
    let name = words.text("a notifier's name")?;
    let word = words.next("how it behaves")?;
    let text = |words: &mut Words, default: &str| words.take_any().unwrap_or_else(|| default.to_owned());
    let behaves = match word.text.as_str() {
        "works" => Behaves::Works,
        "fails" => Behaves::Fails(text(words, "it fails")),
        "refuses" => Behaves::Refuses(text(words, "it refuses")),
        "hangs" => Behaves::Hangs,
        "resets" => Behaves::Resets,
        "answers" => {
            words.expect_word("retry-after")?;
            Behaves::RetryAfter(words.duration()?)
        }
        "takes" => Behaves::Takes(words.duration()?),
        other => {
            let hint = nearest(other, BEHAVIOURS.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let hint = hint.or_else(|| Some(format!("it is one of {}", list(BEHAVIOURS))));
            return Err(words.wrong(&word, format!("a notifier can't behave as `{other}`"), hint));
        }
    };
    Ok(Command::Notifier { name, behaves })
}

fn clock(words: &mut Words) -> Parsed<Command> {
    words.expect_word("jump")?;
    let by = words.next("by how much: `-1h` or `+1h`")?;
    let (sign, length) = match by.text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, by.text.strip_prefix('+').unwrap_or(&by.text)),
    };
    let length = parse_duration(length).filter(|d| *d <= SPAN_MAX).and_then(|d| i64::try_from(d.as_micros()).ok());
    let length = length.ok_or_else(|| words.wrong(&by, "this is no length of time", Some("write `-1h`".into())))?;
    Ok(Command::ClockJump(sign * length))
}

fn reload(words: &mut Words) -> Parsed<Command> {
    let mut without = Vec::new();
    if words.take("without") {
        without.push(words.text("a check's name")?);
        without.extend(std::iter::from_fn(|| words.take_any()));
    }
    Ok(Command::Reload { without })
}

fn expect(words: &mut Words) -> Parsed<Expect> {
    let word = words.next("what is expected")?;
    let not = matches!(word.text.as_str(), "no" | "not");
    let word = if not { words.next("what is not expected")? } else { word };
    let count = word.text.parse::<u32>().ok();
    let word = if count.is_some() { words.next("`runs`")? } else { word };
    Ok(match (word.text.as_str(), count) {
        ("deliver" | "delivery" | "deliveries", None) => Expect::Deliver { not, wanted: told(words)? },
        ("quiet", None) if !not => Expect::Quiet,
        ("faults", None) if not => Expect::NoFaults,
        ("fault", None) => Expect::Fault { not, wanted: faulty(words)? },
        ("held", None) => held(not, words)?,
        ("run", None) => Expect::Run { check: words.text("a check's name")?, count: if not { Some(0) } else { None } },
        ("run" | "runs", Some(_)) => Expect::Run { check: words.text("a check's name")?, count },
        ("event", None) => event(not, words)?,
        ("queued", None) if !not => Expect::Queued(words.count()?),
        ("running", None) if !not => Expect::Running(words.count()?),
        ("refused", None) if !not => Expect::Refused(words.take_quoted()),
        ("warned", None) if !not => Expect::Warned(words.take_quoted()),
        (other, _) => {
            let hint = nearest(other, EXPECTATIONS.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let hint = hint.or_else(|| Some(format!("what can be expected: {}", list(EXPECTATIONS))));
            return Err(words.wrong(&word, format!("`{other}` can't be expected"), hint));
        }
    })
}

fn told(words: &mut Words) -> Parsed<Told> {
    let mut told = Told::default();
    let actions =
        [Action::Trigger, Action::Update, Action::Acknowledge, Action::Resolve, Action::Message, Action::Digest];
    told.action = actions.into_iter().find(|a| words.take(a.word()));
    while let Some(word) = words.peek() {
        if word == "to" {
            words.take("to");
            told.to = Some(words.text("a notifier's name")?);
        } else if words.take("lasted") {
            told.lasted = Some(words.duration()?);
        } else if let Some(text) = words.take_quoted() {
            told.text = Some(text);
        } else if told.fault.is_none() {
            words.take("of");
            told.fault = Some(words.text("a fault's name")?);
        } else {
            break;
        }
    }
    Ok(told)
}

fn faulty(words: &mut Words) -> Parsed<Faulty> {
    let mut faulty = Faulty { fault: words.text("a fault's name")?, ..Faulty::default() };
    loop {
        if let Some(text) = words.take_quoted() {
            faulty.text = Some(text);
            continue;
        }
        let Some(word) = words.peek().map(str::to_owned) else { return Ok(faulty) };
        if let Ok(attempt) = word.parse::<u32>() {
            words.take(&word);
            words.expect_word("of")?;
            let attempts = words.count()?;
            faulty.attempt = Some((attempt, u32::try_from(attempts).unwrap_or(u32::MAX)));
            continue;
        }
        match word.as_str() {
            "hard" => faulty.state = Some(Hardness::Hard),
            "soft" => faulty.state = Some(Hardness::Soft),
            "stale" => faulty.stale = true,
            "acknowledged" => faulty.acknowledged = true,
            other => match Severity::from_word(other) {
                Some(severity) => faulty.severity = Some(severity),
                None => return Ok(faulty),
            },
        }
        words.take(&word);
    }
}

fn held(not: bool, words: &mut Words) -> Parsed<Expect> {
    let fault = words.text("a fault's name")?;
    let mut rule = None;
    if words.take("by") {
        let word = words.next("a rule")?;
        if !RULES.contains(&word.text.as_str()) {
            let hint = nearest(&word.text, RULES.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let hint = hint.or_else(|| Some(format!("rules are {}", list(RULES))));
            return Err(words.wrong(&word, format!("there is no rule `{}`", word.text), hint));
        }
        rule = Some(word.text);
    }
    let to = if words.take("to") { Some(words.text("a notifier's name")?) } else { None };
    Ok(Expect::Held { not, fault, rule, to })
}

fn event(not: bool, words: &mut Words) -> Parsed<Expect> {
    let states = [
        ("problem", EventState::Problem),
        ("update", EventState::Update),
        ("recovery", EventState::Recovery),
        ("info", EventState::Info),
    ];
    let state = states.into_iter().find(|(word, _)| words.take(word)).map(|(_, state)| state);
    let mut text = words.take_quoted();
    let is_named = text.is_none() && words.peek() != Some("because");
    let name = if is_named { words.take_any() } else { None };
    if text.is_none() {
        text = words.take_quoted();
    }
    let because = if words.take("because") { Some(words.text("what the event says that led to it")?) } else { None };
    Ok(Expect::Event { not, wanted: Happened { state, name, text, because } })
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|w| format!("`{w}`")).collect();
    quoted.join(", ")
}

fn plain_error(line: usize, column: usize, message: impl Into<String>) -> ScenarioError {
    ScenarioError { line, column, message: message.into(), hint: None }
}

fn timestamp(words: &Words, word: &Word) -> Parsed<Timestamp> {
    let hint = || Some("write it as `2026-01-05T08:00:00Z`".to_owned());
    word.text.parse().map_err(|_| words.wrong(word, format!("`{}` is no time", word.text), hint()))
}

fn duration_of(words: &Words, word: &Word) -> Parsed<Duration> {
    let hint = || Some("write it as `90s`, `5m`, `1h30m` or `2d`".to_owned());
    match parse_duration(&word.text) {
        Some(length) if length <= SPAN_MAX => Ok(length),
        Some(_) => {
            Err(words.wrong(word, format!("a scenario lasts at most {} days", SPAN_MAX.as_secs() / 86_400), None))
        }
        None => Err(words.wrong(word, format!("`{}` is no length of time", word.text), hint())),
    }
}

#[derive(Clone, Debug)]
struct Word {
    text: String,
    /// From 1, in characters.
    column: usize,
    quoted: bool,
}

/// The words of one line, taken one after the other.
struct Words {
    number: usize,
    words: Vec<Word>,
    at: usize,
    width: usize,
}

impl Words {
    /// Words are parted by blanks; one in `"` may hold blanks, `\"` and `\\`. `#` at the line's beginning or
    /// by itself begins a comment.
    fn split(number: usize, line: &str) -> Parsed<Words> {
        let mut words = Vec::new();
        let mut chars = line.chars().enumerate().peekable();
        let mut width = 0;
        while let Some((i, c)) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            if c == '#' && (words.is_empty() || chars.peek().is_none_or(|(_, c)| c.is_whitespace())) {
                break;
            }
            let quoted = c == '"';
            let mut text = if quoted { String::new() } else { c.to_string() };
            if quoted {
                loop {
                    match chars.next() {
                        Some((_, '"')) => break,
                        Some((_, '\\')) => text.extend(chars.next().map(|(_, c)| if c == 'n' { '\n' } else { c })),
                        Some((_, c)) => text.push(c),
                        None => return Err(plain_error(number, i + 1, "the quote that begins here has no end")),
                    }
                }
            } else {
                while let Some((_, c)) = chars.next_if(|(_, c)| !c.is_whitespace()) {
                    text.push(c);
                }
            }
            width = i + 1 + text.chars().count();
            words.push(Word { text, column: i + 1, quoted });
        }
        Ok(Words { number, words, at: 0, width })
    }

    fn is_empty(&self) -> bool {
        self.at >= self.words.len()
    }

    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(|w| w.text.as_str())
    }

    /// Takes this word if it is the next one and stands in no quotes.
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.at).is_some_and(|w| !w.quoted && w.text == word);
        self.at += usize::from(is_next);
        is_next
    }

    fn take_quoted(&mut self) -> Option<String> {
        let word = self.words.get(self.at).filter(|w| w.quoted)?.text.clone();
        self.at += 1;
        Some(word)
    }

    fn take_any(&mut self) -> Option<String> {
        let word = self.words.get(self.at)?.text.clone();
        self.at += 1;
        Some(word)
    }

    fn next(&mut self, wanted: &str) -> Parsed<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word.ok_or_else(|| self.error_at_end(format!("expected {wanted}, found the end of the line")))
    }

    fn text(&mut self, wanted: &str) -> Parsed<String> {
        self.next(wanted).map(|w| w.text)
    }

    fn expect_word(&mut self, wanted: &str) -> Parsed<()> {
        let word = self.next(&format!("`{wanted}`"))?;
        if word.text == wanted {
            return Ok(());
        }
        Err(self.wrong(&word, format!("expected `{wanted}`, found `{}`", word.text), None))
    }

    fn duration(&mut self) -> Parsed<Duration> {
        let word = self.next("a length of time such as `90s`")?;
        duration_of(self, &word)
    }

    fn number(&mut self) -> Parsed<f64> {
        let word = self.next("a number")?;
        let number = word.text.parse::<f64>().ok().filter(|n| n.is_finite());
        number.ok_or_else(|| self.wrong(&word, format!("`{}` is not a number", word.text), None))
    }

    fn count(&mut self) -> Parsed<usize> {
        let word = self.next("a number")?;
        word.text.parse().map_err(|_| self.wrong(&word, format!("`{}` is not a whole number", word.text), None))
    }

    fn end(&self) -> Parsed<()> {
        match self.words.get(self.at) {
            None => Ok(()),
            Some(word) => {
                let hint = if word.quoted { None } else { Some("a text of several words stands in quotes".to_owned()) };
                Err(self.wrong(word, format!("`{}` is more than this line can say", word.text), hint))
            }
        }
    }

    fn wrong(&self, word: &Word, message: impl Into<String>, hint: Option<String>) -> ScenarioError {
        ScenarioError { hint, ..plain_error(self.number, word.column, message) }
    }

    fn error_at_end(&self, message: String) -> ScenarioError {
        plain_error(self.number, self.width.max(1), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mistake has its place and says what to do.
    #[test]
    fn mistakes() {
        let cases = [
            ("at soon disk ok", "1:4: `soon` is no length of time | write it as `90s`, `5m`, `1h30m` or `2d`"),
            ("at 90s disk critcal \"x\"", "1:13: a check can't be `critcal` | did you mean `critical`?"),
            ("disk", "1:5: `disk` does what? | write what a check reports: `disk critical \"91%\"`"),
            ("restrat", "1:8: `restrat` does what? | did you mean `restart`?"),
            ("disk critical \"91%", "1:15: the quote that begins here has no end"),
            (
                "disk critical disk full",
                "1:15: `disk` is more than this line can say | a text of several words stands in quotes",
            ),
            ("notifier ops wroks", "1:14: a notifier can't behave as `wroks` | did you mean `works`?"),
            ("expect delivre disk", "1:8: `delivre` can't be expected | did you mean `deliver`?"),
            ("within 2m disk ok", "1:1: `within` waits for something: it stands before `expect`"),
            ("disk ok\nstart 2026-01-05T08:00:00Z", "2:7: `start` stands before everything else"),
            ("start monday", "1:7: `monday` is no time | write it as `2026-01-05T08:00:00Z`"),
            ("at 500d disk ok", "1:4: a scenario lasts at most 400 days"),
            ("expect held disk by squelsh", "1:21: there is no rule `squelsh` | did you mean `squelch`?"),
            ("clock jump an hour", "1:12: this is no length of time | write `-1h`"),
            ("config\n[agent]", "1:1: the `config` block has no end | write `end` on a line of its own behind it"),
            ("disk metric load high", "1:18: `high` is not a number"),
            ("disk runs", "1:10: expected `for`, found the end of the line"),
        ];
        for (text, expect) in cases {
            let errors = Scenario::parse(text).expect_err(text);
            let shown = errors[0].to_string().replace("\n  hint: ", " | ");
            assert_eq!((errors.len(), shown.as_str()), (1, expect), "{text}");
        }
        assert_eq!(Scenario::parse("at x\nat y\n").unwrap_err().len(), 2);
    }

    #[test]
    fn lines() {
        let text = "start 2026-01-05T22:00:00Z # Monday\n\n  at 90s \"run\"#x ok\n";
        let error = Scenario::parse(text).unwrap_err();
        assert_eq!(error[0].line, 3, "a quoted name ends at its quote");
        let scenario =
            Scenario::parse("at 90s disk#part error \"a \\\"b\\\" # c\" steady # comment\nafter 5s\n").unwrap();
        let finds = Finds { severity: Severity::Error, message: "a \"b\" # c".into(), escalates: false };
        let says = Command::Say { check: "disk".into(), part: Some("part".into()), says: Says::Finds(finds) };
        assert_eq!(scenario.steps[0].command, says);
        assert_eq!(scenario.steps[0].when, When::At(Duration::from_secs(90)));
        assert_eq!(scenario.steps[1].command, Command::Wait);
    }

    /// Whatever is written, reading it ends without a panic.
    #[test]
    fn odd_text_is_no_trouble() {
        let words = ["at", "within", "expect", "\"", "#", "\\", "é", "0", "-1", "disk", "no", "of", "by", "config"];
        for code in 0..words.len().pow(4) {
            let line: Vec<_> = (0..4).map(|i| words[code / words.len().pow(i) % words.len()]).collect();
            let _ = Scenario::parse(&line.join(" "));
        }
    }
}
