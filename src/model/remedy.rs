//! What a person can do next. A command of macula's own is made of its words, so that it can be
//! written with the options of the run that failed; nothing is searched for in sentences.

use std::path::PathBuf;

use super::PlatformName;
use crate::words::shell_word;

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A sentence, without a command in it.
    Say(String),
    /// A command of macula's.
    Run(MaculaCommand),
    /// The command that was just run, once more.
    Again(Again),
    /// Any other command line, which is right as it stands: it reads nothing from standard input.
    Shell(String),
}

impl Remedy {
    pub fn say(sentence: impl Into<String>) -> Self {
        Self::Say(sentence.into())
    }

    /// A command line of these words, quoted where it has to be.
    pub fn shell(words: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let words: Vec<String> = words.into_iter().map(|word| shell_word(word.as_ref())).collect();
        Self::Shell(words.join(" "))
    }

    /// As [`Remedy::shell`], of a program that is told by `--context` whom to ask; none: whoever it asks by itself.
    pub fn in_context(program: &str, context: Option<&str>, words: &[&str]) -> Self {
        let context = context.iter().flat_map(|context| ["--context", context]);
        Self::shell([program].into_iter().chain(context).chain(words.iter().copied()))
    }

    /// What only a sentence says, and what is to be typed.
    pub fn hints_and_commands(remedies: &[Self], invocation: &Invocation) -> (Vec<String>, Vec<String>) {
        let hints = remedies.iter().filter(|remedy| matches!(remedy, Self::Say(_)));
        let hints = hints.map(|remedy| remedy.text(invocation)).collect();
        (hints, remedies.iter().filter_map(|remedy| remedy.command(invocation)).collect())
    }

    /// The command line, if there is one to type.
    pub fn command(&self, invocation: &Invocation) -> Option<String> {
        match self {
            Self::Say(_) => None,
            Self::Run(command) => Some(command.line(invocation)),
            Self::Again(how) => Some(how.line(invocation)),
            Self::Shell(line) => Some(invocation.typed_here(line)),
        }
    }

    /// What is shown: the sentence, or the command with its purpose.
    pub fn text(&self, invocation: &Invocation) -> String {
        match self {
            Self::Say(text) => text.clone(),
            Self::Run(MaculaCommand { why: Some(why), .. }) => {
                format!("{}  ({why})", self.command(invocation).unwrap_or_default())
            }
            _ => self.command(invocation).unwrap_or_default(),
        }
    }
}

impl From<MaculaCommand> for Remedy {
    fn from(command: MaculaCommand) -> Self {
        Self::Run(command)
    }
}

/// How the present command is to be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    AsItIs,
    /// After sudo has asked for the password.
    AfterSudo,
    /// With `--yes`.
    Agreed,
}

impl Again {
    fn line(self, invocation: &Invocation) -> String {
        let line = invocation.line();
        match self {
            Self::AsItIs => line,
            Self::AfterSudo => format!("sudo -v && {line}"),
            Self::Agreed => invocation.line_with("--yes"),
        }
    }
}

/// A command line of macula's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaculaCommand {
    words: Vec<String>,
    why: Option<String>,
}

/// `macula("doctor --fix")`: fixed words, with blanks between them. What is only known at run time
/// is added by [`MaculaCommand::arg`].
pub fn macula(words: &'static str) -> MaculaCommand {
    MaculaCommand { words: words.split_whitespace().map(str::to_owned).collect(), why: None }
}

impl MaculaCommand {
    /// Of words that are known only at run time, all of them.
    pub fn of(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), why: None }
    }

    #[must_use]
    pub fn arg(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// What it is for, where that is not plain.
    #[must_use]
    pub fn why(mut self, purpose: impl Into<String>) -> Self {
        self.why = Some(purpose.into());
        self
    }

    /// As one types it for the same platform.
    pub fn line(&self, invocation: &Invocation) -> String {
        let mut line = "macula".to_owned();
        // one that names another platform has no second name
        let names = self.words.first().is_some_and(|word| word == "--name");
        for word in invocation.options(names).iter().chain(&self.words) {
            line.push(' ');
            line.push_str(&shell_word(word));
        }
        line
    }
}

/// How this program was started: what other commands have to repeat to mean the same platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    pub name: Option<PlatformName>,
    pub file: Option<PathBuf>,
    /// The words after the program's name.
    pub words: Vec<String>,
    /// The engine's program here is `podman`, and there is no `docker`.
    pub podman: bool,
}

impl Invocation {
    fn options(&self, without_name: bool) -> Vec<String> {
        let mut options = Vec::new();
        // also the default one: without it a folder's macula.yaml or a worktree may say another
        if let Some(name) = self.name.as_ref().filter(|_| !without_name) {
            options.extend(["--name".to_owned(), name.to_string()]);
        }
        if let Some(file) = &self.file {
            options.extend(["--file".to_owned(), file.display().to_string()]);
        }
        options
    }

    /// What both programs know is typed to the one that is here; Podman has no swarms.
    fn typed_here(&self, line: &str) -> String {
        const OF_SWARMS: [&str; 6] = ["swarm ", "node ", "stack ", "service ", "secret ", "config "];
        match line.strip_prefix("docker ") {
            Some(rest) if self.podman && !OF_SWARMS.iter().any(|word| rest.starts_with(word)) => {
                format!("podman {rest}")
            }
            _ => line.to_owned(),
        }
    }

    /// The present command with one more option. What follows `ci`, `run` and `exec` is for the program that they
    /// start, so that there it comes first.
    fn line_with(&self, option: &str) -> String {
        let line = self.line();
        match self.words.iter().any(|word| ["ci", "run", "exec"].contains(&word.as_str())) {
            true => line.replacen("macula", &format!("macula {option}"), 1),
            false => format!("{line} {option}"),
        }
    }

    /// The present command. Options that came from the environment are still there the next time.
    fn line(&self) -> String {
        std::iter::once("macula".to_owned())
            .chain(self.words.iter().map(|word| shell_word(word)))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Invocation {
        Invocation {
            name: Some(PlatformName::new("pr-1").unwrap()),
            file: Some("ci/my macula.yaml".into()),
            words: ["--name", "pr-1", "dns", "install"].map(str::to_owned).into(),
            podman: false,
        }
    }

    #[test]
    fn commands_mean_the_same_platform() {
        let logs = Remedy::from(macula("logs").arg("web;rm"));
        assert_eq!(logs.text(&Invocation::default()), "macula logs 'web;rm'");
        assert_eq!(logs.text(&here()), "macula --name pr-1 --file 'ci/my macula.yaml' logs 'web;rm'");
        let default = Invocation { name: Some(PlatformName::default()), ..Invocation::default() };
        assert_eq!(logs.text(&default), "macula --name macula logs 'web;rm'");
        assert_eq!(MaculaCommand::of(["--name", "shop", "up"]).line(&default), "macula --name shop up");
    }

    #[test]
    fn the_same_command_is_the_one_that_was_typed() {
        let all = [Again::AsItIs, Again::AfterSudo, Again::Agreed].map(|how| Remedy::Again(how).text(&here()));
        assert_eq!(
            all,
            [
                "macula --name pr-1 dns install",
                "sudo -v && macula --name pr-1 dns install",
                "macula --name pr-1 dns install --yes",
            ]
        );
    }

    #[test]
    fn an_option_more_is_ours_and_not_of_the_program_that_is_started() {
        let ci = Invocation { words: ["ci", "--", "npm", "test"].map(str::to_owned).into(), ..Invocation::default() };
        assert_eq!(Remedy::Again(Again::Agreed).text(&ci), "macula --yes ci -- npm test");
    }

    #[test]
    fn a_purpose_is_shown_and_not_part_of_the_command() {
        let remedy = Remedy::from(macula("up --no-cluster").why("to go on without a cluster"));
        assert_eq!(remedy.text(&Invocation::default()), "macula up --no-cluster  (to go on without a cluster)");
        assert_eq!(remedy.command(&Invocation::default()).as_deref(), Some("macula up --no-cluster"));
        let push = Remedy::shell(["docker", "push", "a b"]);
        assert_eq!(push.text(&here()), "docker push 'a b'");
    }

    #[test]
    fn where_only_podman_is_commands_are_typed_to_it() {
        let podman = Invocation { podman: true, ..here() };
        let typed = |words: &[&str]| Remedy::shell(words).text(&podman);
        assert_eq!(typed(&["docker", "network", "disconnect", "a", "b"]), "podman network disconnect a b");
        assert_eq!(typed(&["docker", "swarm", "init"]), "docker swarm init");
        assert_eq!(typed(&["dockerd", "--debug"]), "dockerd --debug");
    }
}
