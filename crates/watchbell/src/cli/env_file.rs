//! Files of variables as systemd's `EnvironmentFile=` reads them: quotes, backslashes, comments and lines that go on.

/// What of a line is said that is ignored: its number, from 1, and why.
pub type Ignored = (usize, String);

/// The variables, and the lines that systemd ignores.
pub fn parse(text: &str) -> (Vec<(String, String)>, Vec<Ignored>) {
    let (mut found, mut ignored) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    let mut line = 1;
    while rest.peek().is_some() {
        let at = line;
        while rest.next_if(|c| c.is_whitespace() && *c != '\n').is_some() {}
        if rest.next_if(|c| matches!(c, '#' | ';')).is_some() {
            // A comment goes on after a backslash, too.
            let mut last = ' ';
            for c in rest.by_ref() {
                line += usize::from(c == '\n');
                if c == '\n' && last != '\\' {
                    break;
                }
                last = c;
            }
            continue;
        }
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| !matches!(c, '=' | '\n')) {
            name.push(c);
        }
        let name = name.trim().to_owned();
        if rest.next_if(|c| *c == '=').is_none() {
            line += usize::from(rest.next().is_some());
            if !name.is_empty() {
                ignored.push((at, format!("`{name}` has no `=`")));
            }
            continue;
        }
        let value = value(&mut rest, &mut line);
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.is_empty()
            && name.chars().all(fit)
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !value.contains('\0')
        {
            found.push((name, value));
        } else {
            ignored.push((at, format!("`{name}` is no name of a variable")));
        }
    }
    (found, ignored)
}

/// What stands after `=`, to the end of its line.
fn value(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut usize) -> String {
    let mut value = String::new();
    // Spaces at the end don't count, but for those in quotes.
    let mut solid = 0;
    let mut quote = None;
    while let Some(c) = rest.next() {
        *line += usize::from(c == '\n');
        match (quote, c) {
            (None, '\n') => break,
            (None, '\'' | '"') if value.len() == solid => quote = Some(c),
            (Some(open), c) if open == c => {
                quote = None;
                solid = value.len();
            }
            (Some('\''), c) => value.push(c),
            (_, '\\') => match rest.next() {
                Some('\n') => *line += 1,
                // Between double quotes a backslash is one before all but what would end or begin something.
                Some(c) => {
                    if quote.is_some() && !matches!(c, '"' | '\\' | '`' | '$') {
                        value.push('\\');
                    }
                    value.push(c);
                    solid = value.len();
                }
                None => {}
            },
            (Some(_), c) => value.push(c),
            (None, c) if c.is_whitespace() => {
                if !value.is_empty() {
                    value.push(c);
                }
            }
            (None, c) => {
                value.push(c);
                solid = value.len();
            }
        }
    }
    if quote.is_none() {
        value.truncate(solid);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_systemd_does() {
        for (text, expect) in [
            ("A=b\nC = d \n", &[("A", "b"), ("C", "d")][..]),
            ("# A=b\n; C=d\n\nE=f", &[("E", "f")]),
            ("A=\"b c\"\nB='d # e'", &[("A", "b c"), ("B", "d # e")]),
            ("A=b # c", &[("A", "b # c")]),
            ("A=\"b\nc\"\nD=e", &[("A", "b\nc"), ("D", "e")]),
            ("A=b\\\nc\nD=e", &[("A", "bc"), ("D", "e")]),
            ("A=b\\\\c", &[("A", "b\\c")]),
            ("A=\"a\\\"b\\n\"", &[("A", "a\"b\\n")]),
            ("A=p=q=", &[("A", "p=q=")]),
            ("A=\nB=c", &[("A", ""), ("B", "c")]),
            ("A=\"x \" ", &[("A", "x ")]),
            ("A=1\nA=2", &[("A", "1"), ("A", "2")]),
        ] {
            let (found, ignored) = parse(text);
            let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(found, expect, "{text:?}");
            assert!(ignored.is_empty(), "{text:?}: {ignored:?}");
        }
    }

    #[test]
    fn what_systemd_ignores_is_said_with_its_line() {
        let (found, ignored) = parse("export A=b\nB=c\n\nnonsense\n9A=x\n");
        assert_eq!(found, [("B".to_owned(), "c".to_owned())]);
        assert_eq!(ignored.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 4, 5]);
    }
}
