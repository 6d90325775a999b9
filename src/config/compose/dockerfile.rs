//! What a Dockerfile needs BuildKit for. Images are built by the classic builder, which all engines
//! have; it fails in the middle of such a build, or does something else than what was meant.

/// The first line that the classic builder cannot build, from 1, and what it needs.
pub(super) fn needs_buildkit(text: &str) -> Option<(u32, String)> {
    let mut number = 0;
    let mut lines = text.lines().map(|line| {
        number += 1;
        (number, line.trim())
    });
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // an instruction goes on after a backslash, past comments
        let mut whole = line.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, more)) = lines.find(|(_, line)| !line.starts_with('#')) else { break };
            whole.push(' ');
            whole.push_str(more);
        }
        let mut words = whole.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        let flags: Vec<&str> = words.clone().take_while(|word| word.starts_with("--")).collect();
        let known: &[&str] = match instruction.as_str() {
            "RUN" => &["--mount", "--network", "--security", "--device"],
            "COPY" => &["--link", "--chmod", "--parents", "--exclude"],
            "ADD" => &["--link", "--chmod", "--checksum", "--keep-git-dir", "--exclude", "--unpack"],
            _ => &[],
        };
        let flag = flags.iter().find_map(|flag| {
            let name = flag.split('=').next().unwrap_or(flag);
            known.contains(&name).then_some(name)
        });
        if let Some(flag) = flag {
            return Some((number, format!("`{instruction} {flag}`")));
        }
        if matches!(instruction.as_str(), "RUN" | "COPY" | "ADD") && has_heredoc(&whole) {
            return Some((number, format!("a here-document of `{instruction}`")));
        }
    }
    None
}

/// `<<EOF`, `<<-EOF` or `<<"EOF"` as a word of its own, and not `<<<`, arithmetic, or a shell's in quotes.
fn has_heredoc(line: &str) -> bool {
    line.split_whitespace().any(|word| {
        let Some(rest) = word.strip_prefix("<<") else { return false };
        let name = rest.trim_start_matches('-').trim_matches(['"', '\'']);
        !rest.starts_with('<') && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_buildkit_is_found_with_its_line() {
        for (text, want) in [
            ("FROM a\nRUN make\nCOPY --from=x --chown=1 a b\nADD x y\n", None),
            ("FROM a\nRUN --mount=type=cache,target=/x make\n", Some((2, "`RUN --mount`"))),
            ("FROM a\n# RUN --mount=x\nrun \\\n# why\n  --network=none make\n", Some((3, "`RUN --network`"))),
            ("FROM a\nCOPY --chown=1 --chmod=755 a b\n", Some((2, "`COPY --chmod`"))),
            ("FROM a\nCOPY --link a b\n", Some((2, "`COPY --link`"))),
            ("FROM a\nADD --checksum=sha256:1 a b\n", Some((2, "`ADD --checksum`"))),
            ("FROM a\nRUN <<EOF\nmake\nEOF\n", Some((2, "a here-document of `RUN`"))),
            ("FROM a\nCOPY <<-\"EOF\" /x\ny\nEOF\n", Some((2, "a here-document of `COPY`"))),
            ("FROM a\nRUN cat <<<x && echo $((1 << 2)) \"--mount\"\n", None),
            ("FROM a\nRUN make --mount\n", None),
        ] {
            let found = needs_buildkit(text);
            assert_eq!(found.as_ref().map(|(line, what)| (*line, what.as_str())), want, "{text}");
        }
    }
}
