//! A question on the terminal: yes, no, or first an explanation.

use std::io::{self, BufRead, Write};

use tokio_util::sync::CancellationToken;

use super::{Style, Terminal, Tone, text};

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// There is nobody to ask: standard input is no terminal. The caller fails with a hint.
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

/// How often an answer that is none is asked again.
const TRIES: usize = 3;

/// Asks on the given streams. No answer, the end of input and three that are not understood mean
/// no.
///
/// # Errors
/// When the streams cannot be read or written.
pub fn ask(question: &Question, style: Style, input: &mut dyn BufRead, output: &mut dyn Write) -> io::Result<Answer> {
    let choices = if question.explain.is_some() { "[y/N/e = explain]" } else { "[y/N]" };
    let mut tries = 0;
    while tries < TRIES {
        let text = style.paint(Tone::Bold, &format!("{}?", text::clean_line(&question.text)));
        write!(output, "{text} {choices} ")?;
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
            ("e" | "explain" | "?", Some(explain)) => {
                for line in explain.lines() {
                    writeln!(output, "  {}", text::clean_line(line))?;
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
) -> io::Result<Answer> {
    if !terminal.stdin_is_tty || !terminal.stderr_is_tty {
        return Ok(Answer::NotAsked);
    }
    let (tell, told) = tokio::sync::oneshot::channel();
    // a thread of its own, as the runtime would wait at its end for one of its pool that reads
    std::thread::Builder::new().name("question".into()).spawn(move || {
        // the receiver is gone when the user stopped us: nobody to tell
        let _ = tell.send(ask(&question, style, &mut io::stdin().lock(), &mut io::stderr()));
    })?;
    tokio::select! {
        answer = told => answer.unwrap_or(Ok(Answer::No)),
        () = cancel.cancelled() => {
            writeln!(io::stderr())?;
            Ok(Answer::No)
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn asked(input: &str, explain: Option<&str>) -> (Answer, String) {
        let question = Question { text: "Install docker.io with apt-get".into(), explain: explain.map(Into::into) };
        let mut output = Vec::new();
        let answer = ask(&question, Style::default(), &mut input.as_bytes(), &mut output).unwrap();
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
    fn it_explains_as_often_as_asked() {
        let (answer, shown) = asked("e\ne\ne\ne\ny\n", Some("It runs:\n  apt-get install docker.io"));
        assert_eq!((answer, shown.matches("It runs:").count()), (Answer::Yes, 4));
        assert_snapshot!(asked("?\nx\n\n", Some("It runs:\n  apt-get install docker.io")).1, @r"
        Install docker.io with apt-get? [y/N/e = explain]   It runs:
            apt-get install docker.io
        Install docker.io with apt-get? [y/N/e = explain]   please answer y or n
        Install docker.io with apt-get? [y/N/e = explain]
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
