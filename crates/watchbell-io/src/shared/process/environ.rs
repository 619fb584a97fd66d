//! What a command is given: its environment, its program's full path, its user.
//!
//! The environment is stated, not inherited, unless an old format asks for the agent's. Programs are looked
//! up here, once, and not by the standard library: for a bare name with a `PATH` of its own that would fork
//! instead of using `posix_spawn`.

use crate::shared::{file, json, secret};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError, RwLock},
};
use watchbell_core::config::Secret;

/// Where programs are looked for when the agent itself has no `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a command gets of the agent's environment when it does not inherit all of it.
pub const STATED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// What a container program gets besides, so that it finds its daemon.
const STATED_CONTAINER: [&str; 5] =
    ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "CONTAINER_HOST", "XDG_RUNTIME_DIR"];

/// A credentials file may be this long, in bytes.
pub const ENV_FILE_MAX: u64 = 1 << 20;

/// How many programs' paths are remembered.
const FOUND_MAX: usize = 4096;

/// Variables in the order they are set; a later one of the same name wins.
/// Those of the agent are lent, not copied: a run makes few copies of anything.
pub(super) type Variables = Vec<(Text, Text)>;
type Text = Cow<'static, OsStr>;

/// The part of the agent's environment that every command gets; it does not change while the agent runs.
pub(super) fn stated() -> Variables {
    static VARIABLES: OnceLock<Vec<(&str, OsString)>> = OnceLock::new();
    let variables = VARIABLES.get_or_init(|| {
        let of = |name: &'static str| match (env::var_os(name), name) {
            (Some(value), _) => Some((name, value)),
            (None, "PATH") => Some((name, DEFAULT_PATH.into())),
            (None, "HOME") => Some((name, "/".into())),
            (None, "LANG") => Some((name, "C.UTF-8".into())),
            (None, _) => None,
        };
        STATED.iter().filter_map(|name| of(name)).collect()
    });
    variables.iter().map(|(name, value)| (text(name), Cow::Borrowed(value.as_os_str()))).collect()
}

/// A name or value that is part of the program.
pub(super) fn text(text: &'static str) -> Text {
    Cow::Borrowed(OsStr::new(text))
}

/// What a container program needs besides.
pub(super) fn stated_for_containers() -> Variables {
    STATED_CONTAINER.iter().filter_map(|name| Some((text(name), env::var_os(name)?.into()))).collect()
}

/// The variables that the config gives: those of the credentials file, then `env`.
///
/// # Errors
/// What is missing, and where it was looked for.
pub(super) fn configured(env: &BTreeMap<String, Secret>, file: Option<&Path>) -> Result<Variables, String> {
    let mut variables = match file {
        Some(path) => env_file(path)?,
        None => Variables::new(),
    };
    for (name, value) in env {
        let value = secret::read(value).map_err(|why| format!("can't set `{name}`: {why}"))?;
        variables.push((checked_name(name)?, checked_value(name, value)?));
    }
    Ok(variables)
}

/// Reads a credentials file: one JSON object of texts, numbers and booleans.
fn env_file(path: &Path) -> Result<Variables, String> {
    let shown = path.display();
    let fail = |why: String| format!("can't read the variables in `{shown}`: {why}");
    let text = file::read(path, ENV_FILE_MAX).map_err(fail)?;
    // The error of the parser names line and column, and never the text.
    let object: BTreeMap<String, Value> = json::parse(text.as_bytes())
        .map_err(|e| fail(format!("it must be one JSON object (line {}, column {})", e.line(), e.column())))?;
    let mut variables = Variables::with_capacity(object.len());
    for (name, value) in object {
        let value = match value {
            Value::String(text) => {
                secret::hide(&text);
                text
            }
            Value::Number(number) => number.to_string(),
            Value::Bool(bool) => bool.to_string(),
            _ => return Err(fail(format!("`{name}` must be a text, a number or a boolean"))),
        };
        variables.push((checked_name(&name)?, checked_value(&name, value)?));
    }
    Ok(variables)
}

/// The standard library drops what it can't set; better to say so.
fn checked_name(name: &str) -> Result<Text, String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("`{}` can't be the name of a variable", name.escape_debug()));
    }
    Ok(OsString::from(name).into())
}

fn checked_value(name: &str, value: String) -> Result<Text, String> {
    if value.contains('\0') {
        Err(format!("the value of `{name}` has a zero byte in it"))
    } else {
        Ok(OsString::from(value).into())
    }
}

/// The value of a variable, the last one of that name.
pub(super) fn value<'v>(variables: &'v Variables, name: &str) -> Option<&'v OsStr> {
    variables.iter().rev().find(|(n, _)| **n == *name).map(|(_, v)| &**v)
}

/// Full paths of programs by `PATH` and name.
static FOUND: RwLock<BTreeMap<OsString, BTreeMap<OsString, Arc<Path>>>> = RwLock::new(BTreeMap::new());

/// The full path of a program: a name with a `/` counts from `cwd`, others are looked up in `path` and remembered.
///
/// # Errors
/// What was looked for, where, and what to do.
pub(super) fn find(program: &OsStr, path: &OsStr, cwd: Option<&Path>) -> Result<Arc<Path>, String> {
    if program.as_bytes().contains(&b'/') {
        return absolute(Path::new(program), cwd).map(Arc::from);
    }
    if let Some(known) = FOUND.read().unwrap_or_else(PoisonError::into_inner).get(path).and_then(|m| m.get(program)) {
        return Ok(Arc::clone(known));
    }
    let Some(found) = look(program, path, cwd) else {
        let (program, path) = (program.display(), path.display());
        return Err(format!(
            "the program `{program}` is in no folder of PATH ({path}): install it, write its full path, or set `env.PATH`"
        ));
    };
    let found: Arc<Path> = Arc::from(found);
    let mut cache = FOUND.write().unwrap_or_else(PoisonError::into_inner);
    if cache.values().map(BTreeMap::len).sum::<usize>() >= FOUND_MAX {
        cache.clear();
    }
    cache.entry(path.to_owned()).or_default().insert(program.to_owned(), Arc::clone(&found));
    Ok(found)
}

/// Forgets where programs are: one of them was moved.
pub(super) fn forget() {
    FOUND.write().unwrap_or_else(PoisonError::into_inner).clear();
}

fn absolute(path: &Path, cwd: Option<&Path>) -> Result<PathBuf, String> {
    let joined = cwd.map_or_else(|| path.to_owned(), |cwd| cwd.join(path));
    std::path::absolute(&joined).map_err(|e| format!("can't tell where `{}` is: {e}", joined.display()))
}

fn look(program: &OsStr, path: &OsStr, cwd: Option<&Path>) -> Option<PathBuf> {
    env::split_paths(path).filter(|folder| !folder.as_os_str().is_empty()).find_map(|folder| {
        let candidate = absolute(&folder.join(program), cwd).ok()?;
        executable(&candidate).then_some(candidate)
    })
}

/// Whether the path is a file that may be executed.
pub(super) fn executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Somebody to run a command as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Account {
    /// User id, or a name that is not in `/etc/passwd`.
    pub uid: String,
    /// Group id or name.
    pub gid: String,
    /// Login name, where there is one: its other groups are set as well.
    pub name: Option<String>,
    /// Home folder.
    pub home: Option<String>,
}

/// Looks a user up: `NAME`, `UID`, `NAME:GROUP` or `UID:GROUP`.
///
/// # Errors
/// What is not known, and what to write instead.
pub(super) fn account(user: &str) -> Result<Account, String> {
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(|e| format!("can't read `/etc/passwd`: {e}"))?;
    account_in(&passwd, user)
}

fn account_in(passwd: &str, user: &str) -> Result<Account, String> {
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let known = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| match &fields[..] {
        [login, _, uid, gid, _, home, ..] if *login == name || *uid == name => Some(Account {
            uid: (*uid).to_owned(),
            gid: group.unwrap_or(gid).to_owned(),
            name: Some((*login).to_owned()),
            home: Some((*home).to_owned()),
        }),
        _ => None,
    });
    let numeric = name.parse::<u32>().is_ok();
    match (known, group) {
        (Some(account), _) => Ok(account),
        (None, Some(group)) => Ok(Account {
            uid: name.to_owned(),
            gid: group.to_owned(),
            name: (!numeric).then(|| name.to_owned()),
            home: None,
        }),
        (None, None) => Err(format!(
            "the user `{name}` is not in `/etc/passwd`: create it, or write `user = \"{name}:GROUP\"` if another service knows it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nmon:x:120:130:Monitor:/var/lib/mon:/usr/sbin/nologin\n";
        type Wanted<'a> = (&'a str, &'a str, Option<&'a str>, Option<&'a str>);
        let table: &[(&str, Option<Wanted<'_>>)] = &[
            ("mon", Some(("120", "130", Some("mon"), Some("/var/lib/mon")))),
            ("120", Some(("120", "130", Some("mon"), Some("/var/lib/mon")))),
            ("mon:adm", Some(("120", "adm", Some("mon"), Some("/var/lib/mon")))),
            ("4711:4712", Some(("4711", "4712", None, None))),
            ("ldapuser:users", Some(("ldapuser", "users", Some("ldapuser"), None))),
            ("nobody-there", None),
            ("4711", None),
        ];
        for (user, want) in table {
            let got = account_in(passwd, user).ok();
            let got = got.as_ref().map(|a| (a.uid.as_str(), a.gid.as_str(), a.name.as_deref(), a.home.as_deref()));
            assert_eq!(got, *want, "{user}");
        }
        assert!(account_in(passwd, "nobody-there").unwrap_err().contains("nobody-there:GROUP"));
    }

    #[test]
    fn programs_are_found_once_and_named_when_missing() {
        let path = OsStr::new("/nowhere:/usr/bin:/bin");
        let sh = find(OsStr::new("env"), path, None).unwrap();
        assert!(executable(&sh) && sh.is_absolute());
        assert!(Arc::ptr_eq(&sh, &find(OsStr::new("env"), path, None).unwrap()));
        let error = find(OsStr::new("no-such-program"), path, None).unwrap_err();
        assert!(error.contains("`no-such-program`") && error.contains("/nowhere:/usr/bin:/bin"), "{error}");
        let relative = find(OsStr::new("./res/x.sh"), path, Some(Path::new("/srv/flakes"))).unwrap();
        assert_eq!(&*relative, Path::new("/srv/flakes/res/x.sh"));
    }
}
