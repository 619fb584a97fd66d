//! A command that prints rows as JSON or CSV (S2.4). As dwmon's row commands, it gets `{"checker", "query", "source",
//! "extra"}` on standard input; the query is also `WATCHBELL_QUERY` in its environment (but for one longer than
//! [`VARIABLE_BYTES_MAX`], which the system would not pass on).
//!
//! A command that can't be started, or ends with 69 or 75, means that the source is away, another exit code than 0 that the
//! query is wrong: the last line of standard error says why. What it writes is not read beyond the limit of every command.

use super::{
    Ask, Place, Trouble,
    decode::{Decoder, Keep},
    sql::{one_line, slow, working_time},
};
use crate::shared::{
    BoxFuture,
    process::{Command, Line, Note, OUTPUT_HARD_MAX, Ran},
    secret,
};
use std::{path::PathBuf, sync::Arc};
use watchbell_core::{
    config::{Secret, SourcePlace, SourcePolicy},
    model::{Answer, Exit, Name},
    wire::{run::describe_exit, text::clean},
};

/// The query in the command's environment.
const VARIABLE: &str = "WATCHBELL_QUERY";
/// A longer query is on standard input only: Linux passes no variable on beyond 128 KiB.
pub const VARIABLE_BYTES_MAX: usize = 100 * 1024;

/// Exit codes that say that the source is away: `EX_UNAVAILABLE` and `EX_TEMPFAIL` of `sysexits.h`.
const AWAY: [i32; 2] = [69, 75];

/// A command.
#[derive(Debug)]
struct Program {
    source: Name,
    command: Command,
    decoder: Decoder,
}

/// Makes it of what the config says.
///
/// # Errors
/// What is wrong with it.
pub(super) fn open(policy: &Arc<SourcePolicy>) -> Result<Box<dyn Place>, String> {
    let SourcePlace::Command { line, shell, cwd, env, format } = &policy.place else {
        return Err("`command` is missing".to_owned());
    };
    if line.first().is_none_or(|program| program.trim().is_empty()) {
        return Err("`command` names no program".to_owned());
    }
    let line = match shell {
        true => Line::parse(&line.join(" ")).ok_or("`command` names no program")?,
        false => Line::Words(line.clone()),
    };
    let cwd = Some(PathBuf::from(cwd)).filter(|cwd| !cwd.as_os_str().is_empty());
    let command = Command { cwd, env: env.clone(), output_max: OUTPUT_HARD_MAX, ..Command::new(line) };
    Ok(Box::new(Program { source: policy.name.clone(), command, decoder: Decoder::new(format)? }))
}

impl Place for Program {
    fn ask<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Answer, Trouble>> {
        Box::pin(async move {
            let mut command = self.command.clone();
            if ask.query.len() <= VARIABLE_BYTES_MAX {
                command.env.insert(VARIABLE.to_owned(), Secret::Value(ask.query.to_owned()));
            }
            let ran = command.run(self.input(ask), working_time(ask.timeout)).await;
            let shown = one_line(&self.command.line.shown(), &[]);
            let printed = self.printed(ran, ask, &shown)?;
            let answer = self.decoder.decode(printed, Keep::of(ask)).await;
            answer.map_err(|why| {
                Trouble::Wrong(self.clean(&format!("can't read the rows that `{shown}` printed: {why}")))
            })
        })
    }

    fn preflight(&self) -> Vec<String> {
        self.command.preflight()
    }
}

impl Program {
    fn input(&self, ask: &Ask<'_>) -> Vec<u8> {
        let input = serde_json::json!({
            "checker": ask.checker, "query": ask.query, "source": self.source.as_str(), "extra": ask.extra,
        });
        format!("{input}\n").into_bytes()
    }

    fn printed(&self, ran: Ran, ask: &Ask<'_>, shown: &str) -> Result<Vec<u8>, Trouble> {
        let said = clean(&ran.raw.stderr);
        let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        if ran.note == Some(Note::Overflow) {
            let most = OUTPUT_HARD_MAX >> 20;
            return Err(Trouble::Wrong(format!("`{shown}` printed more than {most} MiB: ask for fewer rows")));
        }
        let exit = match ran.raw.exit {
            None => return Err(Trouble::Away(one_line(&clean(&ran.raw.stderr), &[]))),
            Some(Exit::Code(0)) => return Ok(ran.raw.stdout),
            Some(Exit::TimedOut) => return Err(slow(ask.timeout)),
            Some(exit) => exit,
        };
        let how = describe_exit(exit);
        let text = match said {
            "" => format!("`{shown}` ended with {how} and said nothing"),
            said => format!("`{shown}` ended with {how}: {said}"),
        };
        let text = self.clean(&text);
        match exit {
            Exit::Code(code) if AWAY.contains(&code) => Err(Trouble::Away(text)),
            // What a shell says of a program that it can't start.
            Exit::Code(126 | 127) if matches!(self.command.line, Line::Shell(_)) => Err(Trouble::Away(text)),
            _ => Err(Trouble::Wrong(text)),
        }
    }

    /// A text without the secrets that the command was given.
    fn clean(&self, text: &str) -> String {
        let given = self.command.env.values().filter(|secret| !matches!(secret, Secret::Value(_)));
        let secrets: Vec<String> = given.filter_map(|given| secret::read(given).ok()).collect();
        one_line(text, &secrets.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ask, ask_within, policy, source};
    use super::*;
    use crate::{query::Source, source::testing::scratch};
    use std::{collections::BTreeMap, time::Duration, time::Instant};
    use watchbell_core::{config::RowFormat, model::Cell};

    fn place(line: &str, change: impl FnOnce(&mut BTreeMap<String, Secret>, &mut String)) -> Source {
        let mut env = BTreeMap::new();
        let mut cwd = "/".to_owned();
        change(&mut env, &mut cwd);
        let place =
            SourcePlace::Command { line: vec![line.to_owned()], shell: true, cwd, env, format: RowFormat::default() };
        source(SourcePolicy { place, ..policy("", None) })
    }

    fn shell(line: &str) -> Source {
        place(line, |_, _| {})
    }

    /// S2.4: a command that prints rows gets the query twice, and its own folder and variables.
    #[tokio::test]
    async fn rows_are_printed() {
        let query = "select 'ä'\nfrom t";
        for (line, expect) in [
            ("echo '[[1, 2], [3, 4]]'", 2),
            ("printf 'key,time\\na,1\\n'", 1),
            ("printf '[\"a\", 1]\\n[\"b\", 2]\\n'", 2),
            ("true", 0),
            ("grep -qF '{\"checker\":\"orders\",\"extra\":null,\"query\":\"' && echo '[[1,2]]'", 1),
            ("test \"$WATCHBELL_QUERY\" = \"select 'ä'\nfrom t\" && echo '[[1,2]]'", 1),
            ("echo warning >&2; echo '[[1,2]]'", 1),
        ] {
            assert_eq!(ask(&shell(line), query).await.unwrap().rows.len(), expect, "{line}");
        }
        let dir = scratch("command-source");
        let given = place("printf '[[\"%s %s\",1]]' \"$PWD\" \"$USER_NAME\"", |env, cwd| {
            env.insert("USER_NAME".to_owned(), Secret::Value("bob".to_owned()));
            *cwd = dir.display().to_string();
        });
        let answer = ask(&given, query).await.unwrap();
        assert_eq!(answer.rows[0][0], Cell::Text(format!("{} bob", dir.display())));
        std::fs::remove_dir_all(dir).unwrap();
        let long = "x".repeat(VARIABLE_BYTES_MAX + 1);
        assert_eq!(
            ask(&shell("cat >/dev/null; echo \"[[${#WATCHBELL_QUERY},2]]\""), &long).await.unwrap().rows[0][0],
            Cell::Integer(0)
        );
        let few =
            ask_within(&shell("yes '[1,2]' | head -n 1000000"), query, 100, Duration::from_secs(30)).await.unwrap();
        assert!(few.rows.len() == 100 && few.truncated);
    }

    /// Bad output, bad ends, no start, no end.
    #[tokio::test]
    async fn what_goes_wrong_is_told_apart() {
        for (line, away, part) in [
            ("echo first >&2; echo 'syntax error' >&2; exit 3", false, "ended with exit code 3: syntax error"),
            ("echo 'lake is locked' >&2; exit 75", true, "ended with exit code 75: lake is locked"),
            ("exit 69", true, "ended with exit code 69 and said nothing"),
            ("exit 1", false, "ended with exit code 1 and said nothing"),
            ("kill -9 $$", false, "signal 9"),
            ("no-such-program-at-all", true, "no-such-program-at-all"),
            ("echo '[[1,2],'", false, "printed: line 2, column 0"),
            ("printf 'a,b\\n1\\n'", false, "line 2, field 2"),
            ("yes", false, "more than 16 MiB"),
        ] {
            let trouble = ask(&shell(line), "q").await.unwrap_err();
            let (is_away, text) = match &trouble {
                Trouble::Away(text) => (true, text),
                Trouble::Wrong(text) => (false, text),
                Trouble::Slow(text) | Trouble::Broken(text) => panic!("{line}: {text}"),
            };
            assert!(is_away == away && text.contains(part) && !text.contains('\n'), "{line}: {trouble:?}");
        }
        let words = |words: &[&str]| SourcePlace::Command {
            line: words.iter().map(|w| (*w).to_owned()).collect(),
            shell: false,
            cwd: String::new(),
            env: BTreeMap::new(),
            format: RowFormat::Csv,
        };
        let missing = source(SourcePolicy { place: words(&["no-such-program-at-all"]), ..policy("", None) });
        assert!(missing.preflight()[0].contains("PATH"), "{:?}", missing.preflight());
        let trouble = ask(&missing, "q").await.unwrap_err();
        assert!(matches!(&trouble, Trouble::Away(text) if text.contains("PATH")), "{trouble:?}");
        let none = source(SourcePolicy { place: words(&[]), ..policy("", None) });
        assert!(none.preflight()[0].contains("names no program"));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let dir = scratch("command-source-hang");
        let line = format!("echo $$ > {0}/pid; trap '' TERM; sleep 641 & sleep 642", dir.display());
        let begun = Instant::now();
        let trouble = ask_within(&shell(&line), "q", 10, Duration::from_millis(800)).await;
        assert!(matches!(&trouble, Err(Trouble::Slow(_))), "{trouble:?}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let group = std::fs::read_to_string(dir.join("pid")).unwrap().trim().parse().unwrap();
        let group = rustix::process::Pid::from_raw(group).unwrap();
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// A secret in the environment shows in no text.
    #[tokio::test]
    async fn secrets_do_not_show() {
        let dir = scratch("command-source-secret");
        let path = dir.join("secret").display().to_string();
        std::fs::write(&path, "hunter2-very-secret\n").unwrap();
        let leaky = place("echo \"bad password $PW\" >&2; exit 1", |env, _| {
            env.insert("PW".to_owned(), Secret::File(path.clone()));
        });
        let trouble = ask(&leaky, "q").await.unwrap_err();
        assert!(format!("{trouble:?}").contains("bad password ***"), "{trouble:?}");
        assert!(!format!("{trouble:?} {leaky:?}").contains("hunter2"), "{trouble:?} {leaky:?}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
