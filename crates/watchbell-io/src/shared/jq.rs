//! jq filters (by jaq) over JSON that others sent.
//!
//! A filter is the operator's own and may run as long as it likes; what it reads is not. So it runs on a
//! thread of its own ([`Filter::run_apart`]) that nobody waits for beyond a time limit, its outputs are
//! bounded, and a filter whose last run has not ended is not started again. It can't read the agent's
//! environment, and `halt` does not end the agent.

use jaq_core::{
    Compiler, Ctx, Vars, data,
    load::{self, Arena, File, Loader},
};
use jaq_json::Val;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::oneshot;

/// A filter may have this many outputs.
pub const OUTPUTS_MAX: usize = 10_000;

/// The stack of the thread that a filter runs on: deep values and recursive definitions need it.
const STACK_BYTES: usize = 16 * 1024 * 1024;

type Lut = data::JustLut<Val>;

/// A compiled filter. Cheap to clone.
#[derive(Clone)]
pub struct Filter {
    text: Arc<str>,
    compiled: Arc<jaq_core::Filter<Lut>>,
    running: Arc<AtomicBool>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}

impl Filter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// What is wrong and where in the text (line and column from 1).
    pub fn compile(text: &str) -> Result<Filter, String> {
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        // A filter sees the answer, not what the agent was started with.
        let funs = jaq_core::funs::<Lut>().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = funs.filter(|(name, _, _)| *name != "env");
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(&arena, File { code: text, path: () })
            .map_err(|errors| first(errors.into_iter().map(|(file, e)| load_error(file.code, e))))?;
        let compiled = Compiler::default().with_funs(funs).compile(modules).map_err(|errors| {
            first(errors.into_iter().flat_map(|(file, list)| {
                list.into_iter().map(move |(name, what)| {
                    located(file.code, name, format!("there is no {} `{name}`", what.as_str()))
                })
            }))
        })?;
        Ok(Filter { text: text.into(), compiled: Arc::new(compiled), running: Arc::default() })
    }

    /// The text it was made of.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Runs it here and now, to its end.
    ///
    /// # Errors
    /// The filter's own error, an output that is no JSON, or too many of them.
    pub fn run(&self, input: &serde_json::Value) -> Result<Vec<serde_json::Value>, String> {
        let mut outputs = Vec::new();
        if self.collect(input, OUTPUTS_MAX, &mut outputs)? {
            return Err(format!("it has more than {OUTPUTS_MAX} outputs"));
        }
        Ok(outputs)
    }

    /// Adds the outputs for one input, up to so many in all. True: there are more.
    fn collect(
        &self,
        input: &serde_json::Value,
        outputs_max: usize,
        outputs: &mut Vec<serde_json::Value>,
    ) -> Result<bool, String> {
        let input = jaq_json::read::parse_single(input.to_string().as_bytes()).map_err(|e| e.to_string())?;
        let ctx = Ctx::<Lut>::new(&self.compiled.lut, Vars::new([]));
        for output in self.compiled.id.run((ctx, input)) {
            let value = match output {
                Ok(value) => value,
                Err(exception) => match exception.get_err() {
                    Ok(error) => return Err(error.to_string()),
                    // `halt`: no more outputs.
                    Err(_) => break,
                },
            };
            if outputs.len() >= outputs_max {
                return Ok(true);
            }
            let text = value.to_string();
            let json = serde_json::from_str(&text).map_err(|_| format!("its output `{text}` is no JSON"))?;
            outputs.push(json);
        }
        Ok(false)
    }

    /// Runs it on a thread of its own. Dropping the future leaves the thread to itself.
    ///
    /// # Errors
    /// As [`Filter::run`]; and that the run before this one has not ended yet.
    pub async fn run_apart(&self, input: serde_json::Value) -> Result<Vec<serde_json::Value>, String> {
        self.apart(move |filter| filter.run(&input)).await
    }

    /// The same for several inputs, one after the other, with as many outputs in all as are wanted; and whether there
    /// are more.
    ///
    /// # Errors
    /// As [`Filter::run_apart`], but for too many outputs.
    pub async fn run_apart_on(
        &self,
        inputs: Vec<serde_json::Value>,
        outputs_max: usize,
    ) -> Result<(Vec<serde_json::Value>, bool), String> {
        self.apart(move |filter| {
            let mut outputs = Vec::new();
            for input in &inputs {
                if filter.collect(input, outputs_max, &mut outputs)? {
                    return Ok((outputs, true));
                }
            }
            Ok((outputs, false))
        })
        .await
    }

    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Filter) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if self.running.swap(true, Ordering::AcqRel) {
            return Err("its last run has not ended yet; does the filter ever end?".to_owned());
        }
        let guard = Running(self.running.clone());
        let (answer, wait) = oneshot::channel();
        let filter = self.clone();
        let spawned = std::thread::Builder::new().name("jq".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            let result = work(&filter);
            drop(guard);
            let _ = answer.send(result);
        });
        spawned.map_err(|e| format!("no thread could be started for it: {e}"))?;
        wait.await.unwrap_or_else(|_| Err("it made its interpreter panic".to_owned()))
    }
}

/// Says that a filter runs, until it is dropped, by a panic too.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
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
    use std::time::Duration;

    #[test]
    fn filters_run_on_json() {
        let input = json!({"status": "ok", "n": 12345678901234567_u64, "f": 0.5, "list": [1, 2, {"a": null}]});
        for (text, expect) in [
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
            let filter = Filter::compile(text).unwrap();
            match (filter.run(&input), expect) {
                (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{text}"),
                (Err(got), Err(part)) => assert!(got.contains(part), "{text}: {got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_filter_is_located() {
        for (text, expect) in [
            ("", "expected term, found its end"),
            (".a |", "line 1, column 5: expected term, found its end"),
            (".a\n| foo", "line 2, column 3: there is no filter `foo`"),
            ("$x", "line 1, column 1: there is no variable `$x`"),
            ("(.a", "line 1, column 4: expected closing parenthesis, found its end"),
            ("if . then 1", "expected else or end"),
            (".a §", "line 1, column 4: expected token, found `§`"),
            ("env", "there is no filter `env`"),
            ("include \"x\"; .", "other files can't be included here"),
        ] {
            let message = Filter::compile(text).unwrap_err();
            assert!(message.contains(expect), "{text}: {message}");
        }
    }

    /// A filter that never ends costs one thread, not one for each run, and nobody waits for it.
    #[tokio::test]
    async fn a_filter_that_does_not_end_is_not_started_again() {
        let filter = Filter::compile("last(range(1e8))").unwrap();
        let limit = Duration::from_millis(50);
        assert!(tokio::time::timeout(limit, filter.run_apart(json!(null))).await.is_err());
        let message = filter.run_apart(json!(null)).await.unwrap_err();
        assert!(message.contains("has not ended yet"), "{message}");
        let other = Filter::compile(".").unwrap();
        for n in 0..3 {
            assert_eq!(other.run_apart(json!(n)).await.unwrap(), [json!(n)]);
        }
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&other);
    }
}
