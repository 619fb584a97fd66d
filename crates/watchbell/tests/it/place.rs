//! A config folder of a test's own, and real agents that run on it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use watchbell_core::{engine::State, model::Delivery};
use watchbell_io::store::Journal;

/// How long anything may take before a test gives up on it: generous, for machines that do other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A config folder, removed at the end unless the test failed.
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
}

/// A running agent; killed when dropped.
pub struct Running(pub Child);

impl Place {
    /// A folder whose `watchbell.toml` begins with `[agent]` and a notifier `told` that writes deliveries down
    /// (and runs in the agent's name `test`), followed by `config`. `agent` is more keys of `[agent]`.
    pub fn new(agent: &str, config: &str) -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("watchbell-it-{}-{n}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let place = Place { folder };
        place.config(agent, config);
        place
    }

    /// Writes `watchbell.toml` anew.
    pub fn config(&self, agent: &str, config: &str) {
        let listen = if agent.contains("listen") { "" } else { "listen = \"off\"\n" };
        self.file(
            "watchbell.toml",
            &format!(
                "[agent]\nname = \"test\"\nstate = \"state\"\nnotify = [\"told\"]\n{listen}{agent}\n\
                 [notify.told]\nkind = \"command\"\ncommand = \"cat >> told.jsonl\"\ngap = \"1ms\"\n{config}\n"
            ),
        );
    }

    /// Writes a file whole: beside, then moved, so that nobody reads half of it.
    pub fn file(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_extension("being-written");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, path).unwrap();
    }

    /// Writes a script that can be run.
    pub fn script(&self, name: &str, text: &str) {
        self.file(name, text);
        fs::set_permissions(self.folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The program, with this config.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchbell"));
        command.args(args).env("WATCHBELL_CONFIG", &self.folder).env_remove("WATCHBELL_LOG").stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Starts an agent; its log goes to `agent.log`.
    pub fn start(&self) -> Running {
        self.start_with(|command| command)
    }

    /// Starts an agent with a say in how.
    pub fn start_with(&self, how: impl FnOnce(&mut Command) -> &mut Command) -> Running {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("agent.log")).unwrap();
        let mut command = self.command(&["run"]);
        command.stdout(Stdio::null()).stderr(log);
        Running(how(&mut command).spawn().unwrap())
    }

    /// What the agent logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }

    /// The state as it is on disk.
    pub fn state(&self) -> State {
        let (state, damaged) = Journal::open(&self.state_folder()).unwrap().state().unwrap();
        assert_eq!(damaged, Vec::<String>::new());
        state
    }

    /// The journal of what happened.
    pub fn journal(&self) -> Journal {
        Journal::open(&self.state_folder()).unwrap()
    }

    /// Folder of the agent's state.
    pub fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What the notifier `told` was given so far, repeats included.
    pub fn told(&self) -> Vec<Delivery> {
        let text = fs::read_to_string(self.folder.join("told.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until something is so; says what was waited for if it never is.
    pub fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so() {
            assert!(Instant::now() < end, "never came: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A test that can't be run here says so loudly; in continuous integration it is an error.
pub fn skipped(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "SKIPPED {what}; this is CI");
    eprintln!("SKIPPED {what}");
}

impl Running {
    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the agent does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for you to look at: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(Path::new(&self.folder));
        }
    }
}
