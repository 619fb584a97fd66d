//! jq filters (by jaq) over JSON that others sent.
//!
//! What a filter costs nobody can tell from its text, and the data may decide it: it is compiled and run apart from the agent
//! ([`apart`]), with limits on memory, stack and time. It can't read the agent's environment, and `halt` ends nothing but
//! its outputs.

use super::{
    apart::{self, Failure, Job},
    json,
};
use jaq_core::{
    Compiler, Ctx, Vars, data,
    load::{self, Arena, File, Loader},
};
use jaq_json::Val;
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc, sync::Arc, time::Duration};

/// A filter over one document may have this many outputs.
pub const OUTPUTS_MAX: usize = 10_000;
/// A filter is no longer than this.
pub const FILTER_BYTES_MAX: usize = 64 << 10;
/// Its brackets stand no deeper in one another.
pub const BRACKETS_MAX: usize = 200;
/// A filter may run for so long.
pub const RUN_WITHIN: Duration = Duration::from_secs(10);
/// So many compiled filters are remembered by a child.
const COMPILED_MAX: usize = 32;

/// Compiles a filter: the text of what is wrong with it, or nothing.
pub static COMPILE: Job = Job::new(1, RUN_WITHIN, |text| match compile(&String::from_utf8_lossy(text)) {
    Ok(_) => Vec::new(),
    Err(why) => why.into_bytes(),
});

/// Runs one: see [`Filter::ask`].
pub static RUN: Job = Job::new(2, RUN_WITHIN, |question| answer(question).unwrap_or_default());

/// A filter that compiles. Cheap to clone.
#[derive(Clone)]
pub struct Filter {
    text: Arc<str>,
}

/// Why a filter puts out nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// What it should read is no JSON: why, and where.
    Input(String),
    /// The filter failed: goes on after the filter's name and `fails: `.
    Filter(String),
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}

impl Filter {
    /// Compiles a filter. Where it can't be tried now because no process can be started, its first run tells.
    ///
    /// # Errors
    /// What is wrong and where in the text (line and column from 1).
    pub fn compile(text: &str) -> Result<Filter, String> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(format!("it is longer than {} KiB", FILTER_BYTES_MAX >> 10));
        }
        if depth(text) > BRACKETS_MAX {
            return Err(format!("its brackets stand more than {BRACKETS_MAX} deep in one another"));
        }
        match apart::ask_here(&COMPILE, &[text.as_bytes()]) {
            Ok(wrong) if !wrong.is_empty() => Err(String::from_utf8_lossy(&wrong).into_owned()),
            Ok(_) | Err(Failure::Gone(_)) => Ok(Filter { text: text.into() }),
            Err(why) => Err(format!("it {why}")),
        }
    }

    /// The text it was made of.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Runs it on one document, for so long at most.
    ///
    /// # Errors
    /// The document is no JSON, the filter's own error, an output that is no JSON, or too many of them.
    pub async fn run(&self, document: &[u8], within: Duration) -> Result<Vec<Value>, Trouble> {
        let (outputs, more) = self.ask(document, within, OUTPUTS_MAX, false).await?;
        if more {
            return Err(Trouble::Filter(format!("it has more than {OUTPUTS_MAX} outputs")));
        }
        let outputs = outputs.lines().map(|line| json::parse(line.as_bytes()));
        outputs.collect::<Result<_, _>>().map_err(|why| Trouble::Filter(format!("its outputs can't be read: {why}")))
    }

    /// Runs it on documents that stand one after the other, with as many outputs in all as are wanted, each on a line of
    /// its own; and whether there are more.
    ///
    /// # Errors
    /// As [`Filter::run`], but for too many outputs.
    pub async fn run_on_all(&self, documents: &[u8], outputs_max: usize) -> Result<(String, bool), Trouble> {
        self.ask(documents, RUN_WITHIN, outputs_max, true).await
    }

    /// How many outputs, how many documents, the length of the filter, the filter, the documents; answered by a byte that
    /// says what the text behind it is.
    async fn ask(
        &self,
        documents: &[u8],
        within: Duration,
        outputs_max: usize,
        many: bool,
    ) -> Result<(String, bool), Trouble> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend((outputs_max as u64).to_le_bytes());
        head.extend((self.text.len() as u64).to_le_bytes());
        head.push(u8::from(many));
        let answer = apart::ask(&RUN, within, &[&head, self.text.as_bytes(), documents]).await;
        let mut answer = answer.map_err(|why| Trouble::Filter(format!("it {why}")))?;
        let kind = answer.pop();
        let text = String::from_utf8(answer).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        match kind {
            Some(ALL) => Ok((text, false)),
            Some(MORE) => Ok((text, true)),
            Some(NO_JSON) => Err(Trouble::Input(text)),
            _ => Err(Trouble::Filter(text)),
        }
    }
}

/// How deep brackets stand in one another. Those in texts count too: a filter is short, and the limit far away.
fn depth(text: &str) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// What stands before the filter: see [`Filter::ask`].
const HEAD_BYTES: usize = 17;
/// The text is all outputs, one a line.
const ALL: u8 = b'a';
/// The same, and there are more.
const MORE: u8 = b'm';
/// It says why the documents are no JSON.
const NO_JSON: u8 = b'j';
/// It says why the filter failed.
const FAILED: u8 = b'f';

/// Answers [`Filter::ask`], in the child. None: nobody asks so.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = question.split_at_checked(HEAD_BYTES)?;
    let number = |bytes: &[u8]| Some(usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).unwrap_or(usize::MAX));
    let (outputs_max, length) = (number(head.get(..8)?)?, number(head.get(8..16)?)?);
    let (filter, documents) = rest.split_at_checked(length)?;
    let read = if head.last() == Some(&1) {
        json::documents(documents)
    } else {
        let one = json::without_mark(documents);
        json::parse::<json::Sound>(one).map(|_| vec![one]).map_err(|why| json::problem(&why, one))
    };
    let mut text = String::new();
    let kind = match read {
        Ok(documents) => match compiled(&String::from_utf8_lossy(filter)) {
            Ok(filter) => match outputs(&filter, documents, outputs_max, &mut text) {
                Ok(more) => {
                    if more {
                        MORE
                    } else {
                        ALL
                    }
                }
                Err(why) => {
                    text = why;
                    FAILED
                }
            },
            Err(why) => {
                text = why;
                FAILED
            }
        },
        Err(why) => {
            text = why;
            NO_JSON
        }
    };
    let mut answer = text.into_bytes();
    answer.push(kind);
    Some(answer)
}

type Lut = data::JustLut<Val>;
type Compiled = jaq_core::Filter<Lut>;

thread_local! {
    /// Filters that ran before: each check runs its own again and again.
    static COMPILED: RefCell<BTreeMap<String, Rc<Compiled>>> = const { RefCell::new(BTreeMap::new()) };
}

fn compiled(text: &str) -> Result<Rc<Compiled>, String> {
    if let Some(known) = COMPILED.with_borrow(|known| known.get(text).cloned()) {
        return Ok(known);
    }
    let filter = Rc::new(compile(text)?);
    COMPILED.with_borrow_mut(|known| {
        if known.len() >= COMPILED_MAX {
            known.clear();
        }
        known.insert(text.to_owned(), filter.clone());
    });
    Ok(filter)
}

fn compile(text: &str) -> Result<Compiled, String> {
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    // A filter sees the answer, not what the agent was started with.
    let funs = jaq_core::funs::<Lut>().chain(jaq_std::funs()).chain(jaq_json::funs());
    let funs = funs.filter(|(name, _, _)| *name != "env");
    let arena = Arena::default();
    let modules = Loader::new(defs)
        .load(&arena, File { code: text, path: () })
        .map_err(|errors| first(errors.into_iter().map(|(file, e)| load_error(file.code, e))))?;
    Compiler::default().with_funs(funs).compile(modules).map_err(|errors| {
        first(errors.into_iter().flat_map(|(file, list)| {
            list.into_iter()
                .map(move |(name, what)| located(file.code, name, format!("there is no {} `{name}`", what.as_str())))
        }))
    })
}

/// Adds a line for each output, up to so many in all. True: there are more.
fn outputs(filter: &Compiled, documents: Vec<&[u8]>, outputs_max: usize, lines: &mut String) -> Result<bool, String> {
    let mut count = 0;
    for document in documents {
        let document = jaq_json::read::parse_single(document).map_err(|e| e.to_string())?;
        let ctx = Ctx::<Lut>::new(&filter.lut, Vars::new([]));
        for output in filter.id.run((ctx, document)) {
            let value = match output {
                Ok(value) => value,
                Err(exception) => match exception.get_err() {
                    Ok(error) => return Err(error.to_string()),
                    // `halt`: no more outputs.
                    Err(_) => break,
                },
            };
            if count >= outputs_max {
                return Ok(true);
            }
            count += 1;
            let text = value.to_string();
            let json: Value = json::parse(text.as_bytes()).map_err(|why| {
                let begins = super::net::excerpt(text.as_bytes());
                format!("its output `{begins}` is no JSON: {}", json::bare(&why))
            })?;
            lines.push_str(&json.to_string());
            lines.push('\n');
        }
    }
    Ok(false)
}

fn first(mut messages: impl Iterator<Item = String>) -> String {
    messages.next().unwrap_or_else(|| "it can't be read".to_owned())
}

fn load_error(code: &str, error: load::Error<&str>) -> String {
    match error {
        load::Error::Io(list) => first(
            list.into_iter()
                .map(|(path, _)| located(code, path, format!("other files can't be included here (`{path}`)"))),
        ),
        load::Error::Lex(list) => first(list.into_iter().map(|(wanted, found)| expected(code, wanted.as_str(), found))),
        load::Error::Parse(list) => {
            first(list.into_iter().map(|(wanted, found)| expected(code, wanted.as_str(), found)))
        }
    }
}

fn expected(code: &str, wanted: &str, found: &str) -> String {
    let found_text = match found.chars().take(20).collect::<String>() {
        text if text.is_empty() => "its end".to_owned(),
        text => format!("`{text}`"),
    };
    located(code, found, format!("expected {wanted}, found {found_text}"))
}

/// A message with the place of a part of the text; without one where the part is none (the prelude).
fn located(code: &str, part: &str, message: String) -> String {
    let (start, at) = (code.as_ptr() as usize, part.as_ptr() as usize);
    let Some(offset) = at.checked_sub(start).filter(|offset| *offset <= code.len()) else { return message };
    let Some(before) = code.get(..offset) else { return message };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn filters_run_on_json() {
        let input = json!({"status": "ok", "n": 12345678901234567_u64, "f": 0.5, "list": [1, 2, {"a": null}]});
        let text = input.to_string();
        for (filter, expect) in [
            (".", Ok(vec![input.clone()])),
            (".status == \"ok\"", Ok(vec![json!(true)])),
            (".n", Ok(vec![json!(12345678901234567_u64)])),
            (".f * 2", Ok(vec![json!(1.0)])),
            (".list[]", Ok(vec![json!(1), json!(2), json!({"a": null})])),
            (".list | length", Ok(vec![json!(3)])),
            ("[.list[] | numbers] | add", Ok(vec![json!(3)])),
            (".status | test(\"^o\")", Ok(vec![json!(true)])),
            ("empty", Ok(vec![])),
            ("1, halt, 2", Ok(vec![json!(1)])),
            ("nan", Err("is no JSON")),
            (".status.x", Err("cannot index")),
            ("error(\"mine\")", Err("mine")),
            ("repeat(1)", Err("more than 10000 outputs")),
        ] {
            match (Filter::compile(filter).unwrap().run(text.as_bytes(), RUN_WITHIN).await, expect) {
                (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{filter}"),
                (Err(Trouble::Filter(got)), Err(part)) => assert!(got.contains(part), "{filter}: {got}"),
                (got, _) => panic!("{filter}: {got:?}"),
            }
        }
        let filter = Filter::compile(".[0]").unwrap();
        assert_eq!(filter.run(b"\xef\xbb\xbf[1]", RUN_WITHIN).await, Ok(vec![json!(1)]));
        for bad in ["", "[1", "[1] 2", &"[".repeat(1_000_000)] {
            let got = filter.run(bad.as_bytes(), RUN_WITHIN).await;
            assert!(matches!(&got, Err(Trouble::Input(why)) if why.starts_with("line 1, column ")), "{got:?}");
        }
        let got = filter.run_on_all(b"[1] [[2]]\n[3]", 2).await;
        assert_eq!(got, Ok(("1\n[2]\n".to_owned(), true)));
    }

    #[test]
    fn what_is_wrong_with_a_filter_is_located() {
        let brackets = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        let (deep, braces, long) = (brackets(4_000), "{a:".repeat(4_000), ".|".repeat(40_000));
        for (text, expect) in [
            ("", "expected term, found its end"),
            (".a |", "line 1, column 5: expected term, found its end"),
            (".a\n| foo", "line 2, column 3: there is no filter `foo`"),
            ("$x", "line 1, column 1: there is no variable `$x`"),
            ("(.a", "line 1, column 4: expected closing parenthesis, found its end"),
            ("if . then 1", "expected else or end"),
            (".a §", "line 1, column 4: expected token, found `§`"),
            ("env", "there is no filter `env`"),
            ("$ENV", "there is no variable `$ENV`"),
            ("include \"x\"; .", "other files can't be included here"),
            (&deep, "its brackets stand more than 200 deep in one another"),
            (&braces, "its brackets stand more than 200 deep"),
            (&long, "it is longer than 64 KiB"),
        ] {
            let message = Filter::compile(text).unwrap_err();
            assert!(message.contains(expect), "{text}: {message}");
        }
        Filter::compile(&brackets(BRACKETS_MAX)).unwrap();
        // Nested by other means than brackets: it is too deep or it is not, and the agent lives.
        for part in ["if . then ", "-", "try ", ".|", "def f: ", ". as $x | ", "reduce . as $x (0; ", "1 + ", "\"\\("] {
            let _ = Filter::compile(&part.repeat(FILTER_BYTES_MAX / part.len()));
        }
    }

    /// What asks for more than it may have costs its check a message, and the next filter runs as ever.
    #[tokio::test]
    async fn no_filter_takes_the_agent_along() {
        let deep = "is nested too deeply";
        let large = "took more than 64 MiB of memory";
        for (text, input, expect) in [
            ("def f: 1 + f; f", "0", deep),
            ("def s(n): if n==0 then 0 else n+s(n-1) end; s(.n)", "{\"n\":100000}", deep),
            ("reduce range(1e6) as $i (null; [.])", "0", deep),
            (". as $x | reduce range(1e6) as $i (\"\"; . + \"[\") | fromjson", "0", deep),
            ("[range(1000000000)]", "0", large),
            ("reduce range(36) as $i (\"x\"; . + .)", "0", large),
            ("\"x\" * 1000000000", "0", large),
            ("[limit(1e9; repeat(\"x\"))] | length", "0", large),
            ("reduce range(64) as $i ([1]; . + .)", "0", large),
        ] {
            let filter = Filter::compile(text).unwrap();
            let got = filter.run(input.as_bytes(), RUN_WITHIN).await;
            assert!(matches!(&got, Err(Trouble::Filter(why)) if why.contains(expect)), "{text}: {got:?}");
            let next = Filter::compile(".").unwrap().run(b"7", RUN_WITHIN).await;
            assert_eq!(next, Ok(vec![json!(7)]), "after {text}");
        }
        // What it is given has room besides.
        let much = format!("[{}1]", "[0.5,\"x\"],".repeat(1_000_000));
        let got = Filter::compile("length").unwrap().run(much.as_bytes(), RUN_WITHIN).await;
        assert_eq!(got, Ok(vec![json!(1_000_001)]));
    }

    /// A filter that never ends is killed where nobody waits for it any more, and holds up no other.
    #[tokio::test]
    async fn a_filter_that_does_not_end_is_killed() {
        let filter = Filter::compile("def f: f; f").unwrap();
        let limit = Duration::from_millis(50);
        for _ in 0..2 * apart::AT_ONCE_MAX {
            assert!(tokio::time::timeout(limit, filter.run(b"0", RUN_WITHIN)).await.is_err());
        }
        assert_eq!(Filter::compile(".").unwrap().run(b"1", RUN_WITHIN).await, Ok(vec![json!(1)]));
        let slow = filter.run(b"1", limit).await;
        assert_eq!(slow, Err(Trouble::Filter("it took longer than 50ms".to_owned())));
    }
}
