//! A question on the terminal: yes, no, or first an explanation.

use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Style, Terminal, Tone, text};

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// There is nobody to ask: standard input is not a terminal. The caller fails with a hint.
    NotAsked,
}

/// A yes/no question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Without question mark and choices: `Install docker.io with apt-get`.
    pub text: String,
    /// Shown to who asks for it: what would be done, and why.
    pub explain: Option<String>,
}

/// A question stands on the terminal.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Whether a question stands on the terminal now.
pub fn is_open() -> bool {
    OPEN.load(Ordering::SeqCst)
}

/// How often an answer that is none is asked again.
const TRIES: usize = 3;

/// What is said where the terminal cannot be read or written.
const ASKING: &str = "ask on the terminal";

/// Asks on the given streams. No answer, the end of input and three that are not understood mean
/// no.
///
/// # Errors
/// When the streams cannot be read or written.
pub fn ask(
    question: &Question,
    style: Style,
    width: usize,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> io::Result<Answer> {
    let choices = if question.explain.is_some() { "[y]es / [N]o / [s]how what it does:" } else { "[y]es / [N]o:" };
    let mut tries = 0;
    while tries < TRIES {
        // the cursor rests behind the choices
        let asked = format!("{}? {choices}", text::clean_line(&question.text));
        let mut lines = text::wrap(&asked, width.saturating_sub(2));
        let last = lines.pop().unwrap_or_default();
        for line in lines {
            writeln!(output, "{}", style.paint(Tone::Bold, &line))?;
        }
        let (said, offered) = match last.strip_suffix(choices) {
            Some(said) => (said, choices),
            None => ("", last.as_str()),
        };
        write!(output, "{}{offered} ", style.paint(Tone::Bold, said))?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            // the cursor still stands behind the question
            writeln!(output)?;
            return Ok(Answer::No);
        }
        match (line.trim().to_lowercase().as_str(), &question.explain) {
            ("y" | "yes", _) => return Ok(Answer::Yes),
            ("" | "n" | "no", _) => return Ok(Answer::No),
            ("s" | "show" | "e" | "explain" | "?", Some(explain)) => {
                let lines = explain.lines().map(text::clean_line);
                for line in lines.flat_map(|line| text::wrap(&line, width.saturating_sub(2))) {
                    writeln!(output, "  {line}")?;
                }
            }
            _ => {
                tries += 1;
                writeln!(output, "  please answer y or n")?;
            }
        }
    }
    Ok(Answer::No)
}

/// Asks on this process's terminal (the question on standard error); `cancel` ends the waiting and
/// means no.
///
/// # Errors
/// When the terminal cannot be read or written.
pub async fn confirm(
    question: Question,
    terminal: &Terminal,
    style: Style,
    cancel: &CancellationToken,
) -> anyhow::Result<Answer> {
    if !terminal.stdin_is_tty || !terminal.stderr_is_tty {
        return Ok(Answer::NotAsked);
    }
    let width = terminal.width;
    let asked = move || ask(&question, style, width, &mut io::stdin().lock(), &mut io::stderr());
    on_a_thread(asked, cancel).await.context(ASKING)
}

/// Shows what would be lost, and asks for a name to be typed: for what cannot be undone.
///
/// # Errors
/// When the terminal cannot be read or written.
pub async fn type_word(
    word: &str,
    text: &str,
    terminal: &Terminal,
    cancel: &CancellationToken,
) -> anyhow::Result<Answer> {
    if !terminal.stdin_is_tty || !terminal.stderr_is_tty {
        return Ok(Answer::NotAsked);
    }
    let (word, text) = (word.to_owned(), text.to_owned());
    let asked = move || ask_word(&word, &text, &mut io::stdin().lock(), &mut io::stderr());
    on_a_thread(asked, cancel).await.context(ASKING)
}

fn ask_word(word: &str, text: &str, input: &mut dyn BufRead, output: &mut dyn Write) -> io::Result<Answer> {
    write!(output, "{text}Type `{word}` to agree, or Enter to cancel: ")?;
    output.flush()?;
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        writeln!(output)?;
    }
    Ok(if line.trim() == word { Answer::Yes } else { Answer::No })
}

/// A thread of its own, as the runtime would wait at its end for one of its pool that reads.
async fn on_a_thread(
    work: impl FnOnce() -> io::Result<Answer> + Send + 'static,
    cancel: &CancellationToken,
) -> io::Result<Answer> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("question".into()).spawn(move || {
        // the receiver is gone when the user stopped us: nobody to tell
        let _ = tell.send(work());
    })?;
    OPEN.store(true, Ordering::SeqCst);
    let answer = tokio::select! {
        answer = told => answer.unwrap_or(Ok(Answer::No)),
        () = cancel.cancelled() => writeln!(io::stderr()).map(|()| Answer::No),
    };
    OPEN.store(false, Ordering::SeqCst);
    answer
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn asked(input: &str, explain: Option<&str>) -> (Answer, String) {
        let question = Question { text: "Install docker.io with apt-get".into(), explain: explain.map(Into::into) };
        let mut output = Vec::new();
        let answer = ask(&question, Style::default(), 100, &mut input.as_bytes(), &mut output).unwrap();
        (answer, String::from_utf8(output).unwrap())
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        for yes in ["y\n", "Y\n", " yes \n", "YES"] {
            assert_eq!(asked(yes, None).0, Answer::Yes, "{yes:?}");
        }
        for no in ["\n", "", "n\n", "No\n", "maybe\nyup\nok\ny\n"] {
            assert_eq!(asked(no, None).0, Answer::No, "{no:?}");
        }
        assert_eq!(asked("what\ny\n", None).0, Answer::Yes, "asked again");
    }

    #[test]
    fn only_the_whole_name_agrees_to_a_loss() {
        let typed = |input: &str| {
            let mut output = Vec::new();
            ask_word("shop", "lost: everything\n", &mut input.as_bytes(), &mut output).unwrap()
        };
        assert_eq!(typed("shop\n"), Answer::Yes);
        for no in ["y\n", "sho\n", "Shop\n", "\n", ""] {
            assert_eq!(typed(no), Answer::No, "{no:?}");
        }
    }

    #[test]
    fn it_explains_as_often_as_asked() {
        let (answer, shown) = asked("e\ne\ne\ne\ny\n", Some("It runs:\n  apt-get install docker.io"));
        assert_eq!((answer, shown.matches("It runs:").count()), (Answer::Yes, 4));
        assert_snapshot!(asked("?\nx\n\n", Some("It runs:\n  apt-get install docker.io")).1, @r"
        Install docker.io with apt-get? [y]es / [N]o / [s]how what it does:   It runs:
            apt-get install docker.io
        Install docker.io with apt-get? [y]es / [N]o / [s]how what it does:   please answer y or n
        Install docker.io with apt-get? [y]es / [N]o / [s]how what it does:
        ");
    }

    #[tokio::test]
    async fn nobody_is_asked_without_a_terminal() {
        let question = Question { text: "Go on".into(), explain: None };
        let nobody = Terminal { stderr_is_tty: true, ..Terminal::default() };
        let answer = confirm(question, &nobody, Style::default(), &CancellationToken::new()).await.unwrap();
        assert_eq!(answer, Answer::NotAsked);
    }
}
