//! stub
pub fn main() -> std::process::ExitCode {
    let dir = std::env::args().nth(2).or_else(|| std::env::var("WATCHBELL_CONFIG").ok()).unwrap_or(".".into());
    let rt = tokio::runtime::Runtime::new().expect("rt");
    let result = crate::run::config::Folder::new(dir.as_ref()).and_then(|f| rt.block_on(crate::run::run(f)));
    if let Err(e) = result {
        eprintln!("{e}");
        return std::process::ExitCode::from(1);
    }
    std::process::ExitCode::SUCCESS
}
