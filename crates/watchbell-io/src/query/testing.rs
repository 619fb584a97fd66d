//! What every place that speaks SQL must do, as one suite over all of them; and servers of our own to ask.

use super::{Ask, Source, Trouble};
use crate::{shared::Shared, source::testing::scratch};
use std::{
    collections::BTreeSet,
    fs::Permissions,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};
use watchbell_core::{
    config::{CONNECTIONS_DEFAULT, HttpSource, LoginSource, ROWS_DEFAULT, Secret, SourcePlace, SourcePolicy},
    model::{Answer, Cell, Name},
};

/// So long has a question that should be answered.
const PLENTY: Duration = Duration::from_secs(30);

/// One place, with words it understands. There is a table `kept` with a column `n` and one row, 1.
pub(crate) struct Case {
    pub(crate) url: String,
    pub(crate) password: Option<&'static str>,
    /// What the expressions of `types` are selected from.
    pub(crate) from: &'static str,
    /// Expressions and what they are.
    pub(crate) types: Vec<(&'static str, Cell)>,
    /// Makes a million rows.
    pub(crate) million: &'static str,
    /// Does not end by itself within minutes.
    pub(crate) hang: &'static str,
    /// Queries that are wrong, and part of what is said.
    pub(crate) wrongs: Vec<(&'static str, &'static str)>,
    /// Queries that write, and part of what is said.
    pub(crate) writes: Vec<(&'static str, &'static str)>,
}

pub(crate) fn policy(url: &str, password: Option<&str>) -> SourcePolicy {
    SourcePolicy {
        name: Name::new("db"),
        file: "sources.toml".to_owned(),
        place: SourcePlace::Url {
            url: Secret::Value(url.to_owned()),
            password: password.map(|text| Secret::Value(text.to_owned())),
            login: LoginSource::default(),
            ca: None,
            http: HttpSource::default(),
        },
        connections_max: CONNECTIONS_DEFAULT,
        rows_max: ROWS_DEFAULT,
        connect_timeout: Duration::from_secs(10),
        grace: Duration::ZERO,
    }
}

pub(crate) fn source(policy: SourcePolicy) -> Source {
    Source::new(Arc::new(policy))
}

pub(crate) async fn ask_within(
    source: &Source,
    query: &str,
    rows_max: usize,
    timeout: Duration,
) -> Result<Answer, Trouble> {
    let shared = Shared::new().unwrap();
    source
        .ask(&Ask { query, checker: "orders", extra: None, rows_max, all_columns: false, timeout, shared: &shared })
        .await
        .answer
}

pub(crate) async fn ask(source: &Source, query: &str) -> Result<Answer, Trouble> {
    ask_within(source, query, ROWS_DEFAULT, PLENTY).await
}

/// The text of [`Trouble::Wrong`], which it must be.
pub(crate) async fn wrong(source: &Source, query: &str) -> String {
    match ask(source, query).await {
        Err(Trouble::Wrong(text)) => text,
        other => panic!("`{query}`: {other:?}"),
    }
}

/// What every place must do.
pub(crate) async fn suite(case: &Case) {
    let source = source(policy(&case.url, case.password));
    assert_eq!(source.preflight(), Vec::<String>::new());
    types(case, &source).await;
    shapes(&source).await;
    limits(case, &source).await;
    for (query, part) in &case.wrongs {
        let text = wrong(&source, query).await;
        assert!(text.contains(part) && !text.contains('\n'), "`{query}`: {text}");
    }
    for (query, part) in &case.writes {
        let text = wrong(&source, query).await;
        assert!(text.contains(part), "`{query}`: {text}");
        let kept = ask(&source, "select n from kept").await.unwrap();
        assert_eq!(kept.rows, [[Cell::Integer(1)]], "`{query}` wrote");
    }
}

async fn types(case: &Case, source: &Source) {
    let columns: Vec<String> = case.types.iter().enumerate().map(|(i, (sql, _))| format!("{sql} as c{i}")).collect();
    let answer = ask(source, &format!("select {} {}", columns.join(", "), case.from)).await.unwrap();
    for ((sql, expect), (name, got)) in case.types.iter().zip(answer.columns.iter().zip(&answer.rows[0])) {
        assert_eq!(got, expect, "`{sql}` in `{name}`");
    }
    assert_eq!(answer.columns.len(), case.types.len());
}

/// No rows, one column, columns of one name, comments, a semicolon.
async fn shapes(source: &Source) {
    let none = ask(source, "select n, n as m from kept where n > 1").await.unwrap();
    assert_eq!(none, Answer { columns: vec!["n".to_owned(), "m".to_owned()], ..Answer::default() });
    let one = ask(source, "-- all\nselect n from kept /* the one */;").await.unwrap();
    assert_eq!((one.rows, one.truncated), (vec![vec![Cell::Integer(1)]], false));
    let twice = ask(source, "select n, n from kept").await.unwrap();
    assert_eq!((twice.columns, twice.rows[0].len()), (vec!["n".to_owned(); 2], 2));
}

async fn limits(case: &Case, source: &Source) {
    let begun = Instant::now();
    let answer = ask_within(source, case.million, 100, PLENTY).await.unwrap();
    assert_eq!((answer.rows.len(), answer.truncated), (100, true));
    let first = ask_within(source, "select n from kept", 1, PLENTY).await.unwrap();
    assert_eq!((first.rows.len(), first.truncated), (1, false), "as many as the limit are not too many");
    assert!(begun.elapsed() < Duration::from_secs(10), "the rest was read: {:?}", begun.elapsed());

    let begun = Instant::now();
    let limit = Duration::from_millis(400);
    let trouble = ask_within(source, case.hang, 100, limit).await;
    assert!(matches!(&trouble, Err(Trouble::Slow(text)) if text.contains("was stopped")), "{trouble:?}");
    assert!(begun.elapsed() >= limit / 2 && begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(ask(source, "select n from kept").await.is_ok(), "it can be asked again");
}

/// The password of the user `watch`; it must be written with `%` in an address.
pub(crate) const PASSWORD: &str = "ge%heim/@:x";

/// [`PASSWORD`] as it stands in an address.
const PASSWORD_WRITTEN: &str = "ge%25heim%2F%40%3Ax";

/// A server of our own on this machine, with a database `app` and a user `watch`. It runs until the tests' process ends,
/// however that ends: its script reads our end of a pipe.
pub(crate) struct Server {
    scheme: &'static str,
    port: u16,
    pub(crate) dir: PathBuf,
    /// Asks for the number of one's own connection.
    connection: &'static str,
    /// Asks how many connections are busy with [`Case::hang`].
    hanging: &'static str,
    _script: Child,
}

impl Server {
    /// Its address with the password, and these parameters.
    pub(crate) fn url(&self, parameters: &str) -> String {
        self.url_of("127.0.0.1", self.port, PASSWORD_WRITTEN, "app", parameters)
    }

    pub(crate) fn url_of(&self, host: &str, port: u16, password: &str, database: &str, parameters: &str) -> String {
        format!("{}://watch:{password}@{host}:{port}/{database}{parameters}", self.scheme)
    }

    /// The certificate that it shows, for `localhost`.
    pub(crate) fn certificate(&self) -> String {
        self.dir.join("server.pem").display().to_string()
    }
}

/// PostgreSQL; none, and loudly, where it is not installed.
pub(crate) fn postgres() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let script = "
        initdb -D data -U admin -A scram-sha-256 --pwfile=admin -E UTF8 --locale=C --no-sync
        sed -i 's/^local.*/local all all trust/' data/pg_hba.conf
        postgres -D data -F -p $PORT -k $PWD -c listen_addresses=127.0.0.1 -c ssl=on -c ssl_cert_file=$PWD/server.pem \
            -c ssl_key_file=$PWD/server.key -c max_connections=20 -c shared_buffers=16MB &
        server=$!
        until pg_isready -q -h $PWD -p $PORT; do kill -0 $server; sleep 0.05; done
        psql -q -v ON_ERROR_STOP=1 -h $PWD -p $PORT -U admin -d postgres -f setup.sql";
    let setup = format!(
        "create role watch login password '{PASSWORD}';
         create database app;
         \\c app
         create table kept (n int); insert into kept values (1); grant all on kept to watch;
         create table hidden (n int);"
    );
    let connection = "select pg_backend_pid()";
    let hanging = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(600)%' \
                   and pid <> pg_backend_pid()";
    let start = || start("postgres", "postgres", script, &setup).map(|s| Server { connection, hanging, ..s });
    SERVER.get_or_init(start).as_ref()
}

/// MariaDB; none, and loudly, where it is not installed.
pub(crate) fn mariadb() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let script = "
        mariadb-install-db --no-defaults --datadir=$PWD/data --auth-root-authentication-method=normal --skip-test-db
        mariadbd --no-defaults --datadir=$PWD/data --socket=$PWD/socket --port=$PORT --bind-address=127.0.0.1 \
            --skip-name-resolve --skip-log-bin --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=16M \
            --ssl-cert=$PWD/server.pem --ssl-key=$PWD/server.key --max-connections=30 &
        server=$!
        until mariadb-admin --no-defaults -S $PWD/socket -u root ping; do kill -0 $server; sleep 0.05; done
        mariadb --no-defaults -S $PWD/socket -u root <setup.sql";
    let setup = format!(
        "create user watch identified by '{PASSWORD}';
         create database app character set utf8mb4; use app; set sql_mode = ''; set time_zone = '+00:00';
         create table kept (n int); insert into kept values (1); grant all on app.* to watch;
         create database other; create table other.hidden (n int);
         create table typed (tiny tinyint, bits bit(3), allbits bit(64), yr year, f float, word varchar(9), long_text longtext,
            kind enum('a', 'b'), doc json, bin binary(2), blo blob, at timestamp, zero datetime(6), nothing datetime);
         insert into typed values (-128, 5, 18446744073709551615, 2024, 1.1, 'fünf', 'lang', 'b', '{{\"a\": 1}}', x'0100',
            x'ff01', from_unixtime(1700000000), '0000-00-00', null);
         grant file on *.* to watch;"
    );
    let connection = "select connection_id()";
    let hanging = "select count(*) from information_schema.processlist where info like '%a.seq > b.seq%' \
                   and id <> connection_id()";
    let start = || start("mysql", "mariadbd", script, &setup).map(|s| Server { connection, hanging, ..s });
    SERVER.get_or_init(start).as_ref()
}

/// Starts a server by a script that leaves its process number in `server`; around it comes what all have in common.
fn start(scheme: &'static str, program: &str, script: &str, setup: &str) -> Option<Server> {
    let folders = || {
        let newest =
            std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin"));
        let usual = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
        newest.collect::<BTreeSet<_>>().into_iter().rev().chain(usual)
    };
    if !folders().any(|folder| folder.join(program).exists()) {
        let what = format!("SKIPPED: no `{program}`: run `make deps`");
        assert!(std::env::var_os("CI").is_none(), "{what}");
        eprintln!("{what}");
        return None;
    }
    let dir = scratch(scheme);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (name, text) in [
        ("admin", "secret of the admin"),
        ("setup.sql", setup),
        ("server.pem", &certified.cert.pem()),
        ("server.key", &certified.signing_key.serialize_pem()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
        std::fs::set_permissions(dir.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    let whole = format!(
        "set -e; exec 3>&1 >log 2>&1; {script}\necho ready >&3; exec 3>&-; cat\nkill -QUIT $server || true\n\
         wait || true; cd /; rm -rf $OLDPWD"
    );
    let path = folders().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":");
    let mut command = as_nobody(&dir);
    command.args(["sh", "-c", &whole]).current_dir(&dir).env("PATH", path + ":/bin").env("PORT", port.to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "{}", std::fs::read_to_string(dir.join("log")).unwrap());
    Some(Server { scheme, port, dir, connection: "", hanging: "", _script: child })
}

/// Database servers refuse to be run by root: then they are run by nobody, who gets the folder.
fn as_nobody(dir: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new("env");
    }
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    for path in files.chain([dir.to_owned()]) {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
}

/// What every place with a server must do beside [`suite`].
pub(crate) async fn server_suite(case: &Case, server: &Server) {
    stops_on_the_server(case, server).await;
    not_let_in(server).await;
    connections_are_kept(server).await;
    lost_in_the_middle(case, server).await;
    encrypted(server).await;
}

/// By the limit, and when nobody waits any more.
async fn stops_on_the_server(case: &Case, server: &Server) {
    let (asked, other) = (source(policy(&server.url(""), None)), source(policy(&server.url(""), None)));
    let trouble = ask_within(&asked, case.hang, 1, Duration::from_millis(500)).await;
    assert!(matches!(trouble, Err(Trouble::Slow(_))), "{trouble:?}");
    nothing_hangs(server, &other).await;
    let given_up = tokio::time::timeout(Duration::from_millis(500), ask(&asked, case.hang)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    nothing_hangs(server, &other).await;
    assert!(ask(&asked, "select n from kept").await.is_ok());
}

async fn nothing_hangs(server: &Server, other: &Source) {
    for _ in 0..100 {
        if ask(other, server.hanging).await.unwrap().rows == [[Cell::Integer(0)]] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server goes on with it");
}

/// The source is away: wrong password, no such database, nobody there, nobody who speaks.
async fn not_let_in(server: &Server) {
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_port = mute.local_addr().unwrap().port();
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let right = PASSWORD_WRITTEN;
    for (url, part) in [
        (server.url_of("127.0.0.1", server.port, "hunter2", "app", ""), "the password right"),
        (server.url_of("127.0.0.1", server.port, right, "nowhere", ""), "nowhere"),
        (server.url_of("127.0.0.1", closed, right, "app", ""), "connection refused"),
        (server.url_of("127.0.0.1", mute_port, right, "app", ""), "no connection with"),
        (server.url_of("no-such-host.invalid", server.port, right, "app", ""), "can't be resolved"),
    ] {
        let source = source(SourcePolicy { connect_timeout: Duration::from_secs(2), ..policy(&url, None) });
        let trouble = ask(&source, "select 1").await.unwrap_err();
        let Trouble::Away(text) = &trouble else { panic!("{url}: {trouble:?}") };
        assert!(text.contains(part) && !text.contains('\n'), "{url}: {text}");
        for secret in [PASSWORD, right, "hunter2"] {
            assert!(!text.contains(secret) && !format!("{source:?}").contains(secret), "{text} {source:?}");
        }
    }
    let apart = source(policy(&server.url_of("127.0.0.1", server.port, "wrong", "app", ""), Some(PASSWORD)));
    assert!(ask(&apart, "select 1").await.is_ok(), "a password of its own counts more than that in the address");
    for (parameters, part) in [("?sslmod=x", "parameter `sslmod`"), ("?sslmode=x&ssl-mode=x", "is not known")] {
        let problem = source(policy(&server.url(parameters), None)).preflight().join("; ");
        assert!(problem.contains(part) && !problem.contains(right), "{problem}");
    }
}

/// S2.4: connections are used again, never more of them than the source allows.
async fn connections_are_kept(server: &Server) {
    let source = source(SourcePolicy { connections_max: 2, ..policy(&server.url(""), None) });
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        seen.insert(format!("{:?}", ask(&source, server.connection).await.unwrap().rows));
        let _ = wrong(&source, "select nothing").await;
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    let source = Arc::new(source);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (source, query) = (source.clone(), server.connection);
            tokio::spawn(async move { ask(&source, query).await.unwrap().rows })
        })
        .collect();
    for task in tasks {
        seen.insert(format!("{:?}", task.await.unwrap()));
    }
    assert!(seen.len() <= 2, "{seen:?}");
}

/// The server goes away in the middle of a result, and between two questions.
async fn lost_in_the_middle(case: &Case, server: &Server) {
    let proxy = Proxy::start(server.port).await;
    let url = server.url_of("127.0.0.1", proxy.port, PASSWORD_WRITTEN, "app", "");
    let source = source(policy(&url, None));
    proxy.left.store(300_000, Relaxed);
    let trouble = ask_within(&source, case.million, 2_000_000, PLENTY).await;
    assert!(matches!(&trouble, Err(Trouble::Away(text)) if text.contains("was lost")), "{trouble:?}");
    proxy.left.store(i64::MAX, Relaxed);
    assert!(ask(&source, "select n from kept").await.is_ok());
    proxy.hang_up.notify_waiters();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(ask(&source, "select n from kept").await.is_ok(), "a connection that was lost meanwhile is replaced");
}

/// A proxy that cuts.
struct Proxy {
    port: u16,
    /// So many bytes of answers are passed on.
    left: Arc<AtomicI64>,
    hang_up: Arc<Notify>,
}

impl Proxy {
    async fn start(to: u16) -> Proxy {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (left, hang_up) = (Arc::new(AtomicI64::new(i64::MAX)), Arc::new(Notify::new()));
        let proxy = Proxy { port, left: left.clone(), hang_up: hang_up.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (left, hang_up) = (left.clone(), hang_up.clone());
                tokio::spawn(async move {
                    let server = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    tokio::select! {
                        () = pass(client, server, &left) => {}
                        () = hang_up.notified() => {}
                    }
                });
            }
        });
        proxy
    }
}

async fn pass(client: tokio::net::TcpStream, server: tokio::net::TcpStream, left: &AtomicI64) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = tokio::io::copy(&mut from_client, &mut to_server);
    let down = async {
        let mut buffer = [0; 8192];
        while let Ok(n) = from_server.read(&mut buffer).await {
            if n == 0 || left.fetch_sub(i64::try_from(n).unwrap(), Relaxed) <= 0 {
                return;
            }
            if to_client.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { _ = up => {} () = down => {} }
}

/// TLS: the server's certificate counts where it is asked for.
async fn encrypted(server: &Server) {
    let with = |host: &str, mode: &str, ca: bool| {
        let name = if server.scheme == "postgres" { "sslmode" } else { "ssl-mode" };
        let url = server.url_of(host, server.port, PASSWORD_WRITTEN, "app", &format!("?{name}={mode}"));
        let mut policy = policy(&url, None);
        if let SourcePlace::Url { ca: place, .. } = &mut policy.place {
            *place = ca.then(|| server.certificate());
        }
        source(policy)
    };
    let query = match server.scheme {
        "postgres" => "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()",
        _ => {
            "select if(variable_value = '', 'false', 'true') from information_schema.session_status \
              where variable_name = 'ssl_cipher'"
        }
    };
    let (off, offered, wanted) = if server.scheme == "postgres" {
        ("disable", "prefer", "require")
    } else {
        ("DISABLED", "PREFERRED", "REQUIRED")
    };
    for (host, mode, ca, expect) in [
        ("127.0.0.1", off, false, Ok("false")),
        ("127.0.0.1", offered, false, Ok("true")),
        ("localhost", offered, true, Ok("true")),
        ("localhost", wanted, true, Ok("true")),
        ("localhost", wanted, false, Err("issuer is not trusted")),
        ("127.0.0.1", wanted, true, Err("the certificate is for localhost, not for `127.0.0.1`")),
        ("127.0.0.1", offered, true, Err("the certificate is for localhost, not for `127.0.0.1`")),
    ] {
        match (ask(&with(host, mode, ca), query).await, expect) {
            (Ok(answer), Ok(word)) => assert_eq!(answer.rows, [[Cell::Text(word.to_owned())]], "{host} {mode}"),
            (Err(Trouble::Away(text)), Err(part)) => assert!(text.contains(part), "{host} {mode}: {text}"),
            (got, _) => panic!("{host} {mode}: {got:?}"),
        }
    }
}
