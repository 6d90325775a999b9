//! Programs in a container that have our terminal or our pipes. Each test starts itself once more, as the program at the
//! other end.

use super::*;

/// The terminal is `script`'s: what is typed there reaches the program, and its status comes back.
#[tokio::test]
async fn a_program_gets_our_terminal() {
    const ROLE: &str = "ENGINE_TEST_ATTACH";
    if let Ok(container) = std::env::var(ROLE) {
        // the process inside `script`: this test again, in its other part
        let engine = Docker::connect(&endpoint()).await.unwrap();
        let command = ["sh", "-c", "test -t 0 && read line && echo got $line from $WHO && exit 5"];
        let request = AttachedExec {
            command: command.map(str::to_owned).to_vec(),
            tty: true,
            stdin: true,
            env: vec!["WHO=me".into()],
            ..AttachedExec::default()
        };
        let status = engine.exec_attached(&container, &request).await.unwrap();
        println!("status {status}");
        return;
    }
    let Some(bench) = Bench::new("attach").await else { return };
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return skipped("attach", "script", "there is no program `script`").unwrap_or_default();
    }
    let id = bench.started(&bench.spec("a", &["sleep", "60"])).await;
    let this = std::env::current_exe().unwrap();
    let again = format!("{} --exact attached::a_program_gets_our_terminal --nocapture", this.display());
    let mut child = tokio::process::Command::new("script")
        .args(["-qec", &again, "/dev/null"])
        .env(ROLE, &id)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut typed = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut typed, b"a line\r").await.unwrap();
    let output = tokio::time::timeout(30 * SECOND, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("got a line from me") && said.contains("status 5"), "{said}");
}

/// Programs that read their input to its end get that end, and their streams stay apart.
#[tokio::test]
async fn a_program_gets_our_pipes() {
    const ROLE: &str = "ENGINE_TEST_PIPE";
    if let Ok(container) = std::env::var(ROLE) {
        let engine = Docker::connect(&endpoint()).await.unwrap();
        let command = ["sh", "-c", "cat; echo to err >&2; exit 6"].map(str::to_owned).to_vec();
        let request = AttachedExec { command, stdin: true, ..AttachedExec::default() };
        let status = engine.exec_attached(&container, &request).await.unwrap();
        eprintln!("status {status}");
        return;
    }
    let Some(bench) = Bench::new("pipe").await else { return };
    let id = bench.started(&bench.spec("a", &["sleep", "60"])).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "attached::a_program_gets_our_pipes", "--nocapture"])
        .env(ROLE, &id)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut typed = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut typed, b"first\nlast").await.unwrap();
    drop(typed);
    let output = tokio::time::timeout(30 * SECOND, child.wait_with_output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("first\nlast") && !out.contains("to err"), "{out}");
    assert!(err.contains("to err\n") && err.contains("status 6"), "{err}");
}
