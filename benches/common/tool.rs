//! The programs that are compared, each in a home of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A program with the arguments that every call has.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    first: Vec<String>,
    home: PathBuf,
    engine: Option<PathBuf>,
}

impl Tool {
    /// `home` becomes the program's home and working folder, with nothing of the user's in it.
    pub fn new(program: impl Into<PathBuf>, first: &[&str], home: &Path) -> Result<Self> {
        std::fs::create_dir_all(home)?;
        let first = first.iter().map(|word| (*word).to_owned()).collect();
        Ok(Self { program: program.into(), first, home: home.to_owned(), engine: None })
    }

    pub fn with(&self, more: &[&str]) -> Self {
        let mut tool = self.clone();
        tool.first.extend(more.iter().map(|word| (*word).to_owned()));
        tool
    }

    /// Talks to the engine through this socket.
    pub fn through(&self, socket: &Path) -> Self {
        Self { engine: Some(socket.to_owned()), ..self.clone() }
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn name(&self) -> String {
        self.program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.first).args(args).current_dir(&self.home).env_clear();
        for keep in ["PATH", "LANG", "DOCKER_HOST"] {
            if let Some(value) = std::env::var_os(keep) {
                command.env(keep, value);
            }
        }
        command.env("HOME", &self.home).env("DOCKER_CONFIG", self.home.join("docker")).env("NO_COLOR", "1");
        if let Some(socket) = &self.engine {
            command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end. Output is an error's only when it fails.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        let output = self.command(args).output().with_context(|| format!("{}", self.program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let tail: Vec<&str> = said.lines().rev().take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            bail!("{} {} ended with {}:\n{}", self.name(), args.join(" "), output.status, tail.join("\n"));
        }
        Ok(output)
    }

    pub fn text(&self, args: &[&str]) -> Result<String> {
        Ok(String::from_utf8(self.run(args)?.stdout)?)
    }

    /// From the start of the program to its end.
    pub fn time(&self, args: &[&str]) -> Result<Duration> {
        let begun = Instant::now();
        self.run(args)?;
        Ok(begun.elapsed())
    }
}

impl Tool {
    /// For a command that may fail and be typed again; the time of all attempts.
    pub fn time_until_done(&self, args: &[&str]) -> Result<Duration> {
        let begun = Instant::now();
        for _ in 0..3 {
            match self.run(args) {
                Ok(_) => return Ok(begun.elapsed()),
                Err(error) => println!("once more: {error}"),
            }
        }
        self.run(args)?;
        Ok(begun.elapsed())
    }
}

pub fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}
