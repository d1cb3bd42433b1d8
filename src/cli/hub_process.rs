//! A hub of a command's own: this very binary in another process, so that it can be measured and killed.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{Exit, Failure};

/// A start with little to recover takes far less.
pub const START: Duration = Duration::from_secs(30);

/// A running hub.
pub struct HubProcess {
    child: Child,
    monitor: Option<String>,
    program: PathBuf,
    config: PathBuf,
    words: Option<PathBuf>,
}

/// A port that is free now.
pub fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(file)?;
    Ok(listener.local_addr().map_err(file)?.port())
}

impl HubProcess {
    /// Starts `program serve` and waits until its port is open.
    pub async fn start(program: &Path, config: &Path) -> Result<Self, Failure> {
        Self::spawn(program, config, None, START).await
    }

    /// As [`HubProcess::start`]; what the hub says on standard error is appended to the file `words`.
    pub async fn start_recorded(program: &Path, config: &Path, words: &Path) -> Result<Self, Failure> {
        Self::spawn(program, config, Some(words.to_owned()), START).await
    }

    async fn spawn(
        program: &Path,
        config: &Path,
        words: Option<PathBuf>,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.args(["serve", "--json", "--config"]).arg(config).stderr(recorder(words.as_deref())?);
        let (child, line) = ready(&mut command, limit).await?;
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let monitor = ready["monitor_listening"].as_str().map(str::to_owned);
        Ok(Self { child, monitor, program: program.to_owned(), config: config.to_owned(), words })
    }

    /// Address and port of health and metrics, where that door is open.
    pub fn monitor(&self) -> Option<&str> {
        self.monitor.as_deref()
    }

    /// Process id, for looking at its memory.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it as a power switch would: no word, no clean-up.
    pub async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(file)
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> Result<std::process::ExitStatus, Failure> {
        self.child.wait().await.map_err(file)
    }

    /// Starts it again over the same folder.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.restart_within(START).await
    }

    /// The same, when there may be much to recover.
    pub async fn restart_within(&mut self, limit: Duration) -> Result<(), Failure> {
        *self = Self::spawn(&self.program, &self.config, self.words.clone(), limit).await?;
        Ok(())
    }
}

/// Starts a process that dies with its value, and waits for the line by which it says that it is ready.
pub async fn ready(command: &mut Command, limit: Duration) -> Result<(Child, String), Failure> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().map_err(file)?;
    let out = child.stdout.take().ok_or_else(|| Failure::new(Exit::File, "the process has no output"))?;
    let mut lines = BufReader::new(out).lines();
    match tokio::time::timeout(limit, lines.next_line()).await {
        Ok(Ok(Some(line))) => Ok((child, line)),
        _ => Err(Failure::new(Exit::File, "the hub did not start; its words are above")),
    }
}

fn recorder(words: Option<&Path>) -> Result<Stdio, Failure> {
    let Some(path) = words else { return Ok(Stdio::inherit()) };
    Ok(File::options().create(true).append(true).open(path).map_err(file)?.into())
}

fn file(error: std::io::Error) -> Failure {
    Failure::new(Exit::File, error)
}
