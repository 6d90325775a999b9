use tokio::io::BufReader;

use super::*;
use crate::host::Output;
use crate::host::fake::FakeHost;

/// A server of this program, which says what it was asked.
fn host() -> FakeHost {
    FakeHost::new().on("/usr/bin/macula *", |_, command| {
        let line = command.args.join(" ");
        let (status, stdout) = match line.as_str() {
            line if line.contains(" env") => (0, r#"{"PGHOST": "127.0.0.6", "PGPASSWORD": "secret"}"#.to_owned()),
            line if line.contains(" validate") => (7, r#"{"ok": false}"#.to_owned()),
            line if line.contains(" restart") => (2, r#"{"error": {"message": "there is no service x"}}"#.to_owned()),
            line => (0, format!("{{\"ran\": \"{line}\"}}")),
        };
        Ok(Output { status: Some(status), stdout: stdout.into_bytes(), stderr: Vec::new() })
    })
}

async fn answers(rights: &[Right], messages: &[Value]) -> Vec<Value> {
    let lines: String = messages.iter().map(|message| format!("{message}\n")).collect();
    answers_to(rights, &lines).await
}

async fn answers_to(rights: &[Right], lines: &str) -> Vec<Value> {
    let settings = Settings {
        program: "/usr/bin/macula".into(),
        version: "1.0.0",
        options: vec!["--name".into(), "shop".into()],
        rights: rights.to_vec(),
        report: "/cache/report.tar".into(),
    };
    let mut output = Vec::new();
    serve(Arc::new(host()), settings, BufReader::new(lines.as_bytes()), &mut output).await.unwrap();
    let text = String::from_utf8(output).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn call(id: u64, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn a_client_is_greeted_and_told_the_tools() {
    let all = answers(
        &[],
        &[
            json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": "two", "method": "tools/list"}),
            json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}),
            json!({"jsonrpc": "2.0", "id": 4, "method": "initialize", "params": {"protocolVersion": "1999-01-01"}}),
        ],
    )
    .await;
    assert_eq!(all.len(), 4, "a notification has no answer");
    assert_eq!(all[0]["result"]["protocolVersion"], "2025-03-26");
    assert_eq!(all[1]["id"], "two");
    let tools = all[1]["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true && tool["name"] != "up"));
    let trace = tools.iter().find(|tool| tool["name"] == "dns_trace").unwrap();
    assert_eq!(trace["inputSchema"]["required"], json!(["name"]));
    assert_eq!(all[2]["result"], json!({}));
    assert_eq!(all[3]["result"]["protocolVersion"], VERSIONS[0]);
}

#[tokio::test]
async fn a_tool_is_a_command_of_this_platform() {
    let all = answers(&[Right::Up], &[call(1, "up", json!({"services": ["db"]}))]).await;
    let ran = "--output json --progress quiet --name shop up -- db";
    assert_eq!(text(&all[0]), format!("{{\"ran\": \"{ran}\"}}"));
    assert_eq!(all[0]["result"]["isError"], false);
    let all = answers(&[], &[call(1, "report", json!({}))]).await;
    assert!(text(&all[0]).contains("report --to /cache/report.tar"), "{}", text(&all[0]));
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_and_secrets_stay() {
    let all = answers(&[], &[call(1, "up", json!({})), call(2, "down", json!({}))]).await;
    assert_eq!(all[0]["error"]["message"], "up is not allowed: start the server with `--allow up`");
    assert_eq!(all[1]["error"]["code"], BAD_PARAMS);
    let hidden = answers(&[], &[call(1, "env", json!({}))]).await;
    assert!(text(&hidden[0]).contains("PGPASSWORD") && !text(&hidden[0]).contains("secret"), "{}", text(&hidden[0]));
    let shown = answers(&[Right::EnvValues], &[call(1, "env", json!({}))]).await;
    assert!(text(&shown[0]).contains("secret"));
}

#[tokio::test]
async fn a_finding_is_a_result_and_an_error_is_told_as_one() {
    let found = answers(&[], &[call(1, "validate", json!({}))]).await;
    assert_eq!((text(&found[0]), &found[0]["result"]["isError"]), (r#"{"ok": false}"#, &json!(false)));
    let failed = answers(&[Right::Restart], &[call(1, "restart", json!({"service": "x"}))]).await;
    assert_eq!(failed[0]["result"]["isError"], true);
    let wrong = answers(&[], &[call(1, "logs", json!({"tail": "x"}))]).await;
    assert_eq!(wrong[0]["error"]["message"], "`tail` must be a number from 1 to 5000");
}

#[tokio::test]
async fn what_is_no_message_is_said_to_be_none() {
    let all =
        answers_to(&[], "no json\n\n{\"id\": 1}\n{\"id\":2,\"method\":\"other\"}\n{\"id\":3,\"result\":{}}\n").await;
    let codes: Vec<i64> = all.iter().map(|answer| answer["error"]["code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [PARSE, INVALID, NO_METHOD]);
}

#[test]
fn a_long_result_keeps_its_end() {
    let long = format!("{}é!", "x".repeat(2 * MOST));
    let kept = content(&long, false);
    let kept = kept["content"][0]["text"].as_str().unwrap();
    assert!(kept.starts_with("(") && kept.ends_with("xé!") && kept.len() < MOST + 60, "{}", kept.len());
}
