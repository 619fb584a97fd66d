//! Command lines: which need a shell, and the words of those that need none.
//!
//! A shell costs as much as the command itself, so it is left out wherever the line means the same without
//! one. In doubt the shell gets it: what is split here is exactly what POSIX `sh` would split.

/// What runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A program and its arguments. Never empty, the program is never empty.
    Words(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// Words that mean something else to a shell than the program of that name, or that no program has.
const SHELL_WORDS: &[&str] = &[
    "!", ".", ":", "[", "[[", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue", "declare", "do",
    "done", "echo", "elif", "else", "esac", "eval", "exec", "exit", "export", "false", "fc", "fg", "fi", "for",
    "function", "getopts", "hash", "if", "in", "jobs", "kill", "let", "local", "printf", "pwd", "read", "readonly",
    "return", "select", "set", "shift", "source", "test", "then", "time", "times", "trap", "true", "type", "typeset",
    "ulimit", "umask", "unalias", "unset", "until", "wait", "while", "{", "}",
];

impl Line {
    /// The line as it stands in a config: split where that means the same, else for the shell.
    /// `None` when it is blank.
    pub fn parse(line: &str) -> Option<Line> {
        if line.trim().is_empty() {
            return None;
        }
        Some(split(line).map_or_else(|| Line::shell(line), Line::Words))
    }

    /// The line for the shell, whatever it holds.
    pub fn shell(line: &str) -> Line {
        Line::Shell(line.trim().to_owned())
    }

    /// The line for people.
    pub fn shown(&self) -> String {
        match self {
            Line::Shell(line) => line.clone(),
            Line::Words(words) => words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" "),
        }
    }
}

/// A word as a shell would have to be given it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "%+,-./:=@_^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The words of a line that needs no shell; `None` if it needs one.
fn split(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.trim().chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => quote_single(&mut chars, word.get_or_insert_default())?,
            '"' => quote_double(&mut chars, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next().filter(|c| *c != '\n')?),
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' | '[' | '{' | '}' | '\n' | '\r' | '\0' => {
                return None;
            }
            // These mean something at the start of a word only.
            '#' | '~' | '!' if word.is_none() => return None,
            // An assignment stands before the program; `--name=value` comes after it.
            '=' if words.is_empty() => return None,
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let program = words.first()?;
    (!program.is_empty() && !SHELL_WORDS.contains(&program.as_str())).then_some(words)
}

fn quote_single(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '\'' => return Some(()),
            '\0' => return None,
            c => word.push(c),
        }
    }
}

fn quote_double(chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '$' | '`' | '\0' => return None,
            '\\' => match chars.next()? {
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                '\n' => {}
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line that is split here is also given to a real shell: both must see the same words.
    #[test]
    fn lines_without_a_shell() {
        let table: &[(&str, &[&str])] = &[
            ("check_disk -w 10% -c 5% -p /", &["check_disk", "-w", "10%", "-c", "5%", "-p", "/"]),
            ("  /bin/ls   -l\t/ ", &["/bin/ls", "-l", "/"]),
            ("a 'b c' \"d e\" f\\ g", &["a", "b c", "d e", "f g"]),
            ("a --name=value", &["a", "--name=value"]),
            ("a '' \"\"", &["a", "", ""]),
            ("a 'x|y$z*'", &["a", "x|y$z*"]),
            ("a \"x|y;*\"", &["a", "x|y;*"]),
            (r#"a "q\"r\\s\$t\`u\v""#, &["a", r#"q"r\s$t`u\v"#]),
            (r"a \$HOME \*", &["a", "$HOME", "*"]),
            ("a b'c'd\"e\"f", &["a", "bcdef"]),
            ("a x#y x~y x!y ]", &["a", "x#y", "x~y", "x!y", "]"]),
            ("a 'über' ^x @y,z:1", &["a", "über", "^x", "@y,z:1"]),
            ("./res/x.sh", &["./res/x.sh"]),
        ];
        for (line, words) in table {
            let Some(Line::Words(got)) = Line::parse(line) else { panic!("{line}: goes to the shell") };
            assert_eq!(got, *words, "{line}");
            let script =
                format!("a() {{ printf '%s\\n' \"$0$@\"; }}; set -f; for w in {line}; do printf '%s\\n' \"$w\"; done");
            let out = std::process::Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), words.join("\n") + "\n", "{line}: as a shell sees it");
        }
    }

    #[test]
    fn lines_for_the_shell() {
        for line in [
            "a | b",
            "a && b",
            "a; b",
            "a > f",
            "a < f",
            "(a)",
            "echo $HOME",
            "a `b`",
            "a *.log",
            "a b?",
            "a [x]",
            "a {1,2}",
            "a # note",
            "a ~/x",
            "! a",
            "X=1 a",
            "a\nb",
            "a \"$HOME\"",
            "a 'open",
            "a \"open",
            "a \\",
            "a \"b\\",
            "cd /x",
            "test -f x",
            "[ -f x ]",
            "exec a",
            "if a",
            "echo 5",
            "a &",
            "'' a",
            "a\\\nb",
            ". ./x",
        ] {
            assert_eq!(Line::parse(line), Some(Line::Shell(line.to_owned())), "{line}");
        }
        assert_eq!(Line::parse("  \t"), None);
        assert_eq!(Line::shell(" a b "), Line::Shell("a b".into()));
    }

    #[test]
    fn shown_lines_can_be_pasted() {
        for line in ["a 'b c' --x=1", "a 'it'\\''s' 10%", "a '' 'x|y'"] {
            let parsed = Line::parse(line).unwrap();
            assert_eq!(Line::parse(&parsed.shown()), Some(parsed), "{line}");
        }
    }
}
