//! Runs a command to its end: for checks, notifiers and everything else that starts a program.
//!
//! A command runs in a process group of its own, without a shell where its line needs none ([`line`](Line)),
//! with a time limit, an output limit, a stated environment and, if wanted, as another user or in a container.
//! What its output means is for others to judge.
//!
//! Spawning is the cost of this program: everything here keeps the standard library on `posix_spawn` (full
//! paths, no `pre_exec`, other users through `setpriv`), and a run wakes its worker once (see `wait.rs`).
//! `cargo bench -p watchbell-io --bench spawn` compares it with a bare loop. Needs Linux 5.3 (`pidfd_open`).

mod end;
mod environ;
mod line;
pub mod mark;
mod wait;

pub use end::settle;
pub use environ::{DEFAULT_PATH, ENV_FILE_MAX, STATED};
pub use line::Line;
pub use wait::{FIRST_LOOK, LEFT_BEHIND_GRACE, TERM_GRACE};

use environ::Variables;
use mark::Mark;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use wait::Running;
use watchbell_core::{config::Secret, model::Raw};

/// So many bytes of standard output, and of standard error, are kept unless the config says otherwise.
pub const OUTPUT_MAX: usize = 1 << 20;

/// A command that writes more than this many bytes to one of its outputs is killed.
pub const OUTPUT_HARD_MAX: usize = 16 << 20;

/// How long `docker kill` may take.
const CONTAINER_KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a program whose file is just being written is tried again, [`BUSY_WAIT`] apart.
const BUSY_TRIES: u32 = 5;

/// See [`BUSY_TRIES`].
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// What to run, and how. Made once from the config, run many times. Printing it shows no secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// What runs.
    pub line: Line,
    /// The working directory; `None` is the agent's own.
    pub cwd: Option<PathBuf>,
    /// The agent's whole environment is passed on, as in the old formats, and not only [`STATED`].
    pub inherit_env: bool,
    /// Variables to set, read at each start.
    pub env: BTreeMap<String, Secret>,
    /// A credentials file: a JSON object of variables to set, read at each start; `env` wins.
    pub env_file: Option<PathBuf>,
    /// One that is used if it is there, where `env_file` names none.
    pub default_env_file: Option<PathBuf>,
    /// Another user: `NAME`, `UID`, `NAME:GROUP`, `UID:GROUP`. In a container, a user of its image.
    pub user: Option<String>,
    /// A container to run in, by docker or else podman.
    pub container: Option<Container>,
    /// How many bytes of each output are kept; the rest is read and dropped up to [`OUTPUT_HARD_MAX`].
    pub output_max: usize,
}

/// A container to run a command in. It gets the variables of `env` and `env_file`, and sees the working
/// directory, if one is given, read-only under the same path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Container {
    /// The image.
    pub image: String,
    /// The network it is attached to; `host` sees what the agent sees.
    pub network: String,
    /// The container program; `None` is `docker`, or else `podman`, of the agent's `PATH`.
    pub engine: Option<String>,
}

/// Something that happened to a run besides its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// It wrote more than [`OUTPUT_HARD_MAX`] and was killed.
    Overflow,
    /// It ended and left children that held its output open; they were killed after [`LEFT_BEHIND_GRACE`].
    LeftBehind,
}

/// A finished run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// What it wrote and how it ended.
    pub raw: Raw,
    /// What happened besides.
    pub note: Option<Note>,
}

impl Command {
    /// A command with the defaults: stated environment, no other user, no container.
    pub fn new(line: Line) -> Command {
        Command {
            line,
            cwd: None,
            inherit_env: false,
            env: BTreeMap::new(),
            env_file: None,
            default_env_file: None,
            user: None,
            container: None,
            output_max: OUTPUT_MAX,
        }
    }

    /// Runs it to its end or to its time limit, whichever comes first; at the latest [`TERM_GRACE`] and a
    /// moment later this returns. `stdin` is written to its standard input, which is `/dev/null` if there is none.
    ///
    /// Never fails: what could not be started has no exit, and the reason in `stderr`. Dropping the future
    /// kills all that it started. Must be called within a tokio runtime.
    pub async fn run(&self, stdin: Vec<u8>, timeout: Duration) -> Ran {
        let started_at = Instant::now();
        let failed = |why: String| Ran {
            raw: Raw { stderr: why.into_bytes(), took: started_at.elapsed(), ..Raw::default() },
            note: None,
        };
        let (running, mut container) = match self.start(stdin, timeout).await {
            Ok(started) => started,
            Err(why) => return failed(why),
        };
        let ended = running.finish().await;
        if ended.note.is_none() && !matches!(ended.exit, Some(watchbell_core::model::Exit::TimedOut) | None) {
            container.armed = false;
        }
        let raw = Raw {
            exit: ended.exit,
            stdout: ended.stdout,
            stderr: ended.stderr,
            truncated: ended.truncated,
            took: started_at.elapsed(),
        };
        Ran { raw, note: ended.note }
    }

    /// What can be seen without running it: a program, a folder, a user, a variable that is not there.
    pub fn preflight(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(why) = self.cwd.as_deref().and_then(cwd_problem) {
            wrong.push(why);
        }
        match self.prepare() {
            Err(why) => wrong.push(why),
            Ok(prepared) => {
                wrong.extend(prepared.programs.iter().filter_map(|program| program_problem(program)));
                if prepared.other_user && !rustix::process::geteuid().is_root() {
                    wrong.push("only an agent that runs as root can run a command as another user".to_owned());
                }
            }
        }
        wrong
    }

    /// Starts it, and again if its file is just being written or was moved.
    async fn start(&self, stdin: Vec<u8>, timeout: Duration) -> Result<(Running, ContainerGuard), String> {
        let mut prepared = self.prepare()?;
        let mut tries = 0;
        let why = loop {
            tries += 1;
            let why = match self.spawn(&prepared, !stdin.is_empty()) {
                Ok(child) => {
                    return Running::new(child, prepared.mark.clone(), stdin, self.output_max, timeout)
                        .map(|running| (running, prepared.container.started()))
                        .map_err(|why| format!("can't watch `{}`: {why}", prepared.shown()));
                }
                Err(why) => why,
            };
            match why.kind() {
                // Its file is still open for writing: it is just being installed, or copied by a test.
                io::ErrorKind::ExecutableFileBusy if tries < BUSY_TRIES => tokio::time::sleep(BUSY_WAIT).await,
                // It was moved since it was looked up.
                io::ErrorKind::NotFound if tries == 1 => {
                    environ::forget();
                    prepared = self.prepare()?;
                }
                _ => break why,
            }
        };
        Err(self.start_problem(&prepared, &why))
    }

    fn spawn(&self, prepared: &Prepared, input: bool) -> io::Result<std::process::Child> {
        match self.std_command(prepared, &prepared.argv, input).spawn() {
            // A script without a `#!` line: a shell would run it itself.
            Err(why) if why.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                let mut argv = vec![OsString::from("/bin/sh")];
                argv.extend_from_slice(&prepared.argv);
                self.std_command(prepared, &argv, input).spawn()
            }
            other => other,
        }
    }

    fn std_command(&self, prepared: &Prepared, argv: &[OsString], input: bool) -> std::process::Command {
        let mut command = std::process::Command::new(&argv[0]);
        command.args(&argv[1..]).process_group(0);
        command.stdin(if input { Stdio::piped() } else { nothing() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        if !self.inherit_env {
            command.env_clear();
        }
        command.envs(prepared.variables.iter().map(|(name, value)| (name, value)));
        command.env(mark::VARIABLE, prepared.mark.value());
        command
    }

    /// Everything that is looked up before a start.
    fn prepare(&self) -> Result<Prepared, String> {
        let configured = environ::configured(&self.env, self.env_file().map(PathBuf::as_path))?;
        let mut variables = if self.inherit_env { Variables::new() } else { environ::stated() };
        if self.container.is_some() && !self.inherit_env {
            variables.extend(environ::stated_for_containers());
        }
        if let Some(cwd) = &self.cwd {
            // Programs trust it for the path they were reached by; the agent's own would be wrong.
            variables.extend(std::path::absolute(cwd).map(|cwd| (environ::text("PWD"), cwd.into_os_string().into())));
        }
        let mut argv = self.line_argv();
        let mut programs = Vec::new();
        if let Some(container) = &self.container {
            let container = self.wrap_in_container(container, &mut argv, &configured, &variables)?;
            variables.extend(configured);
            programs.push(PathBuf::from(&argv[0]));
            return Ok(Prepared { argv, variables, mark: Mark::new(), programs, other_user: false, container });
        }
        let account = self.user.as_deref().map(environ::account).transpose()?;
        if let Some(account) = &account {
            let own = |text: &str| OsString::from(text).into();
            variables.push((environ::text("HOME"), own(account.home.as_deref().unwrap_or("/"))));
            if let Some(name) = &account.name {
                variables.extend(["USER", "LOGNAME"].map(|variable| (environ::text(variable), own(name))));
            }
        }
        variables.extend(configured);
        argv[0] = find(&argv[0], &variables, self.cwd.as_deref())?;
        programs.push(PathBuf::from(&argv[0]));
        let other_user = account.as_ref().is_some_and(|a| a.uid != rustix::process::geteuid().to_string());
        if let Some(account) = account.filter(|_| other_user) {
            wrap_in_setpriv(&account, &mut argv, &variables)?;
            programs.push(PathBuf::from(&argv[0]));
        }
        Ok(Prepared { argv, variables, mark: Mark::new(), programs, other_user, container: ContainerGuard::default() })
    }

    /// The credentials file of a run that starts now. Where nobody can say whether it is there, reading it tells why.
    fn env_file(&self) -> Option<&PathBuf> {
        let is_there = |path: &&PathBuf| path.try_exists().unwrap_or(true);
        self.env_file.as_ref().or_else(|| self.default_env_file.as_ref().filter(is_there))
    }

    fn line_argv(&self) -> Vec<OsString> {
        match &self.line {
            Line::Words(words) => words.iter().map(OsString::from).collect(),
            Line::Shell(line) => {
                let shell = if self.container.is_some() { "sh" } else { "/bin/sh" };
                vec![shell.into(), "-c".into(), line.into()]
            }
        }
    }

    /// Puts `docker run …` before the command.
    fn wrap_in_container(
        &self,
        container: &Container,
        argv: &mut Vec<OsString>,
        configured: &Variables,
        variables: &Variables,
    ) -> Result<ContainerGuard, String> {
        let engine = match &container.engine {
            Some(engine) => find(OsStr::new(engine), variables, None)?,
            None => container_engine(&path_of(variables))?,
        };
        let name = container_name();
        let mut wrapped: Vec<OsString> = vec![engine.clone()];
        wrapped.extend(["run", "--rm", "-i", "--name", &name, "--network", &container.network].map(Into::into));
        if let Some(cwd) = &self.cwd {
            let cwd = std::path::absolute(cwd).map_err(|e| format!("can't tell where `{}` is: {e}", cwd.display()))?;
            let mut volume = cwd.clone().into_os_string();
            volume.push(":");
            volume.push(&cwd);
            volume.push(":ro");
            wrapped.extend(["--volume".into(), volume, "--workdir".into(), cwd.into()]);
        }
        if let Some(user) = &self.user {
            wrapped.extend(["--user".into(), user.into()]);
        }
        // Names only: the container program takes the values from its environment, where no list of processes shows them.
        wrapped.extend(configured.iter().flat_map(|(variable, _)| ["--env".into(), variable.clone().into_owned()]));
        wrapped.push(OsString::from(&container.image));
        wrapped.append(argv);
        *argv = wrapped;
        let kill = vec![engine, "kill".into(), name.into()];
        Ok(ContainerGuard { kill, variables: variables.clone(), armed: false })
    }

    /// Why it could not be started, and what to do.
    fn start_problem(&self, prepared: &Prepared, why: &io::Error) -> String {
        let known = self.cwd.as_deref().and_then(cwd_problem);
        let known = known.or_else(|| prepared.programs.iter().find_map(|program| program_problem(program)));
        known.unwrap_or_else(|| {
            let shown = prepared.shown();
            match why.kind() {
                io::ErrorKind::NotFound => {
                    format!("can't start `{shown}`: the interpreter that its `#!` line names is not there: install it")
                }
                _ => format!("can't start `{shown}`: {why}"),
            }
        })
    }
}

/// What a start needs.
#[derive(Debug)]
struct Prepared {
    /// The program's full path and its arguments.
    argv: Vec<OsString>,
    variables: Variables,
    mark: Mark,
    /// Files that must be there and executable.
    programs: Vec<PathBuf>,
    other_user: bool,
    container: ContainerGuard,
}

impl Prepared {
    fn shown(&self) -> String {
        self.programs.first().map_or_else(String::new, |program| program.display().to_string())
    }
}

/// An input that is at its end. A copy of a descriptor that is open costs less than to open the device anew.
fn nothing() -> Stdio {
    static NULL: OnceLock<Option<File>> = OnceLock::new();
    let null = NULL.get_or_init(|| File::open("/dev/null").ok());
    null.as_ref().and_then(|null| null.try_clone().ok()).map_or_else(Stdio::null, Stdio::from)
}

fn path_of(variables: &Variables) -> Cow<'_, OsStr> {
    let set = environ::value(variables, "PATH").map(Cow::Borrowed);
    set.or_else(|| std::env::var_os("PATH").map(Cow::Owned)).unwrap_or_else(|| environ::text(DEFAULT_PATH))
}

fn find(program: &OsStr, variables: &Variables, cwd: Option<&Path>) -> Result<OsString, String> {
    let path = path_of(variables);
    environ::find(program, &path, cwd).map(|found: Arc<Path>| found.as_os_str().to_owned())
}

fn container_engine(path: &OsStr) -> Result<OsString, String> {
    let found = ["docker", "podman"].iter().find_map(|engine| environ::find(OsStr::new(engine), path, None).ok());
    found.map(|found| found.as_os_str().to_owned()).ok_or_else(|| {
        let path = path.display();
        format!(
            "neither `docker` nor `podman` is in any folder of PATH ({path}): install one, or name another as `engine`"
        )
    })
}

fn wrap_in_setpriv(account: &environ::Account, argv: &mut Vec<OsString>, variables: &Variables) -> Result<(), String> {
    let setpriv = find(OsStr::new("setpriv"), variables, None)
        .map_err(|why| format!("`user` needs `setpriv` of util-linux: {why}"))?;
    let groups = if account.name.is_some() { "--init-groups" } else { "--clear-groups" };
    let mut wrapped = vec![setpriv];
    wrapped.extend(["--reuid", &account.uid, "--regid", &account.gid, groups, "--"].map(Into::into));
    wrapped.append(argv);
    *argv = wrapped;
    Ok(())
}

fn cwd_problem(cwd: &Path) -> Option<String> {
    let shown = cwd.display();
    match std::fs::metadata(cwd) {
        Ok(meta) if meta.is_dir() => None,
        Ok(_) => Some(format!("the working directory `{shown}` is not a folder: correct `cwd`")),
        Err(why) => Some(format!("the working directory `{shown}` can't be used ({why}): make it, or correct `cwd`")),
    }
}

fn program_problem(program: &Path) -> Option<String> {
    let shown = program.display();
    match std::fs::metadata(program) {
        Err(why) => Some(format!("the program `{shown}` can't be run ({why}): install it, or correct its path")),
        Ok(meta) if meta.is_dir() => Some(format!("`{shown}` is a folder, not a program: correct its path")),
        Ok(_) if !environ::executable(program) => {
            Some(format!("the program `{shown}` is not executable: `chmod +x {shown}`"))
        }
        Ok(_) => None,
    }
}

/// A name that no other run of any agent on this machine has now.
fn container_name() -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    format!("watchbell-{}-{since}-{run}", std::process::id())
}

/// Once it is armed, kills the container when it is dropped: the end of `docker run` is not the end of what it started.
#[derive(Debug, Default)]
struct ContainerGuard {
    kill: Vec<OsString>,
    variables: Variables,
    armed: bool,
}

impl ContainerGuard {
    /// Arms it, where there is a container.
    fn started(&mut self) -> ContainerGuard {
        let mut guard = std::mem::take(self);
        guard.armed = !guard.kill.is_empty();
        guard
    }
}

impl Drop for ContainerGuard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let mut command = std::process::Command::new(&self.kill[0]);
        command.args(&self.kill[1..]).process_group(0).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        let Ok(child) = command.spawn() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if let Ok(running) = Running::new(child, Mark::new(), Vec::new(), 0, CONTAINER_KILL_TIMEOUT) {
                    running.finish().await;
                }
            })),
            Err(_) => end::reap(child),
        }
    }
}

#[cfg(test)]
mod tests;
